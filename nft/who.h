#ifndef DP_WHO_H
#define DP_WHO_H

#include <stdbool.h>
#include <stdint.h>

#include "nft/schema.h"

struct kp_map;

/*
 * Who commits to nf_tables besides us, and to which elements. The kernel tells listeners
 * only (it fills the name in from the process that runs, which in the answer to
 * NFT_MSG_GETGEN is the one that asks), and makes every commit on the node pay for each of
 * them (nft-design 5): so we listen for a while after a first foreign change of our rules,
 * and not while we write much ourselves.
 */
struct dp_who;

struct dp_who *dp_who_new(void);
struct dp_who *dp_who_free(struct dp_who *w);

void dp_who_listen(struct dp_who *w, uint64_t until_ns);
void dp_who_pause(struct dp_who *w);	/* before a large commit of ours; listen() begins again */
void dp_who_tick(struct dp_who *w, uint64_t now_ns);	/* ends listening in time */

/*
 * Whoever committed since the last call, but us: "nft (pid 4711), fw (pid 12)"; caller
 * frees. NULL: nothing was heard. self: dp_genid()'s pid.
 */
char *dp_who_take(struct dp_who *w, uint32_t self);

/* Keys of the elements of one table that others wrote or deleted. Zeroed: nothing was heard. */
struct dp_heard {
	bool complete;		/* all commits were heard: no other element can have changed */
	size_t n;
	struct kp_map *keys[KP_N_FAMILIES][DP_N_SETS];	/* by key bytes; NULL: none */
};
void dp_heard_release(struct dp_heard *h);
struct kp_map *dp_heard_copy(const struct kp_map *keys);

/* Commits after generation `from` up to `to`. self: as above. */
struct dp_span {
	uint32_t from, to, self;
};
/* As take(), with the elements of table, which are added to heard. */
char *dp_who_hear(struct dp_who *w, const char *table, const struct dp_span *span, struct dp_heard *heard);

#endif
