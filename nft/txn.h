#ifndef DP_TXN_H
#define DP_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nft/schema.h"

struct kp_buf;
struct mnl_socket;

/*
 * One nf_tables transaction: all of it applies, or none of it. Messages are sorted into
 * sections in the order the kernel needs, whatever the order they were made in; set
 * elements are packed per set into few messages. Every message and every
 * element carries the tag of the object it was made for, so that "ENOENT at sequence
 * 4711, offset 1032" comes out as "element 10.96.0.1 . tcp . 80 of svc, for object 17".
 */
enum dp_section {
	DP_SEC_TABLE,
	DP_SEC_SET,		/* before rules that use them */
	DP_SEC_CHAIN,		/* before rules and elements that jump to them */
	DP_SEC_RULE,		/* of new chains; before elements: binding a rule to a filled map walks the map */
	DP_SEC_LATER,		/* from here on: the second transaction, see dp_txn_commit() */
	DP_SEC_DEL_ELEM = DP_SEC_LATER,	/* before the add of the same key */
	DP_SEC_REWRITE,		/* rules of chains that were there before */
	DP_SEC_ADD_ELEM,
	DP_SEC_GONE_FLUSH,	/* rules of chains that go: they may name each other */
	DP_SEC_GONE_CHAIN,
	DP_SEC_GONE_SET,
	DP_SEC_LAST,		/* deletion of whole tables */
	DP_N_SECTIONS
};

struct dp_txn;

struct dp_txn *dp_txn_new(enum kp_family f, const char *table);
struct dp_txn *dp_txn_free(struct dp_txn *t);
const char *dp_txn_table(const struct dp_txn *t);

/*
 * Append a message: begin() writes the headers and returns the buffer for attributes,
 * end() closes it. type: NFT_MSG_*. what: for error texts; copied.
 */
struct kp_buf *dp_txn_begin(struct dp_txn *t, enum dp_section sec, uint16_t type, uint16_t flags,
			    uint32_t tag, const char *what);
void dp_txn_end(struct dp_txn *t);

/*
 * Stage one element of a fixed set: begin() returns the buffer for its attributes
 * (NFTA_SET_ELEM_*), end() closes it.
 */
struct kp_buf *dp_txn_elem_begin(struct dp_txn *t, bool add, enum dp_set set, uint32_t tag);
void dp_txn_elem_end(struct dp_txn *t);

/*
 * Of each message the kernel tells the first element that it refuses. Messages of one object each, from now on:
 * every object is named that is refused, at the cost of more of them.
 */
void dp_txn_split(struct dp_txn *t);

uint32_t dp_txn_next_set_id(struct dp_txn *t);	/* for NFTA_SET_ID within this transaction */
bool dp_txn_empty(const struct dp_txn *t);
uint32_t dp_txn_commits(const struct dp_txn *t);	/* how many transactions it takes: 0, 1 or 2 */
void dp_txn_counts(const struct dp_txn *t, uint32_t *ret_added, uint32_t *ret_deleted);	/* elements */
/* The objects that elements were staged for, each once, at most max; returns how many there are up to max + 1. */
size_t dp_txn_tags(const struct dp_txn *t, uint32_t *ret, size_t max);
bool dp_txn_changes_verdicts(const struct dp_txn *t);	/* the kernel will validate the table (2.4) */

/* What came of it. tags: the objects that messages or elements were refused for, each once, not 0. */
struct dp_txn_report {
	int code;		/* 0, or the first refusal's negative errno */
	char message[256];	/* "add element ... to svc: File exists" */
	uint32_t *tags;
	size_t n_tags, cap_tags;
};
void dp_txn_report_release(struct dp_txn_report *r);

/*
 * Send and read the answers. genid: NULL, or the generation the transaction was computed
 * from; the kernel refuses with ERESTART when someone else committed since. Returns
 * report->code. An empty transaction is not sent.
 *
 * New chains of a table that is in use go in a transaction of their own, before the elements
 * that lead to them. A packet under way runs through the rules of its generation, but an
 * element is seen as soon as it is committed: it would take the new verdict into a chain
 * that is still empty for this packet, fall out, and leave untranslated.
 */
int dp_txn_commit(struct dp_txn *t, struct mnl_socket *nl, const uint32_t *genid, struct dp_txn_report *ret);

#endif
