#ifndef DP_IPT_SEARCH_H
#define DP_IPT_SEARCH_H

#include <stddef.h>

#include "nft/ipt_rules.h"
#include "nft/ipt_tools.h"

/*
 * Which Services' rules does this kernel refuse? For iptables-legacy, which hands over a
 * table as a whole and learns no more than that something in it is wrong. By halves, in
 * a chain that nothing leads to; what is served meanwhile is not touched.
 *
 * Of n plans at most max; their numbers go to ret. Returns how many; 0: it is not their rules, or
 * that could not be found out.
 */
size_t dp_ipt_search(const struct dp_ipt_tools *tools, const struct dp_ipt_env *env, struct kp_plan *const *plans, size_t n,
		     size_t *ret, size_t max);

#endif
