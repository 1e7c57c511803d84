#ifndef KP_PLAN_BUILD_H
#define KP_PLAN_BUILD_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/plan/plan.h"

struct kp_model;
struct kp_planner;

/* The parts of the configuration that a plan depends on. Copied. */
struct kp_plan_options {
	bool families[KP_N_FAMILIES];
	bool masquerade_all;
	unsigned masquerade_bit;
	enum { KP_LOCAL_CLUSTER_CIDR, KP_LOCAL_NODE_CIDR, KP_LOCAL_BRIDGE, KP_LOCAL_PREFIX } local_mode;
	bool has_cluster_cidr[KP_N_FAMILIES];
	struct kp_cidr cluster_cidr[KP_N_FAMILIES];	/* the first of each family (NF-92) */
	char ifname[16];				/* bridge name or interface prefix */
	bool nodeport_primary;				/* nodePortAddresses: primary, or unset in nftables mode */
	bool nodeport_localhost;			/* on loopback as well, as far as that is among the addresses */
	const struct kp_cidr *nodeport_cidrs;		/* else these, both families */
	size_t n_nodeport_cidrs;
};

/*
 * Turns the model into plans, one Service at a time, and keeps track of who claims
 * which front end: two Services with one VIP and port, or one node port, get one
 * owner, as proxy/plan/claims.h has it. The other's plan is marked unclaimed and is
 * built again (through the model's dirty list) when the owner goes. Main thread.
 */
struct kp_planner *kp_planner_new(struct kp_model *m, const struct kp_plan_options *opt);
struct kp_planner *kp_planner_free(struct kp_planner *p);
KP_DEFINE_AUTO(struct kp_planner *, kp_planner_free)

/*
 * The current plan for one Service; NULL when it is gone or not ours to serve
 * (IN-20..22). Conflicts are logged once when they appear.
 */
struct kp_plan *kp_planner_build(struct kp_planner *p, const char *key);

/*
 * addrs: all addresses of this node's interfaces. Interface-dependent parts
 * (nodeport_ips, node_ips) are cut from it. Never NULL.
 */
struct kp_plan_node *kp_planner_build_node(struct kp_planner *p, const struct kp_addr *addrs, size_t n);

/* nodePortAddresses, alone: what the cases in nodeport-addresses ask (11.3). Returned array: caller frees. */
bool kp_nodeport_match_all(const struct kp_cidr *cidrs, size_t n, enum kp_family family);
size_t kp_nodeport_select(const struct kp_cidr *cidrs, size_t n, enum kp_family family,
			  const struct kp_addr *addrs, size_t n_addrs, struct kp_addr **ret);

#endif
