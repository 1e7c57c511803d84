#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define IN(s) .in = (s), .len = sizeof(s) - 1

/* What a walk delivered, as text: "LINE:VALUE " for each item, "LINE:KIND:VALUE " in a list of known kind. */
struct seen {
	struct kp_buf text;
	size_t n_items, n_asked;
	const char *unwanted;	/* items with this text are skipped */
	int stop_at;		/* this item ends the walk with -ECANCELED */
};

static bool want(void *arg, const struct kp_doc_item *item)
{
	struct seen *s = arg;

	ck_assert_ptr_null(item->value);
	s->n_asked++;
	return !s->unwanted || !item->text || item->text_len != strlen(s->unwanted) ||
	       memcmp(item->text, s->unwanted, item->text_len) != 0;
}

static int take(void *arg, const struct kp_doc_item *item)
{
	KP_AUTO(kp_freep) char *flat = json_dumps(item->value, JSON_ENCODE_ANY | JSON_COMPACT);
	struct seen *s = arg;

	kp_buf_printf(&s->text, "%u:%s%s%s ", item->line, item->list_kind ? item->list_kind : "",
		      item->list_kind ? ":" : "", flat);
	s->n_items++;
	return s->stop_at && s->n_items == (size_t)s->stop_at ? -ECANCELED : 0;
}

static const struct kp_doc_sink sink = { .want = want, .item = take };

/* The way a file goes. A socket that keeps messages apart makes every read return just one step. */
struct feed {
	const char *in;
	size_t len, step;
	int fd;
};

static void *feed(void *arg)
{
	struct feed *f = arg;

	for (size_t at = 0, n; at < f->len; at += n) {
		n = f->len - at < f->step ? f->len - at : f->step;
		if (send(f->fd, f->in + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			break;
	}
	close(f->fd);
	return NULL;
}

static int walk_steps(const char *in, size_t len, size_t step, const struct kp_doc_sink *to, struct seen *s,
		     struct kp_err *err)
{
	struct feed f = { .in = in, .len = len, .step = step };
	pthread_t writer;
	int p[2], r;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p), 0);
	f.fd = p[1];
	ck_assert_int_eq(pthread_create(&writer, NULL, feed, &f), 0);
	r = kp_doc_walk_fd(p[0], to, s, err);
	close(p[0]);	/* ends the writer if there is more */
	pthread_join(writer, NULL);
	return r;
}

