#include <string.h>

#include "proxy/base/log.h"
#include "proxy/model/model.h"
#include "proxy/plan/addrs.h"
#include "proxy/plan/build_impl.h"

static const struct kp_cidr *node_cidr(const struct kp_node *n, enum kp_family family)
{
	for (size_t i = 0; n && i < n->n_pod_cidrs; i++)
		if (n->pod_cidrs[i].addr.family == family)
			return &n->pod_cidrs[i];
	return NULL;
}

static struct kp_detector by_cidr(const struct kp_cidr *c)
{
	struct kp_detector d = { .kind = KP_DETECT_NONE };

	if (c)
		d = (struct kp_detector){ .kind = KP_DETECT_CIDR, .cidr = *c };
	return d;
}

static struct kp_detector by_name(enum kp_detect kind, const char *ifname)
{
	struct kp_detector d = { .kind = (uint8_t)kind };

	memcpy(d.ifname, ifname, sizeof(d.ifname));
	return d;
}

static struct kp_detector detector(const struct kp_planner *p, enum kp_family f)
{
	const struct kp_plan_options *opt = &p->opt;

	switch (opt->local_mode) {
	case KP_LOCAL_CLUSTER_CIDR:
		return by_cidr(opt->has_cluster_cidr[f] ? &opt->cluster_cidr[f] : NULL);
	case KP_LOCAL_NODE_CIDR:
		return by_cidr(node_cidr(kp_model_node(p->model), f));
	case KP_LOCAL_BRIDGE:
		return by_name(KP_DETECT_IFNAME, opt->ifname);
	case KP_LOCAL_PREFIX:
		return by_name(KP_DETECT_IFPREFIX, opt->ifname);
	}
	return by_cidr(NULL);
}

static void tell_no_detector(struct kp_planner *p, enum kp_family f, bool none)
{
	if (none && !p->told_no_detector[f])
		kp_warn("plan", "no %s CIDR to tell pods by: their traffic to policy Local stays on this node, and"
			" traffic from outside to clusterIPs is not masqueraded", kp_family_names[f]);
	p->told_no_detector[f] = none;
}

/* Sorted, distinct, and without loopback: nothing that comes from outside is addressed to it. */
static uint32_t tidy(struct kp_addr *a, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (!kp_addr_is_loopback(&a[i]))
			a[kept++] = a[i];
	return (uint32_t)kp_addrs_distinct(a, kept);
}

/* "primary": the first address of each family that the Node object names (CF-12). Returns the count. */
static size_t primary_cidrs(const struct kp_node *n, struct kp_cidr ret[KP_N_FAMILIES])
{
	bool have[KP_N_FAMILIES] = { false };
	size_t n_ret = 0;

	for (size_t i = 0; n && i < n->n_ips; i++) {
		const struct kp_addr *a = &n->ips[i];

		if (have[a->family] || kp_addr_is_loopback(a))
			continue;
		have[a->family] = true;
		ret[n_ret++] = (struct kp_cidr){ *a, kp_addr_bits(a->family) };
	}
	return n_ret;
}

static void set_addresses(const struct kp_planner *p, struct kp_plan_node *out, enum kp_family f,
			  const struct kp_addr *addrs, size_t n)
{
	struct kp_cidr primary[KP_N_FAMILIES];
	const struct kp_cidr *cidrs = p->opt.nodeport_cidrs;
	size_t n_cidrs = p->opt.n_nodeport_cidrs, found;

	if (p->opt.nodeport_primary) {
		n_cidrs = primary_cidrs(kp_model_node(p->model), primary);
		cidrs = primary;
	}
	out->nodeport_all[f] = kp_nodeport_match_all(cidrs, n_cidrs, f);
	if (!out->nodeport_all[f]) {
		found = kp_nodeport_select(cidrs, n_cidrs, f, addrs, n, &out->nodeport_ips[f]);
		out->n_nodeport_ips[f] = (uint32_t)kp_addrs_distinct(out->nodeport_ips[f], found);
	}
	found = kp_nodeport_select(NULL, 0, f, addrs, n, &out->node_ips[f]);
	out->n_node_ips[f] = tidy(out->node_ips[f], found);
}

static bool selects_loopback(const struct kp_plan_node *n)
{
	bool any = n->nodeport_all[KP_IPV4];

	for (uint32_t i = 0; i < n->n_nodeport_ips[KP_IPV4] && !any; i++)
		any = kp_addr_is_loopback(&n->nodeport_ips[KP_IPV4][i]);
	return any;
}

struct kp_plan_node *kp_planner_build_node(struct kp_planner *p, const struct kp_addr *addrs, size_t n)
{
	struct kp_plan_node *out = kp_plan_node_new();

	out->masquerade_all = p->opt.masquerade_all;
	out->mark = 1u << p->opt.masquerade_bit;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		out->enabled[f] = p->opt.families[f];
		if (!out->enabled[f])
			continue;
		out->detector[f] = detector(p, f);
		tell_no_detector(p, f, out->detector[f].kind == KP_DETECT_NONE);
		set_addresses(p, out, f, addrs, n);
		out->n_service_cidrs[f] = (uint32_t)kp_model_service_cidrs(p->model, f, &out->service_cidrs[f]);
	}
	out->nodeport_localhost = p->opt.nodeport_localhost && out->enabled[KP_IPV4] && selects_loopback(out);
	return out;
}
