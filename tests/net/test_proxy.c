#include "proxy/base/cleanup.h"
#include "tests/support/health_lab.h"
#include "tests/support/report.h"

/* The PROXY protocol through real sockets: health-and-probes F.2, on each kind of port (P-25). */

#define IN(s) .in = (s), .len = sizeof(s) - 1
#define REQUEST "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
#define PLAIN(method) method " /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V_ADDRS "\x0a\x01\x02\x03\x0a\xf0\x00\x04\xc8\x22\x28\x74"
#define V_LINK "\xee\x00\x05\x01\x01\x02\x03\x04"
#define V_A SIG "\x20\x00\x00\x00"
#define V_B SIG "\x21\x11\x00\x0c" V_ADDRS
#define V_C SIG "\x21\x11\x00\x14" V_ADDRS V_LINK
#define V_CRC(last) SIG "\x21\x11\x00\x1b" V_ADDRS V_LINK "\x03\x00\x04\xaf\xb3\x0c" last
#define V_E SIG "\x21\x21\x00\x24" "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1" "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2" \
	"\xc8\x22\x28\x74"
#define V1_TCP6_V4 "PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n"
#define HERE "127.0.0.1"
#define SERVICE_PORT 32000

static const struct lab_service web[] = { { "web", SERVICE_PORT, { 1, 1 }, 0 }, { .name = NULL } };

static const struct {
	const char *name;
	uint16_t port;
} ports[] = { { "main", 10256 }, { "shared", 10356 }, { "svc/default/web", SERVICE_PORT } };

enum { RESET = -1, LAX = 1 };

