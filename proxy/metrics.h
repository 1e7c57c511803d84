#ifndef KP_METRICS_H
#define KP_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "healthz/node.h"
#include "healthz/server.h"
#include "proxy/base/addr.h"
#include "proxy/process.h"
#include "proxy/snapshot.h"

struct dp_result;
struct kp_buf;
struct kp_plan;
struct kp_source_status;

/*
 * The numbers behind /metrics: kube-proxy's of the same mode (kube-proxy-behaviour
 * 10.1), with its names, types, labels, buckets and help texts, then ours. A table says
 * what there is; the functions below count. Main thread. Times of the wall clock are
 * nanoseconds since 1970.
 */
struct kp_metrics;

struct kp_metrics *kp_metrics_new(const bool families[KP_N_FAMILIES]);
struct kp_metrics *kp_metrics_free(struct kp_metrics *m);

/* An object came or went; changed: it makes a difference to the proxy. */
void kp_metrics_service_event(struct kp_metrics *m, bool changed);
void kp_metrics_slice_event(struct kp_metrics *m, bool changed);
/* What brought a change was on the socket then; of one hand-over the first counts. */
void kp_metrics_seen(struct kp_metrics *m, uint64_t wall_ns);

/*
 * A Service's new plan, NULL: gone. triggers: when its endpoints changed out there
 * (EP-11), counted once the kernel has the plan. Before the batch that holds it is handed over.
 */
void kp_metrics_want(struct kp_metrics *m, const char *key, const struct kp_plan *plan, const uint64_t *triggers,
		     size_t n_triggers);
void kp_metrics_submitted(struct kp_metrics *m, uint64_t generation, uint64_t wall_ns);
void kp_metrics_not_submitted(struct kp_metrics *m);	/* what came makes no difference to the rules */
void kp_metrics_result(struct kp_metrics *m, uint64_t generation, const struct dp_result *res, uint64_t wall_ns);

/* Events that made a difference and are not in the kernel of every family yet. */
size_t kp_metrics_pending(const struct kp_metrics *m);

/* What is looked up when somebody asks. */
struct kp_metrics_now {
	const char *mode;		/* "nftables", "iptables": some metrics are of one alone (ME-1) */
	uint64_t pending_ns[KP_N_FAMILIES];	/* age of the oldest change that is not in the kernel; 0: none */
	size_t n_services;
	bool node_eligible;
	struct kp_snapshot_status snapshot;
	enum hz_node_state node_state;
	bool other_proxy;		/* its rules, or itself, are here */
	struct hz_counters health;
	struct kp_process process;
};
void kp_metrics_write(const struct kp_metrics *m, const struct kp_metrics_now *now, struct kp_buf *out);
/* Whether what is read is still heard; now_ns: CLOCK_MONOTONIC. Pure. */
void kp_metrics_sources(const struct kp_source_status *s, uint64_t now_ns, struct kp_buf *out);

#endif
