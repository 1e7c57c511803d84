#include "tests/caserun/caserun.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/answer.h"
#include "healthz/port.h"
#include "healthz/request.h"
#include "healthz/stamp.h"
#include "healthz/state.h"
#include "healthz/wanted.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/plan/endpoints.h"
#include "tests/caserun/endpoints.h"
#include "tests/support/load.h"

#define S_NS 1000000000ull
#define MONO_START (1000 * S_NS)
#define WALL_START (1772359200 * S_NS)

/*
 * The documents drive a server through operations; ours answers from states. So the
 * operations change a state here, and every "get" asks the answer for it, by a clock
 * that only advanceClock moves.
 */
struct sim {
	struct case_run *run;
	size_t op;			/* for messages */
	struct hz_state state;		/* of this node; services owned below */
	uint64_t seconds;		/* since the start */
};

typedef void op_fn(struct sim *s, json_t *op);

struct op_row {
	const char *name;
	op_fn *run;
};

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static enum kp_family family_of(json_t *o)
{
	return strcasecmp(text(o, "family"), "ipv6") == 0 ? KP_IPV6 : KP_IPV4;
}

static uint64_t mono(const struct sim *s)
{
	return MONO_START + s->seconds * S_NS;
}

static uint64_t wall(const struct sim *s)
{
	return WALL_START + s->seconds * S_NS;
}

/* Returns the body. */
static const char *get(const struct sim *s, const struct hz_port *port, enum kp_family family, const char *path,
		       struct hz_answer *ret)
{
	struct hz_asked asked = {
		.state = &s->state, .port = port, .family = family, .now_ns = mono(s), .wall_ns = wall(s),
	};
	KP_AUTO(kp_freep) char *request = kp_asprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
	struct hz_req req;

	if (hz_req_parse(request, strlen(request), &req) != HZ_REQ_DONE)
		abort();
	hz_answer(&asked, &req, ret);
	ret->bytes[ret->len] = '\0';
	return strstr(ret->bytes, "\r\n\r\n") + 4;
}

static void check_headers(struct sim *s, const struct hz_answer *a, json_t *want)
{
	const char *name;
	json_t *values;

	json_object_foreach(want, name, values) {
		const char *value = json_string_value(json_array_get(values, 0));
		KP_AUTO(kp_freep) char *line = kp_asprintf("\r\n%s: %s\r\n", name, value);

		case_check(s->run, strstr(a->bytes, line) != NULL, "op %zu: no header \"%s\"", s->op, name);
	}
}

static void run_ops(struct sim *s, json_t *doc, const struct op_row *rows, size_t n)
{
	json_t *op;

	json_array_foreach(json_object_get(doc, "ops"), s->op, op) {
		size_t i = 0;

		while (i < n && strcmp(rows[i].name, text(op, "op")) != 0)
			i++;
		if (i < n)
			rows[i].run(s, op);
		else
			case_fail(s->run, "op %zu: no operation \"%s\"", s->op, text(op, "op"));
	}
}

/* proxy-health: /healthz and /livez */

static void op_queued(struct sim *s, json_t *op)
{
	uint64_t *pending = &s->state.family[family_of(op)].oldest_pending_ns;

	if (!*pending)
		*pending = mono(s);
}

static void op_updated(struct sim *s, json_t *op)
{
	s->state.family[family_of(op)] = (struct hz_family){ .enabled = true, .updated_wall_ns = wall(s) };
	s->state.started = true;
}

static void op_clock(struct sim *s, json_t *op)
{
	s->seconds += (uint64_t)json_integer_value(json_object_get(op, "seconds"));
}

static void op_node(struct sim *s, json_t *op)
{
	json_t *taint;
	size_t i;

	s->state.node_eligible = !json_is_true(json_object_get(op, "deleting"));
	json_array_foreach(json_object_get(op, "taintKeys"), i, taint)
		if (strcmp(json_string_value(taint), "ToBeDeletedByClusterAutoscaler") == 0)
			s->state.node_eligible = false;
}

