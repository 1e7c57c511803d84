#include "proxy/source/pace.h"

#define MS		1000000u
#define CLOSE_NS	(5 * MS)
#define MAX_MS		5

unsigned kp_pace_next(struct kp_pace *p, uint64_t now_ns, bool more)
{
	bool is_close = now_ns < p->until_ns + CLOSE_NS, rests = is_close && !more;

	if (!is_close)
		p->n_rests = 0;
	else if (rests && p->n_rests < MAX_MS)
		p->n_rests++;
	p->until_ns = now_ns + (rests ? p->n_rests * MS : 0);
	return rests ? p->n_rests : 0;
}
