#include "nft/kubechains.h"

#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/hash.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define NAME_MAX_LEN 64

static const struct {
	const char *name;
	bool prefix;
	enum dp_kube_chain whose;
} known[] = {
	{ "KUBE-SERVICES",		false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-EXTERNAL-SERVICES",	false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-NODEPORTS",		false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-FORWARD",		false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-PROXY-FIREWALL",	false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-PROXY-CANARY",		false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-SVC-",			true,  DP_CHAIN_KUBE_PROXY },
	{ "KUBE-SVL-",			true,  DP_CHAIN_KUBE_PROXY },
	{ "KUBE-SEP-",			true,  DP_CHAIN_KUBE_PROXY },
	{ "KUBE-EXT-",			true,  DP_CHAIN_KUBE_PROXY },
	{ "KUBE-FW-",			true,  DP_CHAIN_KUBE_PROXY },
	{ "KUBE-XLB-",			true,  DP_CHAIN_KUBE_PROXY },	/* before 1.24 */
	{ "KUBE-NODE-PORT",		false, DP_CHAIN_KUBE_PROXY },	/* from here on: mode ipvs */
	{ "KUBE-LOAD-BALANCER",		false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-SOURCE-RANGES-FIREWALL", false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-IPVS-FILTER",		false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-IPVS-OUT-FILTER",	false, DP_CHAIN_KUBE_PROXY },
	{ "KUBE-MARK-MASQ",		false, DP_CHAIN_SHARED },
	{ "KUBE-POSTROUTING",		false, DP_CHAIN_SHARED },
};

enum dp_kube_chain dp_kube_chain(const char *name)
{
	for (size_t i = 0; i < KP_N(known); i++)
		if (known[i].prefix ? strncmp(name, known[i].name, strlen(known[i].name)) == 0 : strcmp(name, known[i].name) == 0)
			return known[i].whose;
	return DP_CHAIN_FOREIGN;
}

/* --- reading --- */

/* A line without its end; false at the end of the text. */
static bool next_line(const char **at, const char **ret, size_t *ret_len)
{
	*ret = *at;
	*ret_len = strcspn(*at, "\n");
	*at += *ret_len;
	if (**at)
		(*at)++;
	return *ret_len || **at;
}

/* The next word after *at within end; quotes hold a word together. False: none. */
static bool next_word(const char **at, const char *end, const char **ret, size_t *ret_len)
{
	const char *p = *at;
	bool quoted = false;

	while (p < end && *p == ' ')
		p++;
	*ret = p;
	for (; p < end && (quoted || *p != ' '); p++) {
		if (*p == '\\' && p + 1 < end)
			p++;
		else if (*p == '"')
			quoted = !quoted;
	}
	*ret_len = (size_t)(p - *ret);
	*at = p;
	return *ret_len > 0;
}

static void copy_name(const char *s, size_t len, char out[NAME_MAX_LEN])
{
	len = len < NAME_MAX_LEN ? len : NAME_MAX_LEN - 1;
	memcpy(out, s, len);
	out[len] = '\0';
}

/* ":CHAIN ...": its name. False: another line. */
static bool parse_chain(const char *line, size_t len, char chain[NAME_MAX_LEN])
{
	const char *at = line + 1, *word;
	size_t n;

	if (!len || line[0] != ':' || !next_word(&at, line + len, &word, &n))
		return false;
	copy_name(word, n, chain);
	return true;
}

/* "-A CHAIN ... -j TARGET": both names, target "" if the rule has none. False: not a rule. */
static bool parse_rule(const char *line, size_t len, char chain[NAME_MAX_LEN], char target[NAME_MAX_LEN])
{
	const char *at = line, *end = line + len, *word;
	size_t n;

	if (len < 3 || strncmp(line, "-A ", 3) != 0)
		return false;
	target[0] = '\0';
	at += 3;
	if (!next_word(&at, end, &word, &n))
		return false;
	copy_name(word, n, chain);
	while (next_word(&at, end, &word, &n))
		if (n == 2 && (memcmp(word, "-j", 2) == 0 || memcmp(word, "-g", 2) == 0) && next_word(&at, end, &word, &n))
			copy_name(word, n, target);
	return true;
}

struct dp_kube_rules dp_kube_rules(const char *save)
{
	struct dp_kube_rules r = { .print = KP_HASH_INIT };
	char chain[NAME_MAX_LEN], target[NAME_MAX_LEN];
	const char *line;
	size_t len;

	while (next_line(&save, &line, &len)) {
		if (parse_chain(line, len, chain)) {
			r.n_chains += dp_kube_chain(chain) == DP_CHAIN_KUBE_PROXY;
		} else if (parse_rule(line, len, chain, target) && dp_kube_chain(chain) == DP_CHAIN_KUBE_PROXY) {
			r.print = kp_hash(r.print, line, len);
		}
	}
	return r;
}

/* --- removal --- */

/* One table of the text: from its first line to COMMIT. */
struct section {
	const char *name, *body;
	size_t name_len;
	bool (*ours)(const char *chain);
	struct kp_map *stay;	/* of these, the chains that cannot go, as a set of names */
};

static bool next_section(const char **at, struct section *ret)
{
	const char *line;
	size_t len;

	while (next_line(at, &line, &len))
		if (len > 1 && line[0] == '*') {
			ret->name = line + 1;
			ret->name_len = len - 1;
			ret->body = *at;
			return true;
		}
	return false;
}

static bool next_of_section(const char **at, const char **line, size_t *len)
{
	return next_line(at, line, len) && !(*len == 6 && strncmp(*line, "COMMIT", 6) == 0);
}

/* Chains that are there without anybody having made them; "INPUT ACCEPT [0:0]", made ones have "-". */
static bool is_builtin(const char *name)
{
	static const char *const names[] = { "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING" };

	for (size_t i = 0; i < KP_N(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool goes(const struct section *s, const char *chain)
{
	return s->ours(chain) && !kp_map_gets(s->stay, chain);
}

static bool keep(struct section *s, const char *chain)
{
	if (!goes(s, chain))
		return false;
	kp_map_puts(s->stay, chain, kp_strdup(chain));
	return true;
}

/* What rules of others lead to stays; and then what that leads to, until nothing is added. */
static void find_staying(struct section *s)
{
	char chain[NAME_MAX_LEN], target[NAME_MAX_LEN];
	bool more = true;

	while (more) {
		const char *at = s->body, *line;
		size_t len;

		more = false;
		while (next_of_section(&at, &line, &len))
			if (parse_rule(line, len, chain, target) && !is_builtin(chain) && !goes(s, chain))
				more |= keep(s, target);
	}
	if (kp_map_gets(s->stay, "KUBE-MARK-MASQ"))
		keep(s, "KUBE-POSTROUTING");
}

static void each_chain(const struct section *s, const char *before, const char *after, struct kp_buf *out)
{
	const char *at = s->body, *line;
	char chain[NAME_MAX_LEN];
	size_t len;

	while (next_of_section(&at, &line, &len)) {
		if (!parse_chain(line, len, chain) || !goes(s, chain))
			continue;
		kp_buf_puts(out, before);
		kp_buf_puts(out, chain);
		kp_buf_puts(out, after);
	}
}

/* Rules elsewhere that lead to what goes: the rule as it was printed is the one to delete. */
static void each_jump(const struct section *s, struct kp_buf *out)
{
	char chain[NAME_MAX_LEN], target[NAME_MAX_LEN];
	const char *at = s->body, *line;
	size_t len;

	while (next_of_section(&at, &line, &len)) {
		if (!parse_rule(line, len, chain, target) || goes(s, chain) || !goes(s, target))
			continue;
		kp_buf_puts(out, "-D");
		kp_buf_add(out, line + 2, len - 2);
		kp_buf_puts(out, "\n");
	}
}

void dp_chain_removal(const char *save, bool (*ours)(const char *chain), struct kp_buf *out)
{
	struct section s = { .ours = ours };

	while (next_section(&save, &s)) {
		struct kp_buf body = { 0 };

		s.stay = kp_map_new(free);
		find_staying(&s);
		each_chain(&s, ":", " - [0:0]\n", &body);	/* empties it */
		each_jump(&s, &body);
		each_chain(&s, "-X ", "\n", &body);
		if (body.len) {
			kp_buf_puts(out, "*");
			kp_buf_add(out, s.name, s.name_len);
			kp_buf_puts(out, "\n");
			kp_buf_add(out, body.data, body.len);
			kp_buf_puts(out, "COMMIT\n");
		}
		kp_buf_release(&body);
		kp_map_free(s.stay);
	}
}

static bool is_kubes(const char *chain)
{
	return dp_kube_chain(chain) != DP_CHAIN_FOREIGN;
}

void dp_kube_removal(const char *save, struct kp_buf *out)
{
	dp_chain_removal(save, is_kubes, out);
}
