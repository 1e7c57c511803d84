#ifndef KP_INTAKE_H
#define KP_INTAKE_H

#include <stdbool.h>

#include "proxy/source/decode.h"

struct kp_config;
struct kp_err;
struct kp_model;

/* From what a source reports into the model; of Nodes only the own one. Main thread. */
struct kp_intake {
	struct kp_model *model;		/* all borrowed */
	const struct kp_config *cfg;
	const char *node_name;
	bool dual_stack;
	bool node_gone;		/* deleted; what it was last still counts for the rules (IN-36) */
};

/*
 * Takes the object's value. *changed: the model is another one now. -EINVAL with err: it
 * is taken, but the configuration makes no sense on such a Node, as kube-proxy finds at
 * its start.
 */
int kp_intake_upsert(struct kp_intake *in, struct kp_object *o, bool *changed, struct kp_err *err);
/* True: the model is another one now, or the own Node is gone. */
bool kp_intake_remove(struct kp_intake *in, enum kp_kind kind, const char *key);

/* For probes of load balancers. */
bool kp_intake_eligible(const struct kp_intake *in);

#endif
