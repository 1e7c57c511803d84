#ifndef DP_NETLINK_H
#define DP_NETLINK_H

#include "nft/diff.h"
#include "nft/gone.h"
#include "nft/held.h"
#include "nft/txn.h"
#include "nft/writer.h"

/*
 * A writer that fills a transaction. With held (what the kernel has, borrowed) it leaves
 * out every element that is there already and replaces those that differ; prune() then
 * deletes the elements that nobody asked for.
 */
struct dp_writer *dp_netlink_new(struct dp_txn *txn, enum kp_family f, struct dp_held *held);
/* Chains and sets that go are emptied and noted there (nft/gone.h) instead of deleted; gone: borrowed. NULL: deleted. */
void dp_netlink_keep_gone(struct dp_writer *w, struct dp_gone *gone);
struct dp_writer *dp_netlink_free(struct dp_writer *w);
typedef void dp_pruned_fn(void *arg, enum dp_set set, const uint8_t *key);
void dp_netlink_prune(struct dp_writer *w, dp_pruned_fn *fn, void *arg);	/* fn: of each that goes; NULL is fine */
/* After prune: how the elements that were held differ from those that were written. */
const struct dp_diff_elems *dp_netlink_diff(struct dp_writer *w);

void dp_netlink_add_table(struct dp_txn *t, uint32_t flags);	/* DP_TABLE_*; one that is there gets them */
void dp_netlink_del_table(struct dp_txn *t, const char *name);
/* Entries of private maps, one message each time: up to a thousand keys of len bytes, or one entry. */
void dp_netlink_del_entries(struct dp_txn *t, const char *map, const uint8_t (*keys)[16], size_t n, size_t len);
void dp_netlink_add_entry(struct dp_txn *t, const char *map, const void *key, size_t len,
			  const void *data, size_t data_len, uint64_t expires_ms);

/* What is compared: data, or chain name and NUL, then the userdata. */
void dp_elem_value(const struct dp_elem *e, enum kp_family f, struct kp_buf *out);

#endif
