#ifndef KP_SOURCE_PACE_H
#define KP_SOURCE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * When a thousand changes come in a second, a wake-up, a plan's way to the dataplane and a commit
 * for each of them cost more than all the rest. So after something that came within 5 ms of what came before,
 * reading rests: 1 ms, then 2, at most 5, and what comes meanwhile goes together. Changes that
 * are further apart wait for nothing, and neither does what is there already. All zero at first.
 */
struct kp_pace {
	uint64_t until_ns;	/* the last rest, or what came when there was none */
	unsigned n_rests;	/* in a row */
};

/* Something came and has been handled, now; more: there is more. -> how many ms to rest; 0: not at all. */
unsigned kp_pace_next(struct kp_pace *p, uint64_t now_ns, bool more);

#endif
