#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/source/codec.h"

static struct kp_buf seen;

static void setup(void)
{
	kp_buf_release(&seen);
	kp_buf_puts(&seen, "");
}

static void teardown(void)
{
	kp_buf_release(&seen);
}

/* --- lines --- */

static int note_line(void *arg, const char *line, size_t len)
{
	(void)arg;
	if (line)
		kp_buf_printf(&seen, "[%.*s]", (int)len, line);
	else
		kp_buf_puts(&seen, "[too long]");
	return len == 4 && memcmp(line, "stop", 4) == 0 ? -ECANCELED : 0;
}

static const struct {
	const char *text, *want;
} streams[] = {
	{ "", "" },
	{ "abc\n", "[abc]" },
	{ "abc", "" },
	{ "a\nbc\n\n\nd\n", "[a][bc][d]" },
	{ "12345678\n", "[12345678]" },
	{ "123456789\nab\n", "[too long][ab]" },
	{ "123456789012345678901234567890\n\nab\n123456789\n", "[too long][ab][too long]" },
	{ "123456789", "[too long]" },
	{ "a\r\nb\n", "[a\r][b]" },
};

/* In two pieces, cut at every place, and byte by byte. */
START_TEST(split_case)
{
	const char *text = streams[_i].text;
	size_t len = strlen(text);

	for (size_t cut = 0; cut <= len + 1; cut++) {
		struct kp_lines l = { .limit = 8 };

		setup();
		for (size_t i = 0; cut > len && i < len; i++)
			ck_assert_int_eq(kp_lines_feed(&l, text + i, 1, note_line, NULL), 0);
		if (cut <= len) {
			ck_assert_int_eq(kp_lines_feed(&l, text, cut, note_line, NULL), 0);
			ck_assert_int_eq(kp_lines_feed(&l, text + cut, len - cut, note_line, NULL), 0);
		}
		ck_assert_msg(strcmp(seen.data ? seen.data : "", streams[_i].want) == 0,
			      "\"%s\" cut at %zu: \"%s\"", text, cut, seen.data);
		ck_assert(l.part.len <= 8);
		kp_lines_release(&l);
	}
}
END_TEST

START_TEST(reading_ends_when_told)
{
	struct kp_lines l = { .limit = 100 };

	ck_assert_int_eq(kp_lines_feed(&l, "a\nstop\nb\n", 9, note_line, NULL), -ECANCELED);
	ck_assert_str_eq(seen.data, "[a][stop]");
	kp_lines_release(&l);
}
END_TEST

/* --- events --- */

#define SERVICE(name, version, more) "{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"" name \
	"\",\"namespace\":\"x\",\"resourceVersion\":\"" version "\"},\"spec\":{\"clusterIP\":\"10.0.0.1\"" more "}}"

static int note_event(void *arg, struct kp_event *e)
{
	static const char *const names[] = {
		[KP_EVENT_ADDED] = "added", [KP_EVENT_MODIFIED] = "modified", [KP_EVENT_DELETED] = "deleted",
		[KP_EVENT_BOOKMARK] = "bookmark", [KP_EVENT_ERROR] = "error", [KP_EVENT_PAGE] = "page", [KP_EVENT_BAD] = "bad",
	};

	(void)arg;
	kp_buf_printf(&seen, "%s %s", names[e->type], e->version);
	if (e->refused)
		kp_buf_printf(&seen, " %s: %s", e->refused->key, e->refused->field);
	else if (e->type <= KP_EVENT_DELETED)
		kp_buf_printf(&seen, " %s %s", kp_kind_name(e->object.kind), e->object.key);
	if (e->initial_end)
		kp_buf_puts(&seen, " end");
	if (e->code)
		kp_buf_printf(&seen, " %d", e->code);
	if (e->text)
		kp_buf_printf(&seen, " %s", e->text);
	if (e->next)
		kp_buf_printf(&seen, " next=%s", e->next);
	kp_buf_puts(&seen, "\n");
	return e->code == 410 ? -EREMOTEIO : 0;
}

