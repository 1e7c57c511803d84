#ifndef HZ_STATE_H
#define HZ_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "healthz/node.h"
#include "proxy/base/addr.h"

/*
 * What the health thread answers from: frozen values, made by the main thread. Times
 * are CLOCK_MONOTONIC nanoseconds where they decide (0: unset) and CLOCK_REALTIME
 * nanoseconds where they are shown.
 */
struct hz_family {
	bool enabled;
	uint64_t updated_wall_ns;	/* end of the last successful commit or verified no-op; 0: never */
	uint64_t oldest_pending_ns;	/* when the oldest change that is not in the kernel was queued; 0: none */
	uint64_t drift_due_ns;		/* rules are known to be gone: from then on it is not healthy; 0: they are there */
};

/* One Service with a healthCheckNodePort (health-and-probes B.4). */
struct hz_service {
	char *ns, *name;
	uint16_t port;
	bool has_family[KP_N_FAMILIES];
	uint32_t local_ready[KP_N_FAMILIES];	/* for certain in the kernel, and still wanted: rules O1 and O2 */
	const char *broken[KP_N_FAMILIES];	/* why no rules are there for what is ready: static; NULL: they are */
	uint32_t local_terminating[KP_N_FAMILIES];	/* end, and still serve: shown, never counted */
	int64_t created;		/* the older Service wins a contested port */
};

/* Counted, so that a new state need not copy it when only times changed. */
struct hz_services {
	int refs;			/* atomic */
	struct hz_services *first;	/* that the names belong to, a reference; NULL: it is this one */
	struct hz_service *items;	/* sorted by ns, name */
	size_t n;
};
struct hz_services *hz_services_new(size_t n);	/* zeroed items, one reference */
/*
 * Brings the items in order; once they are filled in and before anybody else sees them. (The
 * order of "ns/name" as one string is another: '-' sorts before '/'.)
 */
void hz_services_sort(struct hz_services *s);
struct hz_services *hz_services_ref(struct hz_services *s);
struct hz_services *hz_services_unref(struct hz_services *s);	/* NULL is fine; returns NULL */
/* The same Services at the same ports, to be given other numbers before anybody else sees them. One reference. */
struct hz_services *hz_services_again(struct hz_services *s);
/* Is one the other, or that again? Nothing is compared. NULL is none. */
bool hz_services_same_ports(const struct hz_services *a, const struct hz_services *b);
/* NULL: not there. services may be NULL. */
const struct hz_service *hz_services_find(const struct hz_services *services, const char *ns, const char *name);

struct hz_state {
	uint64_t generation;		/* the last hand-over that the kernel has acknowledged; 0: none */
	bool started;			/* first full commit acknowledged, or warm start accepted */
	bool node_eligible;		/* known, not being deleted, no ineligible taint */
	bool lenient;			/* health.startup is compat: /healthz does not wait for started */
	struct hz_node node;
	uint64_t stale_ns;		/* T_stale: 2 x syncPeriod */
	uint64_t alive_ns;		/* when those who would know of changes were last at work; 0: nobody says. See hz_server_alive() */
	struct hz_family family[KP_N_FAMILIES];
	struct hz_services *services;	/* counted reference; may be NULL */
	/* Where healthCheckNodePorts listen: every address, or these. */
	bool any_address[KP_N_FAMILIES];
	struct kp_addr *addresses;	/* both families; owned by the state */
	size_t n_addresses;
};
void hz_state_free(struct hz_state *s);	/* NULL is fine */
struct hz_state *hz_state_copy(const struct hz_state *s);
/* Do both ask for the same listeners? */
bool hz_state_same_ports(const struct hz_state *a, const struct hz_state *b);

/* Pure decisions, at a moment of the monotonic clock. */
uint64_t hz_pending_ns(const struct hz_state *s, enum kp_family f, uint64_t now_ns);	/* age; 0: none */
bool hz_drifted(const struct hz_state *s, enum kp_family f, uint64_t now_ns);	/* and repair is overdue */
bool hz_stuck(const struct hz_state *s, uint64_t now_ns);	/* nobody has been at work for T_stale, and for 5 s */
bool hz_family_healthy(const struct hz_state *s, enum kp_family f, uint64_t now_ns);
bool hz_healthy(const struct hz_state *s, uint64_t now_ns);		/* /livez */
bool hz_ready(const struct hz_state *s, uint64_t now_ns);		/* /healthz */
bool hz_agent_ready(const struct hz_state *s, uint64_t now_ns);		/* /agent */
/* The port of a Service: of which family its numbers are on a connection; are the rules there (svc NULL: of any); 200? */
enum kp_family hz_service_family(const struct hz_service *svc, enum kp_family connection);
bool hz_service_proxy_ok(const struct hz_state *s, const struct hz_service *svc, enum kp_family f, uint64_t now_ns);
bool hz_service_ok(const struct hz_state *s, const struct hz_service *svc, enum kp_family f, uint64_t now_ns);

#endif