static const struct {
	const char *name, *in;
	size_t len;
	int status;			/* or RESET */
	int version;			/* of the header that is counted; 0: none is */
	enum hz_pp_command command;
	enum hz_pp_error error;
	const char *claimed, *link;	/* in the history */
	int rules;
	bool malformed;
} rows[] = {
	{ "P-01 none",		IN(REQUEST), 200 },
	{ "P-02 V-A",		IN(V_A REQUEST), 200, 2, HZ_PP_LOCAL },
	{ "P-03 V-B",		IN(V_B REQUEST), 200, 2, HZ_PP_PROXY, .claimed = "10.1.2.3:51234" },
	{ "P-04 V-C",		IN(V_C REQUEST), 200, 2, HZ_PP_PROXY, .claimed = "10.1.2.3:51234", .link = "67305985" },
	{ "P-05 V-D",		IN(V_CRC("\x05") REQUEST), 200, 2, HZ_PP_PROXY, .claimed = "10.1.2.3:51234", .link = "67305985" },
	{ "P-05 wrong",		IN(V_CRC("\x06") REQUEST), RESET, 2, .error = HZ_PP_CRC },
	{ "P-06 V-E",		IN(V_E REQUEST), 200, 2, HZ_PP_PROXY, .claimed = "[2001:db8::1]:51234" },
	{ "P-07 V-F",		IN(SIG "\x20\x11\x00\x0c" V_ADDRS REQUEST), 200, 2, HZ_PP_LOCAL },
	{ "P-08 V-G",		IN(SIG "\x20\x00\x00\x08" V_LINK REQUEST), 200, 2, HZ_PP_LOCAL, .link = "67305985" },
	{ "P-09 V-H",		IN("PROXY TCP4 10.1.2.3 10.240.0.4 51234 10356\r\n" REQUEST), 200, 1, HZ_PP_PROXY,
	  .claimed = "10.1.2.3:51234" },
	{ "P-10 V-I",		IN("PROXY UNKNOWN\r\n" REQUEST), 200, 1, HZ_PP_UNKNOWN },
	{ "P-10 with words",	IN("PROXY UNKNOWN a b c\r\n" REQUEST), 200, 1, HZ_PP_UNKNOWN },
	{ "P-11 V-J",		IN("PROXY TCP6 2001:db8::1 2001:db8::2 51234 10356\r\n" REQUEST), 200, 1, HZ_PP_PROXY,
	  .claimed = "[2001:db8::1]:51234" },
	{ "P-14 address",	IN("PROXY TCP4 1.2.3.04 1.2.3.5 1 2\r\n" REQUEST), RESET, 1, .error = HZ_PP_V1_ADDRESS },
	{ "P-14 port",		IN("PROXY TCP4 1.2.3.4 1.2.3.5 065 2\r\n" REQUEST), RESET, 1, .error = HZ_PP_V1_PORT },
	{ "P-14 tokens",	IN("PROXY TCP4 1.2.3.4 1.2.3.5 1\r\n" REQUEST), RESET, 1, .error = HZ_PP_V1_SYNTAX },
	{ "P-14 not lax",	IN(V1_TCP6_V4 REQUEST), RESET, 1, .error = HZ_PP_V1_ADDRESS },
	{ "P-14 lax",		IN(V1_TCP6_V4 REQUEST), 200, 1, HZ_PP_PROXY, .claimed = "1.2.3.4:1", .rules = LAX },
	{ "P-15 version",	IN(SIG "\x11\x11\x00\x0c" V_ADDRS REQUEST), RESET, 2, .error = HZ_PP_V2_VERSION },
	{ "P-15 command",	IN(SIG "\x22\x11\x00\x0c" V_ADDRS REQUEST), RESET, 2, .error = HZ_PP_V2_COMMAND },
	{ "P-16 0x13",		IN(SIG "\x21\x13\x00\x0c" V_ADDRS REQUEST), RESET, 2, .error = HZ_PP_V2_FAMILY },
	{ "P-16 LOCAL 0x41",	IN(SIG "\x20\x41\x00\x00" REQUEST), 200, 2, HZ_PP_LOCAL },
	{ "P-17 short",		IN(SIG "\x21\x11\x00\x0b" V_ADDRS REQUEST), RESET, 2, .error = HZ_PP_V2_LENGTH },
	{ "P-17 long",		IN(SIG "\x21\x11\x10\x01" REQUEST), RESET, 2, .error = HZ_PP_V2_TOO_LONG },
	{ "P-18",		IN(SIG "\x21\x11\x00\x0e" V_ADDRS "\x01\x00" REQUEST), 200, 2, HZ_PP_PROXY,
	  .claimed = "10.1.2.3:51234", .malformed = true },
	{ "P-22",		IN(V_A V_A REQUEST), 400, 2, HZ_PP_LOCAL },
	{ "P-23 PUT",		IN(PLAIN("PUT")), 200 },
	{ "P-23 POST",		IN(PLAIN("POST")), 200 },
	{ "P-23 PATCH",		IN(PLAIN("PATCH")), 200 },
	{ "P-23 PROPFIND",	IN(PLAIN("PROPFIND")), 200 },
	{ "P-23 preface",	IN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505 },
	{ "P-24 two",		IN("\r\n\r\n" REQUEST), 200 },
	{ "P-24 three",		IN("\r\n\r\n\r\n" REQUEST), 400 },
	{ "P-27",		IN(SIG "\x21\x12\x00\x0c" V_ADDRS REQUEST), 200, 2, HZ_PP_PROXY },
};

static struct hz_server *start(struct hz_options opt)
{
	struct hz_server *s = lab_start(opt);

	hz_server_publish(s, lab_state(web));
	ck_assert_int_ge(wait_for(HERE, SERVICE_PORT, 200, 60000), 0);
	return s;
}

/* Sends it in pieces of this size; the status, or RESET. */
static int send_row(uint16_t port, const char *in, size_t len, size_t piece)
{
	struct client c;
	struct reply r;
	ssize_t n = 0;
	int end, error;

	must_dial(&c, HERE, port);
	for (size_t at = 0; at < len && n >= 0; at += piece) {
		n = send(c.fd, in + at, len - at < piece ? len - at : piece, MSG_NOSIGNAL);
		if (piece < len)
			usleep(200);	/* a segment of its own */
	}
	error = n < 0 ? -errno : 0;	/* a reset is told once, to whoever asks first; an answer may have come before it */
	end = hear_reply(&c, false, &r);
	hang_up(&c);
	if (end == 0)
		return r.status;
	end = error ? error : end;
	return end == -ECONNRESET ? RESET : end;
}

