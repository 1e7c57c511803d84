#include "proxy/model/objects.h"

#include <stdlib.h>
#include <string.h>

char **kp_strv_free(char **v)
{
	for (char **s = v; s && *s; s++)
		free(*s);
	free(v);
	return NULL;
}

struct kp_service *kp_service_free(struct kp_service *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_ports; i++)
		free(s->ports[i].name);
	free(s->ports);
	free(s->external_ips);
	free(s->vips);
	free(s->source_ranges);
	free(s->ns);
	free(s->name);
	free(s);
	return NULL;
}

void kp_endpoint_release(struct kp_endpoint *e)
{
	kp_strv_free(e->zone_hints);
	kp_strv_free(e->node_hints);
	*e = (struct kp_endpoint){ 0 };
}

struct kp_slice *kp_slice_free(struct kp_slice *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_ports; i++)
		free(s->ports[i].name);
	for (size_t i = 0; i < s->n_endpoints; i++)
		kp_endpoint_release(&s->endpoints[i]);
	free(s->ports);
	free(s->endpoints);
	free(s->node_names);
	free(s->ns);
	free(s->name);
	free(s->service);
	free(s);
	return NULL;
}

struct kp_node *kp_node_free(struct kp_node *n)
{
	if (!n)
		return NULL;
	kp_strv_free(n->taint_keys);
	free(n->pod_cidrs);
	free(n->ips);
	free(n->zone);
	free(n->name);
	free(n);
	return NULL;
}

struct kp_service_cidr *kp_service_cidr_free(struct kp_service_cidr *c)
{
	if (!c)
		return NULL;
	free(c->cidrs);
	free(c->name);
	free(c);
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Addresses and CIDRs have no padding: equal values are equal bytes. */
static bool same_array(const void *a, size_t n_a, const void *b, size_t n_b, size_t size)
{
	return n_a == n_b && (n_a == 0 || memcmp(a, b, n_a * size) == 0);
}

#define SAME_ARRAY(x, y, member) \
	same_array((x)->member, (x)->n_##member, (y)->member, (y)->n_##member, sizeof(*(x)->member))

static bool same_ports(const struct kp_service *a, const struct kp_service *b)
{
	if (a->n_ports != b->n_ports)
		return false;
	for (size_t i = 0; i < a->n_ports; i++) {
		const struct kp_service_port *p = &a->ports[i], *q = &b->ports[i];

		if (p->proto != q->proto || p->port != q->port || p->node_port != q->node_port ||
		    !same_text(p->name, q->name))
			return false;
	}
	return true;
}

static bool same_cluster_ips(const struct kp_service *a, const struct kp_service *b)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (a->has_ip[f] != b->has_ip[f])
			return false;
		if (a->has_ip[f] && kp_addr_cmp(&a->cluster_ip[f], &b->cluster_ip[f]) != 0)
			return false;
	}
	return true;
}

bool kp_service_equal(const struct kp_service *a, const struct kp_service *b)
{
	return same_text(a->ns, b->ns) && same_text(a->name, b->name) &&
	       a->type == b->type && a->foreign == b->foreign && a->headless == b->headless &&
	       a->internal_local == b->internal_local && a->external_local == b->external_local &&
	       a->affinity == b->affinity && a->affinity_seconds == b->affinity_seconds &&
	       a->health_check_node_port == b->health_check_node_port && a->created == b->created &&
	       same_cluster_ips(a, b) && same_ports(a, b) && SAME_ARRAY(a, b, external_ips) &&
	       SAME_ARRAY(a, b, vips) && SAME_ARRAY(a, b, source_ranges);
}

bool kp_slice_equal(const struct kp_slice *a, const struct kp_slice *b)
{
	return a->fingerprint == b->fingerprint && same_text(a->ns, b->ns) && same_text(a->name, b->name);
}

static bool same_strv(char *const *a, char *const *b)
{
	if (!a || !b)
		return a == b;
	for (; *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return *a == *b;
}

bool kp_node_equal(const struct kp_node *a, const struct kp_node *b)
{
	return same_text(a->name, b->name) && same_text(a->zone, b->zone) && a->deleting == b->deleting &&
	       a->shutting_down == b->shutting_down && a->stand_ins == b->stand_ins &&
	       SAME_ARRAY(a, b, ips) && SAME_ARRAY(a, b, pod_cidrs) && same_strv(a->taint_keys, b->taint_keys);
}

const char *kp_proto_name(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	case IPPROTO_SCTP:
		return "sctp";
	default:
		return "?";
	}
}
