#ifndef DP_SLOTS_H
#define DP_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/plan/plan.h"

/*
 * Numbers the endpoints of one set. Invariants (spec nft-design 2.4): slots are dense,
 * 0..n-1; m is a size as below, n <= m. An endpoint keeps its slot as long as it stays,
 * but for those that fill a hole from the end: k changes move at most 2k slots.
 */
struct dp_slots {
	const struct kp_backend *of;	/* borrowed: the endpoints as the plan has them */
	uint32_t *v;			/* which of them is in a slot; NULL: all in order, as at the start */
	uint32_t n, m;
};

void dp_slots_release(struct dp_slots *s);
static inline const struct kp_backend *dp_slots_at(const struct dp_slots *s, uint32_t slot)
{
	return &s->of[s->v ? s->v[slot] : slot];
}

/*
 * Smallest size not below n: 1, 2, 3, 4, 6, 8, 12, ... With powers of two alone (2.2) a draw for 10
 * endpoints misses three times in eight, so in one of six, and most Services have a few endpoints.
 */
uint32_t dp_slots_size(uint32_t n);
/*
 * Size after a change: grows when n > m, shrinks at m / 2, to a size that one endpoint more makes grow
 * by half only: one that flaps changes the verdict once. From 2 to 1 it would each time, so that waits.
 */
uint32_t dp_slots_resize(uint32_t m, uint32_t n);

/* The new numbering for want, which is borrowed, from the old one (may be empty). ret is overwritten. */
void dp_slots_assign(const struct dp_slots *old, const struct kp_backend *want, uint32_t n, struct dp_slots *ret);

#endif
