#ifndef HZ_LISTENER_H
#define HZ_LISTENER_H

#include <stdbool.h>
#include <stddef.h>

#include <event2/event_struct.h>

#include "proxy/base/log.h"

struct event_base;
struct hz_conns;
struct hz_port;
struct hz_sock;
struct kp_addr;
struct kp_err;
struct kp_inherit;

#define HZ_LISTEN_LOG_MS 300000	/* between two lines about one trouble */

/* What they need of the set they are in (healthz/listeners.h), which owns it and outlives them. */
struct hz_listen_env {
	struct event_base *base;
	struct hz_conns *conns;
	struct kp_inherit *inherited;	/* open, and not in use yet; NULL: none */
	struct event resume;	/* set when a listener pauses; calls hz_listener_resume() for all */
	struct kp_ratelimit starved_log;
	bool held;		/* a successor has copies of what is open, and opens the rest */
	bool left;		/* to somebody else: nothing is accepted any more */
};

/* One port, on some addresses. Of the set's thread. */
struct hz_listener {
	struct hz_listen_env *env;
	struct hz_port *port;
	struct hz_sock **socks;	/* each at a fixed place: libevent points to them */
	size_t n;
	char *problem;		/* why not all of them are open; NULL: they are */
	struct kp_ratelimit log;	/* of that */
};

struct hz_listener *hz_listener_new(struct hz_listen_env *env, struct hz_port *taken);	/* on no address */
/* Unless it was left to somebody, accepts what waits in the queue first. NULL is fine; returns NULL. */
struct hz_listener *hz_listener_free(struct hz_listener *l);

/* Exactly these addresses from now on: sockets that are there already stay as they are, others wait to be opened. */
void hz_listener_set_addrs(struct hz_listener *l, const struct kp_addr *addrs, size_t n);
bool hz_listener_is_at(const struct hz_listener *l, const struct kp_addr *addrs, size_t n);

/*
 * Open what is not. 0, or -errno of the last failure, which is remembered. A host without IPv6 goes without.
 * -EINPROGRESS: not now, it would be in the way of a successor.
 */
int hz_listener_open(struct hz_listener *l, struct kp_err *err);
void hz_listener_resume(struct hz_listener *l);	/* ends a pause, if there is one */

/* Copies of the open sockets, with the names that a successor looks for. */
void hz_listener_give(const struct hz_listener *l, struct kp_inherit *to);

#endif
