#ifndef KP_SOURCE_BACKOFF_H
#define KP_SOURCE_BACKOFF_H

#include <stdint.h>

/*
 * Waiting times between attempts, as client-go's reflector has them: 0.8 s, doubling
 * up to 30 s, each lengthened by up to as much again, so that the nodes of a cluster
 * do not come back together. Two minutes without an attempt start over.
 * Zero-initialise.
 */
struct kp_backoff {
	uint64_t step_ms;	/* of the next wait; 0: the first */
	uint64_t last_ms;
};

/* random: any 32 bits. */
uint64_t kp_backoff_next(struct kp_backoff *b, uint64_t now_ms, uint32_t random);

#endif
