#ifndef DP_IPTABLES_H
#define DP_IPTABLES_H

#include "proxy/plan/dataplane.h"

struct kp_buf;

/*
 * The rules for these plans as input of iptables-restore and ip6tables-restore, each
 * behind a line of comment: what a first apply() would write where nothing of ours is. No kernel, no
 * privilege. keys are taken in the order given.
 */
void dp_ipt_render(const struct kp_plan_node *node, struct kp_plan *const *plans, size_t n, struct kp_buf *out);

#endif