/* "T+25s" and "ZERO" become what the clock shows then; everywhere below value. */
static void resolve_times(json_t *value)
{
	char stamp[HZ_RFC3339_LEN];
	const char *key, *when;
	json_t *member;
	uint64_t seconds;
	void *next;

	json_object_foreach_safe(value, next, key, member) {
		when = json_string_value(member);
		if (when && strcmp(when, "ZERO") == 0)
			json_object_set_new(value, key, json_string(hz_stamp_rfc3339(0, stamp)));
		else if (when && sscanf(when, "T+%" SCNu64 "s", &seconds) == 1)
			json_object_set_new(value, key,
					    json_string(hz_stamp_rfc3339(WALL_START + seconds * S_NS, stamp)));
		else
			resolve_times(member);
	}
}

/*
 * What ours must answer where kube-proxy answers as in op. Two differences, both
 * wanted (health-and-probes B.3): "state" is added to /healthz; and before anything is known to be in
 * the kernel /healthz is 503, which by then has no last update to name.
 */
static json_t *our_body(const struct sim *s, json_t *op, int *ret_status)
{
	json_t *body = json_deep_copy(json_object_get(op, "expectBody"));

	*ret_status = (int)json_integer_value(json_object_get(op, "expectStatus"));
	if (strcmp(text(op, "path"), "/healthz") == 0) {
		json_object_set_new(body, "state", json_string(s->state.started ? "Ready" : "Busy"));
		if (!s->state.started) {
			*ret_status = 503;
			json_object_set_new(body, "lastUpdated", json_string("ZERO"));
		}
	}
	resolve_times(body);
	return body;
}

static void op_get_proxy(struct sim *s, json_t *op)
{
	const struct hz_port port = { .refs = 1, .ns = (char *)"", .name = (char *)"main", .number = 10256 };
	struct hz_answer a;
	const char *got = get(s, &port, KP_IPV4, text(op, "path"), &a);
	json_t *have = json_loads(got, 0, NULL), *want;
	int status;

	want = our_body(s, op, &status);
	case_check(s->run, a.status == status, "op %zu: status %d, not %d", s->op, a.status, status);
	check_same(s->run, "body", have, want);
	check_headers(s, &a, json_object_get(op, "expectHeaders"));
	json_decref(have);
	json_decref(want);
}

static void run_proxy_health(struct case_run *r, json_t *doc)
{
	static const struct op_row ops[] = {
		{ "queuedUpdate",	op_queued },
		{ "updated",		op_updated },
		{ "advanceClock",	op_clock },
		{ "nodeUpdate",		op_node },
		{ "get",		op_get_proxy },
	};
	struct sim s = { .run = r, .state.node_eligible = true };

	s.state.stale_ns = (uint64_t)json_integer_value(json_object_get(doc, "healthTimeoutSeconds")) * S_NS;
	run_ops(&s, doc, ops, KP_N(ops));
}

/* service-health: healthCheckNodePorts */

static struct hz_service make_service(const char *key, json_t *port, enum kp_family family)
{
	const char *slash = strchr(key, '/');
	struct hz_service svc = { .port = (uint16_t)json_integer_value(port) };

	svc.ns = kp_strndup(key, (size_t)(slash - key));
	svc.name = kp_strdup(slash + 1);
	svc.has_family[family] = true;
	return svc;
}

static uint32_t *ready_of(struct hz_service *svc)
{
	return &svc->local_ready[svc->has_family[KP_IPV6] ? KP_IPV6 : KP_IPV4];
}

static char *key_of(const struct hz_service *svc)
{
	return kp_asprintf("%s/%s", svc->ns, svc->name);
}

static enum kp_family sim_family(const struct sim *s)
{
	return s->state.family[KP_IPV6].enabled ? KP_IPV6 : KP_IPV4;
}

