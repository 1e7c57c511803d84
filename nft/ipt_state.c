#include "nft/ipt_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipt_held.h"
#include "proxy/base/buf.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define NAMES_MAX 3	/* in one line of the log */

/* One line of a shared chain; its key in the map is rank and text. */
struct line {
	uint32_t refs;
};

struct chain {
	char name[DP_IPT_NAME];
	bool fixed;		/* there also without lines */
	bool kept;		/* cannot be removed: see dp_ipt_state_blame() */
	bool present;		/* the kernel has it */
	bool dirty;		/* on the list of its table */
	char *rules;		/* of one owner; NULL: none */
	struct kp_map *lines;	/* text -> struct line; NULL: not shared */
	uint32_t n_rules;	/* as written */
	uint64_t hash[2];	/* as printed by iptables-save, and by netlink; 0: not seen yet */
};

/* A way to our chains. */
struct jump {
	bool right;		/* it is in the kernel, and where it should be */
	uint32_t spare;		/* how many can go if it has to be written */
	bool seen;		/* where it stands: */
	uint32_t cut;
	uint64_t ends;
};

struct dp_ipt_state {
	struct kp_map *owners;	/* key -> struct dp_ipt_rules; the text of chains is in the chains */
	struct kp_map *chains[DP_IPT_N_TABLES];
	struct chain **dirty[DP_IPT_N_TABLES];
	size_t n_dirty[DP_IPT_N_TABLES], cap_dirty[DP_IPT_N_TABLES];
	struct jump jumps[DP_IPT_N_JUMPS];
	uint32_t n_rules[DP_IPT_N_TABLES], n_last[DP_IPT_N_TABLES];	/* all, and of the last write */
};

static void owner_free(void *p)
{
	dp_ipt_rules_release(p);
	free(p);
}

static void chain_free(void *p)
{
	struct chain *c = p;

	free(c->rules);
	kp_map_free(c->lines);
	free(c);
}

static void mark_dirty(struct dp_ipt_state *s, int t, struct chain *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	kp_grow(&s->dirty[t], s->n_dirty[t], &s->cap_dirty[t]);
	s->dirty[t][s->n_dirty[t]++] = c;
}

static struct chain *chain_of(struct dp_ipt_state *s, int t, const char *name)
{
	struct chain *c = kp_map_gets(s->chains[t], name);

	if (!c) {
		c = kp_calloc(1, sizeof(*c));
		snprintf(c->name, sizeof(c->name), "%s", name);
		kp_map_puts(s->chains[t], name, c);
	}
	return c;
}

struct dp_ipt_state *dp_ipt_state_new(void)
{
	struct dp_ipt_state *s = kp_calloc(1, sizeof(*s));

	s->owners = kp_map_new(owner_free);
	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		s->chains[t] = kp_map_new(chain_free);
	for (size_t i = 0; i < dp_ipt_n_fixed; i++) {
		struct chain *c = chain_of(s, dp_ipt_fixed[i].table, dp_ipt_fixed[i].name);

		c->fixed = true;
		mark_dirty(s, dp_ipt_fixed[i].table, c);
	}
	return s;
}

struct dp_ipt_state *dp_ipt_state_free(struct dp_ipt_state *s)
{
	if (!s)
		return NULL;
	kp_map_free(s->owners);
	for (int t = 0; t < DP_IPT_N_TABLES; t++) {
		kp_map_free(s->chains[t]);
		free(s->dirty[t]);
	}
	free(s);
	return NULL;
}

static bool is_wanted(const struct chain *c)
{
	return c->fixed || c->rules || (c->lines && kp_map_len(c->lines));
}

/* --- what owners want --- */

static void add_line(struct dp_ipt_state *s, const struct dp_ipt_line *l)
{
	struct chain *c = chain_of(s, l->table, l->chain);
	struct line *x;

	if (!c->lines)
		c->lines = kp_map_new(free);
	x = kp_map_gets(c->lines, l->rule);
	if (!x) {
		x = kp_calloc(1, sizeof(*x));
		kp_map_puts(c->lines, l->rule, x);
		mark_dirty(s, l->table, c);
	}
	x->refs++;
}

static void drop_line(struct dp_ipt_state *s, const struct dp_ipt_line *l)
{
	struct chain *c = chain_of(s, l->table, l->chain);
	struct line *x = kp_map_gets(c->lines, l->rule);

	if (--x->refs)
		return;
	kp_map_dels(c->lines, l->rule);
	mark_dirty(s, l->table, c);
}

