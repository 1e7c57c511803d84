#include "nft/nftables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nft/cleanup.h"
#include "nft/conntrack.h"
#include "nft/family.h"
#include "nft/held.h"
#include "nft/probe.h"
#include "nft/stale.h"
#include "nft/sweep.h"
#include "nft/table.h"
#include "nft/text.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define BACKOFF_MIN_MS		100
#define BACKOFF_MAX_MS		30000
#define REFUSED_RETRY_MS	30000

/*
 * Foreign changes are found by asking for the generation of the ruleset, which costs
 * microseconds; a listener would make every commit on the node pay for it (nft-design 5).
 */
#define LOOK_MS		40
#define AUDIT_MS	1000		/* after a foreign commit: elements too, */
#define AUDIT_GAP_MS	30000		/* but not more often than this while others commit all the time */

struct nft {
	struct dp_table *tables[KP_N_FAMILIES];	/* NULL: not enabled */
	struct dp_wanted want;
	struct dp_ct *ct;
	struct dp_sweep *sweep;
	bool settled;		/* everything wanted was in the kernel once: changes are known one by one */
	unsigned backoff_ms;
	uint64_t retry_ns;	/* failed or refused things; 0: none */
	uint32_t generation;	/* of the ruleset, as far as it is our doing */
	uint64_t look_ns;	/* when to ask for it next */
	uint64_t audit_ns, audited_ns;	/* when to compare all elements next, 0: not needed; when it was done last */
};

static void plan_free(void *p)
{
	kp_plan_unref(p);
}

static void nft_close(void *dp)
{
	struct nft *n = dp;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		dp_table_free(n->tables[f]);
	kp_map_free(n->want.plans);
	kp_plan_node_unref(n->want.node);
	dp_ct_free(n->ct);
	dp_sweep_free(n->sweep);
	free(n);
}

static int nft_open(void **ret, const struct dp_options *opt, struct kp_err *err)
{
	struct nft *n = kp_calloc(1, sizeof(*n));
	int r = 0;

	n->want.plans = kp_map_new(plan_free);
	n->ct = dp_ct_new();
	n->sweep = dp_sweep_new();
	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (opt->families[f])
			r = dp_table_new(&n->tables[f], (enum kp_family)f, opt->table ? opt->table : DP_TABLE, &n->generation, err);
	if (r < 0) {
		nft_close(n);
		return r;
	}
	*ret = n;
	return 0;
}

static void take_wanted(struct nft *n, const struct dp_batch *b)
{
	if (b->node) {
		kp_plan_node_unref(n->want.node);
		n->want.node = kp_plan_node_ref(b->node);
	}
	for (size_t i = 0; i < b->n_changes; i++) {
		const struct dp_change *c = &b->changes[i];

		if (c->plan)
			kp_map_puts(n->want.plans, c->key, kp_plan_ref(c->plan));
		else
			kp_map_dels(n->want.plans, c->key);
	}
}

static void copy_refused(const struct nft *n, struct dp_result *ret)
{
	size_t cap = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (!n->tables[f])
			continue;
		for (struct kp_map_it it = { 0 }; kp_map_next(dp_table_refused(n->tables[f]), &it);) {
			const struct dp_refusal *r = it.value;

			kp_grow(&ret->refused, ret->n_refused, &cap);
			ret->refused[ret->n_refused++] = (struct dp_refusal){ kp_strdup(r->key), r->code, kp_strdup(r->why) };
		}
	}
}

/* When to try again: failures with growing delays, refusals now and then. */
static int schedule(struct nft *n, const struct dp_result *res)
{
	int code = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f] && res->family[f].code < 0)
			code = res->family[f].code;
	if (code == 0) {
		n->backoff_ms = 0;
		n->retry_ns = res->n_refused ? kp_now_ns() + REFUSED_RETRY_MS * 1000000ull : 0;
		return 0;
	}
	n->backoff_ms = n->backoff_ms ? 2 * n->backoff_ms : BACKOFF_MIN_MS;
	if (n->backoff_ms > BACKOFF_MAX_MS)
		n->backoff_ms = BACKOFF_MAX_MS;
	n->retry_ns = kp_now_ns() + n->backoff_ms * 1000000ull;
	return code;
}

