#include <arpa/inet.h>
#include <check.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/source/httpc.h"

/* A watch over HTTP/1.1, and the other end of its connection: that is the test's. */
struct watch {
	struct kp_http_call *call;
	int peer;
	unsigned n_heard;
	bool has_head, has_ended;
};

static struct event_base *base;
static struct kp_httpc *http;
static int listener;
static struct watch older, newer;
static unsigned n_rests;	/* while newer is flooded */
static bool floods;

static void on_head(void *arg, const struct kp_http_head *head)
{
	struct watch *w = arg;

	ck_assert_int_eq(head->status, 200);
	w->has_head = true;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct watch *w = arg;

	(void)p;
	w->n_heard += n > 0;
	return 0;
}

static void on_done(void *arg, int code, const char *why)
{
	struct watch *w = arg;

	(void)code, (void)why;
	w->call = NULL;
	w->has_ended = true;
}

static void say(const struct watch *w, const char *text)
{
	ck_assert_int_eq(send(w->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* As the API source, at a server that never stops: when a rest ends, the next event is there. */
static void after_round(void *arg)
{
	(void)arg;
	if (!floods || kp_httpc_has_more(http))
		return;
	kp_httpc_rest(http, 1);
	say(&newer, "1\r\nx\r\n");
	if (++n_rests == 3)
		shutdown(older.peer, SHUT_WR);
}

static void turn(void)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	poll(NULL, 0, 1);
}

#define UNTIL(condition) do { \
	uint64_t deadline = kp_now_ms() + 60000; \
	while (!(condition)) { \
		ck_assert_msg(kp_now_ms() < deadline, "line %d: not until " #condition, __LINE__); \
		turn(); \
	} \
} while (0)

static void begin(struct watch *w)
{
	static const struct kp_http_handler handler = { on_head, on_data, on_done };
	static const struct kp_http_identity nobody;
	struct sockaddr_in at;
	socklen_t len = sizeof(at);
	struct kp_err err = { 0 };
	char url[64];

	*w = (struct watch){ .peer = -1 };
	getsockname(listener, (struct sockaddr *)&at, &len);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", ntohs(at.sin_port));
	ck_assert_int_eq(kp_httpc_get(http, url, "*/*", &nobody, &handler, w, &w->call, &err), 0);
	UNTIL((w->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
	say(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	UNTIL(w->has_head);
}

static void setup(void)
{
	const struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct kp_err err = { 0 };

	floods = false;
	n_rests = 0;
	base = event_base_new();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (const struct sockaddr *)&loopback, sizeof(loopback)), 0);
	ck_assert_int_eq(listen(listener, 2), 0);
	ck_assert_int_eq(kp_httpc_new(&http, base, after_round, NULL, &err), 0);
	begin(&older);
	begin(&newer);
}

static void teardown(void)
{
	http = kp_httpc_free(http);
	close(older.peer);
	close(newer.peer);
	close(listener);
	event_base_free(base);
}

START_TEST(more_is_bytes_or_an_end)
{
	ck_assert(!kp_httpc_has_more(http));
	say(&older, "1\r\nx\r\n");
	ck_assert(kp_httpc_has_more(http));
	UNTIL(older.n_heard);
	ck_assert(!kp_httpc_has_more(http));
	shutdown(newer.peer, SHUT_WR);
	ck_assert(kp_httpc_has_more(http));
	UNTIL(newer.has_ended);
	ck_assert(!kp_httpc_has_more(http));
}
END_TEST

START_TEST(an_end_is_heard_beside_a_flood)
{
	floods = true;
	say(&newer, "1\r\nx\r\n");
	UNTIL(older.has_ended || n_rests >= 20);
	ck_assert_msg(older.has_ended, "its end was put off %u times", n_rests);
	ck_assert_uint_ge(newer.n_heard, 3);
}
END_TEST

START_TEST(what_comes_in_a_rest_is_as_old_as_the_rest)
{
	uint64_t before = kp_wall_ns(), began;

	kp_httpc_rest(http, 5);
	began = kp_wall_ns();
	say(&older, "1\r\nx\r\n");
	UNTIL(older.n_heard == 1);
	ck_assert_uint_ge(kp_httpc_woken_ns(http), before);
	ck_assert_uint_le(kp_httpc_woken_ns(http), began);
	began = kp_wall_ns();
	say(&older, "1\r\nx\r\n");
	UNTIL(older.n_heard == 2);
	ck_assert_uint_ge(kp_httpc_woken_ns(http), began);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("httpc");
	TCase *tc = tcase_create("httpc");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 90);
	tcase_add_test(tc, more_is_bytes_or_an_end);
	tcase_add_test(tc, an_end_is_heard_beside_a_flood);
	tcase_add_test(tc, what_comes_in_a_rest_is_as_old_as_the_rest);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
