#include "tests/caserun/endpoints.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/model/model.h"
#include "tests/caserun/caserun.h"

/* From JSON */

static char **strings(json_t *list)
{
	char **v = kp_calloc(json_array_size(list) + 1, sizeof(*v));

	for (size_t i = 0; i < json_array_size(list); i++)
		v[i] = kp_strdup(json_string_value(json_array_get(list, i)));
	return v;
}

static uint8_t flags(json_t *e)
{
	return (json_is_true(json_object_get(e, "ready")) ? KP_EP_READY : 0) |
	       (json_is_true(json_object_get(e, "serving")) ? KP_EP_SERVING : 0) |
	       (json_is_true(json_object_get(e, "terminating")) ? KP_EP_TERMINATING : 0) |
	       (json_is_true(json_object_get(e, "isLocal")) ? KP_EP_HERE : 0);
}

/* "10.0.0.1:80", "[fd00::1]:80"; returns the port. */
static uint16_t split(const char *endpoint, struct kp_addr *ret)
{
	const char *colon = strrchr(endpoint, ':');
	bool v6 = endpoint[0] == '[';
	KP_AUTO(kp_freep) char *ip = kp_strndup(endpoint + v6, (size_t)(colon - endpoint) - 2 * v6);

	if (!kp_addr_parse(ip, ret))
		abort();
	return (uint16_t)atoi(colon + 1);
}

void candidates_from_json(json_t *list, struct kp_candidates *ret)
{
	ret->n = ret->cap = json_array_size(list);
	ret->items = kp_calloc(ret->n, sizeof(*ret->items));
	for (size_t i = 0; i < ret->n; i++) {
		json_t *e = json_array_get(list, i);
		struct kp_endpoint *from = kp_calloc(1, sizeof(*from));
		struct kp_candidate *c = &ret->items[i];

		from->zone_hints = strings(json_object_get(e, "zoneHints"));
		from->node_hints = strings(json_object_get(e, "nodeHints"));
		c->from = from;
		c->flags = flags(e);
		c->local = json_is_true(json_object_get(e, "isLocal"));
		snprintf(c->text, sizeof(c->text), "%s", json_string_value(json_object_get(e, "endpoint")));
		c->port = split(c->text, &c->addr);
	}
}

void candidates_release(struct kp_candidates *c)
{
	for (size_t i = 0; i < c->n; i++) {
		kp_strv_free(c->items[i].from->zone_hints);
		kp_strv_free(c->items[i].from->node_hints);
		free((void *)c->items[i].from);
	}
	free(c->items);
	*c = (struct kp_candidates){ 0 };
}

/* To JSON */

static json_t *string_list(char **v)
{
	json_t *list = json_array();

	for (; v && *v; v++)
		json_array_append_new(list, json_string(*v));
	return list;
}

static json_t *endpoint_json(const struct kp_candidate *c, bool hints)
{
	json_t *e = json_object();

	json_object_set_new(e, "endpoint", json_string(c->text));
	json_object_set_new(e, "isLocal", json_boolean(c->local));
	json_object_set_new(e, "ready", json_boolean(c->flags & KP_EP_READY));
	json_object_set_new(e, "serving", json_boolean(c->flags & KP_EP_SERVING));
	json_object_set_new(e, "terminating", json_boolean(c->flags & KP_EP_TERMINATING));
	if (hints) {
		json_object_set_new(e, "zoneHints", string_list(c->from->zone_hints));
		json_object_set_new(e, "nodeHints", string_list(c->from->node_hints));
	}
	return e;
}

static const char *upper_proto(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : "SCTP";
}