/* Takes the text. */
static void set_chain(struct dp_ipt_state *s, struct dp_ipt_chain *wanted)
{
	struct chain *c = chain_of(s, wanted->table, wanted->name);

	if (!c->rules || strcmp(c->rules, wanted->rules) != 0)
		mark_dirty(s, wanted->table, c);
	free(c->rules);
	c->rules = kp_steal(&wanted->rules);
}

static bool names_chain(const struct dp_ipt_rules *r, const struct dp_ipt_chain *c)
{
	for (size_t i = 0; i < r->n_chains; i++)
		if (r->chains[i].table == c->table && strcmp(r->chains[i].name, c->name) == 0)
			return true;
	return false;
}

static void drop_chain(struct dp_ipt_state *s, const struct dp_ipt_chain *gone)
{
	struct chain *c = chain_of(s, gone->table, gone->name);

	free(kp_steal(&c->rules));
	mark_dirty(s, gone->table, c);
}

/* First the new, then without the old: what is in both is not touched. */
void dp_ipt_state_put(struct dp_ipt_state *s, const char *owner, struct dp_ipt_rules *rules)
{
	struct dp_ipt_rules *old = kp_map_gets(s->owners, owner);

	for (size_t i = 0; i < rules->n_chains; i++)
		set_chain(s, &rules->chains[i]);
	for (size_t i = 0; i < rules->n_lines; i++)
		add_line(s, &rules->lines[i]);
	for (size_t i = 0; old && i < old->n_lines; i++)
		drop_line(s, &old->lines[i]);
	for (size_t i = 0; old && i < old->n_chains; i++)
		if (!names_chain(rules, &old->chains[i]))
			drop_chain(s, &old->chains[i]);
	if (rules->n_chains || rules->n_lines)
		kp_map_puts(s->owners, owner, kp_memdup(rules, sizeof(*rules)));
	else
		kp_map_dels(s->owners, owner);
	*rules = (struct dp_ipt_rules){ 0 };
}

/* --- what the kernel has --- */

/*
 * It was moved, that is: the chain has the same rules that end every packet's way, and more of them before it.
 * Who puts a new one there means it, and a plugin that insists on the first place is no damage;
 * kube-proxy does not move its own either.
 */
static bool is_astray(const struct jump *j, const struct dp_ipt_held *held, size_t i)
{
	return held->disordered[i] || (j->seen && held->ends[i] == j->ends && held->cut[i] > j->cut);
}

void dp_ipt_state_jumps(struct dp_ipt_state *s, const struct dp_ipt_held *held)
{
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++) {
		s->jumps[i].right = held->jumps[i] && !is_astray(&s->jumps[i], held, i);
		s->jumps[i].spare = held->jumps[i];
	}
}

void dp_ipt_state_assume(struct dp_ipt_state *s, const struct dp_ipt_held *held)
{
	dp_ipt_state_jumps(s, held);
	for (int t = 0; t < DP_IPT_N_TABLES; t++) {
		for (struct kp_map_it it = { 0 }; kp_map_next(s->chains[t], &it);)
			((struct chain *)it.value)->present = ((struct chain *)it.value)->kept = false;
		for (struct kp_map_it it = { 0 }; kp_map_next(held->chains[t], &it);)
			chain_of(s, t, it.key)->present = true;
		for (struct kp_map_it it = { 0 }; kp_map_next(s->chains[t], &it);)
			mark_dirty(s, t, it.value);
	}
}

static bool differs(struct chain *c, const struct dp_ipt_held_chain *h, bool by_netlink)
{
	uint64_t *hash = &c->hash[by_netlink];

	if (!is_wanted(c) || c->dirty)
		return false;
	if (!h || h->n_rules != c->n_rules || (*hash && *hash != h->hash))
		return true;
	*hash = h->hash;
	return false;
}

/* NULL: nothing is wrong with it. */
static const char *jump_differs(struct jump *j, const struct dp_ipt_held *held, size_t i)
{
	if (!held->jumps[i])
		return "deleted";
	if (is_astray(j, held, i))
		return "out of place";
	j->seen = true;
	j->cut = held->cut[i];
	j->ends = held->ends[i];
	return NULL;
}

