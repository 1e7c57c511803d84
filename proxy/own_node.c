#include "proxy/own_node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

static void keep_ips(struct kp_node *n, const struct kp_node *old)
{
	kp_warn("node", "the Node has no addresses any more; its last ones still count");
	n->ips = kp_memdup(old->ips, old->n_ips * sizeof(*old->ips));
	n->n_ips = old->n_ips;
}

static void choose_ips(struct kp_node *n, const struct kp_config *c)
{
	struct kp_node_ips found;

	kp_node_ips_detect(n->ips, n->n_ips, c->bind_address, &found);
	n->stand_ins |= !n->n_ips;
	free(n->ips);
	n->n_ips = KP_N_FAMILIES;
	n->ips = kp_calloc(n->n_ips, sizeof(*n->ips));
	n->ips[0] = found.ip[found.primary];
	n->ips[1] = found.ip[found.primary == KP_IPV4 ? KP_IPV6 : KP_IPV4];
}

static void keep_pod_cidrs(struct kp_node *n, const struct kp_node *old)
{
	kp_warn("node", "the Node has no podCIDRs any more; its last ones still count");
	n->pod_cidrs = kp_memdup(old->pod_cidrs, old->n_pod_cidrs * sizeof(*old->pod_cidrs));
	n->n_pod_cidrs = old->n_pod_cidrs;
}

static bool same_ips(const struct kp_node *a, const struct kp_node *b)
{
	return a->n_ips == b->n_ips && memcmp(a->ips, b->ips, a->n_ips * sizeof(*a->ips)) == 0;
}

static bool same_pod_cidrs(const struct kp_node *a, const struct kp_node *b)
{
	return a->n_pod_cidrs == b->n_pod_cidrs &&
	       (!a->n_pod_cidrs || memcmp(a->pod_cidrs, b->pod_cidrs, a->n_pod_cidrs * sizeof(*a->pod_cidrs)) == 0);
}

struct kp_node_change kp_own_node_adapt(struct kp_node *n, const struct kp_node *old, const struct kp_config *c)
{
	bool by_node = c->detect_mode == KP_DETECT_NODE_CIDR;
	struct kp_node_change change = { false, false };

	if (!n->n_ips && old && !old->stand_ins)
		keep_ips(n, old);
	else
		choose_ips(n, c);
	if (by_node && !n->n_pod_cidrs && old && old->n_pod_cidrs)
		keep_pod_cidrs(n, old);
	if (!old)
		return change;
	change.ips = !same_ips(n, old);
	change.pod_cidrs = by_node && !same_pod_cidrs(n, old);
	if (change.ips || change.pod_cidrs)
		kp_info("node", "the Node's %s changed; the rules follow", change.ips ? "addresses" : "podCIDRs");
	return change;
}

bool kp_own_node_suffices(const struct kp_node *n, const struct kp_config *c)
{
	return c->detect_mode != KP_DETECT_NODE_CIDR || (n && n->n_pod_cidrs);
}

static bool is_listed(char *const *list, const char *s)
{
	for (; *list; list++)
		if (strcmp(*list, s) == 0)
			return true;
	return false;
}

bool kp_own_node_eligible(const struct kp_node *n, const struct kp_config *c)
{
	if (!n)
		return c->startup_compat;
	if (n->deleting)
		return false;
	for (char **t = n->taint_keys; t && *t; t++)
		if (is_listed(c->ineligible_taints, *t))
			return false;
	return true;
}

int kp_own_node_fits(const struct kp_node *n, const struct kp_config *c, const struct kp_node_facts *host, struct kp_err *err)
{
	struct kp_config_report rep = { 0 };
	struct kp_node_facts facts = *host;
	int r = 0;

	if (!n)
		return 0;
	facts.primary = n->ips[0].family;
	if (facts.primary == KP_IPV6 && !facts.dual_stack)	/* IN-60 */
		return kp_err_set(err, -EINVAL, "the Node's primary family is IPv6, and this host can do IPv4 alone");
	facts.pod_cidrs = n->pod_cidrs;
	facts.n_pod_cidrs = n->n_pod_cidrs;
	kp_config_check_node_ports(c, &facts, &rep);
	kp_config_check_families(c, &facts, &rep);
	for (size_t i = 0; i < rep.n; i++)
		if (rep.items[i].level == KP_PROBLEM_ERROR)
			r = kp_err_set(err, -EINVAL, "%s", rep.items[i].detail);
		else
			kp_warn("config", "%s: %s", rep.items[i].field, rep.items[i].detail);
	kp_config_report_release(&rep);
	return r;
}
