#ifndef DP_TABLE_H
#define DP_TABLE_H

#include "nft/schema.h"
#include "nft/socket.h"
#include "nft/wanted.h"

struct dp_elem;
struct dp_family;
struct dp_heard;
struct dp_txn;
struct dp_txn_report;
struct kp_map;
struct mnl_socket;

/*
 * Keeps one table in the kernel equal to what is wanted: small changes as they come,
 * and everything over a dump at the start, after a failure, or when it must be replaced.
 * A Service that the kernel refuses is left out with its last good rules, the others go on.
 */
struct dp_table;

/*
 * owner: the table belongs to this socket, others cannot change it, and it stays without an
 * owner when we end (nft-design 6.3; kernels that can: dp_nft_can_own()).
 * generation: raised with every commit of ours, as the kernel raises its own (shared by
 * all tables; borrowed). When the two differ, somebody else committed.
 */
int dp_table_new(struct dp_table **ret, enum kp_family f, const char *name, bool owner, uint32_t *generation,
		 struct kp_err *err);
struct dp_table *dp_table_free(struct dp_table *t);

/* Write the changes (already part of wanted), or everything if the state of the kernel is not known. */
int dp_table_apply(struct dp_table *t, const struct dp_wanted *want, const struct dp_batch *batch,
		   struct dp_family_result *ret);
/* Everything, compared with a dump; also tries the refused again. */
int dp_table_full(struct dp_table *t, const struct dp_wanted *want, struct dp_family_result *ret);

/*
 * A look at chains, rules, sets and the number of their elements, and at those elements that
 * were heard of, after somebody else committed. *ret: a drift that the caller owns, NULL if
 * they are what we wrote. < 0: it could not be seen, look again.
 */
int dp_table_look(struct dp_table *t, const struct dp_heard *heard, struct dp_drift **ret);
/* The drift for elements that were found to differ. */
struct dp_drift *dp_table_elements_differ(struct dp_table *t, enum dp_set set);
/*
 * Puts right what d is about, and everything if that does not do. What turns out to differ
 * beyond what d says is added to it. Elements of other sets may still be wrong afterwards.
 */
int dp_table_repair(struct dp_table *t, const struct dp_wanted *want, struct dp_drift *d, struct dp_family_result *ret);
/* What the last changes could not delete (gone.h), when it is due; -1: nothing. */
int dp_table_gone_pending_ms(const struct dp_table *t, uint64_t now_ns);
void dp_table_delete_gone(struct dp_table *t, uint64_t now_ns);
/* Send a transaction on this table's socket. Returns rep->code. */
int dp_table_commit(struct dp_table *t, struct dp_txn *txn, const uint32_t *genid, struct dp_txn_report *rep);

/*
 * The front ends of UDP that full writes found in the kernel and removed, since this was last asked: of Services that
 * went while nobody ran, while a write failed, or while they were refused. Returns how many; the caller frees *ret.
 */
size_t dp_table_take_lost(struct dp_table *t, struct dp_elem **ret);

bool dp_table_is_known(const struct dp_table *t);	/* the last transaction succeeded */
const struct dp_family *dp_table_family(const struct dp_table *t);
struct mnl_socket *dp_table_socket(const struct dp_table *t);
const char *dp_table_name(const struct dp_table *t);

/* Services refused now: key -> struct dp_refusal. */
const struct kp_map *dp_table_refused(const struct dp_table *t);

#endif
