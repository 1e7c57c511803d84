#include <stdio.h>

#include "nft/ipt_write.h"
#include "proxy/base/buf.h"

#define NEW "-m conntrack --ctstate NEW "

/* The canary is empty: it tells a flush of a whole table by somebody else. */
const struct dp_ipt_fixed dp_ipt_fixed[] = {
	{ DP_IPT_FILTER, "PXL-SERVICES" }, { DP_IPT_FILTER, "PXL-EXTERNAL" }, { DP_IPT_FILTER, "PXL-FIREWALL" },
	{ DP_IPT_FILTER, "PXL-NODEPORTS" }, { DP_IPT_FILTER, "PXL-HAIRPIN" }, { DP_IPT_FILTER, "PXL-CANARY" },
	{ DP_IPT_NAT, "PXL-SERVICES" }, { DP_IPT_NAT, "PXL-NODEPORTS" }, { DP_IPT_NAT, "PXL-HAIRPIN" },
	{ DP_IPT_NAT, "PXL-CANARY" }, { DP_IPT_MANGLE, "PXL-CANARY" },
};
const size_t dp_ipt_n_fixed = KP_N(dp_ipt_fixed);

/* kube-proxy's order (5.1): the last one ends up first. */
const struct dp_ipt_jump dp_ipt_jumps[DP_IPT_N_JUMPS] = {
	{ DP_IPT_FILTER, "INPUT", NEW, "PXL-EXTERNAL" },
	{ DP_IPT_FILTER, "FORWARD", NEW, "PXL-EXTERNAL" },
	{ DP_IPT_FILTER, "INPUT", "", "PXL-NODEPORTS" },
	{ DP_IPT_FILTER, "FORWARD", NEW, "PXL-SERVICES" },
	{ DP_IPT_FILTER, "OUTPUT", NEW, "PXL-SERVICES" },
	{ DP_IPT_FILTER, "FORWARD", "", "PXL-FORWARD" },
	{ DP_IPT_FILTER, "INPUT", NEW, "PXL-FIREWALL" },
	{ DP_IPT_FILTER, "OUTPUT", NEW, "PXL-FIREWALL" },
	{ DP_IPT_FILTER, "FORWARD", NEW, "PXL-FIREWALL" },
	{ DP_IPT_NAT, "OUTPUT", "", "PXL-SERVICES" },
	{ DP_IPT_NAT, "PREROUTING", "", "PXL-SERVICES" },
	{ DP_IPT_NAT, "POSTROUTING", "", "PXL-POSTROUTING" },
	{ DP_IPT_FILTER, "INPUT", "", "PXL-LOCALNET" },
	{ DP_IPT_FILTER, "OUTPUT", "", "PXL-LOCALNET" },
};

/* The mark goes before masquerade: an encapsulated packet keeps it and would be masqueraded again. */
static void chain_postrouting(const struct dp_ipt_env *env, struct dp_ipt_rules *ret)
{
	uint32_t m = env->node->mark;
	struct kp_buf text = { 0 };

	kp_buf_printf(&text, "-m mark ! --mark 0x%x/0x%x -m conntrack --ctstate DNAT -j PXL-HAIRPIN\n", m, m);
	kp_buf_printf(&text, "-m mark ! --mark 0x%x/0x%x -j RETURN\n", m, m);
	kp_buf_printf(&text, "-j MARK --set-xmark 0x%x/0x0\n", m);
	kp_buf_printf(&text, "-m comment --comment \"service traffic requiring SNAT\" -j MASQUERADE%s\n",
		      env->random_fully ? " --random-fully" : "");
	dp_ipt_add_chain(ret, DP_IPT_NAT, "PXL-POSTROUTING", &text);
}

static void chain_forward(const struct dp_ipt_env *env, struct dp_ipt_rules *ret)
{
	uint32_t m = env->node->mark;
	struct kp_buf text = { 0 };

	if (!env->liberal)	/* out of window: the endpoint's answer would reach the client untranslated, and reset it */
		kp_buf_puts(&text, "-m conntrack --ctstate INVALID -j DROP\n");
	kp_buf_printf(&text, "-m mark --mark 0x%x/0x%x -j ACCEPT\n", m, m);
	kp_buf_puts(&text, "-m conntrack --ctstate DNAT -j PXL-HAIRPIN\n");
	kp_buf_puts(&text, "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n");
	dp_ipt_add_chain(ret, DP_IPT_FILTER, "PXL-FORWARD", &text);
}

/* With route_localnet a neighbour could send to 127.0.0.1 of this node (CVE-2020-8558). */
static void chain_localnet(const struct dp_ipt_env *env, struct dp_ipt_rules *ret)
{
	struct kp_buf text = { 0 };

	if (env->f == KP_IPV4 && env->node->nodeport_localhost)
		kp_buf_puts(&text, "! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" "
			    "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n");
	dp_ipt_add_chain(ret, DP_IPT_FILTER, "PXL-LOCALNET", &text);
}

/* Node ports come last in PXL-SERVICES: an address of the node may be somebody's external IP. */
static void line_node_ports(const struct dp_ipt_env *env, struct dp_ipt_rules *ret)
{
	const struct kp_plan_node *n = env->node;
	char ip[KP_CIDR_STRLEN];

	if (n->nodeport_all[env->f]) {
		const char *loopback = env->f == KP_IPV6 ? "! -d ::1/128 " : n->nodeport_localhost ? "" : "! -d 127.0.0.0/8 ";

		dp_ipt_add_line(ret, DP_IPT_NAT, "PXL-SERVICES", '9', "%s-m comment --comment \"node ports: must be the last rule\" "
				"-m addrtype --dst-type LOCAL -j PXL-NODEPORTS", loopback);
		return;
	}
	for (uint32_t i = 0; i < n->n_nodeport_ips[env->f]; i++) {
		const struct kp_addr *a = &n->nodeport_ips[env->f][i];

		if (kp_addr_is_loopback(a) && (env->f == KP_IPV6 || !n->nodeport_localhost))
			continue;
		dp_ipt_add_line(ret, DP_IPT_NAT, "PXL-SERVICES", '9', "-d %s -j PXL-NODEPORTS",
				kp_cidr_str(&(struct kp_cidr){ *a, kp_addr_bits(a->family) }, ip));
	}
}

void dp_ipt_node(const struct dp_ipt_env *env, struct dp_ipt_rules *ret)
{
	*ret = (struct dp_ipt_rules){ 0 };
	chain_postrouting(env, ret);
	chain_forward(env, ret);
	chain_localnet(env, ret);
	line_node_ports(env, ret);
}
