#ifndef KP_MONITOR_H
#define KP_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/source/decode.h"

struct dp_result;
struct event_base;
struct hz_server;
struct kp_admin;
struct kp_config;
struct kp_err;
struct kp_health;
struct kp_inherit;
struct kp_model;
struct kp_plan;
struct kp_snapshot_status;
struct kp_source_status;
struct kp_takeover;

/*
 * What the agent tells about itself: the HTTP server at metricsBindAddress (/metrics,
 * /proxyMode, /healthz, /configz; kube-proxy-behaviour 10.2) and the UNIX socket that
 * "proxylet status" asks (the same HTTP, /status and /probes). Main thread and main loop, with the
 * parser, connections and limits of the health server.
 */
struct kp_monitor;

#define KP_MONITOR_METRICS "metrics"	/* name of the listener */

/* Whom it looks at when somebody asks. Borrowed; all outlive the monitor. */
struct kp_monitor_view {
	const struct kp_config *cfg;
	const char *node_name, *mode;
	const char *socket;		/* path; "": none */
	bool families[KP_N_FAMILIES];
	const struct kp_admin *admin;	/* more of the socket's paths */
	struct kp_model *model;
	struct kp_health *health;
	struct hz_server *server;
	struct hz_state *(*state)(void *arg);	/* a copy of what the health ports answer from */
	const struct kp_takeover *takeover;
	void (*sources)(void *arg, struct kp_source_status *ret);	/* may find no source yet */
	void (*snapshot)(void *arg, struct kp_snapshot_status *ret);
	void *arg;
};

struct kp_monitor *kp_monitor_new(struct event_base *base, const struct kp_monitor_view *view);
/*
 * Begin to answer, at sockets among those inherited where they are as configured (borrowed; may be
 * NULL). An address that cannot be bound is logged and tried again every 5 s, with
 * bindAddressHardFail it is an error (ME-11). A socket path that cannot be taken is only
 * logged: other agents on the machine, in network namespaces of their own, may have it.
 */
int kp_monitor_open(struct kp_monitor *m, struct kp_inherit *inherited, struct kp_err *err);
struct kp_monitor *kp_monitor_free(struct kp_monitor *m);

/* The configuration has other contents now: listen where it says. */
void kp_monitor_listen(struct kp_monitor *m);

/* Hand-over, as in healthz/server.h: copies of the open sockets; stop accepting; connections still open. */
void kp_monitor_give(const struct kp_monitor *m, struct kp_inherit *to);
void kp_monitor_leave(struct kp_monitor *m);
void kp_monitor_close_idle(struct kp_monitor *m);
size_t kp_monitor_n_left(const struct kp_monitor *m);

/* What happens, in this order. */
void kp_monitor_event(struct kp_monitor *m, enum kp_kind kind, bool changed, uint64_t seen_ns);	/* an object came or went; seen_ns: kp_object */
void kp_monitor_synced(struct kp_monitor *m);
void kp_monitor_want(struct kp_monitor *m, const char *key, const struct kp_plan *plan);	/* right after pop_dirty */
void kp_monitor_submitted(struct kp_monitor *m, uint64_t generation);
void kp_monitor_not_submitted(struct kp_monitor *m);	/* there was nothing to hand over */
void kp_monitor_result(struct kp_monitor *m, uint64_t generation, const struct dp_result *res);

#endif