static const struct {
	const char *name, *in;
	size_t len;
	const char *want;	/* items, then the error if there is one */
} cases[] = {
	{ "empty",		IN(""),					"" },
	{ "blanks",		IN(" \n\t\r\n "),			"" },
	{ "byte order mark",	IN("\xef\xbb\xbf"),			"" },
	{ "comment",		IN("# nothing\n"),			"" },
	{ "empty documents",	IN("---\n---\n...\n---\n# x\n"),	"" },
	{ "NUL byte",		IN("\0"),				"line 1: control characters are not allowed" },

	{ "object",		IN("{\"a\":1}"),			"1:{\"a\":1} " },
	{ "marked object",	IN("\xef\xbb\xbf{\"a\":1}"),		"1:{\"a\":1} " },
	{ "several",		IN("{\"a\":1}{\"b\":2}\n\n[3]"),	"1:{\"a\":1} 1:{\"b\":2} 3:[3] " },
	{ "list",		IN("{\"kind\":\"List\",\"items\":[{\"a\":1},\n{\"b\":\"]}\"}]}"),
		"1:List:{\"a\":1} 2:List:{\"b\":\"]}\"} " },
	{ "kind after items",	IN("{\"items\":[{\"a\":1}],\"kind\":\"List\"}"), "1:{\"a\":1} " },
	{ "kind not a string",	IN("{\"kind\":{\"x\":\"List\"},\"items\":[1]}"), "1:1 " },
	{ "items deeper",	IN("{\"spec\":{\"items\":[1,2]}}"),	"1:{\"spec\":{\"items\":[1,2]}} " },
	{ "items as a value",	IN("{\"a\":\"items\",\"b\":[1]}"),	"1:{\"a\":\"items\",\"b\":[1]} " },
	{ "items no list",	IN("{\"items\":{\"a\":[1]}}"),		"1:{\"items\":{\"a\":[1]}} " },
	{ "items null",		IN("{\"items\":null}"),			"1:{\"items\":null} " },
	{ "no items",		IN("{\"items\":[ \n ]}"),		"" },
	{ "scalar items",	IN("{\"items\":[1,\"a\\\"]\",true ,null,-1.5\n]}"), "1:1 1:\"a\\\"]\" 1:true 1:null 1:-1.5 " },
	{ "array of arrays",	IN("{\"items\":[[],[[]]]}"),		"1:[] 1:[[]] " },
	{ "two lists",		IN("{\"items\":[1]}\n{\"items\":[2]}"),	"1:1 2:2 " },
	{ "escapes",		IN("{\"a\":\"\\\\\",\"b\":\"\\\"}\"}"),	"1:{\"a\":\"\\\\\",\"b\":\"\\\"}\"} " },
	{ "JSON and YAML",	IN("{\"a\":1}\n---\n  b: 2\n---\n{\"c\":3}\n"), "1:{\"a\":1} 3:{\"b\":2} 5:{\"c\":3} " },

	{ "open object",	IN("{\"a\":\n1"),			"line 2: '}' expected near end of file" },
	{ "open string",	IN("{\"a\":\"b"),			"line 1: premature end of input near '\"b'" },
	{ "open list",		IN("{\"items\":[{}\n"),			"1:{} line 2: the list is not closed at the end of the text" },
	{ "open item",		IN("{\"items\":[\n{},\n{\"a\":"),	"2:{} line 3: unexpected token near end of file" },
	{ "open after list",	IN("{\"items\":[{}]\n"),		"1:{} line 2: the list is not closed at the end of the text" },
	{ "wrong bracket",	IN("{\"items\":[{},\n{\"a\":1]}"),	"1:{} line 2: '}' expected near ']'" },
	{ "one bracket more",	IN("{}}"),				"1:{} line 1: unexpected '}'" },
	{ "missing comma",	IN("{\"items\":[{}\n{}]}"),		"1:{} line 2: a comma is missing between two elements of the list" },
	{ "trailing comma",	IN("{\"items\":[{},\n]}"),		"1:{} line 2: a comma before the end of the list" },
	{ "leading comma",	IN("{\"items\":[\n,{}]}"),		"line 2: a comma without an element before it" },
	{ "two commas",		IN("{\"items\":[{},,{}]}"),		"1:{} line 1: a comma without an element before it" },
	{ "bad second item",	IN("{\"items\":[{},\n\n{\"a\"\n1}]}"),	"1:{} line 4: ':' expected near '1'" },
	{ "bad after the list",	IN("{\"items\":[{},\n{}],\n\"a\":x}"),	"1:{} 2:{} line 3: invalid token near 'x'" },
	{ "bad after long items", IN("{\"items\":[{\n\"a\":\n1},{}\n],\n\"a\":x}"),	"1:{\"a\":1} 3:{} line 5: invalid token near 'x'" },
	{ "duplicate key",	IN("{\"items\":[{},{\"a\":1,\n\"a\":2}]}"), "1:{} line 2: duplicate object key near '\"a\"'" },
	{ "items twice",	IN("{\"items\":[1],\n\"items\":[2]}"),	"1:1 2:2 line 2: duplicate object key near '\"items\"'" },
	{ "invalid UTF-8",	IN("{\"items\":[{},\n{\"a\":\"\xff\"}]}"), "1:{} line 2: unable to decode byte 0xff near '\"'" },
	{ "NUL in a string",	IN("{\"items\":[{},\"a\0b\"]}"),	"1:{} line 1: control character 0x0 near '\"a'" },
	{ "escaped NUL",	IN("{\"items\":[{},\"\\u0000\"]}"),	"1:{} 1:\"\\u0000\" " },
	{ "huge number",	IN("{\"items\":[{},99999999999999999999]}"), "1:{} line 1: too big integer near '99999999999999999999'" },

	{ "flow style",		IN("{a: b, c: [1, {d: e}]}"),		"1:{\"a\":\"b\",\"c\":[1,{\"d\":\"e\"}]} " },
	{ "marked flow style",	IN("\xef\xbb\xbf{a: b}\n---\nc: d"),	"1:{\"a\":\"b\"} 3:{\"c\":\"d\"} " },
	{ "mark in the middle",	IN("{}\n\xef\xbb\xbf{}"),		"1:{} 2:{} " },
	{ "flow style list",	IN("{items: [{a: 1},\n {b: 2}]}"),	"1:{\"a\":1} 2:{\"b\":2} " },
	{ "neither",		IN("{a: b"),				"line 1: string or '}' expected near 'a'" },

	{ "mapping",		IN("a: 1\nb:\n- c\n- d: e\n"),		"1:{\"a\":1,\"b\":[\"c\",{\"d\":\"e\"}]} " },
	{ "indented",		IN("\n  a: 1\n  b: 2\n"),		"2:{\"a\":1,\"b\":2} " },
	{ "documents",		IN("a: 1\n---\nb: 2\n...\n---\n- 3\n"),	"1:{\"a\":1} 3:{\"b\":2} 6:[3] " },
	{ "kubectl list",	IN("apiVersion: v1\nitems:\n- a: 1\n  b: x\n\n- c: 2\nkind: List\nmetadata: {}\n"),
		"3:{\"a\":1,\"b\":\"x\"} 6:{\"c\":2} " },
	{ "kind before items",	IN("kind: ServiceList\nitems:\n  - 1\n  - x\n"), "3:ServiceList:1 4:ServiceList:\"x\" " },
	{ "empty YAML list",	IN("items: []\n"),			"" },
	{ "block scalar",	IN("items:\n- a: |\n    - x\n    b: y\n- 2\n"),	"2:{\"a\":\"- x\\nb: y\\n\"} 5:2 " },
	{ "other letters",	IN("items:\n- a: \xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n- b: 1\n"), "2:{\"a\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"} 3:{\"b\":1} " },
	{ "alias",		IN("a: &x {b: 1}\nc: *x\n"),		"1:{\"a\":{\"b\":1},\"c\":{\"b\":1}} " },
	{ "merge",		IN("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n"),	"1:{\"a\":{\"b\":1,\"c\":2},\"d\":{\"c\":3,\"b\":1}} " },
	{ "merge of several",	IN("- &x {b: 1}\n- &y {b: 2, c: 2}\n- {<<: [*x, *y]}\n"), "1:[{\"b\":1},{\"b\":2,\"c\":2},{\"b\":1,\"c\":2}] " },
	{ "keys",		IN("1: a\nyes: b\n'no': c\n"),		"1:{\"1\":\"a\",\"true\":\"b\",\"no\":\"c\"} " },
	{ "tags",		IN("- !!str 5\n- !!int '5'\n"),	"1:[\"5\",5] " },

	{ "YAML duplicate",	IN("a: 1\nb: 2\na: 3\n"),		"line 3: the key 'a' is there twice" },
	{ "YAML items twice",	IN("items: [1]\nitems: [2]\n"),		"1:1 line 2: the key 'items' is there twice" },
	{ "bad indentation",	IN("a: 1\n b: 2\n"),			"line 2: mapping values are not allowed in this context" },
	{ "second item bad",	IN("items:\n- a: 1\n- b: [\nkind: x\n"),
		"2:{\"a\":1} line 5: did not find expected ',' or ']', while parsing a flow sequence that began in line 3" },
	{ "open quote",		IN("a: 1\nb: 'x\n\n"),			"line 4: found unexpected end of stream, while scanning a quoted scalar that began in line 2" },
	{ "YAML invalid UTF-8",	IN("a: 1\nb: \xc3(\n"),			"line 2: invalid trailing UTF-8 octet" },
	{ "UTF-16",		IN("\xff\xfe" "a\0:\0"),		"line 1: invalid leading UTF-8 octet" },
	{ "YAML NUL",		IN("a: 1\nb: \0\n"),			"line 2: control characters are not allowed" },
	{ "YAML escaped NUL",	IN("a: \"\\0\"\n"),			"line 1: a NUL byte in a string" },
	{ "tab",		IN("a:\n\tb: 1\n"),			"line 2: found character that cannot start any token, while scanning for the next token that began in line 2" },
	{ "no anchor",		IN("a: 1\nb: *x\n"),			"line 2: no anchor 'x' before this alias" },
	{ "anchor in itself",	IN("&x [*x]"),				"line 1: no anchor 'x' before this alias" },
	{ "anchor elsewhere",	IN("&x a\n---\n*x\n"),			"1:\"a\" line 3: no anchor 'x' before this alias" },
	{ "merge of a scalar",	IN("a: &x 1\nb: {<<: *x}\n"),		"line 2: only mappings can be merged" },
	{ "mapping as key",	IN("? {a: b}\n: c\n"),			"line 1: a key must be a simple value" },
	{ "unknown tag",	IN("a: !secret x\n"),			"line 1: the tag '!secret' is not supported" },
	{ "infinity",		IN("a: .inf\n"),			"line 1: infinity and not-a-number have no place in an object" },
};

