#ifndef DP_IPT_CLEANUP_H
#define DP_IPT_CLEANUP_H

#include <stdbool.h>
#include <stdint.h>

#include "nft/ipt_tools.h"

struct kp_err;

/*
 * Removing the chains of mode iptables, of whatever variant. As with a table of ours
 * (nft/cleanup.h), connections that are translated live on only while some rule needs
 * conntrack; the chain PXL-RESIDUAL, which nothing leads to, is that rule.
 */
struct dp_ipt_leftover {
	struct dp_ipt_tools tools;
	bool installed;
	uint32_t chains[KP_N_FAMILIES], jumps[KP_N_FAMILIES];	/* without PXL-RESIDUAL */
	bool residual[KP_N_FAMILIES];
	bool localnet;		/* IPv4: PXL-LOCALNET guards 127.0.0.0/8 */
};

struct dp_ipt_cleanup {
	struct dp_ipt_leftover variants[DP_IPT_N_VARIANTS];
};

#define DP_IPT_RESIDUAL "PXL-RESIDUAL"

/* < 0: something could not be seen; *ret has what could. */
int dp_ipt_cleanup_look(struct dp_ipt_cleanup *ret, struct kp_err *err);
/*
 * keep: by family, leave PXL-RESIDUAL where there were rules. One restore per variant and family,
 * and a transaction of ours where iptables cannot read its table (ipt_tools.h).
 * What a chain of somebody else leads to stays (see kubechains.h), and is no error.
 */
int dp_ipt_cleanup_run(const struct dp_ipt_cleanup *c, const bool keep[KP_N_FAMILIES], struct kp_err *err);

/*
 * All of it, when another backend has taken over, or but for one variant. 0 also if there is
 * nothing; < 0 also if something may be there that cannot be seen.
 */
int dp_ipt_remove(struct kp_err *err);
int dp_ipt_remove_but(enum dp_ipt_variant stays, struct kp_err *err);

#endif
