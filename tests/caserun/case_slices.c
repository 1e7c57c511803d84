#include "tests/caserun/caserun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/caserun/endpoints.h"
#include "tests/support/load.h"

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void load_all(struct kp_model *m, json_t *slices)
{
	json_t *s;
	size_t i;

	json_array_foreach(slices, i, s)
		if (!json_is_null(s))
			load_json(m, s);
}

/* "ns/name" of the slice itself. */
static char *slice_key(json_t *slice)
{
	json_t *meta = json_object_get(slice, "metadata");

	return kp_asprintf("%s/%s", text(meta, "namespace"), text(meta, "name"));
}

/* "ns/service" that the slice belongs to. */
static char *slice_service(json_t *slice)
{
	json_t *meta = json_object_get(slice, "metadata");

	return kp_asprintf("%s/%s", text(meta, "namespace"),
			   text(json_object_get(meta, "labels"), "kubernetes.io/service-name"));
}

/* Everything pending is done: sorted list of the keys. */
static json_t *pop_all(struct kp_model *m)
{
	json_t *keys = json_array();
	char *key;

	while ((key = kp_model_pop_dirty(m))) {
		json_array_append_new(keys, json_string(key));
		free(key);
	}
	return keys;
}

static void settle(struct kp_model *m)
{
	json_decref(pop_all(m));
}

/* endpoints-map, endpoint-info */

static void run_map(struct case_run *r, json_t *doc, bool hints)
{
	struct kp_model *m = kp_model_new(text(doc, "nodeName"));
	json_t *have;

	load_all(m, json_object_get(doc, "endpointSlices"));
	have = endpoints_map(m, text(doc, "service"), -1, hints);
	check_same(r, "map", have, json_object_get(doc, "expected"));
	json_decref(have);
	kp_model_free(m);
}

static void run_endpoints_map(struct case_run *r, json_t *doc)
{
	run_map(r, doc, false);
}

static void run_endpoint_info(struct case_run *r, json_t *doc)
{
	run_map(r, doc, true);
}

/* data-changed */

/* The documents leave the type empty; a slice without one is for nobody. */
static json_t *typed(json_t *slice)
{
	json_t *copy = json_deep_copy(slice);

	if (!*text(copy, "addressType"))
		json_object_set_new(copy, "addressType", json_string("IPv4"));
	return copy;
}

static void run_data_changed(struct case_run *r, json_t *doc)
{
	struct kp_model *m = kp_model_new("node");
	json_t *before = typed(json_object_get(doc, "initialSlice")), *after = typed(json_object_get(doc, "updatedSlice"));
	bool changed;

	load_json(m, before);
	changed = load_json(m, after);
	case_check(r, changed == json_is_true(json_object_get(doc, "expectChanged")), "changed is %d", changed);
	json_decref(before);
	json_decref(after);
	kp_model_free(m);
}

/* slice-update */

static bool update(struct kp_model *m, json_t *slice, bool remove)
{
	KP_AUTO(kp_freep) char *key = slice_key(slice);

	return remove ? kp_model_del_slice(m, key) : load_json(m, slice);
}

static void run_slice_update(struct case_run *r, json_t *doc)
{
	json_t *slice = json_object_get(doc, "paramEndpointSlice"), *have;
	int family = strcmp(text(doc, "addressType"), "IPv6") == 0 ? KP_IPV6 : KP_IPV4;
	struct kp_model *m;
	bool changed;

	if (strcmp(text(slice, "addressType"), kp_family_names[family]) != 0) {
		case_skip(r, "the model takes both families; there is no tracker of one that could ignore the other");
		return;
	}
	m = kp_model_new(text(doc, "nodeName"));
	load_all(m, json_object_get(doc, "startingSlices"));
	settle(m);
	changed = update(m, slice, json_is_true(json_object_get(doc, "paramRemoveSlice")));
	case_check(r, changed == json_is_true(json_object_get(doc, "expectedReturnVal")), "returned %d", changed);
	have = changed ? endpoints_map(m, text(doc, "namespacedName"), family, false) : json_null();
	check_same(r, "map", have, json_object_get(doc, "expectedCurrentChange"));
	json_decref(have);
	kp_model_free(m);
}

/* checkout-changes */

