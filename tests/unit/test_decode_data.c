#include <check.h>
#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/source/decode.h"

static const char service[] = "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\"},"
	"\"spec\":{\"clusterIP\":\"10.0.0.1\",\"ports\":[{\"port\":80}]}}";
static const char slice[] = "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"addressType\":\"IPv4\","
	"\"metadata\":{\"name\":\"web-1\",\"labels\":{\"kubernetes.io/service-name\":\"web\"}}}";

static json_t *parse(const char *text)
{
	json_error_t where;
	json_t *v = json_loads(text, JSON_DECODE_ANY, &where);

	ck_assert_msg(v != NULL, "%s: %s", text, where.text);
	return v;
}

static json_t *repeated(const char *text, size_t n)
{
	json_t *list = json_array(), *one = parse(text);

	for (size_t i = 0; i < n; i++)
		json_array_append(list, one);
	json_decref(one);
	return list;
}

/* The API server's limits, and lists far beyond them, which must not take long. */
static const struct {
	const char *base, *list, *element;
	size_t n;
	const char *why;	/* NULL: accepted */
} sizes[] = {
	{ slice, "endpoints", "{\"addresses\":[\"10.1.0.1\"]}", 1000, NULL },
	{ slice, "endpoints", "{\"addresses\":[\"10.1.0.1\"]}", 1001, "1001: must be no more than 1000" },
	{ slice, "endpoints", "{\"addresses\":[\"10.1.0.1\"]}", 1000000, "1000000: must be no more than 1000" },
	{ slice, "ports", "{\"port\":80}", 20001, "20001: must be no more than 20000" },
	{ service, "ports", "{\"port\":80}", 1000000, "required when there is more than one port" },
	{ service, "externalIPs", "\"192.0.2.1\"", 1000000, NULL },
	{ service, "loadBalancerSourceRanges", "\"10.0.0.0/8\"", 1000000, NULL },
	{ service, "externalIPs", "\"x\"", 1000000, "\"x\": must be an IP address" },
};

START_TEST(size_case)
{
	json_t *v = parse(sizes[_i].base), *spec = json_object_get(v, "spec");
	json_t *list = repeated(sizes[_i].element, sizes[_i].n);
	struct kp_decode_error e;
	struct kp_object o;
	int r;

	json_object_set_new(spec ? spec : v, sizes[_i].list, list);
	r = kp_decode(v, NULL, true, &o, &e);
	ck_assert_msg((r < 0) == (sizes[_i].why != NULL), "%s: %s", sizes[_i].list, e.why);
	if (sizes[_i].why)
		ck_assert_str_eq(e.why, sizes[_i].why);
	else if (strcmp(sizes[_i].list, "externalIPs") == 0)
		ck_assert_uint_eq(o.service->n_external_ips, 1);
	kp_object_release(&o);
	json_decref(v);
}
END_TEST

/* Every object that an API server sent must be accepted. Returns how many there were. */
static unsigned accept_all(const char *file, json_t *v, const char *list_kind)
{
	const char *kind = json_string_value(json_object_get(v, "kind")), *key;
	json_t *items = json_object_get(v, "items"), *child;
	struct kp_decode_error e;
	struct kp_object o;
	unsigned n = 0;
	size_t i;

	if (json_is_array(v) || (kind && items)) {
		json_array_foreach(items ? items : v, i, child)
			n += accept_all(file, child, items ? kind : NULL);
	} else if (list_kind || (kind && json_object_get(v, "metadata"))) {
		for (int strict = 0; strict < 2; strict++) {
			ck_assert_msg(kp_decode(v, list_kind, strict, &o, &e) == 0, "%s: %s: %s: %s", file, e.object,
				      e.field, e.why);
			kp_object_release(&o);
		}
		n = 1;
	} else {
		json_object_foreach(v, key, child)
			n += accept_all(file, child, NULL);
	}
	return n;
}

static unsigned accept_lines(const char *path)
{
	FILE *f = fopen(path, "r");
	char *line = NULL;
	size_t room = 0;
	unsigned n = 0;

	while (getline(&line, &room, f) > 0) {
		json_t *v = json_loads(line, 0, NULL);
		const char *type = json_string_value(json_object_get(v, "type"));

		ck_assert_ptr_nonnull(type);
		if (strcmp(type, "BOOKMARK") != 0 && strcmp(type, "ERROR") != 0)
			n += accept_all(path, json_object_get(v, "object"), NULL);
		json_decref(v);
	}
	free(line);
	fclose(f);
	return n;
}

static const struct {
	const char *pattern;
	bool ours;		/* must be there */
	unsigned at_least;
} data[] = {
	{ "tests/data/cluster/*.json", true, 48 },
	{ "tests/cases/flows-generated/scenarios/*.json", true, 300 },
	{ "../shared/data/api/*.list.json", false, 40 },
	{ "../shared/data/api/*.page*.json", false, 20 },
	{ "../shared/data/api/*.jsonl", false, 300 },
	{ "../shared/data/kube-proxy-cases/flows/nftables/*.json", false, 60 },
	{ "../shared/data/kube-proxy-cases/flows/iptables/*.json", false, 60 },
};

START_TEST(data_case)
{
	unsigned n = 0;
	glob_t g;

	if (glob(data[_i].pattern, 0, NULL, &g) != 0) {
		ck_assert_msg(!data[_i].ours, "%s: none (run from the project's root)", data[_i].pattern);
		return;
	}
	for (size_t i = 0; i < g.gl_pathc; i++) {
		const char *path = g.gl_pathv[i], *dot = strrchr(path, '.');
		json_error_t where;
		json_t *v;

		if (strcmp(dot, ".jsonl") == 0) {
			n += accept_lines(path);
			continue;
		}
		v = json_load_file(path, 0, &where);
		ck_assert_msg(v != NULL, "%s: %s", path, where.text);
		n += accept_all(path, v, NULL);
		json_decref(v);
	}
	globfree(&g);
	ck_assert_msg(n >= data[_i].at_least, "%s: only %u objects", data[_i].pattern, n);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("decode: much");
	TCase *tc = tcase_create("sizes and recorded data");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, size_case, 0, KP_N(sizes));
	tcase_add_loop_test(tc, data_case, 0, KP_N(data));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
