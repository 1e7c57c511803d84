#ifndef HZ_LISTENERS_H
#define HZ_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "healthz/port.h"

struct event_base;
struct hz_conns;
struct hz_listen;
struct hz_port;
struct hz_listener_report;
struct hz_state;
struct kp_err;
struct kp_inherit;

/*
 * The listening sockets of one thread: the health thread's, and the monitor's on the main thread.
 * Explicit IPv4 and IPv6 sockets, so that a connection's family is its listener's; a host
 * without IPv6 goes without the latter. What cannot be bound is tried again every 5 s.
 */
struct hz_listeners;

struct hz_listeners *hz_listeners_new(struct event_base *base, struct hz_conns *conns);
/*
 * Called whenever a Service's port cannot be opened, also each time it is tried again, and with each
 * change of Services for one whose port belongs to another.
 */
typedef void hz_failure_fn(void *arg, const char *ns, const char *name, uint16_t port, const char *why);
void hz_listeners_on_failure(struct hz_listeners *ls, hz_failure_fn *fn, void *arg);
struct hz_listeners *hz_listeners_free(struct hz_listeners *ls);	/* NULL is fine; returns NULL */

/* A listener that stays. -errno: not all of its sockets could be bound, and they will be tried again. */
int hz_listeners_add(struct hz_listeners *ls, const struct hz_listen *listen, struct kp_err *err);

/*
 * Make these the listeners that stay. One that is there already keeps its sockets, others
 * close before new ones open. What cannot be bound is logged and tried again.
 */
void hz_listeners_set(struct hz_listeners *ls, const struct hz_listen *listen, size_t n);

/* The mode of Services' ports from now on. */
void hz_listeners_set_service_proxy(struct hz_listeners *ls, enum hz_proxy_mode proxy);

/* Fixed ones, Services, then Services whose port belongs to another; the array and what it points to are the caller's. */
size_t hz_listeners_report(const struct hz_listeners *ls, struct hz_listener_report **ret);

/*
 * Make the listeners of Services what the state asks for. One whose port did not
 * change keeps its sockets; one that goes first accepts what waits in its queue, so that
 * those peers get an answer. s is not used after the first connection is accepted.
 */
void hz_listeners_sync(struct hz_listeners *ls, const struct hz_state *s);

/*
 * Hand-over (health-and-probes E.6). inherit: sockets that are open already (taken) are used instead
 * of opening new ones, as listeners come that are bound there; drop_inherited: close what nobody
 * asked for. give: copies of all open sockets, named as their listeners. hold: nothing more is opened, since
 * whoever has the copies will; off: what came meanwhile is. leave: stop accepting; what waits in
 * the queues is for whoever has the copies.
 */
void hz_listeners_inherit(struct hz_listeners *ls, struct kp_inherit *taken);
void hz_listeners_drop_inherited(struct hz_listeners *ls);
void hz_listeners_give(const struct hz_listeners *ls, struct kp_inherit *to);
void hz_listeners_hold(struct hz_listeners *ls, bool on);
void hz_listeners_leave(struct hz_listeners *ls);

#endif
