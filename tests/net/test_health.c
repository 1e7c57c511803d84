#include <dirent.h>

#include <jansson.h>

#include "proxy/base/cleanup.h"
#include "tests/support/health_lab.h"
#include "tests/support/report.h"

/* The main and the shared port against a client that looks closely. Rows are named after health-and-probes F.1; F.2 is in test_proxy.c. */

#define H "Host: x\r\n"
#define END H "\r\n"
#define OK(path) "GET " path " HTTP/1.1\r\n" END
#define IN(s) .in = (s), .len = sizeof(s) - 1
#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V_A SIG "\x20\x00\x00\x00"

enum { RESET = -1, FIN = -2 };

static const struct {
	const char *name, *in;
	size_t len;
	int status;	/* or RESET, FIN: no answer at all */
	bool stays;	/* the connection */
} rows[] = {
	{ "B-03 livez",			IN(OK("/livez")), 200, true },
	{ "B-04 /",			IN(OK("/")), 404, true },
	{ "B-04 /healthz/",		IN(OK("/healthz/")), 404, true },
	{ "B-04 //healthz",		IN(OK("//healthz")), 404, true },
	{ "B-04 /HEALTHZ",		IN(OK("/HEALTHZ")), 404, true },
	{ "B-04 escaped",		IN(OK("/%68ealthz")), 404, true },
	{ "B-04 query",			IN(OK("/healthz?x=1")), 200, true },
	{ "B-04 absolute",		IN(OK("http://h/healthz")), 200, true },
	{ "B-12 HTTP/1.0",		IN("GET /healthz HTTP/1.0\r\n\r\n"), 200, false },
	{ "B-12 keep-alive",		IN("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), 200, true },
	{ "B-13 no Host",		IN("GET /healthz HTTP/1.1\r\n\r\n"), 400, false },
	{ "B-13 two Hosts",		IN("GET /healthz HTTP/1.1\r\n" H END), 400, false },
	{ "B-13 empty Host",		IN("GET /healthz HTTP/1.1\r\nHost:\r\n\r\n"), 200, true },
	{ "B-15 OPTIONS *",		IN("OPTIONS * HTTP/1.0\r\n\r\n"), 200, false },
	{ "B-27 HTTP/2.0",		IN("GET /healthz HTTP/2.0\r\n\r\n"), 505, false },
	{ "B-27 HTTP/0.9",		IN("GET /healthz\r\n"), 400, false },
	{ "B-27 NUL in header",		IN("GET /healthz HTTP/1.1\r\nA: \0\r\n" END), 400, false },
	{ "B-27 CL and TE",		IN("POST /healthz HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n" END), 400, false },
	{ "B-27 CONNECT",		IN("CONNECT x:1 HTTP/1.1\r\n" END), 405, false },
	{ "keepalived 1.0",		IN("GET /healthz HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 192.0.2.1\r\n\r\n"), 200, false },
	{ "keepalived 1.0C",		IN("GET /healthz HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: x\r\n\r\n"),
	  200, false },
	{ "keepalived 1.1",		IN("GET /healthz HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: x\r\n\r\n"),
	  200, false },
	{ "Expect: 100-continue",	IN("POST /healthz HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n" END), 200, false },
};

static void check_end(struct client *c, const char *name, int want)
{
	int end = hear_end(c);

	ck_assert_msg(end == want, "%s: ends with %s", name, end ? strerror(-end) : "FIN");
}

static void check_row(const char *name, const char *in, size_t len, int status, bool stays)
{
	struct reply r;
	struct client c;
	int n;

	must_dial(&c, "127.0.0.1", 10356);
	say_bytes(&c, in, len);
	if (status == RESET) {
		check_end(&c, name, -ECONNRESET);
		hang_up(&c);
		return;
	}
	n = hear_reply(&c, false, &r);
	ck_assert_msg(n == 0 && r.status == status, "%s: %d, status %d", name, n, r.status);
	ck_assert_msg(!strstr(r.head, "Connection: close") == stays, "%s: Connection header\n%s", name, r.head);
	if (stays) {
		say(&c, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
		ck_assert_msg(hear_reply(&c, false, &r) == 0 && r.status == 200, "%s: second request", name);
	}
	check_end(&c, name, 0);
	hang_up(&c);
}

START_TEST(row)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });

	hz_server_publish(s, lab_state(NULL));
	check_row(rows[_i].name, rows[_i].in, rows[_i].len, rows[_i].status, rows[_i].stays);
	hz_server_stop(s);
}
END_TEST

