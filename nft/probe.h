#ifndef DP_PROBE_H
#define DP_PROBE_H

struct dp_options;
struct kp_err;

/*
 * Can this kernel hold our ruleset? Feature by feature in a scratch table that the same
 * transaction deletes: nothing stays, and what is missing comes out by name.
 */
int dp_nft_probe(const struct dp_options *opt, struct kp_err *err);
/* Can a table belong to a socket, and outlive it (owner, persist: since Linux 6.9)? 0 or why not. */
int dp_nft_can_own(struct kp_err *err);

#endif