static void check_result(const char *name, int r, struct seen *s, const struct kp_err *err, const char *should)
{
	if (r < 0)
		kp_buf_puts(&s->text, err->msg);
	ck_assert_msg(strcmp(s->text.data ? s->text.data : "", should) == 0, "%s: got  %s\nwant %s", name,
		      s->text.data ? s->text.data : "", should);
	kp_buf_release(&s->text);
}

START_TEST(text_case)
{
	char *exact = kp_memdup(cases[_i].in, cases[_i].len);	/* so that reading past the end shows */
	struct kp_err err = { 0 };
	struct seen s = { 0 };
	int r = kp_doc_walk(exact, cases[_i].len, &sink, &s, &err);

	check_result(cases[_i].name, r, &s, &err, cases[_i].want);
	free(exact);
}
END_TEST

/* However it is cut, a stream says the same. */
START_TEST(stream_case)
{
	static const size_t steps[] = { 1, 2, 3, 7, 1000 };

	for (size_t i = 0; i < KP_N(steps); i++) {
		struct kp_err err = { 0 };
		struct seen s = { 0 };
		int r = walk_steps(cases[_i].in, cases[_i].len, steps[i], &sink, &s, &err);

		check_result(cases[_i].name, r, &s, &err, cases[_i].want);
	}
}
END_TEST

