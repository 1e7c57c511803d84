#ifndef DP_LAYOUT_H
#define DP_LAYOUT_H

#include "nft/program.h"
#include "nft/slots.h"

/*
 * How one service port is laid out in the maps: from its plan and the numbering of its
 * endpoints to verdicts and slots (spec nft-design 2.3). Pure.
 */
struct dp_numbered {
	const struct kp_plan_port *port;	/* borrowed */
	struct dp_slots cluster, local;
};

/*
 * What is recorded of connections through a front end. NEVER is said in so many words: its address may be
 * the node's own, and its port the node port of another Service, which would take the choice for one of its own.
 */
enum dp_record { DP_RECORD_NOTHING, DP_RECORD_CHOICE, DP_RECORD_NEVER };

/* What stands in the maps for one front end. */
struct dp_layout {
	const struct dp_slots *at_zero;		/* slots 0..; NULL: none */
	const struct dp_slots *at_local;	/* slots DP_LOCAL_SLOT.. */
	bool drop;				/* verdict drop; else goto chain */
	enum dp_record record;
	char chain[DP_CHAIN_NAME];
};
void dp_layout_of(const struct dp_numbered *p, const struct kp_frontend *fe, struct dp_layout *ret);

/* The private objects a port needs: a bit per enum dp_private_kind, and these for its maps. */
#define DP_MAP_CLUSTER	(1u << DP_N_PRIVATES)
#define DP_MAP_LOCAL	(1u << (DP_N_PRIVATES + 1))
uint32_t dp_layout_privates(const struct dp_numbered *p);
/* Builds one of them. */
void dp_layout_private(const struct dp_program *prog, const struct dp_numbered *p, enum dp_private_kind k,
		       struct dp_chain_buf *ret);

/* The element of svc or np that stands for a front end; without its value. */
struct dp_elem dp_layout_key(const struct kp_plan_port *port, const struct kp_frontend *fe);

#endif