START_TEST(b02_details)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct reply r;
	json_t *body;

	hz_server_publish(s, lab_state(NULL));
	ck_assert_int_eq(ask("127.0.0.1", 10256, OK("/healthz"), &r), 200);
	ck_assert_ptr_eq(strstr(r.head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
			 "X-Content-Type-Options: nosniff\r\n"), r.head);
	body = json_loads(r.body, 0, NULL);
	ck_assert(json_is_true(json_object_get(body, "healthy")));
	ck_assert(json_is_true(json_object_get(body, "nodeEligible")));
	ck_assert(json_equal(json_object_get(body, "lastUpdated"), json_object_get(body, "currentTime")));
	json_decref(body);
	hz_server_stop(s);
}
END_TEST

static char *of_length(size_t len, const char *before, char fill, const char *after)
{
	size_t a = strlen(before), b = strlen(after);
	char *s = kp_malloc(len + 1);

	memcpy(s, before, a);
	memset(s + a, fill, len - a - b);
	memcpy(s + len - b, after, b + 1);
	return s;
}

START_TEST(b27_limits)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	KP_AUTO(kp_freep) char *line = of_length(2049 + 13, "GET /", 'a', " HTTP/1.1\r\n" END);
	KP_AUTO(kp_freep) char *head = of_length(8193, "GET /healthz HTTP/1.1\r\nA: ", 'a', "\r\n" END);
	KP_AUTO(kp_freep) char *fits = of_length(8192, "GET /healthz HTTP/1.1\r\nA: ", 'a', "\r\n" END);
	KP_AUTO(kp_freep) char *longest = of_length(107, "PROXY UNKNOWN ", 'a', "\r\n");
	KP_AUTO(kp_freep) char *longer = of_length(108, "PROXY UNKNOWN ", 'a', "\r\n");
	char lines[1024] = "GET /healthz HTTP/1.1\r\n";

	hz_server_publish(s, lab_state(NULL));
	for (int i = 0; i < 64; i++)
		strcat(lines, "A: b\r\n");
	strcat(lines, END);
	check_row("request line of 2049", line, strlen(line), 414, false);
	check_row("head of 8193", head, strlen(head), 431, false);
	check_row("head of 8192", fits, strlen(fits), 200, true);
	check_row("65 header lines", lines, strlen(lines), 431, false);
	check_row("P-13 108 bytes", longer, strlen(longer), RESET, false);
	longest = kp_reallocarray(longest, 256, 1);
	strcat(longest, OK("/healthz"));
	check_row("P-13 107 bytes", longest, strlen(longest), 200, true);
	hz_server_stop(s);
}
END_TEST

START_TEST(b14_head)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct reply head, get;
	struct client c;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&c, "127.0.0.1", 10256);
	say(&c, "HEAD /nowhere HTTP/1.1\r\n" END);
	ck_assert_int_eq(hear_reply(&c, true, &head), 0);
	say(&c, OK("/nowhere"));
	ck_assert_int_eq(hear_reply(&c, false, &get), 0);
	ck_assert_str_eq(strstr(head.head, "Content-Length"), strstr(get.head, "Content-Length"));
	ck_assert_uint_eq(get.body_len, 19);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

START_TEST(b16_thousand_requests)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct hz_counters n;
	struct client c;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&c, "127.0.0.1", 10256);
	for (int i = 1; i <= 1000; i++) {
		struct reply r;

		say(&c, OK("/healthz"));
		ck_assert_int_eq(hear_reply(&c, false, &r), 0);
		ck_assert_int_eq(r.status, 200);
		ck_assert_msg(!strstr(r.head, "Connection: close") == (i < 1000), "request %d", i);
	}
	check_end(&c, "1000 requests", 0);
	n = hz_server_counters(s);
	ck_assert_uint_eq(n.healthz_200, 1000);
	ck_assert_uint_eq(n.healthz_503 + n.livez_200 + n.livez_503, 0);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

