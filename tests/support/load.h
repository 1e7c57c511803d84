#ifndef TESTS_SUPPORT_LOAD_H
#define TESTS_SUPPORT_LOAD_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/model/model.h"
#include "proxy/plan/build.h"
#include "proxy/source/decode.h"

/*
 * Objects as text into a model, plans out of it as text: for tests of what lies
 * between. Read as kube-proxy reads them (not strict). All functions end the test
 * program when the text is not what the test's author meant.
 */

/* Takes what is in o. True: a change, as kp_model_put_* says. */
static inline bool load_object(struct kp_model *m, struct kp_object *o)
{
	switch (o->kind) {
	case KP_KIND_SERVICE:
		return kp_model_put_service(m, kp_steal(&o->service));
	case KP_KIND_SLICE:
		return o->slice && kp_model_put_slice(m, kp_steal(&o->slice));
	case KP_KIND_NODE:
		return kp_model_put_node(m, kp_steal(&o->node));
	case KP_KIND_SERVICE_CIDR:
		return kp_model_put_service_cidr(m, kp_steal(&o->cidr));
	default:
		return false;
	}
}

static inline struct kp_object load_decode(json_t *value, const char *list_kind)
{
	struct kp_object o = { 0 };
	struct kp_decode_error err;

	if (kp_decode(value, list_kind, false, &o, &err) < 0) {
		fprintf(stderr, "%s: %s: %s\n", err.object, err.field, err.why);
		abort();
	}
	return o;
}

static inline bool load_json(struct kp_model *m, json_t *value)
{
	struct kp_object o = load_decode(value, NULL);
	bool changed = load_object(m, &o);

	kp_object_release(&o);
	return changed;
}

static inline int load_item_(void *arg, const struct kp_doc_item *item)
{
	struct kp_object o = load_decode(item->value, item->list_kind);

	(void)load_object(arg, &o);
	kp_object_release(&o);
	return 0;
}

/* YAML or JSON, any number of documents. */
static inline void load_text(struct kp_model *m, const char *text)
{
	static const struct kp_doc_sink sink = { .item = load_item_ };
	struct kp_err err = { 0 };

	if (kp_doc_walk(text, strlen(text), &sink, m, &err) < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
}

/* Builds everything that is dirty until nothing is, and prints the plans in order of their keys. */
static inline void load_print(struct kp_model *m, struct kp_planner *p, struct kp_buf *out)
{
	struct kp_map *plans = kp_map_new(NULL);
	const char **keys;
	char *key;

	while ((key = kp_model_pop_dirty(m))) {
		struct kp_plan *old = kp_map_takes(plans, key), *new = kp_planner_build(p, key);

		kp_plan_unref(old);
		if (new)
			kp_map_puts(plans, key, new);
		free(key);
	}
	keys = kp_map_sorted_keys(plans);
	for (size_t i = 0; i < kp_map_len(plans); i++) {
		struct kp_plan *plan = kp_map_gets(plans, keys[i]);

		kp_plan_print(plan, out);
		kp_plan_unref(plan);
	}
	free(keys);
	kp_map_free(plans);
}

#endif
