#include "nft/ipt_search.h"

#include <errno.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"

#define PROBE	"PXL-PROBE"
static const enum dp_ipt_table tables[] = { DP_IPT_FILTER, DP_IPT_NAT };

struct search {
	const struct dp_ipt_tools *tools;
	const struct dp_ipt_env *env;
	struct kp_plan *const *plans;
	size_t *ret, n_ret, max;
	bool failed;		/* a trial, for another reason than its rules */
};

/* Without a jump to a chain of ours, which may not be there. */
static void add_rule(struct kp_buf *out, const char *rule, size_t len)
{
	const char *jump = memmem(rule, len, "-j " DP_IPT_PREFIX, strlen("-j " DP_IPT_PREFIX));

	kp_buf_printf(out, "-A " PROBE " %.*s\n", jump ? (int)(jump - rule) : (int)len, rule);
}

static void add_service(const struct dp_ipt_rules *r, enum dp_ipt_table t, struct kp_buf *out)
{
	for (size_t i = 0; i < r->n_chains; i++)
		for (const char *at = r->chains[i].rules; r->chains[i].table == t && *at; at += strcspn(at, "\n") + 1)
			add_rule(out, at, strcspn(at, "\n"));
	for (size_t i = 0; i < r->n_lines; i++)
		if (r->lines[i].table == t)
			add_rule(out, r->lines[i].rule + 1, strlen(r->lines[i].rule + 1));
}

/* Called off, out of time or without the lock of xtables, it says nothing about a line. */
static bool is_refused(struct search *s, const struct kp_buf *text)
{
	struct kp_err err = { 0 };
	unsigned line;
	int r = dp_ipt_tools_restore(s->tools, s->env->f, text, &line, &err);
	bool refused = r == -EIO && line;

	s->failed |= r < 0 && !refused;
	return refused;
}

static bool are_refused(struct search *s, size_t from, size_t to)
{
	struct kp_buf text = { 0 };
	bool refused;

	for (size_t t = 0; t < KP_N(tables); t++) {
		kp_buf_printf(&text, "*%s\n:" PROBE " - [0:0]\n", dp_ipt_tables[tables[t]]);
		for (size_t i = from; i < to; i++) {
			struct dp_ipt_rules r;

			dp_ipt_service(s->env, s->plans[i], &r);
			add_service(&r, tables[t], &text);
			dp_ipt_rules_release(&r);
		}
		kp_buf_puts(&text, "COMMIT\n");
	}
	refused = is_refused(s, &text);
	kp_buf_release(&text);
	return refused;
}

static void halve(struct search *s, size_t from, size_t to)
{
	if (from == to || s->n_ret == s->max || s->failed || !are_refused(s, from, to))
		return;
	if (to - from == 1) {
		if (are_refused(s, from, to))	/* twice: also refused is a table that others changed meanwhile */
			s->ret[s->n_ret++] = from;
		return;
	}
	halve(s, from, from + (to - from) / 2);
	halve(s, from + (to - from) / 2, to);
}

static void remove_probe(struct search *s)
{
	struct kp_buf text = { 0 };

	for (size_t t = 0; t < KP_N(tables); t++)
		kp_buf_printf(&text, "*%s\n:" PROBE " - [0:0]\n-X " PROBE "\nCOMMIT\n", dp_ipt_tables[tables[t]]);
	(void)is_refused(s, &text);	/* the next full write finds what is left */
	kp_buf_release(&text);
}

size_t dp_ipt_search(const struct dp_ipt_tools *tools, const struct dp_ipt_env *env, struct kp_plan *const *plans, size_t n,
		     size_t *ret, size_t max)
{
	struct search s = { .tools = tools, .env = env, .plans = plans, .ret = ret, .max = max };

	halve(&s, 0, n);
	n = s.failed ? 0 : s.n_ret;
	remove_probe(&s);
	return n;
}