START_TEST(b17_pipelined)
{
	static const int want[] = { 200, 404, 200 };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct client c;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&c, "127.0.0.1", 10256);
	say(&c, OK("/healthz") OK("/none") OK("/livez") "GET /hea");
	for (int i = 0; i < 3; i++) {
		struct reply r;

		ck_assert_int_eq(hear_reply(&c, false, &r), 0);
		ck_assert_int_eq(r.status, want[i]);
		ck_assert_msg(i != 2 || !strstr(r.body, "nodeEligible"), "out of order");
	}
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

START_TEST(b18_half_close)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct client c;
	struct reply r;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&c, "127.0.0.1", 10256);
	say(&c, OK("/healthz"));
	shutdown(c.fd, SHUT_WR);
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	ck_assert_int_eq(r.status, 200);
	check_end(&c, "half-closed", 0);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

START_TEST(b19_unread_body)	/* trap T5; every other body is more than we ever read at once */
{
	enum { CLIENTS = 20, BIG = 30000 };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	KP_AUTO(kp_freep) char *text = kp_calloc(BIG, 1);
	struct client c[CLIENTS];

	strcpy(text, "POST /healthz HTTP/1.1\r\nContent-Length: 200\r\n" END);
	hz_server_publish(s, lab_state(NULL));
	for (int i = 0; i < CLIENTS; i++) {
		must_dial(&c[i], "127.0.0.1", 10256);
		say_bytes(&c[i], text, i % 2 ? BIG : strlen(text) + 200);
	}
	usleep(300000);
	for (int i = 0; i < CLIENTS; i++) {
		struct reply r;

		ck_assert_int_eq(hear_reply(&c[i], false, &r), 0);
		ck_assert_int_eq(r.status, 200);
		check_end(&c[i], "unread body", 0);
		hang_up(&c[i]);
	}
	hz_server_stop(s);
}
END_TEST

static unsigned n_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* B-28, B-29, P-19: what connects and leaves. Column: bytes first, how it leaves, and what it counts as. */
static const struct {
	const char *name, *in;
	size_t len;
	bool reset;
	enum hz_outcome outcome;
} leavers[] = {
	{ "B-28 FIN", IN(""), false, HZ_OUTCOME_TCP_ONLY },
	{ "B-29 RST", IN(""), true, HZ_OUTCOME_TCP_ONLY },
	{ "P-19 header, then FIN", IN(V_A), false, HZ_OUTCOME_TCP_ONLY },
	{ "part of a head, then FIN", IN("GET /he"), false, HZ_OUTCOME_SHORT_REQUEST },
	{ "request, then RST", IN(OK("/healthz")), true, HZ_OUTCOME_HTTP },
};

/* What was written to stderr since it was turned to this file. */
static long logged(FILE *f)
{
	return lseek(fileno(f), 0, SEEK_END);
}

START_TEST(leaving)
{
	enum { TIMES = 1000 };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	FILE *log = tmpfile();
	struct linger hard = { 1, 0 };
	unsigned before;

	hz_server_publish(s, lab_state(NULL));
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 200);
	ck_assert_uint_eq(lab_outcome(s, "main", HZ_OUTCOME_HTTP, 1), 1);
	dup2(fileno(log), STDERR_FILENO);
	before = n_fds();
	for (int i = 0; i < TIMES; i++) {
		struct client c;

		must_dial(&c, "127.0.0.1", 10356);
		say_bytes(&c, leavers[_i].in, leavers[_i].len);
		if (leavers[_i].reset)
			setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		hang_up(&c);
	}
	ck_assert_msg(lab_outcome(s, "shared", leavers[_i].outcome, TIMES) == TIMES, "%s: outcomes", leavers[_i].name);
	for (int i = 0; i < 6000 && n_fds() != before; i++)
		usleep(10000);
	ck_assert_msg(n_fds() == before, "%s: %u descriptors, were %u", leavers[_i].name, n_fds(), before);
	ck_assert_int_eq(logged(log), 0);
	fclose(log);
	hz_server_stop(s);
}
END_TEST

