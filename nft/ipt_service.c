#include <stdio.h>

#include "nft/ipt_write.h"
#include "proxy/base/buf.h"

/* One port at work. */
struct ipt_port {
	const struct dp_ipt_env *env;
	const struct kp_plan_port *p;
	struct dp_ipt_rules *ret;
	char svc[DP_IPT_NAME], svl[DP_IPT_NAME], ext[DP_IPT_NAME], fw[DP_IPT_NAME];
};

static bool is_external(const struct kp_frontend *fe)
{
	return fe->kind != KP_FE_CLUSTER_IP;
}

/* "internal", "external": does one of the port's claimed front ends answer to that? */
static bool has_frontend(const struct kp_plan_port *p, bool external)
{
	for (uint32_t i = 0; i < p->n_frontends; i++)
		if (p->frontends[i].claimed && is_external(&p->frontends[i]) == external)
			return true;
	return false;
}

static void print_to(const struct kp_backend *b, struct kp_buf *out)
{
	char text[KP_ADDR_STRLEN];

	kp_buf_printf(out, b->addr.family == KP_IPV4 ? "-j DNAT --to-destination %s:%u\n" : "-j DNAT --to-destination [%s]:%u\n",
		      kp_addr_str(&b->addr, text), b->port);
}

/* The list of recent clients of one endpoint; the same in both sets. */
static void recent_name(const struct kp_plan_port *p, const struct kp_backend *b, char out[DP_IPT_NAME])
{
	char what[1024], text[KP_ADDR_STRLEN];

	snprintf(what, sizeof(what), "%s/%s/%u", p->id, kp_addr_str(&b->addr, text), b->port);
	dp_ipt_hashed("PXL-SEP-", what, out);
}

/* Where this client went before, as long as that was not too long ago; refreshed by going there again. */
static void rules_remembered(const struct ipt_port *w, const struct kp_backend *set, uint32_t n, struct kp_buf *out)
{
	char name[DP_IPT_NAME];

	for (uint32_t i = 0; w->p->affinity_seconds && i < n; i++) {
		recent_name(w->p, &set[i], name);
		kp_buf_printf(out, "-p %s -m recent --update --seconds %u --reap --name %s --rsource ", dp_ipt_proto(w->p->proto),
			      w->p->affinity_seconds, name);
		print_to(&set[i], out);
	}
}

/* Each with the same probability: the i-th of n takes 1/(n-i) of what the ones before it left. */
static void rules_choice(const struct ipt_port *w, const struct kp_backend *set, uint32_t n, struct kp_buf *out)
{
	char name[DP_IPT_NAME];

	for (uint32_t i = 0; i < n; i++) {
		kp_buf_printf(out, "-p %s ", dp_ipt_proto(w->p->proto));
		if (i + 1 < n)	/* the kernel keeps 31 bits, 10 digits are 33 */
			kp_buf_printf(out, "-m statistic --mode random --probability %.10f ", 1.0 / (n - i));
		if (w->p->affinity_seconds) {
			recent_name(w->p, &set[i], name);
			kp_buf_printf(out, "-m recent --set --name %s --rsource ", name);
		}
		print_to(&set[i], out);
	}
}

/* Traffic to the clusterIP that is not a pod's comes back through this node only if it seems to come from it. */
static void rule_mark_cluster_ip(const struct ipt_port *w, struct kp_buf *out)
{
	const struct kp_plan_node *node = w->env->node;
	const struct kp_frontend *fe = w->p->frontends;
	const char *proto = dp_ipt_proto(w->p->proto);
	char text[KP_CIDR_STRLEN];

	if (!node->masquerade_all && node->detector[w->env->f].kind == KP_DETECT_NONE)
		return;
	if (!node->masquerade_all) {
		dp_ipt_from_pods(w->env, true, out);
		kp_buf_puts(out, " ");
	}
	kp_buf_printf(out, "-d %s -p %s -m %s --dport %u ",
		      kp_cidr_str(&(struct kp_cidr){ fe->ip, kp_addr_bits(fe->ip.family) }, text), proto, proto, fe->port);
	dp_ipt_mark(w->env, out);
	kp_buf_puts(out, "\n");
}

/* The chain that chooses from one set. */
static void chain_set(const struct ipt_port *w, bool local)
{
	const struct kp_backend *set = local ? w->p->local : w->p->cluster;
	uint32_t n = local ? w->p->n_local : w->p->n_cluster;
	bool internal = has_frontend(w->p, false) && w->p->internal_local == local;
	bool external = has_frontend(w->p, true) && (!local || w->p->external_local);
	struct kp_buf text = { 0 };

	if (!n || !(internal || external))
		return;
	if (internal)
		rule_mark_cluster_ip(w, &text);
	rules_remembered(w, set, n, &text);
	rules_choice(w, set, n, &text);
	dp_ipt_add_chain(w->ret, DP_IPT_NAT, local ? w->svl : w->svc, &text);
}

/* externalTrafficPolicy Local: what comes from this cluster goes anywhere all the same (3.4). */
static void rules_short_circuit(const struct ipt_port *w, struct kp_buf *out)
{
	if (w->env->node->detector[w->env->f].kind != KP_DETECT_NONE) {
		dp_ipt_from_pods(w->env, false, out);
		kp_buf_printf(out, " -j %s\n", w->svc);
	}
	kp_buf_puts(out, "-m addrtype --src-type LOCAL ");
	dp_ipt_mark(w->env, out);
	kp_buf_printf(out, "\n-m addrtype --src-type LOCAL -j %s\n", w->svc);
}

