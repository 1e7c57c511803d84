#ifndef KP_OWN_NODE_H
#define KP_OWN_NODE_H

#include <stdbool.h>

#include "proxy/config/config.h"
#include "proxy/config/families.h"
#include "proxy/model/objects.h"

struct kp_err;

/*
 * The own Node on its way from a source into the model. kube-proxy ends when podCIDRs
 * change or the Node is deleted (IN-36), to find the new facts when it is started again;
 * we take them over in place, and what is only missing stays as it was last said.
 */

/* What kube-proxy would have to begin anew for (pod_cidrs: in mode NodeCIDR alone). */
struct kp_node_change {
	bool ips, pod_cidrs;
};

/*
 * old: as it is in the model, NULL: nothing yet. n's addresses become the two that count,
 * the primary one first (kp_node_ips_detect); addresses, and in mode NodeCIDR podCIDRs,
 * that it does not name are those of old. Without any there are stand-ins for them.
 */
struct kp_node_change kp_own_node_adapt(struct kp_node *n, const struct kp_node *old, const struct kp_config *c);

/* Known well enough to program rules: mode NodeCIDR waits for podCIDRs (IN-31). n may be NULL. */
bool kp_own_node_suffices(const struct kp_node *n, const struct kp_config *c);

/* For probes of load balancers: known, or need not be (health.startup), not being deleted, no ineligible taint. */
bool kp_own_node_eligible(const struct kp_node *n, const struct kp_config *c);

/*
 * Does the configuration make sense on this Node (as adapted; NULL: nothing known, it may)?
 * host: what else is known. Doubts are logged. -EINVAL with err: nothing good can come of it.
 */
int kp_own_node_fits(const struct kp_node *n, const struct kp_config *c, const struct kp_node_facts *host, struct kp_err *err);

#endif
