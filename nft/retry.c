#include "nft/retry.h"

#include "proxy/base/clock.h"

unsigned dp_retry_longer(unsigned ms, unsigned min, unsigned max)
{
	return ms == 0 ? min : 2 * ms < max ? 2 * ms : max;
}

static void after_ms(struct dp_retry *r, unsigned ms)
{
	r->at_ns = ms ? kp_now_ns() + ms * 1000000ull : 0;
}

int dp_retry_schedule(struct dp_retry *r, const struct dp_result *res, const bool known[KP_N_FAMILIES], bool again)
{
	const struct dp_retry_limits *l = r->limits;
	bool failed_before = false;
	int code = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (res->family[f].code < 0)
			code = res->family[f].code;
		failed_before |= !res->family[f].tried && !known[f];
	}
	if (code == 0 && failed_before)
		return 0;	/* only the other one was repaired */
	r->failed_ms = code < 0 ? dp_retry_longer(r->failed_ms, l->failed_min_ms, l->failed_max_ms) : 0;
	if (code < 0) {
		after_ms(r, r->failed_ms);
	} else if (!res->n_refused) {
		after_ms(r, r->refused_ms = 0);
	} else if (again || !r->refused_ms) {	/* else changes of other Services would put it off for ever */
		r->refused_ms = dp_retry_longer(r->refused_ms, l->refused_min_ms, l->refused_max_ms);
		after_ms(r, r->refused_ms);
	}
	return code;
}

int dp_retry_pending_ms(const struct dp_retry *r, uint64_t now_ns)
{
	return r->at_ns ? kp_ms_until(r->at_ns, now_ns) : -1;
}
