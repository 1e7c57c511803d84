#include "tests/caserun/caserun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/caserun/endpoints.h"
#include "tests/support/load.h"

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_t *addr_list(const struct kp_addr *a, size_t n, int family)
{
	char ip[KP_ADDR_STRLEN];
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		if (a[i].family == family)
			json_array_append_new(list, json_string(kp_addr_str(&a[i], ip)));
	return list;
}

static json_t *cidr_list(const struct kp_cidr *c, size_t n, int family)
{
	char cidr[KP_CIDR_STRLEN];
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		if (c[i].addr.family == family)
			json_array_append_new(list, json_string(kp_cidr_str(&c[i], cidr)));
	return list;
}

/* Service ports as the documents have them, out of a plan */

static const struct kp_frontend *find_frontend(const struct kp_plan_port *p, enum kp_frontend_kind kind)
{
	for (uint32_t i = 0; i < p->n_frontends; i++)
		if (p->frontends[i].kind == kind)
			return &p->frontends[i];
	return NULL;
}

static const char *upper_proto(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

/* A plan names an address once, as a VIP if it is both; the documents ask for both lists, so these come from s. */
static json_t *port_json(const struct kp_plan *plan, const struct kp_plan_port *p, const struct kp_service *s)
{
	const struct kp_frontend *cluster = find_frontend(p, KP_FE_CLUSTER_IP), *node = find_frontend(p, KP_FE_NODE_PORT);
	char ip[KP_ADDR_STRLEN];

	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:b, s:b, s:s, s:i, s:o, s:o, s:o}",
			 "clusterIP", kp_addr_str(&cluster->ip, ip),
			 "port", cluster->port,
			 "protocol", upper_proto(p->proto),
			 "nodePort", node ? node->port : 0,
			 "healthCheckNodePort", plan->health_port,
			 "externalPolicyLocal", p->external_local,
			 "internalPolicyLocal", p->internal_local,
			 "sessionAffinityType", p->affinity_seconds ? "ClientIP" : "",
			 "stickyMaxAgeSeconds", p->affinity_seconds,
			 "externalIPs", addr_list(s->external_ips, s->n_external_ips, p->family),
			 "loadBalancerVIPs", addr_list(s->vips, s->n_vips, p->family),
			 "loadBalancerSourceRanges", cidr_list(p->ranges, p->n_ranges, p->family));
}

/* NULL plan: no ports. */
static json_t *ports_json(const struct kp_plan *plan, const struct kp_service *s)
{
	json_t *map = json_object();

	for (uint32_t i = 0; plan && i < plan->n_ports; i++) {
		const struct kp_plan_port *p = &plan->ports[i];
		KP_AUTO(kp_freep) char *key = kp_asprintf("%s:%s/%s", plan->key, p->name, upper_proto(p->proto));

		json_object_set_new(map, key, port_json(plan, p, s));
	}
	return map;
}

static struct kp_plan_options options(const char *family)
{
	return (struct kp_plan_options){ .families = { [KP_IPV4] = strcmp(family, "ipv6") != 0,
						       [KP_IPV6] = strcmp(family, "ipv4") != 0 } };
}

/* service-to-map */

static void check_field(struct case_run *r, const char *key, const char *field, json_t *have, json_t *want)
{
	KP_AUTO(kp_freep) char *what = kp_asprintf("%s %s", key, field);

	if (json_is_array(want) || json_is_array(have))
		check_same_set(r, what, have, want);
	else if (strcmp(field, "sessionAffinityType") == 0 && strcmp(json_string_value(want), "None") == 0)
		check_same(r, what, have, json_object_get(NULL, ""));
	else
		check_same(r, what, have, want);
}

static void check_ports(struct case_run *r, json_t *have, json_t *want)
{
	const char *key, *field;
	json_t *port, *value;

	case_check(r, json_object_size(have) == json_object_size(want), "%zu service ports", json_object_size(have));
	json_object_foreach(want, key, port) {
		json_t *mine = json_object_get(have, key);

		if (case_check(r, mine != NULL, "no service port %s", key))
			json_object_foreach(port, field, value)
				check_field(r, key, field, json_object_get(mine, field), value);
	}
}

