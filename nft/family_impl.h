#ifndef DP_FAMILY_IMPL_H
#define DP_FAMILY_IMPL_H

#include "nft/family.h"
#include "nft/held.h"
#include "nft/layout.h"
#include "nft/refset.h"

struct kp_map;

/* Shared by family.c (sets, chains, what all Services have in common) and service.c (one Service). */

/* A chain or set in the kernel. round: the last full write that wanted it. */
struct dp_known {
	uint64_t fingerprint;	/* chains */
	uint32_t size;		/* sets */
	uint64_t round;
};

struct dp_service {
	struct kp_plan *plan;
	struct dp_numbered ports[];	/* as plan->ports; those of the other family stay empty */
};

struct dp_family {
	enum kp_family f;
	struct kp_plan_node *node;
	struct kp_map *services;	/* key -> struct dp_service */
	struct kp_map *chains, *sets;	/* name -> struct dp_known */
	struct dp_refset *cluster_ips, *hairpin, *node_ips, *nodeport_ips;
	struct dp_sum sum[DP_N_SETS];	/* of what was written */
	uint32_t expect[DP_N_SETS];
	uint64_t round;
	bool repeats;		/* elements go to the writer once more, and are not new */
	enum dp_set repeated;	/* those of this set */
};

static inline struct dp_program dp_family_program(const struct dp_family *fam)
{
	return (struct dp_program){ fam->f, fam->node };
}

/* Every element goes through here: it is counted. */
void dp_family_elem(struct dp_family *fam, struct dp_writer *w, bool add, const struct dp_elem *e);
/* All elements of a Service, for dp_family_repeat(). */
void dp_family_repeat_service(struct dp_family *fam, struct dp_writer *w, const struct dp_service *s);
/* Its chains, shared and private. */
void dp_family_need_service(struct dp_family *fam, struct dp_writer *w, const struct dp_service *s);
/* Write a shared chain, and what it leads to, if it is not there in this form. */
void dp_family_need_class(struct dp_family *fam, struct dp_writer *w, const struct dp_class *c);
/* The same for the private chains and maps in mask (dp_layout_privates). */
void dp_family_need_private(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p, uint32_t mask);
void dp_family_drop_private(struct dp_family *fam, struct dp_writer *w, const struct kp_plan_port *port, uint32_t mask);

#endif
