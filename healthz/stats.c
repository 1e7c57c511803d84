#include "healthz/stats.h"

#include <string.h>

const char *const hz_outcome_names[HZ_N_OUTCOMES] = {
	"http", "tcp_only", "timeout_silent", "timeout_head", "timeout_write", "short_request", "proxy_error", "evicted", "refused",
};
const char *const hz_method_names[HZ_N_METHODS] = { "", "GET", "HEAD", "OPTIONS", "POST", "PUT", "other" };
const int hz_codes[HZ_N_CODES] = { 200, 400, 404, 405, 408, 414, 431, 502, 503, 505 };
const double hz_response_bounds[HZ_N_BOUNDS] = { .0001, .0005, .001, .005, .01, .05, .1, .5, 1 };

static size_t method_index(const char *method)
{
	size_t i = 0;

	while (i < HZ_N_METHODS - 1 && strcmp(hz_method_names[i], method) != 0)
		i++;
	return i;
}

void hz_stats_answer(struct hz_stats *s, const char *method, int status, uint64_t took_ns)
{
	size_t m = method_index(method), bucket = 0;

	for (size_t c = 0; c < HZ_N_CODES; c++)
		s->requests[m][c] += hz_codes[c] == status;
	while (bucket < HZ_N_BOUNDS && (double)took_ns > hz_response_bounds[bucket] * 1e9)
		bucket++;
	s->response[bucket]++;
	s->response_ns += took_ns;
}
