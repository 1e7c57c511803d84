#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/model/model.h"
#include "proxy/source/codec.h"
#include "proxy/source/pb.h"

#define DATA "tests/data/api/protobuf/"

static struct kp_buf read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	struct kp_buf b = { 0 };

	ck_assert_msg(f != NULL, "%s: not there (run from the project's root)", path);
	for (size_t n = 1; n; b.len += n)
		n = fread(kp_buf_reserve(&b, 65536), 1, 65536, f);
	fclose(f);
	return b;
}

/* --- recordings: both encodings of one moment --- */

/* What comes out of a body: in words, and the objects. */
struct reading {
	struct kp_buf words;
	struct kp_object *objects;
	size_t n, cap;
};

static bool put(struct kp_model *m, struct kp_object *o)
{
	switch (o->kind) {
	case KP_KIND_SERVICE:
		return kp_model_put_service(m, kp_steal(&o->service));
	case KP_KIND_SLICE:
		return o->slice && kp_model_put_slice(m, kp_steal(&o->slice));
	case KP_KIND_NODE:
		return kp_model_put_node(m, kp_steal(&o->node));
	default:
		ck_abort_msg("kind %d", o->kind);
	}
	return false;
}

static int on_event(void *arg, struct kp_event *e)
{
	struct reading *r = arg;

	ck_assert_msg(!e->refused, "%s: %s: %s", e->refused ? e->refused->object : "", e->refused ? e->refused->field : "",
		      e->refused ? e->refused->why : "");
	kp_buf_printf(&r->words, "%d %s %s %d %s\n", e->type, e->version, e->type <= KP_EVENT_DELETED ? e->object.key : "",
		      e->initial_end, e->next ? e->next : "");
	if (e->type > KP_EVENT_MODIFIED)
		return 0;
	kp_grow(&r->objects, r->n, &r->cap);
	r->objects[r->n++] = e->object;
	e->object.value = NULL;
	return 0;
}

/* In pieces of that many bytes; 0: at once. */
static void read_recording(const char *type, enum kp_body_kind kind, const char *path, size_t piece, struct reading *r)
{
	const struct kp_codec *c = kp_codec_find(type);
	struct kp_body *b = c->open(kind, on_event, r);
	struct kp_buf data = read_file(path);
	struct kp_err err = { 0 };

	for (size_t i = 0, n; i < data.len; i += n) {
		n = piece && piece < data.len - i ? piece : data.len - i;
		ck_assert_msg(c->feed(b, data.data + i, n, &err) == 0, "%s at %zu: %s", path, i, err.msg);
	}
	ck_assert_msg(c->end(b, &err) == 0, "%s: %s", path, err.msg);
	c->free(b);
	kp_buf_release(&data);
}

static const struct {
	const char *json, *pb;
	enum kp_body_kind kind;
	size_t at_least;
} recordings[] = {
	{ DATA "services.list.json", DATA "services.list.pb", KP_BODY_LIST, 20 },
	{ DATA "services.watchlist.jsonl", DATA "services.watchlist.pb", KP_BODY_WATCH, 20 },
	{ DATA "endpointslices.list.json", DATA "endpointslices.list.pb", KP_BODY_LIST, 20 },
	{ DATA "endpointslices.watchlist.jsonl", DATA "endpointslices.watchlist.pb", KP_BODY_WATCH, 20 },
	{ DATA "nodes.list.json", DATA "nodes.list.pb", KP_BODY_LIST, 1 },
	{ DATA "nodes.watchlist.jsonl", DATA "nodes.watchlist.pb", KP_BODY_WATCH, 1 },
};

static void release(struct reading *r)
{
	for (size_t i = 0; i < r->n; i++)
		kp_object_release(&r->objects[i]);
	free(r->objects);
	kp_buf_release(&r->words);
}

