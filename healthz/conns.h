#ifndef HZ_CONNS_H
#define HZ_CONNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct conn;
struct event_base;
struct hz_answer;
struct hz_history;
struct hz_peer;
struct hz_policy;
struct hz_port;
struct hz_req;

/*
 * Connections that share their limits (health-and-probes B.2): those of the health thread, and of
 * the main thread the monitor's. One thread each, that of the event base.
 */
struct hz_conns;

/* Called for every request and every error; the answer is sent by the caller. Must not touch the connections. */
typedef void hz_ask_fn(void *arg, const struct hz_port *port, enum kp_family family, const struct hz_req *req,
		       struct hz_answer *ret);

/* Within ask: the socket of the one who asks. */
int hz_conns_asking(const struct hz_conns *cs);

/*
 * Within ask: the answer comes later, by hz_promise_keep(); what ask has put into *ret does not count.
 * The promise is its maker's, who keeps it or breaks it in time. Until then nothing more of
 * this connection is read.
 */
struct hz_promise {
	struct conn *conn;	/* NULL: the connection is gone */
};
void hz_conns_promise(struct hz_conns *cs, struct hz_promise *p);
/* Where the answer belongs, for filling in, then keep it; NULL: there is nobody any more. */
struct hz_answer *hz_promise_answer(const struct hz_promise *p);
void hz_promise_keep(struct hz_promise *p);
void hz_promise_break(struct hz_promise *p);	/* closes the connection */

/* policy is copied. history, if not NULL, learns of every answer and of connections without any; borrowed. */
struct hz_conns *hz_conns_new(struct event_base *base, const struct hz_policy *policy, struct hz_history *history,
			      hz_ask_fn *ask, void *arg);
struct hz_conns *hz_conns_free(struct hz_conns *cs);	/* closes all; NULL is fine; returns NULL */

/* Another policy from now on, copied; connections that are there keep the timers they have. */
void hz_conns_set_policy(struct hz_conns *cs, const struct hz_policy *policy);

/*
 * Serve an accepted socket (non-blocking; taken); peer: NULL for sockets without addresses. Whom the
 * policy does not allow meets a reset. At the limit, or when descriptors get few, another connection
 * makes room: the oldest that never completed a request, else the longest idle one. What the peer
 * has sent already is answered before this returns.
 */
void hz_conns_add(struct hz_conns *cs, int fd, struct hz_port *port, enum kp_family family, const struct hz_peer *peer);

/*
 * The process is about to end: every next answer says so and closes its connection. close_idle()
 * closes those that wait for a request, in a way that one which crosses the close meets no RST.
 */
void hz_conns_last_answers(struct hz_conns *cs);
void hz_conns_close_idle(struct hz_conns *cs);
size_t hz_conns_count(const struct hz_conns *cs);

/* Close the connection that is worth least, in the order above. False: there is none. */
bool hz_conns_evict(struct hz_conns *cs);

uint64_t hz_conns_evicted(const struct hz_conns *cs);	/* how many ever made room */

#endif
