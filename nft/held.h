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

#define DP_TABLE_DORMANT	0x1	/* NFT_TABLE_F_*: older headers lack the last */
#define DP_TABLE_OWNER		0x2
#define DP_TABLE_PERSIST	0x4

struct dp_held_chain {
	uint64_t fingerprint;	/* dp_chain_fingerprint of its rules */
	bool as_defined;	/* false: a name of ours at another hook */
	bool accepts;		/* false: the policy is another, and then the fingerprint is, too */
	bool foreign;		/* some rule has no fingerprint of ours */
};

struct dp_held_set {
	bool as_defined;	/* types and flags are what dp_set_defs says; always true for private maps */
	bool counted;		/* since Linux 6.16 the kernel tells how many elements a set has, */
	uint32_t size, n;	/* and n is that */
};

/* Value bytes: dp_elem_value() in netlink.h. */
struct dp_held_elem {
	bool seen;		/* wanted as well */
	uint16_t len;
	uint8_t value[];
};

struct dp_held {
	bool table, format_ok;
	uint32_t flags;		/* NFT_TABLE_F_* */
	uint32_t owner;		/* netlink port of whoever owns the table; 0: nobody */
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

/*
 * The elements of one set that are not among ours (prints.h), which are marked as they are
 * seen. Nothing is kept of those, so a large set costs no more than its dump.
 */
struct dp_prints;
int dp_held_read_others(struct mnl_socket *nl, enum kp_family f, const char *table, enum dp_set set,
			struct dp_prints *ours, struct dp_held **ret, struct kp_err *err);

/* Single elements of one set; keys: a map by key bytes. What is not there is not held. */
int dp_held_read_keys(struct mnl_socket *nl, enum kp_family f, const char *table, enum dp_set set,
		      const struct kp_map *keys, struct dp_held **ret, struct kp_err *err);

/* What a set holds, in a word: equal sums, equal contents, whatever the order. */
struct dp_sum {
	uint64_t sum;
	uint32_t n;
};
void dp_sum_add(struct dp_sum *s, enum dp_set set, const uint8_t *key, size_t key_len, const void *value, size_t len);
void dp_sum_sub(struct dp_sum *s, enum dp_set set, const uint8_t *key, size_t key_len, const void *value, size_t len);

/*
 * The sum of one set in the kernel, a part at a time: begin, then more until it is not 1.
 * 1: there is more, 0: done. The kernel does not tell that somebody committed meanwhile: compare
 * the generations. A dump that is not read to its end blocks the socket for others.
 */
int dp_held_sum_begin(struct mnl_socket *nl, enum kp_family f, const char *table, enum dp_set set);
int dp_held_sum_more(struct mnl_socket *nl, enum kp_family f, enum dp_set set, struct dp_sum *sum);

/* The entries of one map with endpoints as data (session affinity); expires_ms: from now, 0: never. */
typedef void dp_entry_fn(void *arg, const uint8_t *key, const uint8_t *data, size_t len, uint64_t expires_ms);
int dp_held_entries(struct mnl_socket *nl, enum kp_family f, const char *table, const char *map, dp_entry_fn *fn, void *arg);

/* NFT_MSG_GETGEN. ret_pid: who we are in the kernel's own numbering; may be NULL. */
int dp_genid(struct mnl_socket *nl, uint32_t *ret, uint32_t *ret_pid);

/* TLVs in rule userdata: nft's comment (0) and ours. */
#define DP_UDATA_COMMENT	0
#define DP_UDATA_FINGERPRINT	200

#endif