bool dp_ipt_state_matches(struct dp_ipt_state *s, const struct dp_ipt_held *held, char **ret_what)
{
	struct kp_buf what = { 0 };
	unsigned n = 0;

	for (int t = 0; t < DP_IPT_N_TABLES; t++)	/* all of them: some are seen for the first time */
		for (struct kp_map_it it = { 0 }; kp_map_next(s->chains[t], &it);) {
			const struct dp_ipt_held_chain *h = kp_map_get(held->chains[t], it.key, it.len);

			if (differs(it.value, h, held->by_netlink) && n++ < NAMES_MAX)
				kp_buf_printf(&what, "%schain %s of %s %s", what.len ? ", " : "", ((struct chain *)it.value)->name,
					      dp_ipt_tables[t], h ? "changed" : "deleted");
		}
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++) {
		const char *how = jump_differs(&s->jumps[i], held, i);

		if (how && n++ < NAMES_MAX)
			kp_buf_printf(&what, "%sjump from %s to %s of %s %s", what.len ? ", " : "", dp_ipt_jumps[i].from,
				      dp_ipt_jumps[i].to, dp_ipt_tables[dp_ipt_jumps[i].table], how);
	}
	if (n > NAMES_MAX)
		kp_buf_printf(&what, " and %u more", n - NAMES_MAX);
	if (n)
		*ret_what = what.data;
	return n == 0;
}

/* --- input for iptables-restore --- */

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct chain *const *)a)->name, (*(struct chain *const *)b)->name);
}

static uint32_t write_own(const struct chain *c, struct kp_buf *out)
{
	uint32_t n = 0;

	for (const char *at = c->rules; *at; at += strcspn(at, "\n") + 1, n++)
		kp_buf_printf(out, "-A %s %.*s\n", c->name, (int)strcspn(at, "\n"), at);
	return n;
}

static uint32_t write_shared(const struct chain *c, struct kp_buf *out)
{
	const char **lines = kp_map_sorted_keys(c->lines);
	size_t n = kp_map_len(c->lines);

	for (size_t i = 0; i < n; i++)
		kp_buf_printf(out, "-A %s %s\n", c->name, lines[i] + 1);
	free(lines);
	return (uint32_t)n;
}

static uint32_t write_rules(struct chain *c, struct kp_buf *out)
{
	c->hash[0] = c->hash[1] = 0;
	c->n_rules = c->rules ? write_own(c, out) : c->lines ? write_shared(c, out) : 0;
	return c->n_rules;
}

static bool lacks_jumps(const struct dp_ipt_state *s, int t)
{
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		if (dp_ipt_jumps[i].table == t && !s->jumps[i].right)
			return true;
	return false;
}

/* Their order counts: if one of a chain is not right, all of them go to the top anew. */
static bool is_chain_right(const struct dp_ipt_state *s, const struct dp_ipt_jump *j)
{
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		if (dp_ipt_jumps[i].table == j->table && strcmp(dp_ipt_jumps[i].from, j->from) == 0 && !s->jumps[i].right)
			return false;
	return true;
}

static void write_jumps(const struct dp_ipt_state *s, int t, struct kp_buf *out)
{
	static const char *const how[] = { "-D", "-I" };

	for (size_t op = 0; op < KP_N(how); op++)
		for (size_t i = 0; i < DP_IPT_N_JUMPS; i++) {
			const struct dp_ipt_jump *j = &dp_ipt_jumps[i];

			if (j->table != t || is_chain_right(s, j))
				continue;
			for (uint32_t n = op ? 1 : s->jumps[i].spare; n; n--)
				kp_buf_printf(out, "%s %s %s-j %s\n", how[op], j->from, j->match, j->to);
		}
}

/*
 * Naming a chain empties it; so the rules that lead to what goes are gone before it goes.
 * In order of names, which iptables-nft takes in two to three times as fast as any other.
 */
static uint32_t write_table(struct dp_ipt_state *s, int t, struct kp_buf *out, uint32_t *ret_removed)
{
	uint32_t n = 0;

	qsort(s->dirty[t], s->n_dirty[t], sizeof(*s->dirty[t]), by_name);
	kp_buf_printf(out, "*%s\n", dp_ipt_tables[t]);
	for (size_t i = 0; i < s->n_dirty[t]; i++)
		if (is_wanted(s->dirty[t][i]) || s->dirty[t][i]->present)
			kp_buf_printf(out, ":%s - [0:0]\n", s->dirty[t][i]->name);
	for (size_t i = 0; i < s->n_dirty[t]; i++) {
		s->n_rules[t] -= s->dirty[t][i]->n_rules;
		n += write_rules(s->dirty[t][i], out);
		s->n_rules[t] += s->dirty[t][i]->n_rules;
	}
	write_jumps(s, t, out);
	for (size_t i = 0; i < s->n_dirty[t]; i++) {
		const struct chain *c = s->dirty[t][i];

		if (is_wanted(c) || !c->present || c->kept)
			continue;
		kp_buf_printf(out, "-X %s\n", c->name);
		(*ret_removed)++;
	}
	kp_buf_puts(out, "COMMIT\n");
	return n;
}

