#include "proxy/plan/build.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/model/model.h"
#include "proxy/plan/build_impl.h"
#include "proxy/plan/topology.h"

/* What stays the same during the build of one Service in one family. */
struct build {
	struct kp_planner *p;
	const char *key;
	const struct kp_service *service;
	const struct kp_slice *const *slices;
	size_t n_slices;
	enum kp_family family;
	bool external_local;
	bool has_external;	/* an external IP or VIP of the family */
};

static void mark_other(void *arg, const char *who)
{
	struct kp_planner *p = arg;

	kp_model_mark_dirty(p->model, who);
}

static void warn_conflict(void *arg, const struct kp_claim_key *key, const char *owner, const char *other)
{
	char ip[KP_ADDR_STRLEN];

	(void)arg;
	if (key->node_port)
		kp_warn("plan", "node port %u/%s (%s) of service '%s' is taken by service '%s'", key->port,
			kp_proto_name(key->proto), kp_family_names[key->ip.family], other, owner);
	else
		kp_warn("plan", "address %s, port %u/%s of service '%s' is taken by service '%s'",
			kp_addr_str(&key->ip, ip), key->port, kp_proto_name(key->proto), other, owner);
}

struct kp_planner *kp_planner_new(struct kp_model *m, const struct kp_plan_options *opt)
{
	struct kp_planner *p = kp_calloc(1, sizeof(*p));

	p->model = m;
	p->opt = *opt;
	if (opt->n_nodeport_cidrs)
		p->nodeport_cidrs = kp_memdup(opt->nodeport_cidrs, opt->n_nodeport_cidrs * sizeof(*opt->nodeport_cidrs));
	p->opt.nodeport_cidrs = p->nodeport_cidrs;
	p->claims = kp_claims_new(&(struct kp_claims_events){ mark_other, warn_conflict, p });
	return p;
}

struct kp_planner *kp_planner_free(struct kp_planner *p)
{
	if (!p)
		return NULL;
	kp_claims_free(p->claims);
	kp_draft_release(&p->draft);
	free(p->candidates.items);
	free(p->nodeport_cidrs);
	free(p);
	return NULL;
}

/* Front ends */

static enum kp_claim claim(struct build *b, enum kp_frontend_kind kind, const struct kp_addr *ip, uint8_t proto,
			   uint16_t port)
{
	static const uint8_t ranks[] = {
		[KP_FE_CLUSTER_IP] = 0, [KP_FE_VIP] = 1, [KP_FE_EXTERNAL_IP] = 2, [KP_FE_NODE_PORT] = 0,
	};
	struct kp_claim_key key = {
		.ip = *ip,
		.proto = proto,
		.port = port,
		.node_port = kind == KP_FE_NODE_PORT,
		.rank = ranks[kind],
		.created = b->service->created,
	};

	return kp_claims_add(b->p->claims, &key);
}

/* Unless this Service answers there already: a key comes once in a plan, its first kind counts. */
static void add_frontend(struct build *b, enum kp_frontend_kind kind, const struct kp_addr *ip, uint8_t proto,
			 uint16_t port)
{
	enum kp_claim c;

	if (ip->family != b->family)
		return;
	c = claim(b, kind, ip, proto, port);
	if (c == KP_CLAIM_TWICE)
		return;
	kp_draft_frontend(&b->p->draft, (struct kp_frontend){
		.kind = kind, .claimed = c == KP_CLAIM_OWNED, .port = port, .ip = *ip });
}

/* VIPs before external IPs: an address that is both is guarded by the source ranges. */
static void add_named_frontends(struct build *b, const struct kp_service_port *port)
{
	const struct kp_service *s = b->service;
	const struct kp_addr any = { .family = b->family };

	for (size_t i = 0; i < s->n_vips; i++)
		add_frontend(b, KP_FE_VIP, &s->vips[i], port->proto, port->port);
	for (size_t i = 0; i < s->n_external_ips; i++)
		add_frontend(b, KP_FE_EXTERNAL_IP, &s->external_ips[i], port->proto, port->port);
	if (port->node_port)
		add_frontend(b, KP_FE_NODE_PORT, &any, port->proto, port->node_port);
}

/* Source ranges */

/* A range of length zero means what no range means: everybody. Each family by itself. */
static bool is_open(const struct kp_service *s, enum kp_family family)
{
	for (size_t i = 0; i < s->n_source_ranges; i++)
		if (s->source_ranges[i].len == 0 && s->source_ranges[i].addr.family == family)
			return true;
	return false;
}

static const struct kp_addr *node_ip(const struct kp_planner *p, enum kp_family family)
{
	const struct kp_node *n = kp_model_node(p->model);

	for (size_t i = 0; n && i < n->n_ips; i++)
		if (n->ips[i].family == family)
			return &n->ips[i];
	return NULL;
}

static bool has_of_family(const struct kp_addr *a, size_t n, enum kp_family family)
{
	for (size_t i = 0; i < n; i++)
		if (a[i].family == family)
			return true;
	return false;
}

/* A node that talks to a VIP it holds itself has the VIP as its source (NF-80). */
static void add_vips_as_ranges(struct build *b)
{
	const struct kp_service *s = b->service;

	for (size_t i = 0; i < s->n_vips; i++)
		if (s->vips[i].family == b->family)
			kp_draft_range(&b->p->draft, (struct kp_cidr){ s->vips[i], kp_addr_bits(b->family) });
}

static void add_ranges(struct build *b)
{
	const struct kp_service *s = b->service;
	const struct kp_addr *here = node_ip(b->p, b->family);
	bool holds_node = false;

	if (is_open(s, b->family) || !has_of_family(s->vips, s->n_vips, b->family))
		return;
	for (size_t i = 0; i < s->n_source_ranges; i++) {
		if (s->source_ranges[i].addr.family != b->family)
			continue;
		kp_draft_range(&b->p->draft, s->source_ranges[i]);
		holds_node = holds_node || (here && kp_cidr_contains(&s->source_ranges[i], here));
	}
	if (holds_node)
		add_vips_as_ranges(b);
}

