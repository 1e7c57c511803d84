#include "tests/caserun/caserun.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/model/objects.h"
#include "proxy/plan/topology.h"
#include "tests/caserun/endpoints.h"

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool flag(json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

enum set { IN_CLUSTER, IN_LOCAL, IN_ALL };

static bool in_set(const struct kp_candidate *c, enum set set)
{
	return (set != IN_LOCAL && c->in_cluster) || (set != IN_CLUSTER && c->in_local);
}

static void check_set(struct case_run *r, json_t *expected, const char *key, const struct kp_candidates *eps, enum set set)
{
	json_t *want = json_object_get(expected, key), *have = json_array();

	for (size_t i = 0; i < eps->n; i++)
		if (in_set(&eps->items[i], set))
			json_array_append_new(have, json_string(eps->items[i].text));
	check_same_set(r, key, have, want);
	json_decref(have);
}

void case_topology(struct case_run *r, json_t *doc)
{
	json_t *service = json_object_get(doc, "service"), *expected = json_object_get(doc, "expected");
	struct kp_viewpoint here = {
		.uses_cluster = flag(service, "usesClusterEndpoints"),
		.uses_local = flag(service, "usesLocalEndpoints"),
		.node_name = text(doc, "nodeName"),
		.zone = text(json_object_get(doc, "nodeLabels"), "topology.kubernetes.io/zone"),
	};
	struct kp_candidates eps = { 0 };
	bool has_any;

	if (json_is_false(json_object_get(json_object_get(doc, "featureGates"), "PreferSameTrafficDistribution")) &&
	    strstr(text(doc, "name"), "feature gate disabled")) {
		case_skip(r, "node hints are always on, as in 1.36");
		return;
	}
	candidates_from_json(json_object_get(doc, "endpoints"), &eps);
	has_any = kp_topology_select(eps.items, eps.n, &here);
	case_check(r, has_any == flag(expected, "hasAnyEndpoints"), "hasAnyEndpoints is %d", has_any);
	check_set(r, expected, "clusterEndpoints", &eps, IN_CLUSTER);
	check_set(r, expected, "localEndpoints", &eps, IN_LOCAL);
	check_set(r, expected, "allEndpoints", &eps, IN_ALL);
	candidates_release(&eps);
}