static void expect_text(const char *name, const char *what, const char *got, const char *want)
{
	ck_assert_msg(strcmp(got, want ? want : "") == 0, "%s: %s is '%s'", name, what, got);
}

/* The newest probe of the history is this row's. */
static void check_history(struct hz_server *s, int i, const char *listener)
{
	struct hz_report *r = lab_report(s);
	const struct hz_probe *p = &r->probes[r->n_probes - 1];
	char claimed[HZ_PEER_STRLEN] = "", peer[KP_ADDR_STRLEN];

	ck_assert_uint_gt(r->n_probes, 0);
	expect_text(rows[i].name, "listener", p->listener, listener);
	expect_text(rows[i].name, "peer", kp_addr_str(&p->peer.addr, peer), HERE);
	expect_text(rows[i].name, "claimed", p->has_claimed ? hz_peer_str(&p->claimed, claimed) : "", rows[i].claimed);
	expect_text(rows[i].name, "link", p->link.id, rows[i].link);
	ck_assert_int_eq(p->status, rows[i].status == RESET ? 0 : rows[i].status);
	expect_text(rows[i].name, "outcome", p->outcome, rows[i].status == RESET ? "proxy_error" : "http");
	hz_report_free(r);
}

START_TEST(row)	/* in one piece and byte by byte */
{
	struct hz_server *s = start((struct hz_options){ .policy.proxy.lax_tcp6 = rows[_i].rules & LAX });

	for (size_t p = 0; p < KP_N(ports); p++) {
		struct hz_stats before = lab_stats(s, ports[p].name), after;
		int v = rows[_i].version;

		for (int times = 1; times <= 2; times++) {
			int got = send_row(ports[p].port, rows[_i].in, rows[_i].len, times == 1 ? rows[_i].len : 1);

			ck_assert_msg(got == rows[_i].status, "%s on %s: %d", rows[_i].name, ports[p].name, got);
			check_history(s, _i, ports[p].name);
			after = lab_stats(s, ports[p].name);
			if (v && !rows[_i].error)
				ck_assert_uint_eq(after.headers[v][rows[_i].command],
						  before.headers[v][rows[_i].command] + (unsigned)times);
			if (v && rows[_i].error)
				ck_assert_uint_eq(after.bad_headers[v][rows[_i].error], (unsigned)times);
			ck_assert_uint_eq(after.tlv_malformed, rows[_i].malformed ? (unsigned)times : 0);
		}
	}
	hz_server_stop(s);
}
END_TEST

START_TEST(p12_byte_by_byte)	/* 20 ms apart, over a connection of its own */
{
	static const char in[] = V_C REQUEST;
	struct hz_server *s = start((struct hz_options){ 0 });
	struct client c;
	struct reply r;

	must_dial(&c, HERE, 10356);
	for (size_t i = 0; i < sizeof(in) - 1; i++) {
		say_bytes(&c, in + i, 1);
		usleep(20000);
	}
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	ck_assert_int_eq(r.status, 200);
	hang_up(&c);
	hz_server_stop(s);
}
END_TEST

START_TEST(p17_longest)
{
	const size_t header = HZ_PP_V2_FIXED + 4096, len = header + sizeof(REQUEST) - 1;
	KP_AUTO(kp_freep) char *in = kp_malloc(len);
	struct hz_server *s = start((struct hz_options){ 0 });

	memcpy(in, SIG "\x20\x00\x10\x00", HZ_PP_V2_FIXED);
	for (size_t at = HZ_PP_V2_FIXED; at < header; at += 4)
		memcpy(in + at, "\x04\x00\x01z", 4);
	memcpy(in + header, REQUEST, sizeof(REQUEST) - 1);
	ck_assert_int_eq(send_row(10356, in, len, len), 200);
	ck_assert_uint_eq(lab_stats(s, "shared").headers[2][HZ_PP_LOCAL], 1);
	ck_assert_uint_eq(lab_stats(s, "shared").tlv_malformed, 0);
	hz_server_stop(s);
}
END_TEST