/* Endpoints */

static void add_endpoint(struct kp_draft *d, const struct kp_candidate *c, bool udp)
{
	struct kp_backend backend = { .addr = c->addr, .local = c->local, .port = c->port };

	if (c->in_cluster)
		kp_draft_cluster(d, backend);
	if (c->in_local)
		kp_draft_local(d, backend);
	if (udp && (c->flags & KP_EP_SERVING))
		kp_draft_serving(d, (struct kp_backend){ .addr = c->addr, .port = c->port });
}

/* Returns has_any. */
static bool add_endpoints(struct build *b, const struct kp_service_port *port)
{
	struct kp_planner *p = b->p;
	struct kp_candidates *eps = &p->candidates;
	const struct kp_node *node = kp_model_node(p->model);
	bool reachable = port->node_port || b->has_external;	/* SP-20 */
	struct kp_viewpoint here = {
		.uses_cluster = !b->service->internal_local || reachable,
		.uses_local = b->service->internal_local || (b->external_local && reachable),
		.node_name = kp_model_node_name(p->model),
		.zone = node ? node->zone : NULL,
	};
	bool has_any;

	kp_endpoints_merge(b->slices, b->n_slices, b->family, (struct kp_port_key){ port->name, port->proto }, eps);
	has_any = kp_topology_select(eps->items, eps->n, &here);
	for (size_t i = 0; i < eps->n; i++)
		add_endpoint(&p->draft, &eps->items[i], port->proto == IPPROTO_UDP);
	return has_any;
}

/* Services */

static void add_port(struct build *b, const struct kp_service_port *port)
{
	const struct kp_service *s = b->service;
	const struct kp_addr *ip = &s->cluster_ip[b->family];
	enum kp_claim c = claim(b, KP_FE_CLUSTER_IP, ip, port->proto, port->port);
	struct kp_plan_port *out;

	if (c == KP_CLAIM_TWICE)
		return;	/* no API server stores the same port twice; a file may say so */
	out = kp_draft_port(&b->p->draft, b->key, port->name, port->proto, port->port);
	out->family = b->family;
	out->internal_local = s->internal_local;
	out->external_local = b->external_local;
	out->affinity_seconds = s->affinity ? s->affinity_seconds : 0;
	kp_draft_frontend(&b->p->draft, (struct kp_frontend){
		.kind = KP_FE_CLUSTER_IP, .claimed = c == KP_CLAIM_OWNED, .port = port->port, .ip = *ip });
	add_named_frontends(b, port);
	add_ranges(b);
	out->has_any = add_endpoints(b, port);
}

static bool is_served(const struct kp_planner *p, const struct kp_service *s, enum kp_family family)
{
	return s && !s->headless && s->type != KP_EXTERNALNAME && p->opt.families[family] && s->has_ip[family];
}

/* The policy field is set for every type, but a ClusterIP Service without external IPs has no outside. */
static bool is_external_local(const struct kp_service *s)
{
	return s->external_local && (s->type != KP_CLUSTERIP || s->n_external_ips);
}

static struct build begin_family(struct kp_planner *p, const char *key, const struct kp_service *s, enum kp_family f)
{
	struct build b = {
		.p = p,
		.key = key,
		.service = s,
		.family = f,
		.external_local = is_external_local(s),
		.has_external = has_of_family(s->vips, s->n_vips, f) ||
				has_of_family(s->external_ips, s->n_external_ips, f),
	};

	b.n_slices = kp_model_slices(p->model, key, &b.slices);
	return b;
}

static bool has_health_port(const struct kp_service *s)
{
	return s->type == KP_LOADBALANCER && s->external_local && s->health_check_node_port;
}

static void add_ready(struct build *b)
{
	struct kp_planner *p = b->p;
	KP_AUTO(kp_freep) struct kp_addr *ready = NULL;
	size_t n = kp_endpoints_local_ready(b->slices, b->n_slices, b->family, &p->candidates, &ready);

	for (size_t i = 0; i < n; i++)
		kp_draft_ready(&p->draft, &ready[i]);
}

static uint32_t n_terminating(struct build *b)
{
	KP_AUTO(kp_freep) struct kp_addr *ending = NULL;

	return (uint32_t)kp_endpoints_local_terminating(b->slices, b->n_slices, b->family, &b->p->candidates, &ending);
}

struct kp_plan *kp_planner_build(struct kp_planner *p, const char *key)
{
	const struct kp_service *s = kp_model_service(p->model, key);
	bool served[KP_N_FAMILIES], any = false, health = s && has_health_port(s);
	uint32_t terminating[KP_N_FAMILIES] = { 0 };
	struct kp_plan *plan;

	kp_draft_reset(&p->draft);
	kp_claims_begin(p->claims, key);
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct build b;

		served[f] = is_served(p, s, f);
		if (!served[f])
			continue;
		any = true;
		b = begin_family(p, key, s, f);
		for (size_t i = 0; i < s->n_ports; i++)
			add_port(&b, &s->ports[i]);
		if (health) {
			add_ready(&b);
			terminating[f] = n_terminating(&b);
		}
	}
	kp_claims_end(p->claims);
	if (!any)
		return NULL;
	plan = kp_draft_freeze(&p->draft, key);
	memcpy(plan->has_family, served, sizeof(served));
	plan->created = s->created;
	memcpy(plan->local_terminating, terminating, sizeof(terminating));
	plan->health_port = health ? s->health_check_node_port : 0;
	return plan;
}