static json_t *change_of(const struct kp_model *before, const struct kp_model *after, const char *service)
{
	json_t *change = json_object();

	json_object_set_new(change, "previous", endpoints_map(before, service, -1, false));
	json_object_set_new(change, "current", endpoints_map(after, service, -1, false));
	return change;
}

static bool contains(json_t *list, json_t *v)
{
	json_t *e;
	size_t i;

	json_array_foreach(list, i, e)
		if (json_equal(e, v))
			return true;
	return false;
}

static void run_checkout_changes(struct case_run *r, json_t *doc)
{
	struct kp_model *before = kp_model_new(text(doc, "nodeName")), *after = kp_model_new(text(doc, "nodeName"));
	json_t *want = json_object_get(doc, "expectedChanges"), *changed, *key;
	size_t i;

	load_all(before, json_object_get(doc, "appliedSlices"));
	load_all(after, json_object_get(doc, "appliedSlices"));
	settle(after);
	load_all(after, json_object_get(doc, "pendingSlices"));
	changed = pop_all(after);
	case_check(r, json_array_size(changed) == json_array_size(want), "%zu changes", json_array_size(changed));
	json_array_foreach(changed, i, key) {
		json_t *change = change_of(before, after, json_string_value(key));

		case_check(r, contains(want, change), "change of %s", json_string_value(key));
		json_decref(change);
	}
	json_decref(changed);
	kp_model_free(before);
	kp_model_free(after);
}

/* update-endpoints-map */

/* The Services of all slices, each once. */
static json_t *services_of(json_t *a, json_t *b)
{
	json_t *found = json_object(), *lists[] = { a, b }, *s;
	size_t i;

	for (size_t l = 0; l < KP_N(lists); l++)
		json_array_foreach(lists[l], i, s) {
			KP_AUTO(kp_freep) char *key = json_is_null(s) ? NULL : slice_service(s);

			if (key)
				json_object_set_new(found, key, json_null());
		}
	return found;
}

static json_t *whole_map(const struct kp_model *m, json_t *services, int family)
{
	json_t *all = json_object(), *none;
	const char *key;

	json_object_foreach(services, key, none) {
		json_t *map = endpoints_map(m, key, family, false);

		json_object_update(all, map);
		json_decref(map);
	}
	return all;
}

static json_t *local_ready(const struct kp_model *m, json_t *services, int family)
{
	struct kp_candidates scratch = { 0 };
	json_t *counts = json_object(), *none;
	const char *key;

	json_object_foreach(services, key, none) {
		KP_AUTO(kp_freep) struct kp_addr *ips = NULL;
		const struct kp_slice *const *slices;
		size_t n = kp_model_slices(m, key, &slices);

		n = kp_endpoints_local_ready(slices, n, family, &scratch, &ips);
		if (n)
			json_object_set_new(counts, key, json_integer((json_int_t)n));
	}
	free(scratch.items);
	return counts;
}

static void move_to(struct kp_model *m, json_t *previous, json_t *current)
{
	for (size_t i = 0; i < json_array_size(current) || i < json_array_size(previous); i++) {
		json_t *was = json_array_get(previous, i), *is = json_array_get(current, i);

		if (is && !json_is_null(is))
			load_json(m, is);
		else if (was && !json_is_null(was))
			update(m, was, true);
	}
}

static void check_and_drop(struct case_run *r, const char *what, json_t *have, json_t *want)
{
	check_same(r, what, have, want);
	json_decref(have);
}

static void run_update_endpoints_map(struct case_run *r, json_t *doc)
{
	json_t *previous = json_object_get(doc, "previousEndpointSlices");
	json_t *current = json_object_get(doc, "currentEndpointSlices");
	json_t *services = services_of(previous, current), *changed;
	int family = strcmp(text(doc, "family"), "ipv6") == 0 ? KP_IPV6 : KP_IPV4;
	struct kp_model *m = kp_model_new(text(doc, "nodeName"));

	load_all(m, previous);
	settle(m);
	check_and_drop(r, "previous", whole_map(m, services, family), json_object_get(doc, "expectedPrevious"));
	move_to(m, previous, current);
	changed = pop_all(m);
	check_same_set(r, "updated", changed, json_object_get(doc, "expectedUpdatedServices"));
	json_decref(changed);
	check_and_drop(r, "current", whole_map(m, services, family), json_object_get(doc, "expectedCurrent"));
	check_and_drop(r, "local ready", local_ready(m, services, family),
		       json_object_get(doc, "expectedLocalReadyEndpoints"));
	case_skip(r, "whether conntrack needs a look is told by the serving addresses of the plans, not by a flag");
	json_decref(services);
	kp_model_free(m);
}

