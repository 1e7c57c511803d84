#ifndef DP_CLEANUP_H
#define DP_CLEANUP_H

#include <stdbool.h>
#include <stdint.h>

struct kp_err;

/*
 * Removing our rules. Translated connections live on only while a NAT base chain and a
 * rule that needs conntrack are loaded (health-and-probes T7), so while there are any,
 * the rules give way to a small table that does nothing but keep them alive; a later
 * clean-up, when none is left, removes that one too.
 */
struct dp_cleanup {
	bool rules[2];		/* by family: our table is there */
	bool next[2];		/* the second one: replacing the table was killed */
	bool residual[2];	/* the small table is there */
	uint64_t flows[2];	/* connections with a translated destination */
};

#define DP_RESIDUAL "proxylet-residual"

int dp_cleanup_look(struct dp_cleanup *ret, struct kp_err *err);
/* keep: leave the small table where flows[] is not 0. Packets under way are let through first. */
int dp_cleanup_run(const struct dp_cleanup *c, bool keep, struct kp_err *err);
/* Only the small table, where there are flows and no table of ours: before somebody else's rules go. */
int dp_cleanup_keep(const struct dp_cleanup *c, struct kp_err *err);
/* All of it, when another backend's rules are there; they keep connections alive. 0 also if there is nothing. */
int dp_cleanup_remove(struct kp_err *err);

#endif
