#ifndef KP_NODECHECKS_H
#define KP_NODECHECKS_H

#include <stddef.h>

#include "healthz/node.h"

struct event_base;

/*
 * Runs the checks of proxylet.agent.checks (health-and-probes B.5) on the main loop: the
 * processors' load is read each second, programs run at their intervals, and never because
 * somebody asks. A load passes until its window is full, a program fails until it has passed.
 */
struct kp_nodechecks;

/* None yet. changed is called after each result. */
struct kp_nodechecks *kp_nodechecks_new(struct event_base *base, void (*changed)(void *arg), void *arg);
struct kp_nodechecks *kp_nodechecks_free(struct kp_nodechecks *nc);	/* kills what runs; NULL is fine; returns NULL */
/* specs: as in struct kp_config, valid; NULL-terminated, copied. Those that stay the same run on. */
void kp_nodechecks_configure(struct kp_nodechecks *nc, char *const *specs);
/* Results of a predecessor: each counts until the check of that name has one of its own. */
void kp_nodechecks_inherit(struct kp_nodechecks *nc, const struct hz_check *results, size_t n);
/* The latest results; how many. */
size_t kp_nodechecks_get(const struct kp_nodechecks *nc, struct hz_check ret[HZ_MAX_CHECKS]);

#endif