static json_t *listening(const struct sim *s)
{
	KP_AUTO(kp_freep) const struct hz_service **owners = NULL;
	KP_AUTO(kp_freep) struct kp_addr *addrs = NULL;
	size_t n_losers, n = hz_wanted_owners(s->state.services, &owners, &n_losers);
	size_t n_addrs = hz_wanted_addrs(&s->state, &addrs);
	json_t *out = json_array();
	char ip[KP_ADDR_STRLEN];

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n_addrs; k++) {
			bool v4 = addrs[k].family == KP_IPV4;

			json_array_append_new(out, json_sprintf("%s%s%s:%d", v4 ? "" : "[", kp_addr_str(&addrs[k], ip),
								v4 ? "" : "]", (int)owners[i]->port));
		}
	return out;
}

/* What the operation expects the server to hold. */
static void check_held(struct sim *s, json_t *op)
{
	json_t *have = json_object(), *listens = listening(s);

	for (size_t i = 0; i < s->state.services->n; i++) {
		struct hz_service *svc = &s->state.services->items[i];
		KP_AUTO(kp_freep) char *key = key_of(svc);

		json_object_set_new(have, key, json_pack("{s:i, s:i}", "port", (int)svc->port,
							 "endpoints", (int)*ready_of(svc)));
	}
	check_same(s->run, "services", have, json_object_get(op, "expectServices"));
	check_same_set(s->run, "listening", listens, json_object_get(op, "expectListen"));
	json_decref(have);
	json_decref(listens);
}

/* A Service that keeps its port keeps its count. */
static void op_sync_services(struct sim *s, json_t *op)
{
	json_t *arg = json_object_get(op, "arg"), *port;
	struct hz_services *old = s->state.services, *now = hz_services_new(json_object_size(arg));
	const char *key;
	size_t n = 0;

	json_object_foreach(arg, key, port) {
		struct hz_service *svc = &now->items[n++];
		const struct hz_service *was;

		*svc = make_service(key, port, sim_family(s));
		was = hz_services_find(old, svc->ns, svc->name);
		if (was && was->port == svc->port)
			memcpy(svc->local_ready, was->local_ready, sizeof(svc->local_ready));
	}
	hz_services_sort(now);
	s->state.services = now;
	hz_services_unref(old);
	check_held(s, op);
}

static void op_sync_endpoints(struct sim *s, json_t *op)
{
	json_t *arg = json_object_get(op, "arg");

	for (size_t i = 0; i < s->state.services->n; i++) {
		struct hz_service *svc = &s->state.services->items[i];
		KP_AUTO(kp_freep) char *key = key_of(svc);

		*ready_of(svc) = (uint32_t)json_integer_value(json_object_get(arg, key));
	}
	check_held(s, op);
}

static void op_set_healthy(struct sim *s, json_t *op)
{
	bool healthy = json_is_true(json_object_get(op, "healthy"));

	s->state.family[sim_family(s)].oldest_pending_ns = healthy ? 0 : mono(s) - s->state.stale_ns;
}

static void op_get_service(struct sim *s, json_t *op)
{
	KP_AUTO(kp_freep) char *key = kp_strdup(text(op, "service"));
	char *name = key, *ns = strsep(&name, "/");
	const struct hz_service *svc = hz_services_find(s->state.services, ns, name);
	const struct hz_port port = {
		.refs = 1, .is_service = true, .ns = ns, .name = name, .number = svc ? svc->port : 0,
	};
	struct hz_answer a;
	const char *got = get(s, &port, sim_family(s), text(op, "path"), &a);
	int status = (int)json_integer_value(json_object_get(op, "expectStatus"));

	case_check(s->run, a.status == status, "op %zu: status %d, not %d", s->op, a.status, status);
	case_check(s->run, strcmp(got, text(op, "expectBody")) == 0, "op %zu: body %s", s->op, got);
	check_headers(s, &a, json_object_get(op, "expectHeaders"));
}

