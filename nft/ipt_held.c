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

/* "PREROUTING -m comment --comment "x" -j PXL-SERVICES", and the target is the last word. */
static void note_jump(struct dp_ipt_held *h, int table, const char *from, size_t len, const char *rule)
{
	const char *to = strrchr(rule, ' ');

	for (size_t i = 0; to && i < DP_IPT_N_JUMPS; i++) {
		const struct dp_ipt_jump *j = &dp_ipt_jumps[i];

		if (j->table == table && strlen(j->from) == len && memcmp(j->from, from, len) == 0 && strcmp(j->to, to + 1) == 0)
			h->jumps[i]++;
	}
}

static void take_rule(struct dp_ipt_held *h, int table, const char *name)
{
	size_t len = strcspn(name, " ");
	struct dp_ipt_held_chain *c;

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
