#ifndef KP_NODESTATE_H
#define KP_NODESTATE_H

#include <stdbool.h>

#include "healthz/node.h"

struct event_base;
struct kp_admin;
struct kp_config;
struct kp_handover_node;

/*
 * The node's state for as long as the agent has its place: what administrators say through the
 * admin socket (/state, /drain), what the checks find, and the last seconds before the end.
 * Main thread.
 */
struct kp_nodestate;

/* changed: somebody should publish it; also called from within kp_nodestate_end. */
struct kp_nodestate *kp_nodestate_new(struct event_base *base, struct kp_admin *admin, void (*changed)(void *arg),
				      void *arg);
struct kp_nodestate *kp_nodestate_free(struct kp_nodestate *ns);	/* before admin; NULL is fine; returns NULL */
/* The checks as configured; those that stay the same run on. */
void kp_nodestate_configure(struct kp_nodestate *ns, const struct kp_config *c);

const struct hz_node *kp_nodestate_get(const struct kp_nodestate *ns);
/*
 * What was said and found, for a successor, and taken over from a predecessor; what ends with the process does
 * not count. Once it is given commands are refused: who said yes would forget them. keep: there is no successor after all.
 */
void kp_nodestate_give(struct kp_nodestate *ns, struct kp_handover_node *ret);
void kp_nodestate_keep(struct kp_nodestate *ns);
void kp_nodestate_inherit(struct kp_nodestate *ns, const struct kp_handover_node *from);
/*
 * The node shuts down (on), or does not after all: drained meanwhile, unless somebody said drain himself before.
 * Who says drain stop is believed. What a successor needs to know of it its own source says.
 */
void kp_nodestate_shutdown(struct kp_nodestate *ns, bool on);
/* For the answer of /state alone: rules are in the kernel. */
void kp_nodestate_started(struct kp_nodestate *ns, bool started);

/*
 * Drained for so many seconds, then done is called, from the loop. With 0, and when it is
 * called again meanwhile, done is called before it returns.
 */
void kp_nodestate_end(struct kp_nodestate *ns, unsigned seconds, void (*done)(void *arg));

#endif