static char *service_key(json_t *service)
{
	json_t *meta = json_object_get(service, "metadata");

	return kp_asprintf("%s/%s", text(meta, "namespace"), text(meta, "name"));
}

static void run_service_to_map(struct case_run *r, json_t *doc)
{
	json_t *service = json_object_get(doc, "service"), *have;
	struct kp_plan_options opt = options(text(doc, "family"));
	KP_AUTO(kp_freep) char *key = service_key(service);
	struct kp_model *m = kp_model_new("node");
	struct kp_planner *p = kp_planner_new(m, &opt);
	struct kp_plan *plan;

	if (!json_is_null(service))
		load_json(m, service);
	plan = kp_planner_build(p, key);
	have = ports_json(plan, kp_model_service(m, key));
	check_ports(r, have, json_object_get(doc, "expected"));
	/* What the real code produced beyond what its test looked at: the same must come from us. */
	check_ports(r, have, json_object_get(doc, "actualAllFields"));
	json_decref(have);
	kp_plan_unref(plan);
	kp_planner_free(p);
	kp_model_free(m);
}

/* sequence */

struct sequence {
	struct kp_model *m;
	struct kp_planner *p;
	struct kp_map *plans;	/* key -> current plan */
};

static void free_plan(void *v)
{
	kp_plan_unref(v);
}

static void apply(struct kp_model *m, json_t *event)
{
	json_t *service = json_object_get(event, "service");
	KP_AUTO(kp_freep) char *key = service_key(service);

	if (strcmp(text(event, "op"), "delete") == 0)
		kp_model_del_service(m, key);
	else
		load_json(m, service);
}

/* Sorted out which had or have a plan; a Service that never had one is no update for anyone. */
static json_t *rebuild(struct sequence *q)
{
	json_t *updated = json_array();
	char *key;

	while ((key = kp_model_pop_dirty(q->m))) {
		struct kp_plan *new = kp_planner_build(q->p, key);

		if (new || kp_map_gets(q->plans, key))
			json_array_append_new(updated, json_string(key));
		if (new)
			kp_map_puts(q->plans, key, new);
		else
			kp_map_dels(q->plans, key);
		free(key);
	}
	return updated;
}

static void check_step(struct case_run *r, struct sequence *q, json_t *step)
{
	json_t *ports = json_object(), *health = json_object();

	for (struct kp_map_it it = { 0 }; kp_map_next(q->plans, &it);) {
		const struct kp_plan *plan = it.value;
		json_t *some = ports_json(plan, kp_model_service(q->m, plan->key));

		json_object_update(ports, some);
		json_decref(some);
		if (plan->health_port)
			json_object_set_new(health, plan->key, json_integer(plan->health_port));
	}
	check_ports(r, ports, json_object_get(step, "servicePorts"));
	check_same(r, "health check node ports", health, json_object_get(step, "healthCheckNodePorts"));
	json_decref(ports);
	json_decref(health);
}

static void run_sequence(struct case_run *r, json_t *doc)
{
	struct kp_plan_options opt = options(text(doc, "family"));
	struct sequence q = { .m = kp_model_new("node"), .plans = kp_map_new(free_plan) };
	json_t *step, *event, *updated;
	size_t i, j;

	q.p = kp_planner_new(q.m, &opt);
	json_array_foreach(json_object_get(doc, "steps"), i, step) {
		json_array_foreach(json_object_get(step, "events"), j, event)
			apply(q.m, event);
		updated = rebuild(&q);
		check_same_set(r, "updated", updated, json_object_get(step, "updatedServices"));
		json_decref(updated);
		check_step(r, &q, step);
	}
	kp_map_free(q.plans);
	kp_planner_free(q.p);
	kp_model_free(q.m);
}

