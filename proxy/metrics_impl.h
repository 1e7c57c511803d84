#ifndef KP_METRICS_IMPL_H
#define KP_METRICS_IMPL_H

#include "proxy/base/prom.h"
#include "proxy/metrics.h"
#include "proxy/nolocal.h"
#include "proxy/plan/dataplane.h"

/* Shared by metrics.c (counting) and metrics_write.c (what there is, as text). */

enum kp_event { KP_EVENT_SERVICE, KP_EVENT_SLICE, KP_N_EVENTS };

/* A hand-over that is not in the kernel of every family yet. */
struct kp_flight {
	uint64_t generation;
	uint64_t seen_ns;	/* of its first event; 0: none came over a socket */
	uint64_t *triggers[KP_N_FAMILIES];
	size_t n_triggers[KP_N_FAMILIES], cap_triggers[KP_N_FAMILIES];
	size_t n_events[KP_N_EVENTS];
	struct kp_nolocal_counts nolocal;	/* after it */
};

/* All numbers are double: that is what the format has, and one kind of cell makes one kind of row. */
struct kp_metrics_family {
	uint64_t acked;		/* generation */
	struct kp_prom_histogram sync, full, partial, programming, conntrack, change;
	double last_success, last_queued;	/* seconds since 1970; 0: never */
	double sync_failures, cleanup_failures;
	double restore_failures, partial_failures;	/* mode iptables */
	double rules[DP_N_RULE_TABLES], rules_last[DP_N_RULE_TABLES];
	double conntrack_deleted;
	double nolocal[KP_N_POLICIES];
	double took, elements[2];	/* of the last commit; elements added and deleted */
	double pending;
	struct kp_prom_histogram repair;	/* from notice to repair */
	double drifts[DP_N_DRIFTS], unrepaired, put_off;
	uint64_t drift_ns;	/* when the last one was noticed: it is told more than once */
};

struct kp_metrics {
	bool families[KP_N_FAMILIES];
	struct kp_metrics_family family[KP_N_FAMILIES];
	double events[KP_N_EVENTS], events_pending[KP_N_EVENTS];
	double health[2][2];	/* healthz, livez; 200, 503 */
	double refused, n_services, other_proxy;
	double snapshot_in_use, snapshot_age, snapshot_failures;
	double node_eligible, node_state[HZ_N_NODE_STATES];
	double start_seconds;
	struct kp_process process;
	struct kp_nolocal *wanted;
	struct kp_flight next;	/* what the next hand-over brings */
	struct kp_flight *flights;	/* oldest first */
	size_t n_flights, cap_flights;
};

size_t kp_metrics_pending_of(const struct kp_metrics *m, enum kp_event e);

#endif
