#ifndef HZ_REPORT_H
#define HZ_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "healthz/history.h"
#include "healthz/stats.h"

/* What the health thread tells about itself when asked (hz_server_report): copies, the asker's own. */

struct hz_listener_report {
	char *name;		/* "main", "shared", "svc/NAMESPACE/NAME" */
	bool is_service;
	uint16_t port;
	char *problem;		/* why it is not open, or not everywhere it should be; NULL: it is */
	unsigned n_open;	/* connections */
	struct hz_stats stats;
};

struct hz_report {
	struct hz_listener_report *listeners;	/* in the order of hz_listeners_report() */
	size_t n_listeners;
	uint64_t n_evicted;	/* connections that made room for others */
	struct hz_probe *probes;	/* oldest first */
	size_t n_probes;
	struct hz_peer_summary *peers;	/* busiest first */
	size_t n_peers;
};

void hz_report_free(struct hz_report *r);	/* NULL is fine */

#endif