static const struct {
	const char *line, *want;
} events[] = {
	{ "{\"type\":\"ADDED\",\"object\":" SERVICE("a", "7", "") "}", "added 7 Service x/a\n" },
	{ "{\"type\":\"MODIFIED\",\"object\":" SERVICE("a", "8", "") "}", "modified 8 Service x/a\n" },
	{ "{\"type\":\"DELETED\",\"object\":" SERVICE("a", "9", "") "}", "deleted 9 Service x/a\n" },
	{ "{\"type\":\"ADDED\",\"object\":" SERVICE("a", "7", ",\"ports\":[{\"port\":\"x\"}]") "}", "added 7 x/a: spec.ports[0].port\n" },
	{ "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\"}}", "added  object \n" },
	{ "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\"}}}", "bookmark 12\n" },
	{ "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}}}}",
	  "bookmark 12 end\n" },
	{ "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\",\"annotations\":{\"k8s.io/initial-events-end\":\"no\"}}}}",
	  "bookmark 12\n" },
	{ "{\"type\":\"BOOKMARK\",\"object\":{}}", "bookmark \n" },
	{ "{\"type\":\"ERROR\",\"object\":{\"code\":410,\"message\":\"too old\"}}", "error  410 too old\n" },
	{ "{\"type\":\"ERROR\",\"object\":{}}", "error  error without a message\n" },
	{ "{\"type\":\"NEWER\",\"object\":{}}", "" },
	{ "{\"type\":\"ADDED\"}", "bad  an event without type or object\n" },
	{ "{\"type\":5,\"object\":{}}", "bad  an event without type or object\n" },
	{ "{\"object\":{}}", "bad  an event without type or object\n" },
	{ "[]", "bad  an event without type or object\n" },
	{ "{\"type\":", "bad  no JSON at byte 8 of an event: unexpected token near end of file\n" },
	{ "{\"type\":\"ADDED\",\"object\":{\"kind\":\"a\xff\"}}", "bad  no JSON at byte 35 of an event: unable to decode byte 0xff near '\"a'\n" },
};

START_TEST(event_case)
{
	const char *line = events[_i].line;
	int want = strstr(line, "410") ? -EREMOTEIO : 0;

	setup();
	ck_assert_int_eq(kp_watch_line(line, strlen(line), note_event, NULL), want);
	ck_assert_msg(strcmp(seen.data ? seen.data : "", events[_i].want) == 0, "%s: \"%s\"", line, seen.data);
}
END_TEST

/* --- bodies --- */

#define LIST(meta, items) "{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"metadata\":{" meta "},\n\"items\":[" items "]}"

static const struct {
	const char *name;
	enum kp_body_kind kind;
	const char *text, *want, *err;
} bodies[] = {
	{ "a list", KP_BODY_LIST,
	  LIST("\"resourceVersion\":\"5\"", "{\"metadata\":{\"name\":\"a\",\"namespace\":\"x\",\"resourceVersion\":\"3\"},\"spec\":{}},\n"
	       "{\"metadata\":{\"name\":\"b\",\"namespace\":\"x\",\"resourceVersion\":\"4\"},\"spec\":{}}") "\n",
	  "added 3 Service x/a\nadded 4 Service x/b\npage 5 next=\n", "" },
	{ "a page", KP_BODY_LIST, LIST("\"resourceVersion\":\"5\",\"continue\":\"abc\"", ""), "page 5 next=abc\n", "" },
	{ "metadata last", KP_BODY_LIST,
	  "{\"items\":[" SERVICE("a", "3", "") "],\"metadata\":{\"resourceVersion\":\"6\"}}", "added 3 Service x/a\npage 6 next=\n", "" },
	{ "null items", KP_BODY_LIST, "{\"kind\":\"ServiceList\",\"metadata\":{\"resourceVersion\":\"5\"},\"items\":null}", "page 5 next=\n", "" },
	{ "cut short", KP_BODY_LIST, "{\"kind\":\"ServiceList\",\"items\":[" SERVICE("a", "3", "") ",", "added 3 Service x/a\n",
	  "line 1: the list is not closed at the end of the text" },
	{ "no JSON", KP_BODY_LIST, "<html>", "", "line 1: no JSON" },
	{ "wrong bracket", KP_BODY_LIST, "{]", "", "line 1: string or '}' expected near ']'" },
	{ "no list", KP_BODY_LIST, "[]", "added  : \n", "the answer is no list" },
	{ "nothing", KP_BODY_LIST, "", "", "the answer is no list" },
	{ "a watch", KP_BODY_WATCH, "{\"type\":\"ADDED\",\"object\":" SERVICE("a", "7", "") "}\n"
	  "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"12\"}}}\n{\"type\":\"ADD", "added 7 Service x/a\nbookmark 12\n", "" },
};

