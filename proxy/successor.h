#ifndef KP_SUCCESSOR_H
#define KP_SUCCESSOR_H

#include <stdbool.h>

#include "proxy/handover.h"

struct event_base;

/* The starting agent's side of a hand-over (proxy/handover.h). Main thread. */
struct kp_successor;

struct kp_successor_view {
	/* All sockets are here (taken), the predecessor does not write any more: the dataplane is ours. */
	void (*given)(void *arg, struct kp_inherit *taken, const struct kp_handover_node *node);
	/* It hung up before everything was given: if it has ended, take the place, and what came so far. */
	void (*alone)(void *arg, struct kp_inherit *taken);
	/* It ended after that: what it gave is ours, and nobody else answers any more. */
	void (*left_alone)(void *arg);
	/* It carries on, or hangs: end. */
	void (*refused)(void *arg, const char *why);
	unsigned give_ms;	/* how long it may take to give; 0: KP_HANDOVER_GIVE_MS */
	void *arg;
};

/*
 * Ask whoever holds this network namespace, and wait for the answer, up to
 * KP_HANDOVER_HELLO_MS. What is no agent (kp_instance_connect) is sent nothing. 0: it is
 * willing. -errno with err: it is not, or is too old to know how; nothing has changed then.
 */
int kp_successor_new(struct kp_successor **ret, const char *node_name, struct kp_err *err);
struct kp_successor *kp_successor_free(struct kp_successor *s);	/* NULL is fine; returns NULL */

/* From now on the view is called, by the main loop. */
void kp_successor_listen(struct kp_successor *s, struct event_base *base, const struct kp_successor_view *view);
/* Everything is read and planned. Asks once; false: not given yet. */
bool kp_successor_may_write(struct kp_successor *s);
/* Everything is in the kernel, and probes are answered. The connection stays: the predecessor may watch it. */
void kp_successor_ready(struct kp_successor *s);

#endif
