#include "proxy/plan/plan.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

/* Plans cross threads: the last one to let go must see all that the others did. */
static void get(int *refs)
{
	__atomic_fetch_add(refs, 1, __ATOMIC_RELAXED);
}

static bool put(int *refs)
{
	return __atomic_sub_fetch(refs, 1, __ATOMIC_ACQ_REL) == 0;
}

bool kp_frontend_same_place(const struct kp_frontend *a, const struct kp_frontend *b)
{
	return a->port == b->port && kp_addr_cmp(&a->ip, &b->ip) == 0 && (a->kind == KP_FE_NODE_PORT) == (b->kind == KP_FE_NODE_PORT);
}

int kp_backend_cmp(const struct kp_backend *a, const struct kp_backend *b)
{
	int r = kp_addr_cmp(&a->addr, &b->addr);

	return r ? r : (a->port > b->port) - (a->port < b->port);
}

struct kp_plan *kp_plan_ref(struct kp_plan *p)
{
	get(&p->refs);
	return p;
}

struct kp_plan *kp_plan_unref(struct kp_plan *p)
{
	if (p && put(&p->refs))
		free(p);	/* one block: see draft.c */
	return NULL;
}

const void *kp_plan_key(const void *plan, size_t *ret_len)
{
	const struct kp_plan *p = plan;

	*ret_len = strlen(p->key);
	return p->key;
}

struct kp_plan_node *kp_plan_node_new(void)
{
	struct kp_plan_node *n = kp_calloc(1, sizeof(*n));

	n->refs = 1;
	return n;
}

struct kp_plan_node *kp_plan_node_ref(struct kp_plan_node *n)
{
	get(&n->refs);
	return n;
}

struct kp_plan_node *kp_plan_node_unref(struct kp_plan_node *n)
{
	if (!n || !put(&n->refs))
		return NULL;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		free(n->nodeport_ips[f]);
		free(n->node_ips[f]);
		free(n->service_cidrs[f]);
	}
	free(n);
	return NULL;
}

static bool same_addrs(const struct kp_addr *a, uint32_t n_a, const struct kp_addr *b, uint32_t n_b)
{
	return n_a == n_b && (!n_a || memcmp(a, b, n_a * sizeof(*a)) == 0);
}

static bool same_cidrs(const struct kp_cidr *a, uint32_t n_a, const struct kp_cidr *b, uint32_t n_b)
{
	return n_a == n_b && (!n_a || memcmp(a, b, n_a * sizeof(*a)) == 0);
}

static bool same_detector(const struct kp_detector *a, const struct kp_detector *b)
{
	return a->kind == b->kind && memcmp(&a->cidr, &b->cidr, sizeof(a->cidr)) == 0 &&
	       strcmp(a->ifname, b->ifname) == 0;
}

static bool same_family(const struct kp_plan_node *a, const struct kp_plan_node *b, int f)
{
	return a->enabled[f] == b->enabled[f] && a->nodeport_all[f] == b->nodeport_all[f] &&
	       same_detector(&a->detector[f], &b->detector[f]) &&
	       same_addrs(a->nodeport_ips[f], a->n_nodeport_ips[f], b->nodeport_ips[f], b->n_nodeport_ips[f]) &&
	       same_addrs(a->node_ips[f], a->n_node_ips[f], b->node_ips[f], b->n_node_ips[f]) &&
	       same_cidrs(a->service_cidrs[f], a->n_service_cidrs[f], b->service_cidrs[f], b->n_service_cidrs[f]);
}

bool kp_plan_node_equal(const struct kp_plan_node *a, const struct kp_plan_node *b)
{
	return a->masquerade_all == b->masquerade_all && a->mark == b->mark &&
	       a->nodeport_localhost == b->nodeport_localhost && same_family(a, b, KP_IPV4) &&
	       same_family(a, b, KP_IPV6);
}

static bool same_frontends(const struct kp_plan_port *a, const struct kp_plan_port *b)
{
	bool same = a->n_frontends == b->n_frontends && a->n_ranges == b->n_ranges;

	for (uint32_t i = 0; same && i < a->n_frontends; i++) {
		const struct kp_frontend *x = &a->frontends[i], *y = &b->frontends[i];

		same = x->kind == y->kind && x->claimed == y->claimed && x->port == y->port && kp_addr_cmp(&x->ip, &y->ip) == 0;
	}
	for (uint32_t i = 0; same && i < a->n_ranges; i++)
		same = a->ranges[i].len == b->ranges[i].len && kp_addr_cmp(&a->ranges[i].addr, &b->ranges[i].addr) == 0;
	return same;
}

static bool same_treatment(const struct kp_plan_port *a, const struct kp_plan_port *b)
{
	return a->family == b->family && a->proto == b->proto && a->has_any == b->has_any &&
	       a->internal_local == b->internal_local && a->external_local == b->external_local &&
	       a->affinity_seconds == b->affinity_seconds && !a->n_local == !b->n_local &&
	       strcmp(a->id, b->id) == 0 && strcmp(a->label, b->label) == 0 && same_frontends(a, b);
}

bool kp_plan_same_but_endpoints(const struct kp_plan *a, const struct kp_plan *b)
{
	bool same = a->n_ports == b->n_ports;

	for (uint32_t i = 0; same && i < a->n_ports; i++)
		same = same_treatment(&a->ports[i], &b->ports[i]);
	return same;
}
