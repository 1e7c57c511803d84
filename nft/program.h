#ifndef DP_PROGRAM_H
#define DP_PROGRAM_H

#include "nft/rule.h"
#include "proxy/plan/plan.h"

/*
 * The rules of table "proxylet" (spec nft-design 2.2 and 3), chain by chain. Services are
 * data; rules exist per class: the shared chains, named by kind and size, that all
 * Services of a kind go through, and private chains where a Service has source ranges
 * or affinity. Pure: nothing here knows what the kernel holds.
 */
#define DP_CHAIN_NAME 256		/* NFT_CHAIN_MAXNAMELEN */

/* A chain under construction: owns its rules and the names they mention. */
struct dp_chain_buf {
	struct dp_chain chain;
	size_t cap;
	char **names;
	size_t n_names, cap_names;
};
void dp_chain_buf_release(struct dp_chain_buf *c);

struct dp_program {
	enum kp_family f;
	const struct kp_plan_node *node;
};

/* Tables are made with all try- chains up to this size: binding a rule to a filled map is slow (2.5). */
#define DP_TRY_PRELOAD 1024

/* The fixed chains: i = 0, 1, ... until false. */
bool dp_program_fixed(const struct dp_program *p, size_t i, struct dp_chain_buf *ret);
const struct dp_hook *dp_program_hook(const char *chain);	/* NULL: not one of our base chains */

enum dp_class_kind {
	DP_TRY, DP_NP_TRY, DP_LOC_TRY, DP_NP_LOC_TRY,	/* one draw of m */
	DP_PICK, DP_NP_PICK,				/* draws until it hits */
	DP_CIP, DP_EXT, DP_NP_EXT,			/* mark as the kind needs, then pick */
	DP_LOC, DP_NP_LOC,				/* externalTrafficPolicy Local: m cluster, ml local slots */
	DP_N_CLASSES
};

struct dp_class {
	uint8_t kind;		/* enum dp_class_kind */
	uint32_t m, ml;		/* see dp_slots_size(); ml only for DP_LOC, DP_NP_LOC, where it may be 0 */
};
void dp_class_name(const struct dp_class *c, char out[DP_CHAIN_NAME]);
bool dp_class_parse(const char *name, struct dp_class *ret);	/* false: not the name of a shared chain */
void dp_program_class(const struct dp_program *p, const struct dp_class *c, struct dp_chain_buf *ret);

/* Private chains of one service port: "aff-cip/ns/name/proto/port". */
enum dp_private_kind { DP_AFF_CIP, DP_AFF_EXT, DP_AFF_LOC, DP_AFF_NP, DP_AFF_NP_LOC, DP_FW, DP_REC, DP_N_PRIVATES };
void dp_private_name(enum dp_private_kind k, const struct kp_plan_port *port, char out[DP_CHAIN_NAME]);

/* The maps a port with affinity needs: choices among the cluster set and among the local set. */
void dp_affinity_map(const struct kp_plan_port *port, bool local, char out[DP_CHAIN_NAME]);
bool dp_uses_cluster(const struct kp_plan_port *port);
bool dp_uses_local(const struct kp_plan_port *port);

/* m, ml: sizes of the port's classes. */
void dp_program_affinity(const struct dp_program *p, enum dp_private_kind k, const struct kp_plan_port *port,
			 uint32_t m, uint32_t ml, struct dp_chain_buf *ret);
void dp_program_firewall(const struct dp_program *p, const struct kp_plan_port *port, const char *then,
			 struct dp_chain_buf *ret);
void dp_program_record(const struct dp_program *p, const struct kp_plan_port *port, struct dp_chain_buf *ret);

#endif
