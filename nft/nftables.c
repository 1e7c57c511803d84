#include "nft/nftables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nft/cleanup.h"
#include "nft/conntrack.h"
#include "nft/family.h"
#include "nft/guard.h"
#include "nft/probe.h"
#include "nft/retry.h"
#include "nft/stale.h"
#include "nft/sweep.h"
#include "nft/table.h"
#include "nft/text.h"
#include "nft/warm.h"
#include "nft/watch.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"

#define LARGE	100	/* Services in one batch */

/* A repaired kernel is not to wait long for its rules. */
static const struct dp_retry_limits limits = { 100, 5000, 30000, 30000 };

struct nft {
	struct dp_table *tables[KP_N_FAMILIES];	/* NULL: not enabled */
	struct dp_wanted want;
	struct dp_ct *ct;
	struct kp_said *said;	/* about ct */
	struct dp_sweep *sweep;
	bool settled[KP_N_FAMILIES];	/* all that is wanted was in the kernel: changes are known one by one */
	bool missed[KP_N_FAMILIES];	/* rules of ours until now: not noted for conntrack yet */
	struct kp_map *refused;	/* keys of Services; so far, for conntrack */
	struct dp_retry retry;
	uint32_t generation;	/* of the ruleset, as far as it is our doing */
	struct dp_watch *watch;
	struct dp_guard *guard;	/* until settled for the first time */
};

static void nft_close(void *dp)
{
	struct nft *n = dp;

	dp_guard_free(n->guard);
	dp_watch_free(n->watch);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		dp_table_free(n->tables[f]);
	dp_wanted_release(&n->want);
	dp_ct_free(n->ct);
	kp_map_free(n->refused);
	kp_said_free(n->said);
	dp_sweep_free(n->sweep);
	free(n);
}

static bool can_own(void)
{
	struct kp_err err = { 0 };
	int r = dp_nft_can_own(&err);

	if (r < 0)
		kp_warn("nft", "proxylet.nftables.ownerPersist: %s; the table is a plain one", err.msg);
	return r == 0;
}

static int nft_open(void **ret, const struct dp_options *opt, struct kp_err *err)
{
	struct nft *n = kp_calloc(1, sizeof(*n));
	bool owner = opt->owner && can_own();
	int r = 0;

	n->want = dp_wanted_new();
	n->ct = dp_ct_new();
	dp_ct_background(n->ct);
	n->refused = kp_map_new(NULL);
	n->said = kp_said_new();
	n->sweep = dp_sweep_new();
	n->retry.limits = &limits;
	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (opt->families[f])
			r = dp_table_new(&n->tables[f], (enum kp_family)f, opt->table ? opt->table : DP_TABLE, owner, &n->generation, err);
	n->watch = dp_watch_new(n->tables, &n->want, &n->generation);
	if (r < 0) {
		nft_close(n);
		return r;
	}
	n->guard = dp_guard_new(opt, &dp_nftables_ops, dp_watch_socket(n->watch));
	*ret = n;
	return 0;
}

static void copy_refused(const struct nft *n, struct dp_result *ret)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f])
			dp_refusals_copy(dp_table_refused(n->tables[f]), ret);
}

static int schedule(struct nft *n, const struct dp_result *res, bool again)
{
	bool known[KP_N_FAMILIES];

	for (int f = 0; f < KP_N_FAMILIES; f++)
		known[f] = !n->tables[f] || dp_table_is_known(n->tables[f]);
	return dp_retry_schedule(&n->retry, res, known, again);
}

/* old: plans before, by change. */
static void note_stale(struct nft *n, const struct dp_batch *b, struct kp_plan *const *old)
{
	dp_stale_note(n->ct, &n->want, b, old);
	for (size_t i = 0; i < b->n_changes; i++)
		dp_sweep_note(n->sweep, b->changes[i].key, old[i], b->changes[i].plan, kp_now_ns());
}

/* Before a first write, after a failure and beside a refusal no plan may tell what the kernel had. */
static void note_lost(struct nft *n)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_elem *lost = NULL;
		size_t n_lost = n->tables[f] ? dp_table_take_lost(n->tables[f], &lost) : 0;

		dp_stale_note_lost(n->ct, lost, n_lost);
		free(lost);
	}
}

