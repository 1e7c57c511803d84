#ifndef KP_PREDECESSOR_H
#define KP_PREDECESSOR_H

#include <stdbool.h>

#include "proxy/handover.h"

struct event_base;

/*
 * The running agent's side of a hand-over (proxy/handover.h): waits for a successor, one at a
 * time, of uid 0 or our own. Main thread and main loop. Everything that goes wrong is a line
 * in the log, and the agent carries on.
 */
struct kp_predecessor;

struct kp_predecessor_view {
	int instance;			/* the listening socket; borrowed */
	bool willing;			/* proxylet.handover; if not, whoever asks is told so */
	char *const *node_name;		/* a successor must be of the same node; borrowed */
	unsigned ready_ms;		/* 0: KP_HANDOVER_READY_MS */
	/* Stop writing to the kernel; copies of every socket. NULL, with err: not now. */
	struct kp_inherit *(*give)(void *arg, struct kp_handover_node *ret, struct kp_err *err);
	void (*resume)(void *arg);	/* the successor did not make it: write again */
	void (*leave)(void *arg);	/* it did: end */
	void (*orphaned)(void *arg);	/* after leave: the successor has ended */
	void *arg;
};

struct kp_predecessor *kp_predecessor_new(struct event_base *base, const struct kp_predecessor_view *view);
struct kp_predecessor *kp_predecessor_free(struct kp_predecessor *p);	/* NULL is fine; returns NULL */
void kp_predecessor_set_willing(struct kp_predecessor *p, bool willing);

/*
 * The agent is told to end: from now on no successor hears that it carries on. True: one is on its way and
 * has, or gets at once, all sockets; leave() or resume() will be called. False: there is none, or it takes
 * the place when we are gone.
 */
bool kp_predecessor_give_now(struct kp_predecessor *p);

#endif