static void add_family(json_t *map, const struct kp_model *m, const char *service, int family, bool hints)
{
	const struct kp_slice *const *slices;
	struct kp_candidates eps = { 0 };
	size_t n = kp_model_slices(m, service, &slices);

	for (size_t s = 0; s < n; s++)
		for (size_t p = 0; slices[s]->family == family && p < slices[s]->n_ports; p++) {
			const struct kp_slice_port *port = &slices[s]->ports[p];
			KP_AUTO(kp_freep) char *key = kp_asprintf("%s:%s/%s", service, port->name, upper_proto(port->proto));
			json_t *list = json_array();

			kp_endpoints_merge(slices, n, family, (struct kp_port_key){ port->name, port->proto }, &eps);
			for (size_t i = 0; i < eps.n; i++)
				json_array_append_new(list, endpoint_json(&eps.items[i], hints));
			if (json_array_size(list))
				json_object_set(map, key, list);
			json_decref(list);
		}
	free(eps.items);
}

json_t *endpoints_map(const struct kp_model *m, const char *service, int family, bool hints)
{
	json_t *map = json_object();

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (family < 0 || family == f)
			add_family(map, m, service, f, hints);
	return map;
}

/* Maps back into slices */

char *service_of_key(const char *key)
{
	const char *slash = strchr(key, '/'), *end = slash + 1 + strcspn(slash + 1, ":/");

	return kp_strndup(key, (size_t)(end - key));
}

/* One slice per endpoint: the map does not say which came together. */
static struct kp_slice *slice_of(const char *key, json_t *e)
{
	const char *colon = strchr(key, ':'), *proto = strrchr(key, '/');
	struct kp_slice *s = kp_calloc(1, sizeof(*s));

	s->n_ports = s->n_endpoints = 1;
	s->ports = kp_calloc(1, sizeof(*s->ports));
	s->endpoints = kp_calloc(1, sizeof(*s->endpoints));
	s->ports->name = colon ? kp_strndup(colon + 1, (size_t)(proto - colon) - 1) : kp_strdup("");
	s->ports->proto = strcmp(proto, "/TCP") == 0 ? IPPROTO_TCP : strcmp(proto, "/UDP") == 0 ? IPPROTO_UDP : IPPROTO_SCTP;
	s->ports->port = split(json_string_value(json_object_get(e, "endpoint")), &s->endpoints->addr);
	s->family = s->endpoints->addr.family;
	s->endpoints->flags = flags(e);
	return s;
}

size_t slices_from_map(json_t *map, const char *service, struct kp_slice ***ret)
{
	struct kp_slice **slices = NULL;
	size_t n = 0, cap = 0, i;
	const char *key;
	json_t *list, *e;

	json_object_foreach(map, key, list) {
		KP_AUTO(kp_freep) char *of = service_of_key(key);

		if (strcmp(of, service) != 0)
			continue;
		json_array_foreach(list, i, e) {
			kp_grow(&slices, n, &cap);
			slices[n++] = slice_of(key, e);
		}
	}
	*ret = slices;
	return n;
}

/* Comparing */

static bool empty(json_t *v)
{
	return !v || json_is_null(v) || (json_is_array(v) && !json_array_size(v)) ||
	       (json_is_object(v) && !json_object_size(v));
}

void check_same(struct case_run *r, const char *what, json_t *have, json_t *want)
{
	KP_AUTO(kp_freep) char *a = json_dumps(have, JSON_SORT_KEYS | JSON_ENCODE_ANY);
	KP_AUTO(kp_freep) char *b = want ? json_dumps(want, JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;

	case_check(r, (empty(have) && empty(want)) || json_equal(have, want), "%s is %s, not %s", what, a, b ? b : "empty");
}

static int cmp_strings(const void *a, const void *b)
{
	return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **v = kp_calloc(n + 1, sizeof(json_t *)), *out = json_array();

	for (size_t i = 0; i < n; i++)
		v[i] = json_array_get(list, i);
	qsort(v, n, sizeof(json_t *), cmp_strings);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, v[i]);
	free(v);
	return out;
}

void check_same_set(struct case_run *r, const char *what, json_t *have, json_t *want)
{
	json_t *a = sorted(have), *b = sorted(want);

	check_same(r, what, a, b);
	json_decref(a);
	json_decref(b);
}
