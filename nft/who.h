#ifndef DP_WHO_H
#define DP_WHO_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Who commits to nf_tables besides us. The kernel tells listeners only (it fills the name in
 * from the process that runs, which in the answer to NFT_MSG_GETGEN is the one that asks), and
 * makes every commit on the node pay for each of them (nft-design 5): so we listen for a while after a
 * first foreign change of our rules, and not while we write much ourselves.
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

#endif
