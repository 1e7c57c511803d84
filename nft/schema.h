#ifndef DP_SCHEMA_H
#define DP_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct kp_buf;

/*
 * The sets and maps of table "proxylet", each described once: from the list of its
 * key's fields follow the nft type number, the bytes of a key, the userdata that lets
 * nft print the set, and the text that render writes (spec nft-design 4.1).
 */
enum dp_set {
	DP_SVC,			/* VIP . proto . port -> verdict */
	DP_NP,			/* proto . node port -> verdict */
	DP_EPS,			/* VIP . proto . port . slot -> endpoint */
	DP_NPEPS,		/* proto . node port . slot -> endpoint */
	DP_CLUSTER_IPS,
	DP_NODE_IPS,
	DP_NODEPORT_IPS,
	DP_HAIRPIN,		/* local endpoint . itself */
	DP_AFFREC,		/* as svc, -> chain that records the choice; external ones without affinity: return */
	DP_AFFRECNP,		/* as np */
	DP_N_SETS,
	DP_AFF = DP_N_SETS,	/* private map client -> endpoint, one per service port; not one of the fixed */
};

enum dp_data { DP_DATA_NONE, DP_DATA_VERDICT, DP_DATA_ENDPOINT };

struct dp_set_def {
	const char *name;	/* NULL: DP_AFF, named by its service port */
	uint8_t fields[5];	/* enum dp_field, 0 ends */
	uint8_t data;		/* enum dp_data */
	bool type_of;		/* declared by typeof, not by type: nft needs it to print the key */
	bool dynamic;		/* filled by the packet path, with timeouts */
	bool returns;		/* no chain is return, not drop */
	uint32_t min_size;	/* size at creation; 0: grows by itself */
};
extern const struct dp_set_def dp_set_defs[DP_N_SETS + 1];
enum dp_set dp_set_by_name(const char *name);	/* DP_AFF: none of the fixed */

#define DP_KEY_MAX 64		/* the kernel's limit for keys and data */
#define DP_LOCAL_SLOT 32768	/* slots of the local set of a front end begin here */

/* A set element in our terms; what a set does not use stays zero. Strings are borrowed. */
struct dp_elem {
	uint8_t set;		/* enum dp_set, or DP_AFF */
	uint8_t proto;
	uint16_t port;
	uint32_t slot;
	struct kp_addr ip;
	struct kp_addr to;	/* DP_DATA_ENDPOINT */
	uint16_t to_port;
	const char *chain;	/* DP_DATA_VERDICT: goto this; NULL: drop, or return */
	const char *comment;	/* NULL: none */
};

uint32_t dp_set_key_type(enum dp_set set, enum kp_family f);	/* nft datatype numbers, 6 bits each */
uint32_t dp_set_data_type(enum dp_set set, enum kp_family f);
size_t dp_set_key_len(enum dp_set set, enum kp_family f);
size_t dp_set_data_len(enum dp_set set, enum kp_family f);	/* 0 for none and verdicts */
uint32_t dp_set_flags(enum dp_set set);				/* NFT_SET_* */
uint32_t dp_verdict_code(enum dp_set set, bool chain);		/* of an element with a chain, or without */
void dp_set_udata(enum dp_set set, enum kp_family f, struct kp_buf *out);
/* "typeof ip daddr . meta l4proto . th dport : verdict" or "type ipv4_addr" */
void dp_set_decl(enum dp_set set, enum kp_family f, struct kp_buf *out);

/*
 * Bytes of a key: every field starts on 4 bytes and padding is zero (garbage there
 * makes another key that prints the same). Returns the length.
 */
size_t dp_elem_key(const struct dp_elem *e, enum kp_family f, uint8_t out[DP_KEY_MAX]);
size_t dp_elem_data(const struct dp_elem *e, enum kp_family f, uint8_t out[DP_KEY_MAX]);	/* endpoints only */
/* What such bytes say; of the hairpin set one of two equal addresses. */
struct dp_elem dp_elem_of_key(enum dp_set set, enum kp_family f, const uint8_t *key);
/* "10.96.0.10 . tcp . 80 . 2", from the bytes. */
void dp_key_print(enum dp_set set, enum kp_family f, const uint8_t *key, struct kp_buf *out);

#endif
