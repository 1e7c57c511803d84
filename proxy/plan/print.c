#include "proxy/plan/plan.h"

#include "proxy/base/buf.h"
#include "proxy/model/objects.h"

static const char *const kinds[] = {
	[KP_FE_CLUSTER_IP] = "cluster-ip",
	[KP_FE_EXTERNAL_IP] = "external-ip",
	[KP_FE_VIP] = "vip",
	[KP_FE_NODE_PORT] = "node-port",
};

static void print_addr_port(struct kp_buf *out, const struct kp_addr *a, uint16_t port)
{
	char text[KP_ADDR_STRLEN];

	kp_buf_printf(out, a->family == KP_IPV4 ? "%s:%u" : "[%s]:%u", kp_addr_str(a, text), port);
}

static void print_frontend(struct kp_buf *out, const struct kp_frontend *f)
{
	kp_buf_printf(out, "  %s ", kinds[f->kind]);
	if (f->kind == KP_FE_NODE_PORT)
		kp_buf_printf(out, "%u", f->port);
	else
		print_addr_port(out, &f->ip, f->port);
	kp_buf_puts(out, f->claimed ? "\n" : " unclaimed\n");
}

static void print_backends(struct kp_buf *out, const char *set, const struct kp_backend *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		kp_buf_printf(out, "  %s ", set);
		print_addr_port(out, &b[i].addr, b[i].port);
		kp_buf_puts(out, b[i].local ? " here\n" : "\n");
	}
}

static void print_cidrs(struct kp_buf *out, const char *what, const struct kp_cidr *c, uint32_t n)
{
	char text[KP_CIDR_STRLEN];

	for (uint32_t i = 0; i < n; i++)
		kp_buf_printf(out, "  %s %s\n", what, kp_cidr_str(&c[i], text));
}

static void print_addrs(struct kp_buf *out, const char *what, const struct kp_addr *a, uint32_t n)
{
	char text[KP_ADDR_STRLEN];

	for (uint32_t i = 0; i < n; i++)
		kp_buf_printf(out, "  %s %s\n", what, kp_addr_str(&a[i], text));
}

static void print_port(struct kp_buf *out, const struct kp_plan_port *p)
{
	kp_buf_printf(out, "%s %s %s", kp_family_names[p->family], p->id, p->label);
	kp_buf_printf(out, "%s%s%s", p->has_any ? "" : " no-endpoints", p->internal_local ? " internal-local" : "",
		      p->external_local ? " external-local" : "");
	if (p->affinity_seconds)
		kp_buf_printf(out, " affinity=%us", p->affinity_seconds);
	kp_buf_puts(out, "\n");
	for (uint32_t i = 0; i < p->n_frontends; i++)
		print_frontend(out, &p->frontends[i]);
	print_cidrs(out, "range", p->ranges, p->n_ranges);
	print_backends(out, "cluster", p->cluster, p->n_cluster);
	print_backends(out, "local", p->local, p->n_local);
	print_backends(out, "serving", p->serving, p->n_serving);
}

void kp_plan_print(const struct kp_plan *p, struct kp_buf *out)
{
	kp_buf_printf(out, "service %s", p->key);
	if (p->health_port)
		kp_buf_printf(out, " health-port=%u", p->health_port);
	for (int f = 0; f < KP_N_FAMILIES && p->health_port; f++)
		if (p->has_family[f])
			kp_buf_printf(out, " %s-ready-here=%u", kp_family_names[f], p->local_ready[f]);
	kp_buf_puts(out, "\n");
	for (uint32_t i = 0; i < p->n_ports; i++)
		print_port(out, &p->ports[i]);
}

static void print_detector(struct kp_buf *out, const struct kp_detector *d)
{
	char text[KP_CIDR_STRLEN];

	switch ((enum kp_detect)d->kind) {
	case KP_DETECT_NONE:
		kp_buf_puts(out, "  pods unknown\n");
		break;
	case KP_DETECT_CIDR:
		kp_buf_printf(out, "  pods from %s\n", kp_cidr_str(&d->cidr, text));
		break;
	case KP_DETECT_IFNAME:
		kp_buf_printf(out, "  pods through %s\n", d->ifname);
		break;
	case KP_DETECT_IFPREFIX:
		kp_buf_printf(out, "  pods through %s*\n", d->ifname);
		break;
	}
}

void kp_plan_node_print(const struct kp_plan_node *n, struct kp_buf *out)
{
	kp_buf_printf(out, "node mark=0x%06x%s%s\n", n->mark, n->masquerade_all ? " masquerade-all" : "",
		      n->nodeport_localhost ? " localhost-node-ports" : "");
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (!n->enabled[f])
			continue;
		kp_buf_printf(out, "%s\n", kp_family_names[f]);
		print_detector(out, &n->detector[f]);
		if (n->nodeport_all[f])
			kp_buf_puts(out, "  node-ports at all\n");
		print_addrs(out, "node-ports at", n->nodeport_ips[f], n->n_nodeport_ips[f]);
		print_addrs(out, "node-ip", n->node_ips[f], n->n_node_ips[f]);
		print_cidrs(out, "service-cidr", n->service_cidrs[f], n->n_service_cidrs[f]);
	}
}
