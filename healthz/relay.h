#ifndef HZ_RELAY_H
#define HZ_RELAY_H

#include <stdint.h>

#include "proxy/base/addr.h"

struct event_base;
struct hz_answer;
struct hz_conns;
struct hz_req;

/*
 * For nodes that keep another kube-proxy (health-and-probes B.12): each request goes on as
 * a fresh one to the target, and its status and body come back; 502 if the target does not
 * answer well within 3 s. Health thread; waits for nothing but its events.
 */
struct hz_relay;

struct hz_relay_target {
	struct kp_addr addr;
	uint16_t port;
};

struct hz_relay *hz_relay_new(struct event_base *base, struct hz_conns *conns, const struct hz_relay_target *target);
struct hz_relay *hz_relay_free(struct hz_relay *r);	/* before conns; NULL is fine; returns NULL */

/* Within ask, for a request without a status of its own: promises the answer. */
void hz_relay_ask(struct hz_relay *r, const struct hz_req *req);

#endif
