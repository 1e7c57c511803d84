#ifndef KP_PLAN_TOPOLOGY_H
#define KP_PLAN_TOPOLOGY_H

#include "proxy/plan/endpoints.h"

/* Who asks: which sets the service port needs (SP-21, SP-22), and where we are. */
struct kp_viewpoint {
	bool uses_cluster, uses_local;
	const char *node_name;
	const char *zone;	/* NULL or "": unknown */
};

/*
 * Which endpoints this node uses for Cluster and for Local policy (3.1, 3.2): sets
 * in_cluster and in_local of each. Returns whether some endpoint somewhere could serve;
 * false means REJECT rather than DROP.
 */
bool kp_topology_select(struct kp_candidate *eps, size_t n, const struct kp_viewpoint *v);

#endif