/* Addresses of a node: loopback, and "interfaces" as in the family nodeport-addresses ("10.0.0.1/24"). */
static size_t node_addrs(json_t *interfaces, struct kp_addr **ret)
{
	struct kp_addr *have = kp_calloc(2, sizeof(*have));
	size_t n = 2, cap = 2, i;
	const char *name;
	json_t *list, *value;

	kp_addr_parse("127.0.0.1", &have[0]);
	kp_addr_parse("::1", &have[1]);
	json_object_foreach(interfaces, name, list)
		json_array_foreach(list, i, value) {
			const char *with_len = json_string_value(value);
			KP_AUTO(kp_freep) char *ip = kp_strndup(with_len, strcspn(with_len, "/"));

			kp_grow(&have, n, &cap);
			if (!kp_addr_parse(ip, &have[n++]))
				abort();
		}
	*ret = have;
	return n;
}

static void set_addresses(struct sim *s, json_t *doc)
{
	json_t *list = json_object_get(doc, "nodePortAddresses"), *value;
	KP_AUTO(kp_freep) struct kp_cidr *cidrs = kp_calloc(json_array_size(list) + 1, sizeof(*cidrs));
	KP_AUTO(kp_freep) struct kp_addr *have = NULL;
	size_t n_have = node_addrs(json_object_get(doc, "interfaces"), &have), n = 0, i;
	enum kp_family f = sim_family(s);

	json_array_foreach(list, i, value)
		if (!kp_cidr_parse(json_string_value(value), &cidrs[n++]))
			abort();
	s->state.any_address[f] = kp_nodeport_match_all(cidrs, n, f);
	s->state.n_addresses = kp_nodeport_select(cidrs, n, f, have, n_have, &s->state.addresses);
}

static void run_service_health(struct case_run *r, json_t *doc)
{
	static const struct op_row ops[] = {
		{ "syncServices",	op_sync_services },
		{ "syncEndpoints",	op_sync_endpoints },
		{ "setProxyHealthy",	op_set_healthy },
		{ "get",		op_get_service },
	};
	struct sim s = { .run = r, .state = { .started = true, .stale_ns = 60 * S_NS } };

	s.state.family[family_of(doc)].enabled = true;
	s.state.services = hz_services_new(0);
	set_addresses(&s, doc);
	run_ops(&s, doc, ops, KP_N(ops));
	hz_services_unref(s.state.services);
	free(s.state.addresses);
}

/* local-ready-endpoints: what the count comes from */

static uint32_t count_ready(struct kp_model *m, const char *service, enum kp_family family)
{
	struct kp_candidates scratch = { 0 };
	const struct kp_slice *const *slices;
	size_t n_slices = kp_model_slices(m, service, &slices), n;
	struct kp_addr *found = NULL;

	n = kp_endpoints_local_ready(slices, n_slices, family, &scratch, &found);
	free(found);
	free(scratch.items);
	return (uint32_t)n;
}

static void run_local_ready(struct case_run *r, json_t *doc)
{
	struct kp_model *m = kp_model_new(text(doc, "nodeName"));
	json_t *want = json_object_get(doc, "expectedLocalReadyEndpoints"), *have = json_object(), *object;
	size_t i;

	json_array_foreach(json_object_get(doc, "endpointSlices"), i, object)
		load_json(m, object);
	json_array_foreach(json_object_get(doc, "services"), i, object) {
		json_t *meta = json_object_get(object, "metadata");
		KP_AUTO(kp_freep) char *key = kp_asprintf("%s/%s", text(meta, "namespace"), text(meta, "name"));
		uint32_t n = count_ready(m, key, family_of(doc));

		if (n)		/* the documents leave out those without */
			json_object_set_new(have, key, json_integer(n));
	}
	check_same(r, "local ready endpoints", have, want);
	json_decref(have);
	kp_model_free(m);
}

void case_health(struct case_run *r, json_t *doc)
{
	static const struct {
		const char *sub;
		void (*run)(struct case_run *r, json_t *doc);
	} kinds[] = {
		{ "service-health",		run_service_health },
		{ "proxy-health",		run_proxy_health },
		{ "local-ready-endpoints",	run_local_ready },
	};

	for (size_t i = 0; i < KP_N(kinds); i++)
		if (strcmp(r->sub, kinds[i].sub) == 0) {
			kinds[i].run(r, doc);
			return;
		}
	case_fail(r, "no such kind of document: %s", r->sub);
}