/* The model says of an object whether it is another one than before, field by field. */
START_TEST(recording_case)
{
	static const size_t pieces[] = { 0, 1, 3, 1000, 16384 };

	for (size_t i = 0; i < KP_N(pieces); i++) {
		struct reading json = { .n = 0 }, pb = { .n = 0 };
		struct kp_model *m = kp_model_new("node1");
		size_t n_used = 0;

		read_recording("application/json", recordings[_i].kind, recordings[_i].json, 0, &json);
		read_recording("application/vnd.kubernetes.protobuf;stream=watch", recordings[_i].kind, recordings[_i].pb, pieces[i], &pb);
		ck_assert_str_eq(pb.words.data, json.words.data);
		ck_assert_msg(json.n >= recordings[_i].at_least && pb.n == json.n, "%s: %zu objects", recordings[_i].json, pb.n);
		for (size_t k = 0; k < json.n; k++) {
			n_used += put(m, &json.objects[k]);
			ck_assert_msg(!put(m, &pb.objects[k]), "%s: %s differs", recordings[_i].pb, json.objects[k].key);
		}
		ck_assert_msg(n_used > 0, "%s: nothing for a proxy", recordings[_i].json);
		release(&json);
		release(&pb);
		kp_model_free(m);
	}
}
END_TEST

/* --- the wire --- */

#define B(text) (const uint8_t *)(text), sizeof(text) - 1

