#ifndef KP_HEALTH_H
#define KP_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/plan/dataplane.h"

struct hz_node;
struct hz_state;

/*
 * What the agent knows about its own truth: what was handed to the dataplane and when,
 * what came back acknowledged, and how many local endpoints each health port may claim.
 * Main thread; makes the frozen states that the health thread answers from.
 *
 * Fail early, pass late (health-and-probes O1, O2): a loss counts when it is wanted, a
 * gain when the kernel has acknowledged it.
 */
struct kp_health;

struct kp_health *kp_health_new(const bool families[KP_N_FAMILIES], uint64_t stale_ns);
struct kp_health *kp_health_free(struct kp_health *h);
void kp_health_set_stale(struct kp_health *h, uint64_t stale_ns);

/*
 * A Service's new plan, NULL: gone. Before the batch that holds it is handed over. True: its port claims
 * less from now on, and a state that says so is to be published before, too.
 */
bool kp_health_want(struct kp_health *h, const char *key, struct kp_plan *plan);
/* Everything wanted so far went out as this generation. */
void kp_health_submitted(struct kp_health *h, uint64_t generation, uint64_t now_ns);
/* The dataplane's word on everything up to generation; a failure also counts when nothing new was handed over. */
void kp_health_result(struct kp_health *h, uint64_t generation, const struct dp_result *res, uint64_t now_ns);
/*
 * The kernel holds a whole set of rules of an earlier process (E.6, warm start): started from now
 * on. What a Service's health port may claim is known only with the first commit.
 */
void kp_health_warm(struct kp_health *h, uint64_t wall_ns);
/* It does not any more, before the first commit. */
void kp_health_cold(struct kp_health *h);
void kp_health_node(struct kp_health *h, bool eligible);
/* What else the states say of the node. Borrowed, and looked at for each of them. */
void kp_health_node_state(struct kp_health *h, const struct hz_node *node, bool lenient);
void kp_health_plan_node(struct kp_health *h, const struct kp_plan_node *node);	/* where health ports listen */

/*
 * A named reason why nothing may be programmed, so that /healthz says 503 however good the rules
 * of before are; why NULL: it is gone. kp_health_blocked: one that stands, NULL: none.
 */
void kp_health_block(struct kp_health *h, const char *name, const char *why);
const char *kp_health_blocked(const struct kp_health *h);

/*
 * on: what is handed over, now and later, may be out of date, and nobody shall count on it: neither
 * started nor lenient, until it is off again and everything handed over by then is in the kernel.
 */
void kp_health_hold(struct kp_health *h, bool on);

bool kp_health_started(const struct kp_health *h);	/* committed, or warm */
bool kp_health_committed(const struct kp_health *h);	/* by this process, in every family */
/* A frozen copy for hz_server_publish(). */
struct hz_state *kp_health_state(struct kp_health *h);

#endif
