#include "healthz/node.h"

#include <errno.h>

#include "proxy/base/err.h"

const char *const hz_node_state_names[HZ_N_NODE_STATES] = {
	[HZ_NODE_READY] = "Ready", [HZ_NODE_BUSY] = "Busy", [HZ_NODE_RECYCLING] = "Recycling",
	[HZ_NODE_STOPPING] = "Stopping",
};

enum hz_node_state hz_node_state(const struct hz_node *n, bool started)
{
	if (n->draining)
		return HZ_NODE_STOPPING;
	if (n->told != HZ_NODE_READY)
		return n->told;
	return started ? HZ_NODE_READY : HZ_NODE_BUSY;	/* whatever was told: nobody is ready without rules */
}

bool hz_node_checks_ok(const struct hz_node *n, bool for_healthz)
{
	for (size_t i = 0; i < n->n_checks; i++)
		if (!n->checks[i].ok && (n->checks[i].for_healthz || !for_healthz))
			return false;
	return true;
}

int hz_node_tell(struct hz_node *n, enum hz_node_state state, struct kp_err *err)
{
	if (n->draining)
		return kp_err_set(err, -EBUSY, "the node is drained: \"drain stop\" ends that");
	n->told = state;
	return 0;
}

static int refuse_ending(const struct hz_node *n, struct kp_err *err)
{
	return n->ending ? kp_err_set(err, -EBUSY, "the agent is ending") : 0;
}

int hz_node_drain_start(struct hz_node *n, bool services, struct kp_err *err)
{
	int r = refuse_ending(n, err);

	if (r < 0)
		return r;
	n->draining = true;
	n->draining_services = services;
	return 0;
}

int hz_node_drain_stop(struct hz_node *n, struct kp_err *err)
{
	int r = refuse_ending(n, err);

	if (r < 0)
		return r;
	n->draining = n->draining_services = false;
	return 0;
}

void hz_node_end(struct hz_node *n)
{
	n->draining = n->draining_services = n->ending = true;
}
