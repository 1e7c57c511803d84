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

/* specs: as in struct kp_config, valid; NULL-terminated, copied. changed is called after each result. */
struct kp_nodechecks *kp_nodechecks_new(struct event_base *base, char *const *specs, void (*changed)(void *arg),
					void *arg);
struct kp_nodechecks *kp_nodechecks_free(struct kp_nodechecks *nc);	/* kills what runs; NULL is fine; returns NULL */
bool kp_nodechecks_same(const struct kp_nodechecks *nc, char *const *specs);
/* The latest results; how many. */
size_t kp_nodechecks_get(const struct kp_nodechecks *nc, struct hz_check ret[HZ_MAX_CHECKS]);

#endif
