#ifndef DP_NFTABLES_H
#define DP_NFTABLES_H

#include "proxy/plan/dataplane.h"

struct kp_buf;

#define DP_TABLE "proxylet"
#define DP_TABLE_NEXT DP_TABLE "-next"	/* the second one, while the first is replaced */

/*
 * The ruleset for these plans as nft text: what a first apply() would write into an
 * empty table. No kernel, no privilege. keys are taken in the order given.
 */
void dp_nft_render(const struct kp_plan_node *node, struct kp_plan *const *plans, size_t n, struct kp_buf *out);

#endif