static const struct {
	const char *name;
	const uint8_t *p;
	size_t n;
	int want;
	uint32_t number;
	uint64_t value;
} fields[] = {
	{ "varint", B("\x08\x96\x01"), 1, 1, 150 },
	{ "ten bytes", B("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 1, 1, UINT64_MAX },
	{ "eleven bytes", B("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -EPROTO, 0, 0 },
	{ "bytes", B("\x12\x03" "abc"), 1, 2, 3 },
	{ "bytes, empty", B("\x12\x00"), 1, 2, 0 },
	{ "bytes cut off", B("\x12\x04" "abc"), -EPROTO, 0, 0 },
	{ "a length like 2^64", B("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" "abc"), -EPROTO, 0, 0 },
	{ "fixed64", B("\x19" "12345678"), 1, 3, 8 },
	{ "fixed64 cut off", B("\x19" "1234567"), -EPROTO, 0, 0 },
	{ "fixed32", B("\x25" "1234"), 1, 4, 4 },
	{ "a group", B("\x0b\x0c"), -EPROTO, 0, 0 },
	{ "wire type 6", B("\x0e\x01"), -EPROTO, 0, 0 },
	{ "field 0", B("\x00\x01"), -EPROTO, 0, 0 },
	{ "field 2^29", B("\x80\x80\x80\x80\x10\x01"), -EPROTO, 0, 0 },
	{ "field 1000", B("\xc0\x3e\x05"), 1, 1000, 5 },
	{ "tag alone", B("\x08"), -EPROTO, 0, 0 },
	{ "nothing", B(""), 0, 0, 0 },
};

START_TEST(field_case)
{
	struct kp_pb m = { fields[_i].p, fields[_i].n };
	struct kp_pb_field f = { 0 };
	int r = kp_pb_next(&m, &f);

	ck_assert_msg(r == fields[_i].want, "%s: %d", fields[_i].name, r);
	if (r > 0) {
		ck_assert_msg(f.number == fields[_i].number && f.n == fields[_i].value, "%s: field %u = %llu", fields[_i].name,
			      f.number, (unsigned long long)f.n);
		ck_assert_msg(m.n == 0, "%s: %zu bytes left", fields[_i].name, m.n);
	}
}
END_TEST

/* --- objects --- */

#define ODD "\xef\xbf\xbd"	/* U+FFFD */
#define META "\x0a\x06\x0a\x01" "a\x1a\x01" "b"

static const struct {
	const char *name, *kind;
	const uint8_t *p;
	size_t n;
	const char *want;	/* NULL: does not parse */
} objects[] = {
	{ "names", "Service", B(META), "{\"metadata\": {\"name\": \"a\", \"namespace\": \"b\"}}" },
	{ "empty", "Service", B(""), "{}" },
	{ "text that is not set", "Service", B("\x12\x02\x1a\x00"), "{\"spec\": {}}" },
	{ "one that is set to nothing", "EndpointSlice", B("\x1a\x02\x0a\x00"), "{\"ports\": [{\"name\": \"\"}]}" },
	{ "a list", "Service", B("\x12\x06\x2a\x01" "1\x2a\x01" "2"), "{\"spec\": {\"externalIPs\": [\"1\", \"2\"]}}" },
	{ "labels", "Service", B("\x0a\x0c\x5a\x06\x0a\x01k\x12\x01v\x5a\x02\x0a\x00"), "{\"metadata\": {\"labels\": {\"\": \"\", \"k\": \"v\"}}}" },
	{ "a time", "Node", B("\x0a\x07\x42\x05\x08\x80\xe7\x84\x0f"), "{\"metadata\": {\"creationTimestamp\": \"1971-01-01T00:00:00Z\"}}" },
	{ "the zero time", "Node", B("\x0a\x02\x42\x00"), "{\"metadata\": {\"creationTimestamp\": null}}" },
	{ "no condition", "EndpointSlice", B("\x12\x02\x12\x00"), "{\"endpoints\": [{\"conditions\": {}}]}" },
	{ "a condition", "EndpointSlice", B("\x12\x04\x12\x02\x08\x00"), "{\"endpoints\": [{\"conditions\": {\"ready\": false}}]}" },
	{ "a negative number", "Status", B("\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "{\"code\": -1}" },
	{ "what nobody reads", "Service", B("\x12\x08\x12\x06\x0a\x01k\x12\x01v\xfa\x3f\x03new"), "{\"spec\": {}}" },
	{ "another kind", "Pod", B(META), "{}" },
	{ "text for a number", "Service", B("\x12\x05\x0a\x03\x1a\x01" "8"), NULL },
	{ "a number for text", "Service", B("\x12\x02\x18\x01"), NULL },
	{ "no UTF-8", "Service", B("\x12\x03\x1a\x01\xff"), "{\"spec\": {\"clusterIP\": \"" ODD "\"}}" },
	{ "cut UTF-8, surrogates, beyond the last, longer than needed", "Service",
	  B("\x12\x14\x1a\x12\xc3\xa4\xe2\x82\xac\xed\xa0\x80\xf4\x90\x80\x80\xc0\xaf\xf0\x9f\x98z"),
	  "{\"spec\": {\"clusterIP\": \"\xc3\xa4\xe2\x82\xac" ODD ODD ODD ODD ODD ODD ODD ODD ODD ODD ODD ODD "z\"}}" },
	{ "cut off inside", "Service", B("\x12\x03\x1a\x05" "1"), NULL },
};

START_TEST(object_case)
{
	json_t *v = kp_pb_object(objects[_i].kind, objects[_i].p, objects[_i].n);
	char *text = v ? json_dumps(v, JSON_SORT_KEYS) : NULL;

	ck_assert_msg((text != NULL) == (objects[_i].want != NULL), "%s: %s", objects[_i].name, text ? text : "does not parse");
	if (text)
		ck_assert_msg(strcmp(text, objects[_i].want) == 0, "%s: %s", objects[_i].name, text);
	free(text);
	json_decref(v);
}
END_TEST

static const struct {
	const char *text;
	size_t len;
	const char *want;
} refusals[] = {
	{ "k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x06\x1a\x04gone", 26, "gone" },
	{ "k8s\0\x0a\x0c\x0a\x02v1\x12\x06Status\x12\x06\x1a\x05gone", 26, "k8s" },
	{ "k8s\0", 4, "k8s" },
	{ "k8", 2, "k8" },
};

START_TEST(refusal_case)
{
	KP_AUTO(kp_freep) char *text = kp_watch_refusal(refusals[_i].text, refusals[_i].len);

	ck_assert_str_eq(text, refusals[_i].want);
}
END_TEST

/* --- bodies that are none --- */

static int count_event(void *arg, struct kp_event *e)
{
	struct kp_buf *words = arg;

	kp_buf_printf(words, "%s%s\n", e->type == KP_EVENT_BAD ? "bad: " : e->type == KP_EVENT_PAGE ? "page" : "object",
		      e->text ? e->text : "");
	return 0;
}

#define SERVICES "k8s\0\x0a\x11\x0a\x02v1\x12\x0bServiceList"

static const struct {
	const char *name;
	enum kp_body_kind kind;
	const uint8_t *p;
	size_t n;
	const char *words, *err;
} bodies[] = {
	{ "an empty list", KP_BODY_LIST, B(SERVICES "\x12\x00\x1a\x00\x22\x00"), "page\n", "" },
	{ "an item", KP_BODY_LIST, B(SERVICES "\x12\x0a\x12\x08" META), "object\npage\n", "" },
	{ "an item of something else", KP_BODY_LIST, B(SERVICES "\x12\x0d\x12\x01\x0b\x12\x08" META),
	  "bad: an item that is no Kubernetes protobuf\nobject\npage\n", "" },
	{ "cut off", KP_BODY_LIST, B(SERVICES "\x12\x0b\x12\x08" META), "object\n", "the list is cut short" },
	{ "an item longer than its list", KP_BODY_LIST, B(SERVICES "\x12\x09\x12\x08" META), "", "the answer is not Kubernetes protobuf" },
	{ "no magic", KP_BODY_LIST, B("{\"kind\": \"ServiceList\"}"), "", "the answer is not Kubernetes protobuf" },
	{ "no list", KP_BODY_LIST, B("k8s\0\x0a\x0d\x0a\x02v1\x12\x07Service\x12\x0a\x12\x08" META), "", "the answer is no list" },
	{ "nothing", KP_BODY_LIST, B(""), "", "the list is cut short" },
	{ "an item of 64 MiB", KP_BODY_LIST, B(SERVICES "\x12\xff\xff\xff\x7f\x12\x80\x80\x80\x20" "abc"), "bad: an object of more than 16 MiB\n",
	  "the list is cut short" },
	{ "an event", KP_BODY_WATCH,
	  B("\0\0\0\x2a\x0a\x05" "ADDED\x12\x21\x0a\x1fk8s\0\x0a\x0d\x0a\x02v1\x12\x07Service\x12\x08" META "\x1a\x00"), "object\n", "" },
	{ "an event of nothing", KP_BODY_WATCH, B("\0\0\0\0"), "bad: no Kubernetes protobuf in an event\n", "" },
	{ "an event of JSON", KP_BODY_WATCH, B("\0\0\0\x06\x12\x04\x0a\x02{}"), "bad: no Kubernetes protobuf in an event\n", "" },
	{ "half an event", KP_BODY_WATCH, B("\0\0\0\x06\x12\x04\x0a"), "", "" },
	{ "lines of JSON", KP_BODY_WATCH, B("{\"type\":\"ADDED\"}\n"), "bad: an object of more than 16 MiB\n", "" },
};

START_TEST(body_case)
{
	for (size_t cut = 0; cut <= bodies[_i].n; cut++) {
		const char *p = (const char *)bodies[_i].p;
		struct kp_err err = { 0 };
		struct kp_buf words = { 0 };
		struct kp_body *b;
		int r;

		kp_buf_puts(&words, "");
		b = kp_codec_pb.open(bodies[_i].kind, count_event, &words);
		r = kp_codec_pb.feed(b, p, cut, &err);
		if (r == 0)
			r = kp_codec_pb.feed(b, p + cut, bodies[_i].n - cut, &err);
		if (r == 0)
			r = kp_codec_pb.end(b, &err);
		ck_assert_msg(r == (*bodies[_i].err ? -EPROTO : 0) && strcmp(err.msg, bodies[_i].err) == 0, "%s cut at %zu: %d %s",
			      bodies[_i].name, cut, r, err.msg);
		ck_assert_msg(strcmp(words.data ? words.data : "", bodies[_i].words) == 0, "%s cut at %zu: %s", bodies[_i].name, cut, words.data);
		kp_codec_pb.free(b);
		kp_buf_release(&words);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pb");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, recording_case, 0, (int)KP_N(recordings));
	tcase_add_loop_test(tc, field_case, 0, (int)KP_N(fields));
	tcase_add_loop_test(tc, object_case, 0, (int)KP_N(objects));
	tcase_add_loop_test(tc, refusal_case, 0, (int)KP_N(refusals));
	tcase_add_loop_test(tc, body_case, 0, (int)KP_N(bodies));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? 1 : 0;
}