static void chain_external(const struct ipt_port *w)
{
	struct kp_buf text = { 0 };

	if (w->p->external_local) {
		rules_short_circuit(w, &text);
		if (w->p->n_local)
			kp_buf_printf(&text, "-j %s\n", w->svl);
	} else {
		dp_ipt_mark(w->env, &text);
		kp_buf_printf(&text, "\n-j %s\n", w->svc);
	}
	dp_ipt_add_chain(w->ret, DP_IPT_NAT, w->ext, &text);
}

/* Sources that may use the VIPs. The rest is not translated, and dropped by PXL-FIREWALL. */
static void chain_firewall(const struct ipt_port *w)
{
	struct kp_buf text = { 0 };
	char cidr[KP_CIDR_STRLEN];

	for (uint32_t i = 0; i < w->p->n_ranges; i++)
		kp_buf_printf(&text, "-s %s -j %s\n", kp_cidr_str(&w->p->ranges[i], cidr), w->ext);
	dp_ipt_add_chain(w->ret, DP_IPT_NAT, w->fw, &text);
}

static void dispatch(const struct ipt_port *w, enum dp_ipt_table t, const char *list, const struct kp_frontend *fe,
		     const char *what, const char *then)
{
	char comment[512];

	snprintf(comment, sizeof(comment), "%s %s", w->p->label, what);
	dp_ipt_dispatch(w->ret, t, list, fe, w->p->proto, comment, then);
}

/* What happens to new connections that nobody translates, or that must not be translated. */
static void filter_frontend(const struct ipt_port *w, const struct kp_frontend *fe)
{
	const char *list = is_external(fe) ? "PXL-EXTERNAL" : "PXL-SERVICES";
	bool local = is_external(fe) ? w->p->external_local : w->p->internal_local;

	if (!w->p->has_any)
		dispatch(w, DP_IPT_FILTER, list, fe, "has no endpoints", "-j REJECT");
	else if (local && !w->p->n_local)
		dispatch(w, DP_IPT_FILTER, list, fe, "has no local endpoints", "-j DROP");
	if (w->p->has_any && fe->kind == KP_FE_VIP && w->p->n_ranges)
		dispatch(w, DP_IPT_FILTER, "PXL-FIREWALL", fe, "source is not in loadBalancerSourceRanges", "-j DROP");
}

static void translate_frontend(const struct ipt_port *w, const struct kp_frontend *fe)
{
	static const char *const what[] = {
		[KP_FE_CLUSTER_IP] = "cluster IP", [KP_FE_EXTERNAL_IP] = "external IP",
		[KP_FE_VIP] = "loadbalancer IP", [KP_FE_NODE_PORT] = "node port",
	};
	bool guarded = fe->kind == KP_FE_VIP && w->p->n_ranges;
	const char *to = is_external(fe) ? guarded ? w->fw : w->ext : w->p->internal_local ? w->svl : w->svc;
	const char *list = fe->kind == KP_FE_NODE_PORT ? "PXL-NODEPORTS" : "PXL-SERVICES";
	char then[DP_IPT_NAME + 4];

	if (!w->p->has_any || (!is_external(fe) && w->p->internal_local && !w->p->n_local))
		return;
	snprintf(then, sizeof(then), "-j %s", to);
	dispatch(w, DP_IPT_NAT, list, fe, what[fe->kind], then);
}

/* An endpoint of this node that is chosen for itself must believe that somebody else asks. */
static void hairpin(const struct ipt_port *w, const struct kp_backend *set, uint32_t n)
{
	char ip[KP_CIDR_STRLEN];

	for (uint32_t i = 0; i < n; i++) {
		if (!set[i].local)
			continue;
		kp_cidr_str(&(struct kp_cidr){ set[i].addr, kp_addr_bits(set[i].addr.family) }, ip);
		dp_ipt_add_line(w->ret, DP_IPT_FILTER, "PXL-HAIRPIN", '5', "-s %s -d %s -j ACCEPT", ip, ip);
		dp_ipt_add_line(w->ret, DP_IPT_NAT, "PXL-HAIRPIN", '5', "-s %s -d %s -j MASQUERADE%s", ip, ip,
				w->env->random_fully ? " --random-fully" : "");
	}
}

static void name_chains(struct ipt_port *w)
{
	dp_ipt_hashed("PXL-SVC-", w->p->id, w->svc);
	dp_ipt_hashed("PXL-SVL-", w->p->id, w->svl);
	dp_ipt_hashed("PXL-EXT-", w->p->id, w->ext);
	dp_ipt_hashed("PXL-FW-", w->p->id, w->fw);
}

static void service_port(struct ipt_port *w)
{
	const struct kp_plan_port *p = w->p;

	name_chains(w);
	for (uint32_t i = 0; i < p->n_frontends; i++) {
		if (!p->frontends[i].claimed)
			continue;
		filter_frontend(w, &p->frontends[i]);
		translate_frontend(w, &p->frontends[i]);
	}
	if (!p->has_any)
		return;
	chain_set(w, false);
	chain_set(w, true);
	if (has_frontend(p, true))
		chain_external(w);
	if (has_frontend(p, true) && p->n_ranges)
		chain_firewall(w);
	hairpin(w, p->cluster, p->n_cluster);
	hairpin(w, p->local, p->n_local);
}

void dp_ipt_service(const struct dp_ipt_env *env, const struct kp_plan *plan, struct dp_ipt_rules *ret)
{
	*ret = (struct dp_ipt_rules){ 0 };
	for (uint32_t i = 0; i < plan->n_ports; i++)
		if (plan->ports[i].family == env->f)
			service_port(&(struct ipt_port){ .env = env, .p = &plan->ports[i], .ret = ret });
	if (plan->health_port && plan->has_family[env->f])
		dp_ipt_add_line(ret, DP_IPT_FILTER, "PXL-NODEPORTS", '5', "-p tcp -m tcp --dport %u -j ACCEPT", plan->health_port);
}
