#ifndef DP_GONE_H
#define DP_GONE_H

#include <stdbool.h>
#include <stdint.h>

struct dp_writer;

/*
 * Chains and maps of no use any more that could not be deleted yet. Before Linux 6.2 the kernel
 * releases the reference from a deleted element to its chain only some time after the commit, and
 * until then refuses to delete the chain with EBUSY (nft-design 2.4). So they are emptied when they
 * go, and deleted a second later in a transaction of their own, which may fail.
 */
struct dp_gone;

struct dp_gone *dp_gone_new(void);
struct dp_gone *dp_gone_free(struct dp_gone *g);	/* NULL is fine; returns NULL */

void dp_gone_put(struct dp_gone *g, bool set, const char *name, uint64_t now_ns);
void dp_gone_del(struct dp_gone *g, const char *name);	/* it is wanted again */
void dp_gone_clear(struct dp_gone *g);	/* before a full write, which finds what is there */
int dp_gone_pending_ms(const struct dp_gone *g, uint64_t now_ns);	/* -1: nothing to delete */
/* Deletes what is due. */
void dp_gone_write(const struct dp_gone *g, struct dp_writer *w, uint64_t now_ns);
/* What became of it. What the kernel refuses otherwise than as busy is left to the next full write. */
void dp_gone_settle(struct dp_gone *g, int code, uint64_t now_ns);

#endif
