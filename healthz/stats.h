#ifndef HZ_STATS_H
#define HZ_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "healthz/proxyproto.h"

/* What one port has seen since it opened (health-and-probes B.10). Plain numbers of the port's thread; copied to others. */

/* How connections end, B.6. */
enum hz_outcome {
	HZ_OUTCOME_HTTP, HZ_OUTCOME_TCP_ONLY, HZ_OUTCOME_TIMEOUT_SILENT, HZ_OUTCOME_TIMEOUT_HEAD, HZ_OUTCOME_TIMEOUT_WRITE,
	HZ_OUTCOME_SHORT_REQUEST, HZ_OUTCOME_PROXY_ERROR, HZ_OUTCOME_EVICTED, HZ_OUTCOME_REFUSED, HZ_N_OUTCOMES
};
extern const char *const hz_outcome_names[HZ_N_OUTCOMES];

/* Labels come from here only: a peer must not be able to make new ones. */
#define HZ_N_METHODS 7
extern const char *const hz_method_names[HZ_N_METHODS];	/* the last one is "other" */
#define HZ_N_CODES 10
extern const int hz_codes[HZ_N_CODES];

#define HZ_N_BOUNDS 9
extern const double hz_response_bounds[HZ_N_BOUNDS];	/* seconds */

struct hz_stats {
	uint64_t requests[HZ_N_METHODS][HZ_N_CODES];
	uint64_t outcomes[HZ_N_OUTCOMES];
	uint64_t headers[3][HZ_PP_N_COMMANDS];		/* good ones, by version */
	uint64_t bad_headers[3][HZ_PP_N_ERRORS];	/* version 0: there was none */
	uint64_t tlv_malformed;
	uint64_t response[HZ_N_BOUNDS + 1];		/* by bucket, the last is +Inf */
	uint64_t response_ns;				/* all of them together */
	uint64_t last_probe_wall_ns;			/* 0: none yet */
};

/* One answer; method as it was sent, "" if there was none. */
void hz_stats_answer(struct hz_stats *s, const char *method, int status, uint64_t took_ns);

#endif
