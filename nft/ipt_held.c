#include "nft/ipt_held.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/hash.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct dp_ipt_held *dp_ipt_held_free(struct dp_ipt_held *h)
{
	if (!h)
		return NULL;
	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		kp_map_free(h->chains[t]);
	free(h);
	return NULL;
}

static bool is_ours(const char *name)
{
	return strncmp(name, DP_IPT_PREFIX, strlen(DP_IPT_PREFIX)) == 0;
}

static struct dp_ipt_held_chain *chain_of(struct dp_ipt_held *h, int table, const char *name, size_t len)
{
	struct dp_ipt_held_chain *c = kp_map_get(h->chains[table], name, len);

	if (!c) {
		c = kp_calloc(1, sizeof(*c));
		c->hash = KP_HASH_INIT;
		kp_map_put(h->chains[table], name, len, c);
	}
	return c;
}

static int table_of(const char *name)
{
	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		if (strcmp(dp_ipt_tables[t], name) == 0)
			return t;
	return -1;
}

static bool is_from(const struct dp_ipt_jump *j, int table, const char *from, size_t len)
{
	return j->table == table && strlen(j->from) == len && memcmp(j->from, from, len) == 0;
}

/* The rest of the rule after what it says in a comment, which is its only match. */
static const char *after_comment(const char *rule)
{
	static const char word[] = " -m comment --comment ";

	if (strncmp(rule, word, strlen(word)) != 0)
		return rule;
	rule += strlen(word);
	if (*rule != '"')
		return rule + strcspn(rule, " ");
	for (rule++; *rule && *rule != '"'; rule++)
		rule += *rule == '\\' && rule[1];
	return *rule ? rule + 1 : rule;
}

/* Every packet that gets here ends here, as far as this chain goes. */
static bool ends_all(const char *rule)
{
	static const char *const ends[] = {
		"ACCEPT", "DROP", "REJECT", "RETURN", "QUEUE", "NFQUEUE", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NETMAP",
	};

	rule = after_comment(rule);
	if (strncmp(rule, " -g ", 4) == 0)
		return true;
	for (size_t i = 0; strncmp(rule, " -j ", 4) == 0 && i < KP_N(ends); i++)
		if (strcspn(rule + 4, " ") == strlen(ends[i]) && strncmp(rule + 4, ends[i], strlen(ends[i])) == 0)
			return true;
	return false;
}

/* rule: " MATCH-j TO". With another match it is somebody else's, and does not lead there whom ours should. */
static bool is_as_ours(const struct dp_ipt_held *h, const struct dp_ipt_jump *j, const char *rule, const char *to)
{
	size_t len = strlen(j->match);
	bool matches = h->by_netlink ? !len == !strstr(rule, " -m ") :
		       strncmp(rule + 1, j->match, len) == 0 && rule + 1 + len + 3 == to && strncmp(to - 3, "-j ", 3) == 0;

	return matches && strcmp(to, j->to) == 0;
}

/* Jump i is there: those of its chain that are inserted before it stand below. */
static bool is_too_low(const struct dp_ipt_held *h, size_t i)
{
	const struct dp_ipt_jump *j = &dp_ipt_jumps[i];

	for (size_t k = 0; k < i; k++)
		if (h->jumps[k] && is_from(&dp_ipt_jumps[k], j->table, j->from, strlen(j->from)))
			return true;
	return false;
}

/* "PREROUTING -m comment --comment "x" -j PXL-SERVICES", and the target is the last word. */
static void note_jump(struct dp_ipt_held *h, int table, const char *from, size_t len, const char *rule)
{
	const char *to = strrchr(rule, ' ');
	uint64_t end = ends_all(rule) ? kp_hash(KP_HASH_INIT, rule, strlen(rule)) : 0;

	for (size_t i = 0; to && i < DP_IPT_N_JUMPS; i++) {
		const struct dp_ipt_jump *j = &dp_ipt_jumps[i];

		if (!is_from(j, table, from, len))
			continue;
		if (is_as_ours(h, j, rule, to + 1)) {
			h->disordered[i] |= !h->jumps[i] && is_too_low(h, i);
			h->jumps[i]++;
		}
		h->ends[i] += end;
		h->cut[i] += end && !h->jumps[i];
	}
}

static void take_rule(struct dp_ipt_held *h, int table, const char *name)
{
	size_t len = strcspn(name, " ");
	struct dp_ipt_held_chain *c;

	h->by_netlink |= strncmp(name + len, " handle ", 8) == 0;
	if (!is_ours(name)) {
		note_jump(h, table, name, len, name + len);
		return;
	}
	c = chain_of(h, table, name, len);
	c->n_rules++;
	c->hash = kp_hash(c->hash, name + len, strlen(name + len));
}

struct dp_ipt_held *dp_ipt_held_parse(char *text)
{
	struct dp_ipt_held *h = kp_calloc(1, sizeof(*h));
	char *rest = NULL;
	int table = -1;

	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		h->chains[t] = kp_map_new(free);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (line[0] == '*')
			table = table_of(line + 1);
		else if (table >= 0 && line[0] == ':' && is_ours(line + 1))
			chain_of(h, table, line + 1, strcspn(line + 1, " "));
		else if (table >= 0 && strncmp(line, "-A ", 3) == 0)
			take_rule(h, table, line + 3);
	}
	return h;
}