static const struct {
	const char *in, *want;
} scalars[] = {
	{ "", "null" }, { "~", "null" }, { "null", "null" }, { "Null", "null" }, { "nULL", "\"nULL\"" },
	{ "true", "true" }, { "Yes", "true" }, { "ON", "true" }, { "False", "false" }, { "no", "false" },
	{ "off", "false" }, { "y", "\"y\"" }, { "n", "\"n\"" }, { "tRue", "\"tRue\"" },
	{ "0", "0" }, { "-0", "0" }, { "+5", "5" }, { "-17", "-17" }, { "0x1F", "31" }, { "-0x10", "-16" },
	{ "010", "8" }, { "0o17", "15" }, { "0b101", "5" }, { "089", "89" }, { "0x", "\"0x\"" }, { "0xg", "\"0xg\"" },
	{ "1_000", "\"1_000\"" }, { "--1", "\"--1\"" }, { "+-1", "\"+-1\"" }, { "- 1", "[1]" },
	{ "9223372036854775807", "9223372036854775807" }, { "-9223372036854775808", "-9223372036854775808" },
	{ "9223372036854775808", "9.2233720368547758e18" },
	{ "1.5", "1.5" }, { ".5", "0.5" }, { "5.", "5" }, { "1e3", "1000" }, { "1.5e-1", "0.14999999999999999" },
	{ ".", "\".\"" }, { "1e", "\"1e\"" }, { "e5", "\"e5\"" }, { "1.2.3", "\"1.2.3\"" }, { "+", "\"+\"" },
	{ "10.0.0.1", "\"10.0.0.1\"" }, { "::1", "\"::1\"" }, { "10:20", "\"10:20\"" }, { "2001-01-01", "\"2001-01-01\"" },
	{ "0x1p3", "\"0x1p3\"" }, { "infinity", "\"infinity\"" }, { "nan", "\"nan\"" }, { "\"5\"", "\"5\"" }, { "'yes'", "\"yes\"" },
};

START_TEST(scalar_case)
{
	char in[64], should[64];
	struct kp_err err = { 0 };
	struct seen s = { 0 };
	int r;

	snprintf(in, sizeof(in), "- %s\n", scalars[_i].in);
	snprintf(should, sizeof(should), "1:[%s] ", scalars[_i].want);
	r = kp_doc_walk(in, strlen(in), &sink, &s, &err);
	check_result(scalars[_i].in, r, &s, &err, should);
}
END_TEST

