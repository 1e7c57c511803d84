#include "proxy/source/backoff.h"

#define FIRST_MS	800
#define MAX_MS		30000
#define FORGET_MS	120000

uint64_t kp_backoff_next(struct kp_backoff *b, uint64_t now_ms, uint32_t random)
{
	uint64_t step = b->step_ms;

	if (!step || now_ms - b->last_ms > FORGET_MS)
		step = FIRST_MS;
	b->last_ms = now_ms;
	b->step_ms = step * 2 < MAX_MS ? step * 2 : MAX_MS;
	return step + ((step * random) >> 32);
}