static void sweep_all(struct nft *n)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(n->want.plans, &it);)
		dp_sweep_note(n->sweep, it.key, NULL, it.value, kp_now_ns());
}

static bool is_settled(const struct nft *n)
{
	bool all = true;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		all &= !n->tables[f] || n->settled[f];
	return all;
}

/*
 * Conntrack and remembered choices follow the commit, never the other way round. What is noted
 * while a family fails may name an endpoint that the kernel still serves there: its next success
 * notes everything again. The other family does not wait for it.
 */
static void after_commit(struct nft *n, const struct dp_batch *b, struct kp_plan *const *old, const struct dp_result *res)
{
	bool anew;

	if (!dp_stale_see(n->settled, n->missed, res, &anew))
		return;
	note_lost(n);
	if (b)
		note_stale(n, b, old);
	if (anew)
		sweep_all(n);
	dp_stale_note_accepted(n->ct, n->sweep, &n->want, n->refused, res);
	if (anew || n->missed[KP_IPV4] || n->missed[KP_IPV6])
		dp_stale_note_all(n->ct, &n->want, n->missed);
	if (is_settled(n))
		n->guard = dp_guard_free(n->guard);
}

static int nft_apply(void *dp, const struct dp_batch *b, struct dp_result *ret)
{
	struct nft *n = dp;
	struct kp_plan **old = dp_wanted_before(&n->want, b);
	int code;

	*ret = (struct dp_result){ 0 };
	dp_watch_before_write(n->watch, ret);
	dp_wanted_take(&n->want, b);
	if (b->n_changes > LARGE)
		dp_watch_large(n->watch);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f])
			dp_table_apply(n->tables[f], &n->want, b, &ret->family[f]);
	dp_watch_settle(n->watch, ret);
	copy_refused(n, ret);
	code = schedule(n, ret, false);
	after_commit(n, b, old, ret);
	dp_wanted_before_free(old, b);
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

static void delete_gone(struct nft *n)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f] && dp_table_gone_pending_ms(n->tables[f], kp_now_ns()) == 0)
			dp_table_delete_gone(n->tables[f], kp_now_ns());
}

static int nft_retry(void *dp, struct dp_result *ret)
{
	struct nft *n = dp;
	int code = 0;
	bool tried;

	*ret = (struct dp_result){ 0 };
	dp_guard_step(n->guard, ret);
	if (dp_watch_pending_ms(n->watch, kp_now_ns()) == 0)
		dp_watch_step(n->watch, ret);
	if (dp_retry_pending_ms(&n->retry, kp_now_ns()) == 0)
		write_failed(n, ret);
	tried = ret->family[KP_IPV4].tried || ret->family[KP_IPV6].tried;
	if (tried)
		dp_watch_settle(n->watch, ret);
	copy_refused(n, ret);
	if (tried) {
		code = schedule(n, ret, true);
		after_commit(n, NULL, NULL, ret);
	}
	dp_stale_remove(n->ct, n->said, ret);
	if (dp_sweep_pending_ms(n->sweep, kp_now_ns()) == 0)
		dp_sweep_run(n->sweep, n->tables, kp_now_ns());
	delete_gone(n);
	return code;
}

static int nft_pending_ms(void *dp)
{
	const struct nft *n = dp;
	uint64_t now = kp_now_ns();
	int best = kp_ms_sooner(dp_ct_pending_ms(n->ct, now), dp_sweep_pending_ms(n->sweep, now));

	best = kp_ms_sooner(best, dp_watch_pending_ms(n->watch, now));
	best = kp_ms_sooner(best, dp_guard_pending_ms(n->guard, now));
	best = kp_ms_sooner(best, dp_retry_pending_ms(&n->retry, now));
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->tables[f])
			best = kp_ms_sooner(best, dp_table_gone_pending_ms(n->tables[f], now));
	return best;
}

const struct dp_ops dp_nftables_ops = {
	.name = "nftables", .is_quick = true, .probe = dp_nft_probe, .warm = dp_nft_warm, .open = nft_open, .apply = nft_apply,
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
