#ifndef KP_PLAN_DRAFT_H
#define KP_PLAN_DRAFT_H

#include <stddef.h>

#include "proxy/base/buf.h"
#include "proxy/plan/plan.h"

/*
 * A plan under construction: parts are appended to arrays that live from one build
 * to the next, and freezing copies them into a single block. So a build allocates
 * once, and a plan of ten endpoints takes less than a kilobyte.
 *
 * Parts belong to the port that was begun last. The port's numbers and flags are
 * set directly; its pointers and the n_* of appended parts are the draft's.
 */
struct kp_draft {
	struct kp_plan_port *ports;
	struct kp_frontend *frontends;
	struct kp_backend *cluster, *local, *serving;
	struct kp_cidr *ranges;
	struct kp_addr *ready;
	struct kp_buf text;	/* name, label and id of each port, each with its NUL */
	size_t n_ports, n_frontends, n_cluster, n_local, n_ranges, n_serving, n_ready;
	size_t cap_ports, cap_frontends, cap_cluster, cap_local, cap_ranges, cap_serving, cap_ready;
};

void kp_draft_reset(struct kp_draft *d);	/* empty, keeps the memory */
void kp_draft_release(struct kp_draft *d);

/* The returned port is valid until the next one begins. key is "ns/name". */
struct kp_plan_port *kp_draft_port(struct kp_draft *d, const char *key, const char *name, uint8_t proto, uint16_t port);

void kp_draft_frontend(struct kp_draft *d, struct kp_frontend f);
void kp_draft_cluster(struct kp_draft *d, struct kp_backend b);
void kp_draft_local(struct kp_draft *d, struct kp_backend b);
void kp_draft_range(struct kp_draft *d, struct kp_cidr c);
void kp_draft_serving(struct kp_draft *d, struct kp_backend b);	/* any order */

void kp_draft_ready(struct kp_draft *d, const struct kp_addr *a);	/* of the Service; in order */

/* One reference; everything but key, ports and ready endpoints is zero. */
struct kp_plan *kp_draft_freeze(struct kp_draft *d, const char *key);

#endif
