#include "proxy/backend.h"

#include <errno.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/setup.h"

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
	ret->mode = mode;
	ret->ops = backends[mode];
	ret->opt.former = others[mode];
	ret->opt.variant = variant(c);
	ret->opt.owner = c->owner_persist;
	ret->opt.period_ms = (unsigned)kp_setup_backend(c, mode).sync_period_ms;
	return ret->ops->probe(&ret->opt, err);
}

int kp_backend_choose(const struct kp_config *c, struct kp_backend_choice *ret, struct kp_err *err)
{
	struct kp_err second = { 0 };
	enum kp_mode mode;
	int r = kp_setup_mode(c, &mode, err);

	*ret = (struct kp_backend_choice){ 0 };
	kp_setup_families(ret->opt.families);
	if (r == 0)
		r = take(c, mode, ret, err);
	if (r == 0 || r == -EPERM || c->mode != KP_MODE_UNSET)
		return r;
	if (take(c, KP_MODE_IPTABLES, ret, &second) < 0)
		return kp_err_set(err, r, "neither mode works on this kernel: %.200s; %.200s", err->msg, second.msg);
	kp_warn("agent", "%s: no mode is configured, so it is iptables", err->msg);
	return 0;
}
