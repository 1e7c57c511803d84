#include "nft/iptables.h"

#include <stdlib.h>

#include "nft/conntrack.h"
#include "nft/guard.h"
#include "nft/ipt_cleanup.h"
#include "nft/ipt_family.h"
#include "nft/ipt_rules.h"
#include "nft/ipt_state.h"
#include "nft/ipt_warm.h"
#include "nft/ipt_watch.h"
#include "nft/retry.h"
#include "nft/stale.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"

/* A repaired kernel is not to wait long for its rules; iptables-legacy searches for refused ones with many writes. */
static const struct dp_retry_limits limits = { 100, 5000, 30000, 1800000 };

/* More than this takes iptables so long that another mode is the better advice. */
#define MANY_RULES	50000

struct ipt {
	struct dp_ipt_tools tools;
	struct dp_ipt_family *fams[KP_N_FAMILIES];	/* NULL: not enabled */
	struct dp_wanted want;
	struct dp_ct *ct;
	struct kp_said *said;	/* about ct */
	struct dp_ipt_watch *watch;
	struct dp_guard *guard;	/* until settled for the first time */
	bool settled[KP_N_FAMILIES];	/* all that is wanted was in the kernel: changes are known one by one */
	bool missed[KP_N_FAMILIES];	/* rules of ours until now: not noted for conntrack yet */
	struct kp_map *refused;	/* keys of Services; so far, for conntrack */
	struct dp_retry retry;
	bool told_size;
	bool alone;		/* the other variant holds nothing of ours any more */
	unsigned alone_ms;
	uint64_t alone_ns;	/* until it is: when to try again */
};

static void ipt_close(void *dp)
{
	struct ipt *n = dp;

	dp_guard_free(n->guard);
	dp_ipt_watch_free(n->watch);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		dp_ipt_family_free(n->fams[f]);
	kp_said_free(n->said);
	dp_wanted_release(&n->want);
	dp_ct_free(n->ct);
	kp_map_free(n->refused);
	free(n);
}

/* Would its programs work here? */
static int try_tools(const struct dp_ipt_tools *t, const bool families[KP_N_FAMILIES], struct kp_err *err)
{
	int r = 0;

	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (families[f])
			r = dp_ipt_tools_check(t, (enum kp_family)f, err);
	return r;
}

static int ipt_probe(const struct dp_options *opt, struct kp_err *err)
{
	struct dp_ipt_tools tools;
	int r = dp_ipt_tools_choose(opt->variant ? opt->variant : "auto", &tools, err);

	return r < 0 ? r : try_tools(&tools, opt->families, err);
}

static int ipt_open(void **ret, const struct dp_options *opt, struct kp_err *err)
{
	struct ipt *n = kp_calloc(1, sizeof(*n));
	int r = dp_ipt_tools_choose(opt->variant ? opt->variant : "auto", &n->tools, err);

	if (opt->cancel_fd)
		n->tools.cancel_fd = opt->cancel_fd;
	n->want = dp_wanted_new();
	n->ct = dp_ct_new();
	dp_ct_background(n->ct);
	n->refused = kp_map_new(NULL);
	n->said = kp_said_new();
	n->retry.limits = &limits;
	if (r == 0)
		r = dp_ipt_watch_new(&n->watch, n->fams, &n->want, n->tools.through_nft, opt->period_ms ? opt->period_ms : 30000, err);
	if (r < 0) {
		ipt_close(n);
		return r;
	}
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (opt->families[f])
			n->fams[f] = dp_ipt_family_new((enum kp_family)f, &n->tools);
	n->guard = dp_guard_new(opt, &dp_iptables_ops, dp_ipt_watch_socket(n->watch));
	kp_info("iptables", "writing through %s", n->tools.restore[KP_IPV4]);
	*ret = n;
	return 0;
}

static void copy_refused(const struct ipt *n, struct dp_result *ret)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->fams[f])
			dp_refusals_copy(dp_ipt_family_refused(n->fams[f]), ret);
}

static int schedule(struct ipt *n, const struct dp_result *res, bool again)
{
	bool known[KP_N_FAMILIES];

	for (int f = 0; f < KP_N_FAMILIES; f++)
		known[f] = !n->fams[f] || dp_ipt_family_is_known(n->fams[f]);
	return dp_retry_schedule(&n->retry, res, known, again);
}

static void warn_of_size(struct ipt *n, const struct dp_result *res)
{
	for (int f = 0; f < KP_N_FAMILIES && !n->told_size; f++) {
		if (res->family[f].elements_added < MANY_RULES)
			continue;
		n->told_size = true;
		kp_warn("iptables", "%s: %u rules took %llu ms: for as many Services and endpoints mode nftables is advised",
			kp_family_names[f], res->family[f].elements_added, (unsigned long long)(res->family[f].took_ns / 1000000));
	}
}

static bool is_settled(const struct ipt *n)
{
	bool all = true;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		all &= !n->fams[f] || n->settled[f];
	return all;
}

