#ifndef KP_PLAN_BUILD_IMPL_H
#define KP_PLAN_BUILD_IMPL_H

#include "proxy/plan/build.h"
#include "proxy/plan/claims.h"
#include "proxy/plan/draft.h"
#include "proxy/plan/endpoints.h"

/* Shared by build.c (Services) and build_node.c. */
struct kp_planner {
	struct kp_model *model;
	struct kp_plan_options opt;
	struct kp_cidr *nodeport_cidrs;		/* opt.nodeport_cidrs points here */
	struct kp_claims *claims;
	struct kp_draft draft;			/* memory of the last build */
	struct kp_candidates candidates;
	bool told_no_detector[KP_N_FAMILIES];
};

#endif
