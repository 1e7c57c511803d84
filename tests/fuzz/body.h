#ifndef TESTS_FUZZ_BODY_H
#define TESTS_FUZZ_BODY_H

#include <errno.h>

#include "fuzz.h"
#include "proxy/source/codec.h"
#include "tests/support/load.h"

/*
 * A body of the API server through its codec, into the model and on to plans, once in
 * one piece and once in many: both must say the same, word by word.
 */
struct fuzz_reading {
	struct kp_buf said;
	struct kp_model *model;
};

static inline int fuzz_event(void *arg, struct kp_event *e)
{
	static bool (*const del[])(struct kp_model *, const char *) = {
		[KP_KIND_SERVICE] = kp_model_del_service, [KP_KIND_SLICE] = kp_model_del_slice,
		[KP_KIND_SERVICE_CIDR] = kp_model_del_service_cidr,	/* a Node's last word counts on */
	};
	struct fuzz_reading *r = arg;

	kp_buf_printf(&r->said, "%d %s ", e->type, e->version);
	if (e->refused)
		kp_buf_printf(&r->said, "%s: %s: %s\n", e->refused->object, e->refused->field, e->refused->why);
	else if (e->type == KP_EVENT_BOOKMARK)
		kp_buf_printf(&r->said, "%d\n", e->initial_end);
	else if (e->type == KP_EVENT_PAGE)
		kp_buf_printf(&r->said, "%s\n", e->next);
	else if (e->text)
		kp_buf_printf(&r->said, "%d %s\n", e->code, e->text);
	else
		kp_buf_printf(&r->said, "%d %s %s\n", e->object.kind, e->object.key, e->object.note);
	if (e->type > KP_EVENT_DELETED || e->refused)
		return e->type == KP_EVENT_ERROR ? -EREMOTEIO : 0;
	if (e->type != KP_EVENT_DELETED)
		(void)load_object(r->model, &e->object);
	else if (e->object.kind != KP_KIND_NODE && e->object.kind != KP_KIND_OTHER)
		(void)del[e->object.kind](r->model, e->object.key);
	return 0;
}

static inline void fuzz_plans(struct kp_model *m, struct kp_buf *out)
{
	const struct kp_plan_options opt = { .families = { true, true }, .masquerade_bit = 14 };
	struct kp_planner *p = kp_planner_new(m, &opt);

	kp_plan_node_unref(kp_planner_build_node(p, NULL, 0));
	load_print(m, p, out);
	kp_planner_free(p);
}

/* Appends what is heard of the body to *said. */
static inline void fuzz_read(const struct kp_codec *codec, enum kp_body_kind kind, const uint8_t *data, size_t size,
			     bool split, struct kp_buf *said)
{
	struct fuzz_reading r = { .model = kp_model_new("node1") };
	struct fuzz_choice c = fuzz_choice(data, size);
	struct kp_body *b = codec->open(kind, fuzz_event, &r);
	struct kp_err err = { 0 };
	int code = 0;

	for (size_t n; size && code >= 0; data += n, size -= n) {
		char *piece;

		n = split ? fuzz_piece(&c, size) : size;
		piece = fuzz_copy(data, n);
		code = codec->feed(b, piece, n, &err);
		free(piece);
	}
	if (code >= 0)
		code = codec->end(b, &err);
	FUZZ_CHECK(code >= 0 || code == -EREMOTEIO || (code == -EPROTO && *err.msg));
	kp_buf_printf(&r.said, "%d %s\n", code, err.msg);
	codec->free(b);
	fuzz_plans(r.model, &r.said);
	kp_model_free(r.model);
	*said = r.said;
}

static inline int fuzz_body(const struct kp_codec *codec, enum kp_body_kind kind, const uint8_t *data, size_t size)
{
	struct kp_buf whole, pieces;

	fuzz_read(codec, kind, data, size, false, &whole);
	fuzz_read(codec, kind, data, size, true, &pieces);
	FUZZ_CHECK(fuzz_same(&whole, &pieces));
	kp_buf_release(&whole);
	kp_buf_release(&pieces);
	return 0;
}

#endif