/* should-skip */

static void run_should_skip(struct case_run *r, json_t *doc)
{
	struct kp_plan_options opt = options("");
	struct kp_model *m = kp_model_new("node");
	struct kp_planner *p = kp_planner_new(m, &opt);
	json_t *service = json_object_get(doc, "service");
	KP_AUTO(kp_freep) char *key = service_key(service);
	struct kp_plan *plan;

	load_json(m, service);
	plan = kp_planner_build(p, key);
	case_check(r, !plan == json_is_true(json_object_get(doc, "shouldSkip")), "plan is %s", plan ? "there" : "none");
	kp_plan_unref(plan);
	kp_planner_free(p);
	kp_model_free(m);
}

/* map-ips-by-family, map-cidrs-by-family: the lists of a Service */

static struct kp_object service_with(const char *field, json_t *list)
{
	json_t *doc = json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:O}}", "apiVersion", "v1", "kind", "Service",
				"metadata", "namespace", "ns", "name", "svc", "spec", "clusterIP", "10.0.0.1", field, list);
	struct kp_object o = load_decode(doc, NULL);

	json_decref(doc);
	return o;
}

static void check_families(struct case_run *r, json_t *doc, bool cidrs)
{
	struct kp_object o = service_with(cidrs ? "loadBalancerSourceRanges" : "externalIPs", json_object_get(doc, "input"));
	const struct kp_service *s = o.service;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		json_t *have = cidrs ? cidr_list(s->source_ranges, s->n_source_ranges, f) :
				       addr_list(s->external_ips, s->n_external_ips, f);

		check_same(r, kp_family_names[f], have, json_object_get(json_object_get(doc, "expected"), kp_family_names[f]));
		json_decref(have);
	}
	kp_object_release(&o);
}

static void run_map_ips(struct case_run *r, json_t *doc)
{
	check_families(r, doc, false);
}

static void run_map_cidrs(struct case_run *r, json_t *doc)
{
	check_families(r, doc, true);
}

/* cluster-ip-by-family */

/* Documents may have clusterIPs only; an API server fills in clusterIP, the first, and without it there is no proxying. */
static struct kp_object decode_completed(json_t *service)
{
	json_t *copy = json_deep_copy(service), *spec = json_object_get(copy, "spec");
	json_t *first = json_array_get(json_object_get(spec, "clusterIPs"), 0);
	struct kp_object o;

	if (first && !*text(spec, "clusterIP"))
		json_object_set(spec, "clusterIP", first);
	o = load_decode(copy, NULL);
	json_decref(copy);
	return o;
}

static void run_cluster_ip(struct case_run *r, json_t *doc)
{
	struct kp_object o = decode_completed(json_object_get(doc, "service"));
	int family = strcmp(text(doc, "requestFamily"), "IPv6") == 0 ? KP_IPV6 : KP_IPV4;
	char ip[KP_ADDR_STRLEN] = "";

	if (o.service->has_ip[family])
		kp_addr_str(&o.service->cluster_ip[family], ip);
	case_check(r, strcmp(ip, text(doc, "expected")) == 0, "cluster IP is '%s'", ip);
	kp_object_release(&o);
}

static const struct {
	const char *sub;
	void (*run)(struct case_run *r, json_t *doc);
} subs[] = {
	{ "service-to-map",		run_service_to_map },
	{ "sequence",			run_sequence },
	{ "should-skip",		run_should_skip },
	{ "map-ips-by-family",		run_map_ips },
	{ "map-cidrs-by-family",	run_map_cidrs },
	{ "cluster-ip-by-family",	run_cluster_ip },
};

void case_services(struct case_run *r, json_t *doc)
{
	for (size_t i = 0; i < KP_N(subs); i++)
		if (strcmp(r->sub, subs[i].sub) == 0) {
			subs[i].run(r, doc);
			return;
		}
	case_fail(r, "no such kind of document: %s", r->sub);
}