/* Conntrack follows the commit, never the other way round: see nftables.c. */
static void after_commit(struct ipt *n, const struct dp_batch *b, struct kp_plan *const *old, const struct dp_result *res)
{
	bool anew;

	if (!dp_stale_see(n->settled, n->missed, res, &anew))
		return;
	if (b)
		dp_stale_note(n->ct, &n->want, b, old);
	dp_stale_note_accepted(n->ct, NULL, &n->want, n->refused, res);
	if (anew || n->missed[KP_IPV4] || n->missed[KP_IPV6])
		dp_stale_note_all(n->ct, &n->want, n->missed);
	if (is_settled(n))
		n->guard = dp_guard_free(n->guard);
	warn_of_size(n, res);
}

/* --- the calls of the runner --- */

static int ipt_apply(void *dp, const struct dp_batch *b, struct dp_result *ret)
{
	struct ipt *n = dp;
	struct kp_plan **old = dp_wanted_before(&n->want, b);
	int code;

	*ret = (struct dp_result){ 0 };
	dp_ipt_watch_before_write(n->watch, ret);
	dp_wanted_take(&n->want, b);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (n->fams[f])
			dp_ipt_family_apply(n->fams[f], &n->want, b, &ret->family[f]);
	dp_ipt_watch_after_write(n->watch, ret);
	copy_refused(n, ret);
	code = schedule(n, ret, false);
	after_commit(n, b, old, ret);
	dp_wanted_before_free(old, b);
	return code;
}

/* What failed, or was refused. */
static void write_failed(struct ipt *n, struct dp_result *ret)
{
	dp_ipt_watch_before_write(n->watch, ret);
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_ipt_family *fam = n->fams[f];

		if (fam && !dp_ipt_family_is_known(fam))
			dp_ipt_family_full(fam, &n->want, &ret->family[f]);
		else if (fam && kp_map_len(dp_ipt_family_refused(fam)))
			dp_ipt_family_retry(fam, &n->want, &ret->family[f]);
	}
}

/* A predecessor may have written through the other variant; its rules served until ours were complete. */
static void remove_other_variants(struct ipt *n)
{
	struct kp_err err = { 0 };

	n->alone = dp_ipt_remove_but(n->tools.variant, &err) == 0;
	if (n->alone)
		return;
	kp_log(n->alone_ms ? KP_LOG_DEBUG : KP_LOG_WARN, "iptables", "cannot remove what another variant of iptables left, "
	       "will try again: %s", err.msg);
	n->alone_ms = dp_retry_longer(n->alone_ms, limits.failed_min_ms, limits.refused_max_ms);
	n->alone_ns = kp_now_ns() + n->alone_ms * 1000000ull;
}

static int ipt_retry(void *dp, struct dp_result *ret)
{
	struct ipt *n = dp;
	int code = 0;
	bool tried;

	*ret = (struct dp_result){ 0 };
	dp_guard_step(n->guard, ret);
	if (dp_ipt_watch_pending_ms(n->watch, kp_now_ns()) == 0)
		dp_ipt_watch_step(n->watch, ret);
	if (dp_retry_pending_ms(&n->retry, kp_now_ns()) == 0)
		write_failed(n, ret);
	tried = ret->family[KP_IPV4].tried || ret->family[KP_IPV6].tried;
	if (tried)
		dp_ipt_watch_after_write(n->watch, ret);
	copy_refused(n, ret);
	if (tried) {
		code = schedule(n, ret, true);
		after_commit(n, NULL, NULL, ret);
	}
	dp_stale_remove(n->ct, n->said, ret);
	if (is_settled(n) && !n->alone && kp_now_ns() >= n->alone_ns)
		remove_other_variants(n);
	return code;
}

static int ipt_pending_ms(void *dp)
{
	const struct ipt *n = dp;
	uint64_t now = kp_now_ns();
	int ms = kp_ms_sooner(dp_ct_pending_ms(n->ct, now), dp_ipt_watch_pending_ms(n->watch, now));

	ms = kp_ms_sooner(ms, dp_guard_pending_ms(n->guard, now));
	ms = kp_ms_sooner(ms, dp_retry_pending_ms(&n->retry, now));
	return kp_ms_sooner(ms, is_settled(n) && !n->alone ? kp_ms_until(n->alone_ns, now) : -1);
}

const struct dp_ops dp_iptables_ops = {
	.name = "iptables", .probe = ipt_probe, .warm = dp_ipt_warm, .open = ipt_open, .apply = ipt_apply,
	.retry = ipt_retry, .pending_ms = ipt_pending_ms, .close = ipt_close, .remove = dp_ipt_remove,
};

void dp_ipt_render(const struct kp_plan_node *node, struct kp_plan *const *plans, size_t n, struct kp_buf *out)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_ipt_env env = { .f = (enum kp_family)f, .node = node, .random_fully = true };
		struct dp_ipt_state *s;
		struct dp_ipt_rules rules;
		uint32_t removed;

		if (!node->enabled[f])
			continue;
		s = dp_ipt_state_new();
		dp_ipt_node(&env, &rules);
		dp_ipt_state_put(s, "", &rules);
		for (size_t i = 0; i < n; i++) {
			dp_ipt_service(&env, plans[i], &rules);
			dp_ipt_state_put(s, plans[i]->key, &rules);
		}
		kp_buf_printf(out, "# %s\n", f == KP_IPV4 ? "iptables-restore --noflush" : "ip6tables-restore --noflush");
		dp_ipt_state_write(s, out, &removed);
		dp_ipt_state_free(s);
	}
}