static int read_body(const struct kp_codec *c, struct kp_body *b, const char *text, size_t len, size_t cut, struct kp_err *err)
{
	int r = 0;

	if (cut <= len) {
		r = c->feed(b, text, cut, err);
		return r == 0 ? c->feed(b, text + cut, len - cut, err) : r;
	}
	for (size_t i = 0; i < len && r == 0; i++)
		r = c->feed(b, text + i, 1, err);
	return r;
}

START_TEST(body_case)
{
	const struct kp_codec *c = kp_codec_find("application/json;charset=utf-8");
	const char *text = bodies[_i].text;
	size_t len = strlen(text);

	for (size_t cut = 0; cut <= len + 1; cut++) {
		struct kp_err err = { 0 };
		struct kp_body *b;
		int r;

		setup();
		b = c->open(bodies[_i].kind, note_event, NULL);
		r = read_body(c, b, text, len, cut, &err);
		if (r == 0)
			r = c->end(b, &err);
		ck_assert_msg(r == (*bodies[_i].err ? -EPROTO : 0) && strcmp(err.msg, bodies[_i].err) == 0,
			      "%s cut at %zu: %d %s", bodies[_i].name, cut, r, err.msg);
		ck_assert_msg(strcmp(seen.data ? seen.data : "", bodies[_i].want) == 0, "%s cut at %zu: \"%s\"", bodies[_i].name, cut, seen.data);
		c->free(b);
	}
}
END_TEST

START_TEST(oversized_event)
{
	const struct kp_codec *c = kp_codec_find("application/json");
	struct kp_body *b = c->open(KP_BODY_WATCH, note_event, NULL);
	size_t len = KP_WATCH_MAX_LINE / 4;
	char *piece = kp_malloc(len);
	struct kp_err err = { 0 };

	memset(piece, ' ', len);
	for (int i = 0; i < 9; i++)
		ck_assert_int_eq(c->feed(b, piece, len, &err), 0);
	ck_assert_int_eq(c->feed(b, "\n{\"type\":\"BOOKMARK\",\"object\":{}}\n", 34, &err), 0);
	ck_assert_str_eq(seen.data, "bad  an event of more than 16 MiB\nbookmark \n");
	free(piece);
	c->free(b);
}
END_TEST

START_TEST(content_types)
{
	ck_assert_ptr_eq(kp_codec_find("application/json"), &kp_codec_json);
	ck_assert_ptr_eq(kp_codec_find("Application/JSON ; charset=x"), &kp_codec_json);
	ck_assert_ptr_null(kp_codec_find("application/jsonx"));
	ck_assert_ptr_null(kp_codec_find("text/html"));
	ck_assert_ptr_null(kp_codec_find(""));
}
END_TEST

static const struct {
	const char *text, *want;
} statuses[] = {
	{ "{\"kind\":\"Status\",\"message\":\"too old\",\"code\":410}", "too old" },
	{ "{\"kind\":\"Status\",\"message\":\"\"}", "{\"kind\":\"Status\",\"message\":\"\"}" },
	{ "<html>\r\n<body>", "<html>" },
	{ "404 page not found\n", "404 page not found" },
	{ "", "" },
};

START_TEST(status_case)
{
	char *text = kp_watch_refusal(statuses[_i].text, strlen(statuses[_i].text));

	ck_assert_str_eq(text, statuses[_i].want);
	free(text);
}
END_TEST

#define N(table) (int)(sizeof(table) / sizeof(table[0]))

int main(void)
{
	Suite *s = suite_create("watch");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, split_case, 0, N(streams));
	tcase_add_test(tc, reading_ends_when_told);
	tcase_add_loop_test(tc, event_case, 0, N(events));
	tcase_add_loop_test(tc, body_case, 0, N(bodies));
	tcase_add_test(tc, oversized_event);
	tcase_add_test(tc, content_types);
	tcase_add_loop_test(tc, status_case, 0, N(statuses));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
