#ifndef TESTS_REPORT_H
#define TESTS_REPORT_H

#include <check.h>
#include <string.h>

#include "healthz/report.h"
#include "healthz/server.h"
#include "proxy/base/clock.h"

/* What the health thread says about itself, for tests that know what it should say. */

static inline struct hz_report *lab_report(struct hz_server *s)
{
	struct hz_report *r = hz_server_report(s, 60000);

	ck_assert_msg(r != NULL, "no report");
	return r;
}

static inline const struct hz_listener_report *lab_listener(const struct hz_report *r, const char *name)
{
	for (size_t i = 0; i < r->n_listeners; i++)
		if (strcmp(r->listeners[i].name, name) == 0)
			return &r->listeners[i];
	ck_abort_msg("no listener %s in the report", name);
	return NULL;
}

static inline struct hz_stats lab_stats(struct hz_server *s, const char *listener)
{
	struct hz_report *r = lab_report(s);
	struct hz_stats stats = lab_listener(r, listener)->stats;

	hz_report_free(r);
	return stats;
}

/* How often a connection of the listener ended so: waits until it is n, and returns what it is then. */
static inline uint64_t lab_outcome(struct hz_server *s, const char *listener, enum hz_outcome o, uint64_t n)
{
	uint64_t deadline = kp_now_ms() + 60000, have;

	do {
		have = lab_stats(s, listener).outcomes[o];
	} while (have != n && kp_now_ms() < deadline);
	return have;
}

#endif