/* B-32 to B-34, P-20, with a tenth of the time; HEALTH_FULL=1: with the real times, 5 s and 130 s. */
static const struct {
	const char *name, *in;
	size_t len;
	int status;
	bool idle;		/* the longer time */
	enum hz_outcome outcome;
	size_t n_probes;	/* that are remembered: one for each answer, one if there was none */
	int last_status;
} silences[] = {
	{ "B-32 silence",		IN(""), FIN, false, HZ_OUTCOME_TIMEOUT_SILENT, 1, 0 },
	{ "B-33 part of a head",	IN("GET /hea"), 408, false, HZ_OUTCOME_TIMEOUT_HEAD, 1, 408 },
	{ "B-34 idle",			IN(OK("/healthz")), 200, true, HZ_OUTCOME_HTTP, 1, 200 },
	{ "part of a second head",	IN(OK("/healthz") "GET"), 200, false, HZ_OUTCOME_TIMEOUT_HEAD, 2, 408 },
	{ "only a PROXY header",	IN(V_A), FIN, false, HZ_OUTCOME_TIMEOUT_SILENT, 1, 0 },
	{ "P-20 part of a header",	IN("\r\n\r\n\0\r\nQUI"), RESET, false, HZ_OUTCOME_PROXY_ERROR, 1, 0 },
};

static void check_probes(struct hz_server *s, const char *name, size_t n, int last_status)
{
	struct hz_report *r = lab_report(s);

	ck_assert_msg(r->n_probes == n, "%s: %zu probes", name, r->n_probes);
	ck_assert_msg(r->n_peers == 1 && r->peers[0].last_status == last_status, "%s: %zu peers, the first had %d",
		      name, r->n_peers, r->peers[0].last_status);
	hz_report_free(r);
}

START_TEST(silence)
{
	bool full = getenv("HEALTH_FULL");
	const struct hz_limits quick = { .header_timeout_ms = 500, .idle_timeout_ms = 900 };
	struct hz_server *s = lab_start((struct hz_options){ .policy.limits = full ? (struct hz_limits){ 0 } : quick });
	const unsigned at_ms = silences[_i].idle ? (full ? 130000 : 900) : full ? 5000 : 500;
	const struct timeval patience = { .tv_sec = 140 };
	struct client c;
	struct reply r;
	uint64_t start, took;
	int n;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&c, "127.0.0.1", 10256);
	setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	start = kp_now_ms();
	say_bytes(&c, silences[_i].in, silences[_i].len);
	if (silences[_i].status > 0) {
		n = hear_reply(&c, false, &r);
		ck_assert_msg(n == 0 && r.status == silences[_i].status, "%s: %d %d", silences[_i].name, n, r.status);
	}
	if (strstr(silences[_i].name, "second")) {
		ck_assert_int_eq(hear_reply(&c, false, &r), 0);
		ck_assert_int_eq(r.status, 408);
	}
	check_end(&c, silences[_i].name, silences[_i].status == RESET ? -ECONNRESET : 0);
	took = kp_now_ms() - start;
	ck_assert_msg(took >= at_ms - 20 && took < at_ms + 10000, "%s: after %llu ms",
		      silences[_i].name, (unsigned long long)took);
	hang_up(&c);
	ck_assert_msg(lab_outcome(s, "main", silences[_i].outcome, 1) == 1, "%s: outcome", silences[_i].name);
	check_probes(s, silences[_i].name, silences[_i].n_probes, silences[_i].last_status);
	hz_server_stop(s);
}
END_TEST

