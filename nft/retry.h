#ifndef DP_RETRY_H
#define DP_RETRY_H

#include "proxy/plan/dataplane.h"

/*
 * When a backend tries again what failed or was refused: failures soon, refusals now and then,
 * both with growing delays. Zero-initialise but for the limits.
 */
struct dp_retry_limits {
	unsigned failed_min_ms, failed_max_ms, refused_min_ms, refused_max_ms;
};

struct dp_retry {
	const struct dp_retry_limits *limits;
	unsigned failed_ms, refused_ms;	/* the last delays; 0: all went well */
	uint64_t at_ns;			/* 0: there is nothing to try again */
};

/* The delay after ms, which doubles from min to max; 0: the first. */
unsigned dp_retry_longer(unsigned ms, unsigned min, unsigned max);

/*
 * After a write. known: what is in the kernel of each family is; true as well where one is not enabled. again: it
 * tried what failed or was refused before, not only what is new. Returns the code of a family that failed, or 0.
 */
int dp_retry_schedule(struct dp_retry *r, const struct dp_result *res, const bool known[KP_N_FAMILIES], bool again);
int dp_retry_pending_ms(const struct dp_retry *r, uint64_t now_ns);	/* -1: nothing */

#endif