/* --- sizes --- */

static char *repeat(const char *head, const char *part, size_t n, const char *tail)
{
	size_t len = strlen(part);
	struct kp_buf b = { 0 };

	kp_buf_puts(&b, head);
	kp_buf_reserve(&b, n * len);
	for (size_t i = 0; i < n; i++, b.len += len)
		memcpy(b.data + b.len, part, len);
	kp_buf_puts(&b, tail);
	return b.data;
}

static int count(void *arg, const struct kp_doc_item *item)
{
	(void)item;
	((struct seen *)arg)->n_items++;
	return 0;
}

static const struct kp_doc_sink counter = { .item = count };

static const struct {
	const char *name, *head, *part;
	size_t n;
	const char *tail;
	size_t want;		/* items */
	const char *err;	/* NULL: none */
} sizes[] = {
	{ "million numbers",	"{\"items\":[1", ",2", 999999, "]}", 1000000, NULL },
	{ "20,000 objects",	"{\"items\":[{}", ",\n{\"a\":{\"b\":[1,2]}}", 19999, "]}", 20000, NULL },
	{ "long string",	"{\"a\":\"", "x", 70000, "\"}", 1, NULL },
	{ "long item string",	"{\"items\":[\"", "x", 70000, "\"]}", 1, NULL },
	{ "long escapes",	"{\"items\":[\"", "\\\\", 70000, "\"]}", 1, NULL },
	{ "100 levels",		"{\"items\":[", "[", 100, "", 0, "line 1: ']' expected near end of file" },
	{ "101 levels",		"{\"items\":[", "[", 101, "", 0, "line 1: nested deeper than 100 levels" },
	{ "million levels",	"", "[", 1000000, "", 0, "line 1: nested deeper than 100 levels" },
	{ "17 MiB item",	"{\"items\":[1,\n\"", "0123456789abcdef", 17 << 16, "\"]}", 1, "line 2: one object of more than 16 MiB" },
	{ "17 MiB object",	"{\"a\":\"", "0123456789abcdef", 17 << 16, "\"}", 0, "line 1: one object of more than 16 MiB" },
	{ "YAML list",		"items:\n", "- a: {b: [1, 2]}\n  c: d\n", 5000, "", 5000, NULL },
	{ "YAML long string",	"a: ", "x", 70000, "\n", 1, NULL },
	{ "YAML 100 levels",	"", "- ", 99, "x\n", 1, NULL },
	{ "YAML 101 levels",	"", "- ", 100, "x\n", 0, "line 1: nested too deeply" },
	{ "YAML many levels",	"- ", "[", 100000, "\n", 0, "line 1: nested too deeply" },
	{ "YAML 17 MiB",	"items:\n- 1\n- \"", "0123456789abcdef", 17 << 16, "\"\n", 1, "line 3: one object of more than 16 MiB" },
};

static void check_size(size_t i, int r, const struct seen *s, const struct kp_err *err)
{
	const char *should = sizes[i].err ? sizes[i].err : "";

	ck_assert_msg((r == 0) == !sizes[i].err && strncmp(err->msg, should, strlen(should)) == 0,
		      "%s: %d %s", sizes[i].name, r, err->msg);
	ck_assert_msg(s->n_items == sizes[i].want, "%s: %zu items", sizes[i].name, s->n_items);
}

START_TEST(size_case)
{
	KP_AUTO(kp_freep) char *in = repeat(sizes[_i].head, sizes[_i].part, sizes[_i].n, sizes[_i].tail);
	struct kp_err err = { 0 };
	struct seen s = { 0 }, stepped = { 0 };
	int r = kp_doc_walk(in, strlen(in), &counter, &s, &err);

	check_size((size_t)_i, r, &s, &err);
	r = walk_steps(in, strlen(in), 60000, &counter, &stepped, &err);
	check_size((size_t)_i, r, &stepped, &err);
}
END_TEST