/* After the first success everything may be stale; later only what changed. old: plans before, by change. */
static void note_stale(struct nft *n, const struct dp_batch *b, struct kp_plan *const *old)
{
	dp_stale_note(n->ct, &n->want, b, old);
	for (size_t i = 0; i < b->n_changes; i++)
		dp_sweep_note(n->sweep, b->changes[i].key, old[i], b->changes[i].plan, kp_now_ns());
}

static void note_all_stale(struct nft *n)
{
	dp_stale_note_all(n->ct, &n->want);
	for (struct kp_map_it it = { 0 }; kp_map_next(n->want.plans, &it);)
		dp_sweep_note(n->sweep, it.key, NULL, it.value, kp_now_ns());
}

/*
 * Conntrack and remembered choices follow the commit, never the other way round. What is
 * noted while a family fails may name an endpoint that the kernel still serves: then the
 * next success notes everything again.
 */
static void after_commit(struct nft *n, const struct dp_batch *b, struct kp_plan *const *old, int code)
{
	if (code < 0) {
		n->settled = false;
	} else if (!n->settled) {
		note_all_stale(n);
		n->settled = true;
	} else if (b) {
		note_stale(n, b, old);
	}
}

static struct mnl_socket *any_socket(const struct nft *n)
{
	return dp_table_socket(n->tables[KP_IPV4] ? n->tables[KP_IPV4] : n->tables[KP_IPV6]);
}

static void repair(struct nft *n, int f, const char *what, struct dp_result *ret)
{
	struct dp_family_result *r = &ret->family[f];

	dp_table_full(n->tables[f], &n->want, r);
	if (r->wrote)
		kp_warn("nft", "%s: %s of our table were changed by somebody else; put right in %llu us, elements added=%u deleted=%u",
			kp_family_names[f], what, (unsigned long long)(r->took_ns / 1000), r->elements_added, r->elements_deleted);
}

/* Somebody committed: is what we wrote still there? Elements are compared a moment later. */
static void look_closer(struct nft *n, struct dp_result *ret)
{
	uint64_t now = kp_now_ns(), earliest = n->audited_ns + AUDIT_GAP_MS * 1000000ull;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f] && !dp_table_is_intact(n->tables[f]))
			repair(n, f, "chains or sets", ret);
	if (!n->audit_ns)
		n->audit_ns = now + AUDIT_MS * 1000000ull;
	if (n->audited_ns && n->audit_ns < earliest)
		n->audit_ns = earliest;
}

static void audit(struct nft *n, struct dp_result *ret)
{
	n->audit_ns = 0;
	n->audited_ns = kp_now_ns();
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f] && dp_table_is_known(n->tables[f]))
			repair(n, f, "elements", ret);
}

/* Before anything of ours goes out, and every 40 ms. */
static void watch(struct nft *n, struct dp_result *ret)
{
	uint32_t generation;

	n->look_ns = kp_now_ns() + LOOK_MS * 1000000ull;
	if (!n->settled || dp_genid(any_socket(n), &generation) < 0)
		return;
	if (generation != n->generation) {
		n->generation = generation;	/* first: what comes while we look is seen next time */
		look_closer(n, ret);
	}
	if (n->audit_ns && kp_now_ns() >= n->audit_ns)
		audit(n, ret);
}

static struct kp_plan **plans_before(const struct nft *n, const struct dp_batch *b)
{
	struct kp_plan **old = kp_calloc(b->n_changes, sizeof(struct kp_plan *));

