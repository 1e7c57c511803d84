#ifndef KP_STATUS_H
#define KP_STATUS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/snapshot.h"
#include "proxy/source/status.h"
#include "proxy/takeover.h"

#define KP_STATUS_SOCKET "/run/proxylet/proxylet.sock"

struct dp_drift;
struct dp_refusal;
struct dp_result;
struct hz_report;
struct kp_buf;

/*
 * What "proxylet status" shows. The agent fills in a struct kp_status, its JSON goes
 * through the socket, and the command prints that or the text made from it.
 */

/* Where the table of Services and rules stands with the kernel. Kept from result to result. */
struct kp_last_commit {
	uint64_t wall_ns;	/* of the last good one; 0: there was none */
	uint64_t took_ns;
	uint32_t added, deleted;	/* elements */
	bool wrote;		/* false: the kernel held everything already */
	char *failure;		/* why the last attempt failed; NULL: it did not */
	struct dp_drift *drift;	/* the last foreign change; NULL: there was none */
	uint64_t drift_wall_ns, n_drifts;
};

struct kp_commits {
	struct kp_last_commit family[KP_N_FAMILIES];
	struct dp_refusal *refused;	/* as of the last result */
	size_t n_refused;
};
void kp_commits_note(struct kp_commits *c, const struct dp_result *res, uint64_t wall_ns);
void kp_commits_release(struct kp_commits *c);

/* A listener of the main thread. */
struct kp_status_listener {
	const char *name;	/* "metrics", "status" */
	const char *address;	/* "127.0.0.1:10249", a path */
	const char *problem;	/* NULL: it listens */
};

/* Everything borrowed. */
struct kp_status {
	const char *node_name, *mode;
	const char *state;		/* of the node: "Ready" */
	uint64_t began_wall_ns, now_wall_ns, now_ns;
	bool started, synced, healthy, ready, node_eligible;	/* as in the health answers; healthy: /livez, ready: /healthz */
	bool families[KP_N_FAMILIES];
	uint64_t pending_ns[KP_N_FAMILIES];	/* age of the oldest change; 0: none */
	size_t n_pending, n_services;
	const struct kp_commits *commits;
	const char *blocked;	/* why nothing is programmed; NULL: no reason */
	struct kp_other_view other;
	struct kp_source_status sources;	/* owned by whoever filled it in */
	struct kp_snapshot_status snapshot;
	struct kp_status_listener listeners[2];
	size_t n_listeners;
	const struct hz_report *health;	/* the health ports */
};

json_t *kp_status_json(const struct kp_status *s);
/* Aligned text for humans. status: what came through the socket; what is missing there is left out. */
void kp_status_text(const json_t *status, struct kp_buf *out);

#endif