/* Ten aliases of ten aliases of ... would fill any memory. */
START_TEST(aliases_are_counted)
{
	struct kp_buf in = { 0 };
	struct kp_err err = { 0 };
	struct seen s = { 0 };

	kp_buf_puts(&in, "a0: &a0 xxxxxxxxxx\n");
	for (int i = 1; i < 12; i++) {
		kp_buf_printf(&in, "a%d: &a%d [", i, i);
		for (int k = 0; k < 10; k++)
			kp_buf_printf(&in, "*a%d%s", i - 1, k < 9 ? ", " : "]\n");
	}
	ck_assert_int_eq(kp_doc_walk(in.data, in.len, &sink, &s, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "line 8: aliases stand for too much text");
	kp_buf_release(&in);
}
END_TEST

/* --- skipping, ending, hashing --- */

START_TEST(unwanted_items_are_not_parsed)
{
	static const char in[] = "{\"items\":[{\"a\":1},{\"a\":,},{\"b\":2}]}";
	struct seen s = { .unwanted = "{\"a\":,}" };	/* would not parse */
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_doc_walk(in, strlen(in), &sink, &s, &err), 0);
	ck_assert_str_eq(s.text.data, "1:{\"a\":1} 1:{\"b\":2} ");
	ck_assert_uint_eq(s.n_asked, 3);
	kp_buf_release(&s.text);
}
END_TEST

START_TEST(callback_ends_the_walk)
{
	static const char *const in[] = { "{\"items\":[1,2,3]}", "items: [1, 2, 3]\n", "1\n---\n2\n---\n3\n", "{}{}{}" };

	for (size_t i = 0; i < KP_N(in); i++) {
		struct seen s = { .stop_at = 2 };

		ck_assert_int_eq(kp_doc_walk(in[i], strlen(in[i]), &sink, &s, NULL), -ECANCELED);
		ck_assert_uint_eq(s.n_items, 2);
		kp_buf_release(&s.text);
	}
}
END_TEST

struct hashes {
	uint64_t h[8][2];
	char text[8][64];
	size_t n;
};

static int note_hash(void *arg, const struct kp_doc_item *item)
{
	struct hashes *h = arg;

	memcpy(h->h[h->n], item->hash, sizeof(item->hash));
	snprintf(h->text[h->n++], 64, "%.*s", item->text ? (int)item->text_len : 6, item->text ? item->text : "(none)");
	return 0;
}

static struct hashes hashes_of(const char *in)
{
	static const struct kp_doc_sink s = { .item = note_hash };
	struct hashes h = { 0 };
	struct kp_err err = { 0 };

	ck_assert_msg(kp_doc_walk(in, strlen(in), &s, &h, &err) == 0, "%s", err.msg);
	return h;
}

START_TEST(equal_bytes_equal_hash)
{
	struct hashes a = hashes_of("{\"items\":[{\"a\":1},{\"a\":2},{\"a\":1}]}"), b = hashes_of("{\"a\":2}");

	ck_assert_mem_eq(a.h[0], a.h[2], sizeof(a.h[0]));
	ck_assert(a.h[0][0] != a.h[1][0] && a.h[0][1] != a.h[1][1]);
	ck_assert_mem_eq(a.h[1], b.h[0], sizeof(a.h[0]));
	ck_assert(a.h[0][0] != a.h[0][1]);
	ck_assert_str_eq(a.text[1], "{\"a\":2}");
}
END_TEST

/* An item of a YAML list is its lines as they are indented, without what is around it. */
START_TEST(yaml_item_text)
{
	struct hashes a = hashes_of("items:\n  - a: 1\n    b: 2   \n\n  - c: 3\nkind: List\n");

	ck_assert_str_eq(a.text[0], "    a: 1\n    b: 2");
	ck_assert_str_eq(a.text[1], "    c: 3");
	a = hashes_of("items:\n- '\xc3\xa4'\n- \xe2\x82\xac\n- \xf0\x9f\x98\x80\n- x\n");
	ck_assert_str_eq(a.text[0], "  '\xc3\xa4'");
	ck_assert_str_eq(a.text[1], "  \xe2\x82\xac");
	ck_assert_str_eq(a.text[2], "  \xf0\x9f\x98\x80");
	ck_assert_str_eq(a.text[3], "  x");
}
END_TEST

/* The text of an item with an alias says nothing when the anchor changes. */
START_TEST(hash_sees_through_aliases)
{
	struct hashes a = hashes_of("items:\n- &x {a: 1}\n- *x\n"), b = hashes_of("items:\n- &x {a: 2}\n- *x\n");

	ck_assert_str_eq(a.text[1], "(none)");
	ck_assert(a.h[1][0] != b.h[1][0] && a.h[1][1] != b.h[1][1]);
}
END_TEST

