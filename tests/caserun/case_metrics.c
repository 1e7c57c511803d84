#include "tests/caserun/caserun.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/metrics.h"
#include "proxy/nolocal.h"
#include "proxy/plan/dataplane.h"
#include "tests/support/load.h"

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* registered: what an agent exposes that has done everything once */

static char *exposition(const char *mode)
{
	const bool both[KP_N_FAMILIES] = { true, true };
	struct kp_metrics *m = kp_metrics_new(both);
	const struct dp_result res = { .family = { { .tried = true }, { .tried = true } } };
	const struct kp_metrics_now now = { .mode = mode };
	struct kp_buf out = { 0 };

	kp_metrics_submitted(m, 1, 1);
	kp_metrics_result(m, 1, &res, 2);
	kp_metrics_write(m, &now, &out);
	kp_metrics_free(m);
	return out.data;
}

/* Adds a label's name, or a bucket's bound, to what is known of the family. */
static void note_label(json_t *family, const char *name, const char *value)
{
	bool is_bound = strcmp(name, "le") == 0;
	json_t *list = json_object_get(family, is_bound ? "buckets" : "labels"), *one;
	const char *word = is_bound ? value : name;
	size_t i;

	if (is_bound && strcmp(value, "+Inf") == 0)
		return;
	json_array_foreach(list, i, one)
		if (strcmp(json_string_value(one), word) == 0)
			return;
	json_array_append_new(list, json_string(word));
}

/* name{a="x",b="y"} 1; no value here holds a quote. */
static void note_sample(json_t *family, char *line)
{
	char *p = strchr(line, '{');

	while (p && *p != '}') {
		char *name = p + 1, *eq = strchr(name, '='), *end = strchr(eq + 2, '"');

		*eq = *end = '\0';
		note_label(family, name, eq + 2);
		p = end + 1;
	}
}

/* Families as the documents describe them, by name. */
static json_t *parse_exposition(char *page)
{
	json_t *all = json_object(), *family = NULL;
	char *rest = NULL;

	for (char *line = strtok_r(page, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char name[128], word[8];
		int at = 0;

		if (*line != '#') {
			note_sample(family, line);
		} else if (sscanf(line, "# %7s %127s %n", word, name, &at) == 2 && strcmp(word, "HELP") == 0) {
			family = json_pack("{s:s, s:s, s:[], s:[]}", "name", name, "help", line + at, "labels", "buckets");
			json_object_set_new(all, name, family);
		} else {
			json_object_set_new(family, "type", json_string(line + at));
		}
	}
	return all;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

static json_t *sorted(json_t *list)
{
	size_t n = json_array_size(list);
	json_t **items = kp_calloc(n + 1, sizeof(*items)), *out = json_array();

	for (size_t i = 0; i < n; i++)
		items[i] = json_array_get(list, i);
	qsort(items, n, sizeof(*items), by_text);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, items[i]);
	free(items);
	return out;
}

/* Labels in any order; buckets as they are, none means no such field. */
static bool same_family(json_t *have, json_t *want)
{
	json_t *a = sorted(json_object_get(have, "labels")), *b = sorted(json_object_get(want, "labels"));
	json_t *buckets = json_object_get(want, "buckets");
	bool same = json_equal(a, b) && strcmp(text(have, "help"), text(want, "help")) == 0 &&
		    strcmp(text(have, "type"), text(want, "type")) == 0;

	json_decref(a);
	json_decref(b);
	if (!buckets)
		return same && json_array_size(json_object_get(have, "buckets")) == 0;
	return same && json_equal(json_object_get(have, "buckets"), buckets);
}

#define NFACCT "only exported when the nfacct kernel facility is usable"

static void check_wanted(struct case_run *r, json_t *have, json_t *want)
{
	const char *name = text(want, "name");
	json_t *mine = json_object_get(have, name);

	if (strncmp(text(want, "note"), NFACCT, strlen(NFACCT)) == 0)
		return;		/* we make none: nothing to read, as where the kernel has no such counters */
	if (case_check(r, mine != NULL, "no metric %s", name)) {
		char *shown = json_dumps(mine, JSON_COMPACT);

		case_check(r, same_family(mine, want), "%s", shown);
		free(shown);
	}
	json_object_del(have, name);
}

static void run_registered(struct case_run *r, json_t *doc)
{
	char *page;
	json_t *have, *want, *rest;
	const char *name;
	size_t i;

	if (strcmp(text(doc, "mode"), "ipvs") == 0) {
		case_skip(r, "metrics of modes that are not built yet");
		return;
	}
	page = exposition(text(doc, "mode"));
	have = parse_exposition(page);
	json_array_foreach(json_object_get(doc, "metrics"), i, want)
		check_wanted(r, have, want);
	json_object_foreach(have, name, rest)	/* ME-1 */
		case_check(r, strncmp(name, "kubeproxy_", 10) != 0, "%s is not a metric of this mode", name);
	json_decref(have);
	free(page);
}

/* no-local-endpoints, and the same fields in packet documents */

static struct kp_nolocal_counts count_nolocal(json_t *doc, enum kp_family family)
{
	struct kp_plan_options opt = { .families = { family == KP_IPV4, family == KP_IPV6 } };
	struct kp_model *m = kp_model_new(text(doc, "nodeName"));
	struct kp_planner *p = kp_planner_new(m, &opt);
	struct kp_nolocal *l = kp_nolocal_new();
	struct kp_nolocal_counts counts;
	json_t *object;
	char *key;
	size_t i;

	json_array_foreach(json_object_get(doc, "services"), i, object)
		load_json(m, object);
	json_array_foreach(json_object_get(doc, "endpointSlices"), i, object)
		load_json(m, object);
	while ((key = kp_model_pop_dirty(m))) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *plan = kp_planner_build(p, key);

		kp_nolocal_put(l, key, plan);
		free(key);
	}
	counts = kp_nolocal_get(l);
	kp_nolocal_free(l);
	kp_planner_free(p);
	kp_model_free(m);
	return counts;
}

static void check_policy(struct case_run *r, json_t *doc, const char *field, uint32_t have)
{
	json_int_t want = json_integer_value(json_object_get(doc, field));

	case_check(r, have == want, "%s: %u instead of %lld", field, have, (long long)want);
}

static void run_no_local_endpoints(struct case_run *r, json_t *doc)
{
	enum kp_family f = strcmp(text(doc, "family"), "ipv6") == 0 ? KP_IPV6 : KP_IPV4;
	struct kp_nolocal_counts c = count_nolocal(doc, f);

	check_policy(r, doc, "expectedNoLocalEndpointsInternal", c.n[f][KP_POLICY_INTERNAL]);
	check_policy(r, doc, "expectedNoLocalEndpointsExternal", c.n[f][KP_POLICY_EXTERNAL]);
}

void case_metrics(struct case_run *r, json_t *doc)
{
	if (strcmp(r->sub, "registered") == 0)
		run_registered(r, doc);
	else if (json_object_get(doc, "expectedNoLocalEndpointsInternal"))
		run_no_local_endpoints(r, doc);
	else
		case_skip(r, "not a document of a known part");
}
