#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/reply.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
	const char *name, *in;
	bool ended, head;
	enum hz_reply_verdict want;
	int status;
	const char *type, *body;	/* NULL: none */
	size_t body_len;
} rows[] = {
	{ "length",		OK "Content-Length: 2\r\nContent-Type: text/x \r\n\r\nok", 0, 0, HZ_REPLY_DONE, 200, "text/x", "ok", 2 },
	{ "bare newlines",	"HTTP/1.0 503 x\ncontent-length:2\n\nno", 0, 0, HZ_REPLY_DONE, 503, NULL, "no", 2 },
	{ "no reason",		"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 0, 0, HZ_REPLY_DONE, 404, NULL, "", 0 },
	{ "more than its length", OK "Content-Length: 2\r\n\r\nokay", 0, 0, HZ_REPLY_DONE, 200, NULL, "ok", 2 },
	{ "until the end",	OK "\r\nall of it", 1, 0, HZ_REPLY_DONE, 200, NULL, "all of it", 9 },
	{ "not the end yet",	OK "\r\nall of it", 0, 0, HZ_REPLY_MORE, 200, NULL, NULL, 0 },
	{ "chunks",		OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 0, 0,
	  HZ_REPLY_DONE, 200, NULL, "abc0123456789", 13 },
	{ "half a chunk",	OK "Transfer-Encoding: chunked\r\n\r\n3\r\nab", 0, 0, HZ_REPLY_MORE, 200, NULL, NULL, 0 },
	{ "ends in a chunk",	OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 1, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "chunk without end",	OK "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "no chunk size",	OK "Transfer-Encoding: chunked\r\n\r\nx\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "huge chunk",		OK "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff0\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "other coding",	OK "Transfer-Encoding: gzip\r\n\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "head alone",		OK "Content-Length: 77\r\n\r\n", 0, 1, HZ_REPLY_DONE, 200, NULL, "", 77 },
	{ "no content",		"HTTP/1.1 204 x\r\nContent-Length: 5\r\n\r\n", 0, 0, HZ_REPLY_DONE, 204, NULL, "", 0 },
	{ "half a head",	OK "Content-Le", 0, 0, HZ_REPLY_MORE, 200, NULL, NULL, 0 },
	{ "ends in the head",	OK "Content-Le", 1, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "too short",		OK "Content-Length: 3\r\n\r\nok", 1, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "nothing",		"", 1, 0, HZ_REPLY_BAD, 0, NULL, NULL, 0 },
	{ "another protocol",	"SSH-2.0-OpenSSH_9\r\n", 0, 0, HZ_REPLY_BAD, 0, NULL, NULL, 0 },
	{ "HTTP/2",		"HTTP/2.0 200 OK\r\n\r\n", 0, 0, HZ_REPLY_BAD, 0, NULL, NULL, 0 },
	{ "status 99",		"HTTP/1.1 099 x\r\n\r\n", 0, 0, HZ_REPLY_BAD, 99, NULL, NULL, 0 },
	{ "status 100",		"HTTP/1.1 100 x\r\n\r\n", 0, 0, HZ_REPLY_BAD, 100, NULL, NULL, 0 },
	{ "status 2000",	"HTTP/1.1 2000 x\r\n\r\n", 0, 0, HZ_REPLY_BAD, 0, NULL, NULL, 0 },
	{ "bad length",		OK "Content-Length: 1x\r\n\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "no length",		OK "Content-Length:\r\n\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "huge length",	OK "Content-Length: 99999999999999999999\r\n\r\n", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "two lengths",	OK "Content-Length: 1\r\nContent-Length: 2\r\n\r\nok", 0, 0, HZ_REPLY_BAD, 200, NULL, NULL, 0 },
	{ "type not printable",	OK "Content-Length: 0\r\nContent-Type: a\tb\r\n\r\n", 0, 0, HZ_REPLY_DONE, 200, NULL, "", 0 },
};

static void try(int i, size_t len, bool ended, enum hz_reply_verdict want)
{
	KP_AUTO(kp_freep) char *exact = malloc(len + 1);	/* a sanitizer sees a byte too far */
	struct kp_buf body = { 0 };
	struct hz_reply r;

	memcpy(exact, rows[i].in, len);
	ck_assert_msg((hz_reply_parse(exact, len, ended, rows[i].head, &r, &body) == want), "%s, %zu bytes", rows[i].name, len);
	ck_assert_msg(want == HZ_REPLY_DONE || !body.data, "%s, %zu bytes: a body", rows[i].name, len);
	if (want == HZ_REPLY_DONE) {
		ck_assert_msg(body.len == strlen(rows[i].body) && memcmp(body.data ? body.data : "", rows[i].body, body.len) == 0,
			      "%s: body '%.*s'", rows[i].name, (int)body.len, body.data);
		ck_assert_msg(r.status == rows[i].status && r.body_len == rows[i].body_len, "%s: %d, %zu", rows[i].name, r.status, r.body_len);
		ck_assert_msg(rows[i].type ? r.type && r.type_len == strlen(rows[i].type) && memcmp(r.type, rows[i].type, r.type_len) == 0 : !r.type,
			      "%s: type", rows[i].name);
	}
	kp_buf_release(&body);
}

START_TEST(whole)
{
	try(_i, strlen(rows[_i].in), rows[_i].ended, rows[_i].want);
}
END_TEST

/* However it is cut: what is not complete is never done, and never read too far. */
START_TEST(pieces)
{
	size_t len = strlen(rows[_i].in);

	for (size_t n = 0; n <= len; n++) {
		KP_AUTO(kp_freep) char *exact = malloc(n ? n : 1);
		struct kp_buf body = { 0 };
		struct hz_reply r;
		enum hz_reply_verdict v;

		memcpy(exact, rows[_i].in, n);
		v = hz_reply_parse(exact, n, false, rows[_i].head, &r, &body);
		ck_assert_msg(v == HZ_REPLY_MORE || v == rows[_i].want, "%s: %zu bytes", rows[_i].name, n);
		ck_assert_msg(v == HZ_REPLY_DONE || !body.data, "%s: %zu bytes: a body, which nobody would free", rows[_i].name, n);
		kp_buf_release(&body);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reply");
	TCase *tc = tcase_create("tables");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, whole, 0, KP_N(rows));
	tcase_add_loop_test(tc, pieces, 0, KP_N(rows));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
