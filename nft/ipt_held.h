#ifndef DP_IPT_HELD_H
#define DP_IPT_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "nft/ipt_rules.h"
#include "proxy/base/cleanup.h"

/*
 * What iptables-save, or netlink (xtnft.h), says about chains of ours and the rules that lead to them; the
 * rest is none of our business.
 */
struct dp_ipt_held_chain {
	uint32_t n_rules;
	uint64_t hash;		/* of the rules as they were printed, which depends on by_netlink */
};

struct dp_ipt_held {
	bool by_netlink;
	struct kp_map *chains[DP_IPT_N_TABLES];	/* name -> struct dp_ipt_held_chain */
	uint32_t jumps[DP_IPT_N_JUMPS];		/* how often each is there, as we write it, as far as netlink tells */
	bool disordered[DP_IPT_N_JUMPS];	/* the first stands behind a jump of ours that comes after it */
	uint32_t cut[DP_IPT_N_JUMPS];		/* rules before it that let no packet pass on */
	uint64_t ends[DP_IPT_N_JUMPS];		/* all such rules of its chain, in any order */
};

/* text is taken apart in place. */
struct dp_ipt_held *dp_ipt_held_parse(char *text);
struct dp_ipt_held *dp_ipt_held_free(struct dp_ipt_held *h);
KP_DEFINE_AUTO(struct dp_ipt_held *, dp_ipt_held_free)

#endif
