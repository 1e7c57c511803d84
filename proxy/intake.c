#include "proxy/intake.h"

#include <string.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/model/model.h"
#include "proxy/own_node.h"

static bool has_ips(const struct kp_intake *in)
{
	const struct kp_node *n = kp_model_node(in->model);

	return n && (!n->stand_ins || !in->needs_node);
}

int kp_intake_fits(const struct kp_intake *in, const struct kp_config *c, struct kp_err *err)
{
	return has_ips(in) ? kp_own_node_fits(kp_model_node(in->model), c, &in->host, err) : 0;
}

static int put_node(struct kp_intake *in, struct kp_node *taken, bool *changed, struct kp_err *err)
{
	bool was_judged = has_ips(in);
	struct kp_node_change change;

	if (strcmp(taken->name, in->node_name) != 0) {
		kp_node_free(taken);
		return 0;
	}
	change = kp_own_node_adapt(taken, kp_model_node(in->model), in->cfg);
	in->node_gone = false;
	*changed = kp_model_put_node(in->model, taken);
	if (was_judged && !change.ips && !change.pod_cidrs)
		return 0;
	return kp_intake_fits(in, in->cfg, err);
}

/* kube-proxy ends when its Node is deleted, and waits for it; the rules stay. */
static bool del_node(struct kp_intake *in, const char *name)
{
	if (strcmp(name, in->node_name) != 0)
		return false;
	kp_warn("agent", "Node \"%s\" is gone: /healthz is 503, the rules stay as they are", name);
	in->node_gone = true;
	return true;
}

int kp_intake_upsert(struct kp_intake *in, struct kp_object *o, bool *changed, struct kp_err *err)
{
	*changed = false;
	switch (o->kind) {
	case KP_KIND_SERVICE:
		*changed = kp_model_put_service(in->model, kp_steal(&o->service));
		break;
	case KP_KIND_SLICE:
		if (o->slice)
			*changed = kp_model_put_slice(in->model, kp_steal(&o->slice));
		else	/* no longer one of ours: label or address type changed */
			*changed = kp_model_del_slice(in->model, o->key);
		break;
	case KP_KIND_NODE:
		return put_node(in, kp_steal(&o->node), changed, err);
	case KP_KIND_SERVICE_CIDR:
		*changed = kp_model_put_service_cidr(in->model, kp_steal(&o->cidr));
		break;
	case KP_KIND_OTHER:
		break;
	}
	return 0;
}

bool kp_intake_remove(struct kp_intake *in, enum kp_kind kind, const char *key)
{
	switch (kind) {
	case KP_KIND_SERVICE:
		return kp_model_del_service(in->model, key);
	case KP_KIND_SLICE:
		return kp_model_del_slice(in->model, key);
	case KP_KIND_NODE:
		return del_node(in, key);
	case KP_KIND_SERVICE_CIDR:
		return kp_model_del_service_cidr(in->model, key);
	case KP_KIND_OTHER:
		break;
	}
	return false;
}

const char *kp_intake_lacks(const struct kp_intake *in)
{
	const struct kp_node *n = kp_model_node(in->model);

	if (in->needs_node && !n)
		return "does not exist";
	if (in->needs_node && n->stand_ins)
		return "has no address";
	return kp_own_node_suffices(n, in->cfg) ? NULL : "has no podCIDRs, which detectLocalMode NodeCIDR is about";
}

bool kp_intake_eligible(const struct kp_intake *in)
{
	return !in->node_gone && kp_own_node_eligible(kp_model_node(in->model), in->cfg);
}
