#ifndef DP_HELD_H
#define DP_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "nft/schema.h"

struct kp_err;
struct kp_map;
struct mnl_socket;

/*
 * What the kernel holds of one table, read by dump, in the form that is compared with
 * what is wanted. Rules cannot be changed in place, so a chain is known by the
 * fingerprints that its rules carry in their userdata; a rule of somebody else has none.
 */
#define DP_FORMAT "proxylet format 1"	/* comment of the table; another one: replace the table */

struct dp_held_chain {
	uint64_t fingerprint;	/* dp_chain_fingerprint of its rules */
	bool base;
	bool foreign;		/* some rule has no fingerprint of ours */
};

struct dp_held_set {
	bool as_defined;	/* types and flags are what dp_set_defs says; always true for private maps */
	uint32_t size;
};

/* Value bytes: dp_elem_value() in netlink.h. */
struct dp_held_elem {
	bool seen;		/* wanted as well */
	uint16_t len;
	uint8_t value[];
};

struct dp_held {
	bool table, format_ok;
	struct kp_map *chains;	/* name -> dp_held_chain */
	struct kp_map *sets;	/* name -> dp_held_set */
	struct kp_map *elems;	/* set number, key bytes -> dp_held_elem */
	uint32_t genid;		/* of the whole dump */
};

struct dp_held *dp_held_new(void);
struct dp_held *dp_held_free(struct dp_held *h);

/*
 * Dump the table, with or without the elements of its sets. Starts over when somebody
 * commits meanwhile, a few times; 0, or -errno with err set. A table that is not there is
 * no error: ->table is false.
 */
int dp_held_read(struct mnl_socket *nl, enum kp_family f, const char *table, bool elements,
		 struct dp_held **ret, struct kp_err *err);

/* The entries of one map with endpoints as data (session affinity); expires_ms: from now, 0: never. */
typedef void dp_entry_fn(void *arg, const uint8_t *key, const uint8_t *data, size_t len, uint64_t expires_ms);
int dp_held_entries(struct mnl_socket *nl, enum kp_family f, const char *table, const char *map, dp_entry_fn *fn, void *arg);

int dp_table_exists(struct mnl_socket *nl, enum kp_family f, const char *table, bool *ret);
int dp_genid(struct mnl_socket *nl, uint32_t *ret);	/* NFT_MSG_GETGEN */

/* TLVs in rule userdata: nft's comment (0) and ours. */
#define DP_UDATA_COMMENT	0
#define DP_UDATA_FINGERPRINT	200

#endif
