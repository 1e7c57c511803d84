#include "proxy/config/families.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/config/config_impl.h"

void kp_node_ips_detect(const struct kp_addr *raw, size_t n, const char *bind_address, struct kp_node_ips *ret)
{
	bool known[KP_N_FAMILIES] = { false };
	struct kp_addr bind;

	ret->primary = n ? raw[0].family : KP_IPV4;
	kp_addr_parse("127.0.0.1", &ret->ip[KP_IPV4]);
	kp_addr_parse("::1", &ret->ip[KP_IPV6]);
	for (size_t i = 0; i < n; i++) {
		if (!known[raw[i].family])
			ret->ip[raw[i].family] = raw[i];
		known[raw[i].family] = true;
	}
	if (!kp_addr_parse(bind_address, &bind) || kp_addr_is_zero(&bind))
		return;
	ret->ip[bind.family] = bind;
	ret->primary = bind.family;
}

/* How many CIDRs of a list are of each family; what is none is not counted. */
struct count {
	size_t all, of[KP_N_FAMILIES];
};

static struct count count_strings(char *const *list)
{
	struct count n = { 0 };
	struct kp_cidr c;

	for (; *list; list++) {
		n.all++;
		if (kp_cidr_parse(*list, &c))
			n.of[c.addr.family]++;
	}
	return n;
}

static struct count count_joined(const char *joined)
{
	KP_AUTO(kp_freep) char *copy = kp_strdup(joined);
	struct count n = { 0 };
	char *rest = NULL;
	struct kp_cidr c;

	for (char *one = strtok_r(copy, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest)) {
		n.all++;
		if (kp_cidr_parse(one, &c))
			n.of[c.addr.family]++;
	}
	return n;
}

static struct count count_cidrs(const struct kp_cidr *cidrs, size_t n_cidrs)
{
	struct count n = { .all = n_cidrs };

	for (size_t i = 0; i < n_cidrs; i++)
		n.of[cidrs[i].addr.family]++;
	return n;
}

static bool is_dual(struct count n)
{
	return n.of[KP_IPV4] && n.of[KP_IPV6];
}

static enum kp_family other(enum kp_family f)
{
	return f == KP_IPV4 ? KP_IPV6 : KP_IPV4;
}

/* In nftables mode unset means this node's own addresses (CF-13). */
static bool is_primary(const struct kp_config *c, enum kp_mode mode)
{
	bool elsewhere = c->mode == KP_MODE_IPTABLES || c->mode == KP_MODE_IPVS || mode == KP_MODE_IPTABLES;

	return c->nodeport_addresses[0] ? strcmp(c->nodeport_addresses[0], "primary") == 0 : !elsewhere;
}

void kp_config_check_node_ports(const struct kp_config *c, const struct kp_node_facts *node, struct kp_config_report *rep)
{
	struct count ports = count_strings(c->nodeport_addresses);
	const char *mine = kp_family_names[node->primary], *others = kp_family_names[other(node->primary)];
	bool dual = is_dual(ports) || is_dual(count_joined(c->cluster_cidr)) ||
		    is_dual(count_strings(c->ipvs_only.exclude_cidrs)) ||
		    is_dual(count_cidrs(node->pod_cidrs, node->n_pod_cidrs));

	if (is_primary(c, node->mode))
		return;
	if (!ports.all)
		kp_report_warning(rep, "nodePortAddresses", "is unset; NodePort connections will be accepted on all local IPs."
				  " Consider using \"primary\"");
	else if (dual && ports.of[node->primary] == ports.all)
		kp_report_warning(rep, "nodePortAddresses", "cluster appears to be dual-stack but nodePortAddresses contains only"
				  " %s addresses; NodePort connections will be accepted on all local %s IPs", mine, others);
	else if (!ports.of[node->primary])
		kp_report_warning(rep, "nodePortAddresses", "cluster appears to be %s-primary but nodePortAddresses contains only"
				  " %s addresses; NodePort connections will be accepted on all local %s IPs", mine, others, mine);
}

/* A list of CIDRs that are all of the family this node does not have first. */
static void check_list(const char *field, struct count n, const struct kp_node_facts *node, bool fatal,
		       struct kp_config_report *rep)
{
	enum kp_family wrong = other(node->primary);
	const char *how = node->dual_stack ? "primary" : "only";

	if (!n.all || n.of[wrong] != n.all)
		return;
	if (fatal)
		kp_report_error(rep, KP_INVALID, field, "", "cluster is %s-%s but %s contains only %s addresses",
				kp_family_names[node->primary], how, field, kp_family_names[wrong]);
	else
		kp_report_warning(rep, field, "cluster is %s-%s but %s contains only %s addresses",
				  kp_family_names[node->primary], how, field, kp_family_names[wrong]);
}

static void check_bind(const char *field, const char *address, const struct kp_node_facts *node, struct kp_config_report *rep)
{
	struct kp_addr a;
	uint16_t port;

	if (kp_hostport_parse(address, &a, &port) && !kp_addr_is_zero(&a) && a.family != node->primary)
		kp_report_warning(rep, field, "cluster is %s-only but this is an %s address", kp_family_names[node->primary],
				  kp_family_names[a.family]);
}

void kp_config_check_families(const struct kp_config *c, const struct kp_node_facts *node, struct kp_config_report *rep)
{
	bool by_cluster = c->detect_mode == KP_DETECT_CLUSTER_CIDR || c->detect_mode == KP_DETECT_MODE_UNSET;

	check_list("clusterCIDR", count_joined(c->cluster_cidr), node, by_cluster && !node->dual_stack, rep);
	check_list("nodePortAddresses", count_strings(c->nodeport_addresses), node, false, rep);
	check_list("podCIDRs of the Node", count_cidrs(node->pod_cidrs, node->n_pod_cidrs), node,
		   c->detect_mode == KP_DETECT_NODE_CIDR, rep);
	if (node->dual_stack)
		return;
	check_list("ipvs.excludeCIDRs", count_strings(c->ipvs_only.exclude_cidrs), node, false, rep);
	check_bind("healthzBindAddress", c->healthz_bind_address, node, rep);
	check_bind("metricsBindAddress", c->metrics_bind_address, node, rep);
}
