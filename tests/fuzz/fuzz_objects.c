#include "fuzz.h"
#include "proxy/base/doc_stream.h"
#include "tests/support/load.h"

struct reading {
	struct kp_buf said;
	struct kp_model *model;
};

static void say_value(struct reading *r, json_t *value, const char *list_kind)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	kp_buf_printf(&r->said, "%s %s\n", list_kind ? list_kind : "-", text ? text : "?");
	free(text);
}

/* At most: YAML ends lines with a carriage return, and with some characters of Unicode, too. */
static size_t n_lines(const struct kp_doc_item *item)
{
	size_t n = 1;

	for (size_t i = 0; i < item->text_len; i++)
		n += memchr("\n\r\x85\xa8\xa9", item->text[i], 5) != NULL;
	return n;
}

/* What the API server would refuse is more than what kube-proxy does. */
static void decode(struct reading *r, const struct kp_doc_item *item)
{
	struct kp_decode_error why = { .field = "" }, lax_why;
	struct kp_object o, lax;
	int strict = kp_decode(item->value, item->list_kind, true, &o, &why);

	if (kp_decode(item->value, item->list_kind, false, &lax, &lax_why) == 0)
		kp_object_release(&lax);
	else
		FUZZ_CHECK(strict < 0);
	if (strict == 0) {
		kp_buf_printf(&r->said, "%d %s %s\n", o.kind, o.key, o.note);
		(void)load_object(r->model, &o);
		kp_object_release(&o);
		return;
	}
	FUZZ_CHECK(*why.why && !o.value);
	kp_buf_printf(&r->said, "%s: %s: %s\n", why.object, why.field, why.why);
	if (*why.field && item->text)
		FUZZ_CHECK(kp_doc_line_of(item->text, item->text_len, why.field) <= n_lines(item));
}

static int on_item(void *arg, const struct kp_doc_item *item)
{
	struct reading *r = arg;

	say_value(r, item->value, item->list_kind);
	decode(r, item);
	return 0;
}

/* As the file source has it. */
static const char *const unread[] = { "\"managedFields\"", "\"ownerReferences\"", "\"targetRef\"", NULL };
static const struct kp_doc_sink sink = { .item = on_item, .unread = unread };

static void plans(struct reading *r)
{
	const struct kp_plan_options opt = { .families = { true, true }, .masquerade_bit = 14, .masquerade_all = true };
	struct kp_planner *p = kp_planner_new(r->model, &opt);

	load_print(r->model, p, &r->said);
	kp_planner_free(p);
}

/* The same text as a stream, in pieces. False: it is no JSON. */
static bool stream(const uint8_t *data, size_t size, struct reading *r)
{
	struct fuzz_choice c = fuzz_choice(data, size);
	struct kp_doc_stream *s = kp_doc_stream_new(&sink, r);
	struct kp_err err = { 0 };
	json_t *rest = NULL;
	int code = 0;

	for (size_t n; size && code == 0; data += n, size -= n) {
		char *piece;

		n = fuzz_piece(&c, size);
		piece = fuzz_copy(data, n);
		code = kp_doc_stream_feed(s, piece, n, &err);
		free(piece);
	}
	if (code == 0)
		code = kp_doc_stream_end(s, &rest, &err);
	FUZZ_CHECK(code == 0 || *err.msg);
	json_decref(rest);
	kp_doc_stream_free(s);
	return code == 0;
}

/* Files of objects, YAML or JSON, as an operator writes them; JSON says the same as a stream in pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading whole = { .model = kp_model_new("node1") }, pieces = { .model = kp_model_new("node1") };
	struct kp_err err = { 0 };
	int code = kp_doc_walk((const char *)data, size, &sink, &whole, &err);

	FUZZ_CHECK(code == 0 || *err.msg);
	if (stream(data, size, &pieces)) {
		FUZZ_CHECK(code == 0 && fuzz_same(&whole.said, &pieces.said));
	}
	plans(&whole);
	kp_model_free(whole.model);
	kp_model_free(pieces.model);
	kp_buf_release(&whole.said);
	kp_buf_release(&pieces.said);
	return 0;
}