START_TEST(longest_by_configuration)	/* 65535: more than a request head has room for */
{
	const size_t header = HZ_PP_V2_FIXED + 65535, len = header + sizeof(REQUEST) - 1;
	KP_AUTO(kp_freep) char *in = kp_calloc(len, 1);
	struct hz_server *s = start((struct hz_options){ .policy.proxy.v2_len_max = 65535 });

	memcpy(in, SIG "\x20\x11\xff\xff", HZ_PP_V2_FIXED);
	memcpy(in + header, REQUEST, sizeof(REQUEST) - 1);
	ck_assert_int_eq(send_row(10356, in, len, len), 200);
	ck_assert_int_eq(send_row(10356, in, len, 10000), 200);
	hz_server_stop(s);
}
END_TEST

START_TEST(p19_and_nothing)
{
	struct hz_server *s = start((struct hz_options){ 0 });
	struct client c;

	must_dial(&c, HERE, 10356);
	say_bytes(&c, V_A, 16);
	shutdown(c.fd, SHUT_WR);
	ck_assert_int_eq(hear_end(&c), 0);
	hang_up(&c);
	ck_assert_uint_eq(lab_outcome(s, "shared", HZ_OUTCOME_TCP_ONLY, 1), 1);
	must_dial(&c, HERE, 10356);
	say_bytes(&c, V_A, 10);
	shutdown(c.fd, SHUT_WR);
	ck_assert_int_eq(hear_end(&c), -ECONNRESET);
	hang_up(&c);
	ck_assert_uint_eq(lab_outcome(s, "shared", HZ_OUTCOME_PROXY_ERROR, 1), 1);
	ck_assert_uint_eq(lab_stats(s, "shared").bad_headers[2][HZ_PP_TRUNCATED], 1);
	hz_server_stop(s);
}
END_TEST

/* P-21, P-26: what a mode makes of a plain request and of one with a header. */
static const struct {
	enum hz_proxy_mode mode;
	const char *trusted;
	int plain, with_header;
	enum hz_pp_error error;
} modes[] = {
	{ HZ_PROXY_OPTIONAL, NULL, 200, 200, HZ_PP_OK },
	{ HZ_PROXY_REQUIRE, NULL, RESET, 200, HZ_PP_MISSING },
	{ HZ_PROXY_FORBID, NULL, 200, RESET, HZ_PP_FORBIDDEN },
	{ HZ_PROXY_OFF, NULL, 200, 400, HZ_PP_OK },
	{ HZ_PROXY_OPTIONAL, "192.0.2.0/24", 200, RESET, HZ_PP_FORBIDDEN },
	{ HZ_PROXY_OPTIONAL, "127.0.0.0/8", 200, 200, HZ_PP_OK },
	{ HZ_PROXY_REQUIRE, "192.0.2.0/24", 200, RESET, HZ_PP_FORBIDDEN },
	{ HZ_PROXY_OFF, "192.0.2.0/24", 200, 400, HZ_PP_OK },
};

