#ifndef HZ_NODE_H
#define HZ_NODE_H

#include <stdbool.h>
#include <stddef.h>

struct kp_err;

/*
 * The state of the node as load balancers and their guest agents see it (health-and-probes
 * B.5). Values and pure decisions; whoever owns the value says what happens.
 */
enum hz_node_state { HZ_NODE_READY, HZ_NODE_BUSY, HZ_NODE_RECYCLING, HZ_NODE_STOPPING, HZ_N_NODE_STATES };
extern const char *const hz_node_state_names[HZ_N_NODE_STATES];	/* "Ready", ... */

/* The last result of a check of the node (agent.checks). */
#define HZ_CHECK_NAME 32
struct hz_check {
	char name[HZ_CHECK_NAME];	/* letters, digits and "._-" */
	bool ok;
	bool for_healthz;	/* counts for /healthz, too; all of them do for /agent */
	bool has_value;
	double value;
};

#define HZ_MAX_CHECKS 16	/* KP_MAX_CHECKS */

/* Zero-initialise: nobody has said anything yet. */
struct hz_node {
	enum hz_node_state told;	/* by an administrator; READY: by itself, as things are */
	bool draining, draining_services;
	bool ending;			/* draining, and there is no way back */
	struct hz_check checks[HZ_MAX_CHECKS];
	size_t n_checks;
};

/* started: rules are known to be in the kernel. */
enum hz_node_state hz_node_state(const struct hz_node *n, bool started);
bool hz_node_checks_ok(const struct hz_node *n, bool for_healthz);

/*
 * What is asked for: Busy, Ready or Recycling. -EBUSY with err while the node is drained:
 * Stopping is left by hz_node_drain_stop() alone.
 */
int hz_node_tell(struct hz_node *n, enum hz_node_state state, struct kp_err *err);
/* Again with other arguments: these count. -EBUSY with err: the process is ending. */
int hz_node_drain_start(struct hz_node *n, bool services, struct kp_err *err);
int hz_node_drain_stop(struct hz_node *n, struct kp_err *err);
/* Drained, Services as well, until the process is gone. */
void hz_node_end(struct hz_node *n);

#endif