uint32_t dp_ipt_state_write(struct dp_ipt_state *s, struct kp_buf *out, uint32_t *ret_removed)
{
	uint32_t n = 0;

	*ret_removed = 0;
	for (int t = 0; t < DP_IPT_N_TABLES; t++) {
		s->n_last[t] = s->n_dirty[t] || lacks_jumps(s, t) ? write_table(s, t, out, ret_removed) : 0;
		n += s->n_last[t];
	}
	return n;
}

void dp_ipt_state_count(const struct dp_ipt_state *s, struct dp_rule_counts *ret)
{
	static const enum dp_ipt_table of[DP_N_RULE_TABLES] = { [DP_RULES_FILTER] = DP_IPT_FILTER, [DP_RULES_NAT] = DP_IPT_NAT };

	for (int i = 0; i < DP_N_RULE_TABLES; i++) {
		ret->total[i] = s->n_rules[of[i]];
		ret->last[i] = s->n_last[of[i]];
	}
}

static void settle(struct dp_ipt_state *s, int t, struct chain *c)
{
	c->dirty = false;
	c->present = is_wanted(c) || (c->present && c->kept);
	if (!c->present)
		kp_map_dels(s->chains[t], c->name);
}

void dp_ipt_state_written(struct dp_ipt_state *s)
{
	for (int t = 0; t < DP_IPT_N_TABLES; t++) {
		for (size_t i = 0; i < s->n_dirty[t]; i++)
			settle(s, t, s->dirty[t][i]);
		s->n_dirty[t] = 0;
	}
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++) {
		s->jumps[i].seen &= is_chain_right(s, &dp_ipt_jumps[i]);
		s->jumps[i].spare = 1;
	}
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		s->jumps[i].right = true;
}

/* --- who is to blame --- */

/* The line and the table it is in. */
static int find_line(const char *text, unsigned line, char *ret, size_t size)
{
	int table = -1;

	for (unsigned i = 1; *text; i++, text += strcspn(text, "\n") + 1) {
		size_t len = strcspn(text, "\n");

		table = *text == '*' ? -1 : table;
		for (int t = 0; *text == '*' && t < DP_IPT_N_TABLES; t++)
			if (strlen(dp_ipt_tables[t]) == len - 1 && memcmp(text + 1, dp_ipt_tables[t], len - 1) == 0)
				table = t;
		if (i != line)
			continue;
		if (len >= size)
			return -1;
		memcpy(ret, text, len);
		ret[len] = '\0';
		return table;
	}
	return -1;
}

static bool wants(const struct dp_ipt_rules *r, int t, const char *chain, const char *rule)
{
	for (size_t i = 0; i < r->n_chains; i++)
		if (r->chains[i].table == t && strcmp(r->chains[i].name, chain) == 0)
			return true;
	for (size_t i = 0; rule && i < r->n_lines; i++)
		if (r->lines[i].table == t && strcmp(r->lines[i].chain, chain) == 0 && strcmp(r->lines[i].rule + 1, rule) == 0)
			return true;
	return false;
}

const char *dp_ipt_state_blame(struct dp_ipt_state *s, const char *text, unsigned line, bool *ret_kept)
{
	char found[1024], *chain = found + 3, *rule;
	int t = find_line(text, line, found, sizeof(found));
	struct chain *c;

	*ret_kept = false;
	if (t < 0 || (strncmp(found, "-A ", 3) != 0 && strncmp(found, "-X ", 3) != 0))
		return NULL;
	rule = strchr(chain, ' ');
	if (rule)
		*rule++ = '\0';
	c = kp_map_gets(s->chains[t], chain);
	if (found[1] == 'X') {
		*ret_kept = c != NULL;
		if (c)
			c->kept = true;
		return NULL;
	}
	for (struct kp_map_it it = { 0 }; kp_map_next(s->owners, &it);)
		if (wants(it.value, t, chain, rule))
			return it.key;
	return NULL;
}