START_TEST(unreadable)
{
	struct kp_err err = { 0 };
	struct seen s = { 0 };
	int fd = open("/", O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(kp_doc_walk_fd(fd, &sink, &s, &err), -EISDIR);
	ck_assert_str_eq(err.msg, "read: Is a directory");
	close(fd);
}
END_TEST

/* --- whole documents, lines --- */

static void note_dup(void *arg, const char *path, unsigned line)
{
	kp_buf_printf(arg, "%u:%s ", line, path);
}

static const struct {
	const char *in, *want, *dups;	/* want NULL: refused */
} loads[] = {
	{ "", "null", "" },
	{ "# only a comment\n", "null", "" },
	{ "a: 1\n", "{\"a\":1}", "" },
	{ "{\"a\": 1,\t\"b\": [true]}", "{\"a\":1,\"b\":[true]}", "" },
	{ "a: 1\nb: {c: 1, c: 2}\na: 3\n", "{\"a\":3,\"b\":{\"c\":2}}", "2:b.c 3:a " },
	{ "a:\n- b: 1\n  b: 2\n", "{\"a\":[{\"b\":2}]}", "3:a[0].b " },
	{ "a: {b.c: 1, b.c: 2}\n", "{\"a\":{\"b.c\":2}}", "1:a[b.c] " },
	{ "a: 1\n---\nb: 2\n", NULL, "" },
	{ "a: [1\n", NULL, "" },
	{ "items: [1]\n", "{\"items\":[1]}", "" },
};

START_TEST(load_case)
{
	struct kp_buf dups = { 0 };
	struct kp_err err = { 0 };
	json_t *v = NULL;
	int r = kp_doc_load(loads[_i].in, strlen(loads[_i].in), note_dup, &dups, &v, &err);

	ck_assert_msg((r == 0) == (loads[_i].want != NULL), "%s: %d %s", loads[_i].in, r, err.msg);
	if (r == 0) {
		KP_AUTO(kp_freep) char *flat = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

		ck_assert_str_eq(flat, loads[_i].want);
	}
	ck_assert_str_eq(dups.data ? dups.data : "", loads[_i].dups);
	json_decref(v);
	kp_buf_release(&dups);
}
END_TEST

START_TEST(load_refuses_duplicates_without_ears)
{
	struct kp_err err = { 0 };
	json_t *v;

	ck_assert_int_eq(kp_doc_load("a: 1\na: 2\n", 10, NULL, NULL, &v, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "line 2: the key 'a' is there twice");
}
END_TEST

static const char yaml[] =
	"metadata:\n"					/* 1 */
	"  labels:\n"					/* 2 */
	"    kubernetes.io/service-name: web\n"		/* 3 */
	"    app: x\n"					/* 4 */
	"spec:\n"					/* 5 */
	"  ports:\n"					/* 6 */
	"  - port: 80\n"				/* 7 */
	"    name: a\n"					/* 8 */
	"  - {port: 81,\n"				/* 9 */
	"     name: b}\n";				/* 10 */

static const char json[] = "{ \"metadata\":\n{\"labels\":\n{ \"kubernetes.io/service-name\":\n\"web\"}},\n"
	"\t\"spec\": {\"ports\": [\n{\"port\":1},\n{\"port\":2}]}}";

static const struct {
	const char *in, *path;
	unsigned want;
} lines[] = {
	{ yaml, "metadata", 1 },
	{ yaml, "metadata.labels[kubernetes.io/service-name]", 3 },
	{ yaml, "metadata.labels.app", 4 },
	{ yaml, "spec.ports", 6 },
	{ yaml, "spec.ports[0]", 7 },
	{ yaml, "spec.ports[0].name", 8 },
	{ yaml, "spec.ports[1].name", 10 },
	{ yaml, "spec.ports[2]", 0 },
	{ yaml, "spec.ports.name", 0 },
	{ yaml, "spec.port", 0 },
	{ yaml, "metadata.labels.app.x", 0 },
	{ yaml, "", 0 },
	{ json, "metadata.labels[kubernetes.io/service-name]", 3 },
	{ json, "spec.ports[1].port", 7 },
	{ "    a: 1\n    b: 2", "b", 2 },	/* the text of an item */
	{ "a: [", "a", 1 },
	{ "a: [", "b", 0 },
	{ "\xff", "b", 0 },
	{ "", "b", 0 },
};

START_TEST(line_case)
{
	unsigned line = kp_doc_line_of(lines[_i].in, strlen(lines[_i].in), lines[_i].path);

	ck_assert_msg(line == lines[_i].want, "%s: %u, want %u", lines[_i].path, line, lines[_i].want);
}
END_TEST

/* What nobody reads is left out before parsing, wherever it stands; everything else stays. */
static const struct {
	const char *name, *in, *want;	/* want: the value, compact; NULL: refused, with the line in error */
	const char *error;
} unread[] = {
	{ "object",	"{\"a\": 1, \"no\": {\"x\": [1, \"}\"]}, \"b\": 2}",	"{\"a\":1,\"no\":0,\"b\":2}", NULL },
	{ "list",	"{\"no\" : [{}, [\"\\\"]\"]], \"b\": 2}",		"{\"no\":0,\"b\":2}", NULL },
	{ "deep",	"{\"a\": {\"b\": [{\"no\": {\"no\": []}}, {\"no\": []}]}}", "{\"a\":{\"b\":[{\"no\":0},{\"no\":0}]}}", NULL },
	{ "scalar",	"{\"no\": \"text\", \"b\": 2}",			"{\"no\":\"text\",\"b\":2}", NULL },
	{ "a value",	"{\"a\": \"no\", \"b\": [2]}",			"{\"a\":\"no\",\"b\":[2]}", NULL },
	{ "in a string", "{\"a\": \"\\\"no\\\": {\", \"b\": [2]}",	"{\"a\":\"\\\"no\\\": {\",\"b\":[2]}", NULL },
	{ "end of a key", "{\"a\\\"no\": {\"b\": 2}}",			"{\"a\\\"no\":{\"b\":2}}", NULL },
	{ "in a list",	"{\"items\": [{\"no\": {\"x\": tru}}]}",		"{\"no\":0}", NULL },
	{ "lines",	"{\"no\": {\n\"x\":\n1},\n\"a\": 1, \"a\": 2}",		NULL, "line 4: " },
	{ "open",	"{\"no\": {\"x\": 1}",				NULL, "line 1: " },
};

static int dump_value(void *arg, const struct kp_doc_item *item)
{
	*(char **)arg = json_dumps(item->value, JSON_COMPACT);
	return 0;
}

START_TEST(unread_case)
{
	static const char *const names[] = { "\"no\"", NULL };
	const struct kp_doc_sink s = { .item = dump_value, .unread = names };
	struct kp_err err = { 0 };
	char *got = NULL;
	int r = kp_doc_walk(unread[_i].in, strlen(unread[_i].in), &s, &got, &err);

	if (unread[_i].want) {
		ck_assert_msg(r == 0, "%s: %s", unread[_i].name, err.msg);
		ck_assert_str_eq(got, unread[_i].want);
	} else {
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_msg(strncmp(err.msg, unread[_i].error, strlen(unread[_i].error)) == 0, "%s: %s", unread[_i].name, err.msg);
	}
	free(got);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("doc");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, text_case, 0, KP_N(cases));
	tcase_add_loop_test(tc, stream_case, 0, KP_N(cases));
	tcase_add_loop_test(tc, scalar_case, 0, KP_N(scalars));
	tcase_add_loop_test(tc, size_case, 0, KP_N(sizes));
	tcase_add_test(tc, aliases_are_counted);
	tcase_add_test(tc, unwanted_items_are_not_parsed);
	tcase_add_test(tc, callback_ends_the_walk);
	tcase_add_test(tc, equal_bytes_equal_hash);
	tcase_add_test(tc, yaml_item_text);
	tcase_add_test(tc, hash_sees_through_aliases);
	tcase_add_test(tc, unreadable);
	tcase_add_loop_test(tc, load_case, 0, KP_N(loads));
	tcase_add_test(tc, load_refuses_duplicates_without_ears);
	tcase_add_loop_test(tc, line_case, 0, KP_N(lines));
	tcase_add_loop_test(tc, unread_case, 0, KP_N(unread));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
