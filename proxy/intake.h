#ifndef KP_INTAKE_H
#define KP_INTAKE_H

#include <stdbool.h>

#include "proxy/config/families.h"
#include "proxy/source/decode.h"

struct kp_err;
struct kp_model;

/* From what a source reports into the model; of Nodes only the own one. Main thread. */
struct kp_intake {
	struct kp_model *model;		/* all borrowed */
	const struct kp_config *cfg;
	const char *node_name;
	struct kp_node_facts host;	/* dual_stack and mode */
	bool needs_node;	/* see kp_intake_lacks */
	bool node_gone;		/* deleted; what it was last still counts for the rules (IN-36) */
};

/*
 * Takes the object's value. *changed: the model is another one now. -EINVAL with err: it
 * is taken, but the configuration makes no sense on such a Node, as kube-proxy finds at
 * its start.
 */
int kp_intake_upsert(struct kp_intake *in, struct kp_object *o, bool *changed, struct kp_err *err);
/* Would c on the Node as it is known so far? 0; -EINVAL with err. Stand-ins for addresses that are waited for say nothing. */
int kp_intake_fits(const struct kp_intake *in, const struct kp_config *c, struct kp_err *err);
/* True: the model is another one now, or the own Node is gone. */
bool kp_intake_remove(struct kp_intake *in, enum kp_kind kind, const char *key);

/*
 * What of the own Node is still missing before anything may be programmed (IN-31), as the
 * end of a sentence about it; NULL: nothing. With needs_node it has to exist and have an
 * address, as for kube-proxy; without, as with objects from files, only what mode NodeCIDR
 * needs is waited for. What was there once is not missed later.
 */
const char *kp_intake_lacks(const struct kp_intake *in);

/* For probes of load balancers. */
bool kp_intake_eligible(const struct kp_intake *in);

#endif
