#ifndef DP_IPT_WARM_H
#define DP_IPT_WARM_H

struct dp_options;
struct kp_err;

/*
 * warm.h for mode iptables: all fixed chains and all jumps to them are there in every
 * family, and no chain is empty that never is. Which Services and endpoints are right, and
 * whether the text of a rule is ours, only the first write can tell.
 */
int dp_ipt_warm(const struct dp_options *opt, struct kp_err *err);

#endif