START_TEST(mode)
{
	const struct hz_listen listen[] = { { .name = "main", .port = 10256, .proxy = modes[_i].mode },
					    { .name = "shared", .port = 10356 } };
	struct kp_cidr trusted;
	struct hz_policy policy = { .service_proxy = modes[_i].mode, .trusted = &trusted };
	struct hz_server *s = start((struct hz_options){ 0 });
	struct hz_stats stats;
	uint64_t n_bad = 0;

	if (modes[_i].trusted)
		policy.n_trusted = kp_cidr_parse(modes[_i].trusted, &trusted);
	hz_server_set_policy(s, &policy);
	hz_server_listen(s, listen, 2);
	hz_report_free(lab_report(s));	/* the thread has both by now */
	for (size_t p = 0; p < KP_N(ports); p += 2) {
		int plain = send_row(ports[p].port, REQUEST, sizeof(REQUEST) - 1, 1000);
		int header = send_row(ports[p].port, V_A REQUEST, 16 + sizeof(REQUEST) - 1, 1000);

		ck_assert_msg(plain == modes[_i].plain && header == modes[_i].with_header, "row %d on %s: %d, %d", _i,
			      ports[p].name, plain, header);
		stats = lab_stats(s, ports[p].name);
		for (int v = 0; v < 3; v++)
			n_bad += modes[_i].error ? stats.bad_headers[v][modes[_i].error] : 0;
	}
	ck_assert_uint_eq(n_bad, modes[_i].error ? 2 : 0);
	hz_server_stop(s);
}
END_TEST

START_TEST(change_of_mode)	/* a port that changes its mode is not closed: queue and connections stay */
{
	struct hz_listen listen[] = { { .name = "main", .port = 10256 }, { .name = "shared", .port = 10356 } };
	struct hz_server *s = start((struct hz_options){ 0 });
	struct client c;
	struct reply r;

	must_dial(&c, HERE, 10256);
	say(&c, REQUEST);
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	for (int i = 0; i < 40; i++) {
		listen[0].proxy = i % 2 ? HZ_PROXY_FORBID : HZ_PROXY_OFF;
		hz_server_listen(s, listen, 2);
		ck_assert_int_eq(send_row(10256, REQUEST, sizeof(REQUEST) - 1, 1000), 200);
	}
	say(&c, REQUEST);
	ck_assert_int_eq(hear_reply(&c, false, &r), 0);
	ck_assert_int_eq(r.status, 200);
	hang_up(&c);
	ck_assert_uint_eq(lab_stats(s, "main").requests[1][0], 42);	/* counted from the start */
	hz_server_stop(s);
}
END_TEST

START_TEST(allowed_sources)	/* B.8: others meet a reset, not silence */
{
	struct kp_cidr allowed;
	struct hz_policy policy = { .allowed = &allowed, .n_allowed = 1 };
	struct hz_server *s;
	struct client c;

	ck_assert(kp_cidr_parse("10.240.0.0/16", &allowed));
	s = start((struct hz_options){ 0 });
	hz_server_set_policy(s, &policy);
	hz_report_free(lab_report(s));
	ck_assert_int_eq(get_healthz("10.240.0.4", 10256), 200);
	ck_assert_int_eq(get_healthz("fe80::4%lo", 10256), 200);
	must_dial(&c, HERE, 10256);
	ck_assert_int_eq(hear_end(&c), -ECONNRESET);
	hang_up(&c);
	must_dial(&c, "2001:db8::4", SERVICE_PORT);
	ck_assert_int_eq(hear_end(&c), -ECONNRESET);
	hang_up(&c);
	ck_assert_uint_eq(lab_outcome(s, "main", HZ_OUTCOME_REFUSED, 1), 1);
	ck_assert_uint_eq(lab_outcome(s, "svc/default/web", HZ_OUTCOME_REFUSED, 1), 1);
	hz_server_stop(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("proxy");
	TCase *tc = tcase_create("proxy");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, row, 0, KP_N(rows));
	tcase_add_test(tc, p12_byte_by_byte);
	tcase_add_test(tc, p17_longest);
	tcase_add_test(tc, longest_by_configuration);
	tcase_add_test(tc, p19_and_nothing);
	tcase_add_loop_test(tc, mode, 0, KP_N(modes));
	tcase_add_test(tc, change_of_mode);
	tcase_add_test(tc, allowed_sources);
	suite_add_tcase(s, tc);
	return run_in_netns(s, lab_prepare);
}