	for (size_t i = 0; i < b->n_changes; i++) {
		struct kp_plan *p = kp_map_gets(n->want.plans, b->changes[i].key);

		old[i] = p ? kp_plan_ref(p) : NULL;
	}
	return old;
}

static int nft_apply(void *dp, const struct dp_batch *b, struct dp_result *ret)
{
	struct nft *n = dp;
	struct kp_plan **old = plans_before(n, b);
	int code;

	*ret = (struct dp_result){ 0 };
	watch(n, ret);
	take_wanted(n, b);
	if (!n->settled && dp_genid(any_socket(n), &n->generation) < 0)
		n->generation = 0;	/* one look too many */
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f])
			dp_table_apply(n->tables[f], &n->want, b, &ret->family[f]);
	copy_refused(n, ret);
	code = schedule(n, ret);
	after_commit(n, b, old, code);
	for (size_t i = 0; i < b->n_changes; i++)
		kp_plan_unref(old[i]);
	free(old);
	return code;
}

/* What failed, or was refused. */
static void write_failed(struct nft *n, struct dp_result *ret)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_table *t = n->tables[f];

		if (t && (!dp_table_is_known(t) || kp_map_len(dp_table_refused(t))))
			dp_table_full(t, &n->want, &ret->family[f]);
	}
}

static int nft_retry(void *dp, struct dp_result *ret)
{
	struct nft *n = dp;
	int code = 0;

	*ret = (struct dp_result){ 0 };
	if (kp_now_ns() >= n->look_ns)
		watch(n, ret);
	if (n->retry_ns && kp_now_ns() >= n->retry_ns)
		write_failed(n, ret);
	if (ret->family[KP_IPV4].tried || ret->family[KP_IPV6].tried) {
		copy_refused(n, ret);
		code = schedule(n, ret);
		after_commit(n, NULL, NULL, code);
	}
	dp_stale_remove(n->ct);
	if (dp_sweep_pending_ms(n->sweep, kp_now_ns()) == 0)
		dp_sweep_run(n->sweep, n->tables, kp_now_ns());
	return code;
}

static int until_ms(uint64_t at_ns, uint64_t now_ns)
{
	return at_ns <= now_ns ? 0 : (int)((at_ns - now_ns) / 1000000 + 1);
}

static int nft_pending_ms(void *dp)
{
	const struct nft *n = dp;
	uint64_t now = kp_now_ns();
	const int all[] = {
		dp_ct_pending_ms(n->ct, now), dp_sweep_pending_ms(n->sweep, now),
		n->retry_ns ? until_ms(n->retry_ns, now) : -1, n->settled ? until_ms(n->look_ns, now) : -1,
	};
	int best = -1;

	for (size_t i = 0; i < KP_N(all); i++)
		if (all[i] >= 0 && (best < 0 || all[i] < best))
			best = all[i];
	return best;
}

const struct dp_ops dp_nftables_ops = {
	.name = "nftables", .probe = dp_nft_probe, .open = nft_open, .apply = nft_apply,
	.retry = nft_retry, .pending_ms = nft_pending_ms, .close = nft_close, .remove = dp_cleanup_remove,
};

void dp_nft_render(const struct kp_plan_node *node, struct kp_plan *const *plans, size_t n, struct kp_buf *out)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_family *fam;
		struct dp_writer *w;
		uint32_t expect[DP_N_SETS] = { 0 };

		if (!node->enabled[f])
			continue;
		fam = dp_family_new((enum kp_family)f);
		w = dp_text_new((enum kp_family)f, DP_TABLE);
		for (size_t i = 0; i < n; i++)
			dp_family_expect(plans[i], (enum kp_family)f, expect);
		dp_family_begin(fam, NULL, expect);
		dp_family_node(fam, w, (struct kp_plan_node *)node);
		for (size_t i = 0; i < n; i++)
			dp_family_service(fam, w, plans[i]->key, plans[i]);
		dp_family_finish(fam, w);
		dp_family_free(fam);
		dp_text_finish(w, out);
	}
}