START_TEST(slow_sender)	/* the head's time is absolute: bytes do not extend it */
{
	struct hz_server *s = lab_start((struct hz_options){ .policy.limits.header_timeout_ms = 300 });
	uint64_t start = kp_now_ms();
	struct client c;
	struct reply r;

	must_dial(&c, "127.0.0.1", 10256);
	say(&c, "GET /");
	while (kp_now_ms() - start < 400) {
		say(&c, "x");
		usleep(20000);
	}
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	ck_assert_int_eq(r.status, 408);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

/* Requests until both directions are full; returns how many bytes of them. */
static size_t stuff(struct client *c)
{
	static const char text[] = OK("/healthz");
	const size_t len = sizeof(text) - 1;
	size_t sent = 0;
	ssize_t n = 1;

	for (; n > 0; sent += n > 0 ? (size_t)n : 0)
		n = send(c->fd, text + sent % len, len - sent % len, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent;
}

START_TEST(deaf_client)	/* takes no answers: closed after the write timeout, and bounded until then */
{
	struct hz_server *s = lab_start((struct hz_options){ .policy.limits.write_timeout_ms = 200, .policy.limits.max_requests = 1000000 });
	struct client c;
	unsigned before;

	hz_server_publish(s, lab_state(NULL));
	usleep(20000);
	before = n_fds();
	must_dial(&c, "127.0.0.1", 10256);
	stuff(&c);
	for (int i = 0; i < 6000 && n_fds() > before + 1; i++)
		usleep(10000);
	ck_assert_uint_eq(n_fds(), before + 1);
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 200);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

START_TEST(slow_reader)	/* takes them late, and finds every one whole */
{
	struct hz_server *s = lab_start((struct hz_options){ .policy.limits.max_requests = 1000000 });
	struct client c;
	size_t n;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&c, "127.0.0.1", 10256);
	n = stuff(&c) / strlen(OK("/healthz"));
	for (size_t i = 0; i < n; i++) {
		struct reply r;

		ck_assert_int_eq(hear_reply(&c, false, &r), 0);
		ck_assert_int_eq(r.status, 200);
		ck_assert_msg(r.body[0] == '{' && r.body[r.body_len - 1] == '}', "answer %zu: %s", i, r.body);
	}
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

static void half_heads(struct client *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		must_dial(&c[i], "127.0.0.1", 10256);
		say(&c[i], "GET /healthz HTTP/1.1\r\n");
	}
}

START_TEST(evict_half_heads)	/* good probes while half heads fill the limit twice */
{
	enum { ROUNDS = 64, EACH = 32 };
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct client *c = kp_calloc(ROUNDS * EACH, sizeof(*c)), kept;
	unsigned before = n_fds();
	struct reply r;

	hz_server_publish(s, lab_state(NULL));
	must_dial(&kept, "127.0.0.1", 10256);
	say(&kept, OK("/healthz"));
	ck_assert_int_eq(hear_reply(&kept, false, &r), 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start;

		half_heads(c + i * EACH, EACH);
		start = kp_now_ms();
		ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 200);
		ck_assert_uint_lt(kp_now_ms() - start, 5000);	/* the half heads have as much; usual are 1 or 2 */
		ck_assert_uint_le(n_fds() - before, (i + 1) * EACH + 1 + 1024);
	}
	/* The first ones made room; one that had been answered before did not. */
	check_end(&c[0], "the oldest half head", 0);
	say(&kept, OK("/healthz"));
	ck_assert_int_eq(hear_reply(&kept, false, &r), 0);
	say(&c[ROUNDS * EACH - 1], "Host: x\r\n\r\n");
	ck_assert_int_eq(hear_reply(&c[ROUNDS * EACH - 1], false, &r), 0);
	ck_assert_int_eq(r.status, 200);
	for (unsigned i = 0; i < ROUNDS * EACH; i++)
		hang_up(&c[i]);
	free(c);
	hz_server_stop(s);
}
END_TEST

START_TEST(evict_idle)	/* no half heads: the longest idle goes */
{
	struct hz_server *s = lab_start((struct hz_options){ .policy.limits.max_connections = 3 });
	struct client c[4];
	struct reply r;

	for (int i = 0; i < 3; i++) {
		must_dial(&c[i], "127.0.0.1", 10256);
		say(&c[i], OK("/livez"));
		ck_assert_int_eq(hear_reply(&c[i], false, &r), 0);
	}
	say(&c[0], OK("/livez"));
	ck_assert_int_eq(hear_reply(&c[0], false, &r), 0);
	must_dial(&c[3], "127.0.0.1", 10256);
	say(&c[3], OK("/livez"));
	ck_assert_int_eq(hear_reply(&c[3], false, &r), 0);
	check_end(&c[1], "longest idle", 0);
	say(&c[0], OK("/livez"));
	ck_assert_int_eq(hear_reply(&c[0], false, &r), 0);
	for (int i = 0; i < 4; i++)
		hang_up(&c[i]);
	hz_server_stop(s);
}
END_TEST

START_TEST(b37_addresses)
{
	static const char *const addrs[] = { "127.0.0.1", "10.240.0.4", "::1", "2001:db8::4", "fe80::4%lo" };
	struct hz_server *s = lab_start((struct hz_options){ 0 });

	hz_server_publish(s, lab_state(NULL));
	for (size_t i = 0; i < KP_N(addrs); i++)
		for (uint16_t port = 10256; port <= 10356; port = (uint16_t)(port + 100)) {
			int got = get_healthz(addrs[i], port);

			ck_assert_msg(got == 200, "%s port %u: %d", addrs[i], port, got);
		}
	hz_server_stop(s);
}
END_TEST

