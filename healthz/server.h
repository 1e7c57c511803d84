#ifndef HZ_SERVER_H
#define HZ_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "healthz/policy.h"
#include "proxy/base/addr.h"

struct hz_relay_target;
struct hz_report;
struct hz_state;
struct kp_err;
struct kp_inherit;

/*
 * The health thread: its own event loop, listeners and connections. It shares
 * nothing with the other threads but an atomic pointer to the newest state.
 */
struct hz_server;

struct hz_listen {
	const char *name;	/* "main", "shared": for messages and metrics */
	struct kp_addr addr;	/* zero address, of either family: all addresses of both (HC-10) */
	uint16_t port;
	enum hz_proxy_mode proxy;
};

struct hz_options {
	const struct hz_listen *listen;	/* the fixed listeners: /healthz and /livez */
	size_t n_listen;
	const struct hz_relay_target *relay;	/* answer with what is said there; NULL: from the states */
	bool hard_fail;		/* bindAddressHardFail: a fixed listener that cannot bind is an error */
	struct hz_policy policy;
	struct kp_inherit *inherited;	/* open sockets to use, taken; NULL: none */
	struct hz_state *state;	/* to answer from at first, taken; NULL: none is known */
};

/*
 * Binds, starts the thread; opt is copied. With hard_fail a failed bind comes back as
 * -errno, otherwise it is logged and retried every 5 s. Until the first state is
 * published /livez answers 200 and /healthz 503.
 */
int hz_server_start(struct hz_server **ret, const struct hz_options *opt, struct kp_err *err);

/*
 * Hand over the newest state (taken). From any one thread; never blocks. Answers
 * switch at once, listeners of Services are opened and closed by the health thread.
 */
void hz_server_publish(struct hz_server *s, struct hz_state *taken);

/*
 * Whoever publishes was at work at this time, and would have told of changes (A06). Each second, say;
 * until the first call it is not asked about.
 */
void hz_server_alive(struct hz_server *s, uint64_t now_ns);

/*
 * Other fixed listeners from now on, copied. From the thread that publishes; the health
 * thread soon changes what differs, and those that stay the same are not touched.
 */
void hz_server_listen(struct hz_server *s, const struct hz_listen *listen, size_t n);

/* Another policy from now on, copied; open connections stay. From the thread that publishes. */
void hz_server_set_policy(struct hz_server *s, const struct hz_policy *policy);

/*
 * What the health thread has to tell: asks it and waits for the answer, which takes as long as
 * one turn of its loop. NULL: none came within timeout_ms. From the thread that publishes.
 */
struct hz_report *hz_server_report(struct hz_server *s, unsigned timeout_ms);

/* kube-proxy's counters (kubeproxy_proxy_healthz_total{code}, ..._livez_total). */
struct hz_counters {
	uint64_t healthz_200, healthz_503, livez_200, livez_503;
};
struct hz_counters hz_server_counters(const struct hz_server *s);

/*
 * Ports of Services that could not be opened, as hz_failure_fn (healthz/listeners.h) says. The fd
 * is readable while there are some; any one thread takes them. Few are kept: who does not
 * take them loses the later ones.
 */
struct hz_failure {
	char ns[64], name[256];		/* of the Service */
	uint16_t port;
	char why[256];
};
int hz_server_failure_fd(const struct hz_server *s);
bool hz_server_take_failure(struct hz_server *s, struct hz_failure *ret);

/*
 * Hand-over (health-and-probes E.6); from the thread that publishes. inherit: open sockets (taken)
 * to use for what hz_server_listen() and states ask for from then on; what no listener has
 * asked for when the first state with Services is there is closed. give: copies of all open sockets.
 * hold (before give): nothing more is opened, since a successor will; off: there is none after all.
 * leave: they have an owner elsewhere; stop accepting, close each connection with its next
 * answer, and after idle_ms those that wait for a request. n_left: connections still open.
 */
void hz_server_inherit(struct hz_server *s, struct kp_inherit *taken);
void hz_server_give(struct hz_server *s, struct kp_inherit *to);
void hz_server_hold(struct hz_server *s, bool on);
void hz_server_leave(struct hz_server *s, unsigned idle_ms);
size_t hz_server_n_left(const struct hz_server *s);

bool hz_server_has_run(struct hz_server *s);	/* its thread, since the last call; wakes it for the next one */

struct hz_server *hz_server_stop(struct hz_server *s);	/* closes everything, joins the thread; returns NULL */

#endif