/* last-change-trigger-time */

/* Whole seconds are all the documents have. */
static uint64_t to_ns(const char *rfc3339)
{
	struct tm t = { 0 };

	if (!strptime(rfc3339, "%Y-%m-%dT%H:%M:%SZ", &t))
		abort();
	return (uint64_t)timegm(&t) * 1000000000u;
}

static void check_triggers(struct case_run *r, struct kp_model *m, const char *service, json_t *want)
{
	KP_AUTO(kp_freep) uint64_t *times = NULL;
	size_t n = kp_model_take_triggers(m, service, &times);

	if (!case_check(r, n == json_array_size(want), "%s has %zu times", service, n))
		return;
	for (size_t i = 0; i < n; i++)
		case_check(r, times[i] == to_ns(json_string_value(json_array_get(want, i))), "%s, time %zu", service, i);
}

static void run_trigger_time(struct case_run *r, json_t *doc)
{
	json_t *events = json_object_get(doc, "events"), *expected = json_object_get(doc, "expected"), *event;
	struct kp_model *m = kp_model_new("node");
	size_t i;

	kp_model_track_triggers(m, to_ns(text(doc, "trackerStartTime")));
	json_array_foreach(events, i, event)
		update(m, json_object_get(event, "endpointSlice"), strcmp(text(event, "op"), "delete") == 0);
	json_array_foreach(events, i, event) {
		KP_AUTO(kp_freep) char *service = slice_service(json_object_get(event, "endpointSlice"));
		json_t *want = json_object_get(expected, service);

		check_triggers(r, m, service, want);
		json_object_del(expected, service);	/* taken: nothing is left for the next event of this Service */
	}
	kp_model_free(m);
}

/* local-ready-ips */

static json_t *local_ips(json_t *map, const char *service)
{
	KP_AUTO(kp_freep) struct kp_addr *ips = NULL;
	struct kp_candidates scratch = { 0 };
	struct kp_slice **slices;
	json_t *have = json_array();
	size_t n = slices_from_map(map, service, &slices);

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		size_t found = kp_endpoints_local_ready((const struct kp_slice *const *)slices, n, f, &scratch, &ips);
		char ip[KP_ADDR_STRLEN];

		for (size_t i = 0; i < found; i++)
			json_array_append_new(have, json_string(kp_addr_str(&ips[i], ip)));
		free(kp_steal(&ips));
	}
	for (size_t i = 0; i < n; i++)
		kp_slice_free(slices[i]);
	free(slices);
	free(scratch.items);
	return have;
}

static void run_local_ready_ips(struct case_run *r, json_t *doc)
{
	json_t *map = json_object_get(doc, "endpointsMap"), *none;
	const char *key;

	if (!json_object_size(map))
		case_check(r, !json_object_size(json_object_get(doc, "expected")), "nothing comes from nothing");
	json_object_foreach(map, key, none) {
		KP_AUTO(kp_freep) char *service = service_of_key(key);
		json_t *have = local_ips(map, service);

		check_same_set(r, service, have, json_object_get(json_object_get(doc, "expected"), service));
		json_decref(have);
	}
}

static const struct {
	const char *sub;
	void (*run)(struct case_run *r, json_t *doc);
} subs[] = {
	{ "endpoints-map",		run_endpoints_map },
	{ "endpoint-info",		run_endpoint_info },
	{ "data-changed",		run_data_changed },
	{ "slice-update",		run_slice_update },
	{ "checkout-changes",		run_checkout_changes },
	{ "update-endpoints-map",	run_update_endpoints_map },
	{ "last-change-trigger-time",	run_trigger_time },
	{ "local-ready-ips",		run_local_ready_ips },
};

void case_slices(struct case_run *r, json_t *doc)
{
	for (size_t i = 0; i < KP_N(subs); i++)
		if (strcmp(r->sub, subs[i].sub) == 0) {
			subs[i].run(r, doc);
			return;
		}
	case_fail(r, "no such kind of document: %s", r->sub);
}
