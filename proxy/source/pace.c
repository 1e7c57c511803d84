#include "proxy/source/pace.h"

#define MS		1000000u
#define CLOSE_NS	(5 * MS)
#define MAX_MS		5

unsigned kp_pace_next(struct kp_pace *p, uint64_t now_ns)
{
	if (now_ns >= p->until_ns + CLOSE_NS)
		p->n_close = 0;
	else if (p->n_close < MAX_MS)
		p->n_close++;
	p->until_ns = now_ns + p->n_close * MS;
	return p->n_close;
}

bool kp_pace_is_calm(const struct kp_pace *p)
{
	return p->n_close == 0;
}