/* HC-10: which addresses healthzBindAddress means. */
static const struct {
	const char *bind;
	int v4, other_v4, v6;
} binds[] = {
	{ "0.0.0.0", 200, 200, 200 },
	{ "::", 200, 200, 200 },
	{ "10.240.0.4", -ECONNREFUSED, 200, -ECONNREFUSED },
	{ "::1", -ECONNREFUSED, -ECONNREFUSED, 200 },
};

START_TEST(bind_address)
{
	struct hz_listen listen = { .name = "main", .port = 10256 };
	struct hz_server *s;

	ck_assert(kp_addr_parse(binds[_i].bind, &listen.addr));
	s = lab_start((struct hz_options){ .listen = &listen, .n_listen = 1, .hard_fail = true });
	hz_server_publish(s, lab_state(NULL));
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), binds[_i].v4);
	ck_assert_int_eq(get_healthz("10.240.0.4", 10256), binds[_i].other_v4);
	ck_assert_int_eq(get_healthz("::1", 10256), binds[_i].v6);
	hz_server_stop(s);
}
END_TEST

START_TEST(states)	/* B-07, B-23 and the like: every change is in the very next answer */
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct hz_state *state;
	struct reply r;
	struct client c;

	must_dial(&c, "127.0.0.1", 10256);
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 503);		/* nothing published */
	ck_assert_int_eq(ask("127.0.0.1", 10256, OK("/livez"), &r), 200);
	for (int i = 0; i < 200; i++) {
		state = lab_state(NULL);
		state->node_eligible = i % 2;
		hz_server_publish(s, state);
		say(&c, OK("/healthz"));
		ck_assert_int_eq(hear_reply(&c, false, &r), 0);
		ck_assert_int_eq(r.status, i % 2 ? 200 : 503);
	}
	hz_server_publish(s, lab_stale(lab_state(NULL)));
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 503);
	ck_assert_int_eq(ask("127.0.0.1", 10256, OK("/livez"), &r), 503);
	ck_assert_uint_eq(hz_server_counters(s).healthz_503, 102);
	ck_assert_uint_eq(hz_server_counters(s).livez_503, 1);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

/* A06: as when the main thread waits for somebody to read the log. */
START_TEST(nobody_at_work)
{
	struct hz_server *s = lab_start((struct hz_options){ 0 });
	struct reply r;

	hz_server_publish(s, lab_state(NULL));
	hz_server_alive(s, 1);
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 503);
	ck_assert_int_eq(ask("127.0.0.1", 10256, OK("/livez"), &r), 503);
	hz_server_alive(s, kp_now_ns());
	ck_assert_int_eq(get_healthz("127.0.0.1", 10256), 200);
	ck_assert_int_eq(ask("127.0.0.1", 10256, OK("/livez"), &r), 200);
	hz_server_stop(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("health");
	TCase *tc = tcase_create("node");

	tcase_set_timeout(tc, getenv("HEALTH_FULL") ? 200 : 30);
	tcase_add_loop_test(tc, row, 0, KP_N(rows));
	tcase_add_test(tc, b02_details);
	tcase_add_test(tc, b14_head);
	tcase_add_test(tc, b16_thousand_requests);
	tcase_add_test(tc, b17_pipelined);
	tcase_add_test(tc, b18_half_close);
	tcase_add_test(tc, b19_unread_body);
	tcase_add_test(tc, b27_limits);
	tcase_add_loop_test(tc, leaving, 0, KP_N(leavers));
	tcase_add_loop_test(tc, silence, 0, KP_N(silences));
	tcase_add_test(tc, slow_sender);
	tcase_add_test(tc, deaf_client);
	tcase_add_test(tc, slow_reader);
	tcase_add_test(tc, evict_half_heads);
	tcase_add_test(tc, evict_idle);
	tcase_add_test(tc, b37_addresses);
	tcase_add_loop_test(tc, bind_address, 0, KP_N(binds));
	tcase_add_test(tc, states);
	tcase_add_test(tc, nobody_at_work);
	suite_add_tcase(s, tc);
	return run_in_netns(s, lab_prepare);
}
