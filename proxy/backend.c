#include "proxy/backend.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/setup.h"

#define PERIOD_MAX_MS	(INT_MAX / 2)	/* 12 days; poll() knows twice that */

static const struct dp_ops *const backends[] = {
	[KP_MODE_NFTABLES] = &dp_nftables_ops, [KP_MODE_IPTABLES] = &dp_iptables_ops,
};
/* What the others may have left: before us, or before the mode was changed. Each finds its own leftovers itself. */
static const struct dp_ops *const others[][2] = {
	[KP_MODE_NFTABLES] = { &dp_iptables_ops, NULL }, [KP_MODE_IPTABLES] = { &dp_nftables_ops, NULL },
};

/* As configured, but ours: the configuration may be replaced while the options are in use. */
static const char *variant(const struct kp_config *c)
{
	static const char *const variants[] = { "nft", "legacy" };

	for (size_t i = 0; i < KP_N(variants); i++)
		if (strcmp(c->iptables_variant, variants[i]) == 0)
			return variants[i];
	return NULL;
}

static int take(const struct kp_config *c, enum kp_mode mode, struct kp_backend_choice *ret, struct kp_err *err)
{
	int64_t period_ms = kp_setup_backend(c, mode).sync_period_ms;

	ret->mode = mode;
	ret->ops = backends[mode];
	ret->opt.former = others[mode];
	ret->opt.variant = variant(c);
	ret->opt.owner = c->owner_persist;
	ret->opt.period_ms = (unsigned)(period_ms < PERIOD_MAX_MS ? period_ms : PERIOD_MAX_MS);
	return ret->ops->probe(&ret->opt, err);
}

/* The one that is configured, else the first that works, for these families. */
static int choose(const struct kp_config *c, enum kp_mode mode, struct kp_backend_choice *ret, struct kp_err *err)
{
	struct kp_err first = { 0 }, second = { 0 };
	int r = take(c, mode, ret, &first);

	if (r == 0)
		return 0;
	if (r == -EPERM || c->mode != KP_MODE_UNSET)
		return kp_err_set(err, r, "%s", first.msg);
	if (take(c, KP_MODE_IPTABLES, ret, &second) < 0)
		return kp_err_set(err, r, "neither mode works on this kernel: %.200s; %.200s", first.msg, second.msg);
	kp_warn("agent", "%s: no mode is configured, so it is iptables", first.msg);
	return 0;
}

/* What may be otherwise in a moment says nothing about the kernel: who starts us tries again. */
static bool is_passing(int code)
{
	static const int codes[] = { EAGAIN, ECANCELED, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, ETIMEDOUT };

	for (size_t i = 0; i < KP_N(codes); i++)
		if (code == -codes[i])
			return true;
	return false;
}

int kp_backend_choose(const struct kp_config *c, struct kp_backend_choice *ret, struct kp_err *err)
{
	bool *families = ret->opt.families;
	enum kp_mode mode;
	int r = kp_setup_mode(c, &mode, err);

	*ret = (struct kp_backend_choice){ 0 };
	if (r < 0)
		return r;
	families[KP_IPV4] = true;
	families[KP_IPV6] = access("/proc/net/if_inet6", F_OK) == 0;	/* IN-61 */
	r = choose(c, mode, ret, err);
	if (r == 0 || r == -EPERM || is_passing(r) || !families[KP_IPV6])
		return r;
	families[KP_IPV6] = false;	/* IN-60: netfilter may have less of it than the network */
	if (choose(c, mode, ret, NULL) < 0)
		return r;
	kp_warn("agent", "%s: Services have rules for IPv4 alone", err->msg);
	return 0;
}
