#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/history.h"
#include "healthz/policy.h"
#include "healthz/report.h"
#include "healthz/stats.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/probes.h"

#define S 1000000000ull
#define WALL (1772359205 * S)	/* 2026-03-01T10:00:05Z */

static struct kp_addr addr(const char *text)
{
	struct kp_addr a;

	ck_assert_msg(kp_addr_parse(text, &a), "%s", text);
	return a;
}

static void add(struct hz_history *h, const char *peer, uint64_t at_ns, int status)
{
	struct hz_probe p = { .wall_ns = at_ns, .listener = "main", .peer = { .addr = addr(peer), .port = 1 }, .status = status,
			      .outcome = status ? "http" : "tcp_only" };

	hz_history_add(h, &p);
}

START_TEST(last_ones)	/* in their order, and no more than there is room for */
{
	struct hz_history *h = hz_history_new();
	KP_AUTO(kp_freep) struct hz_probe *none = NULL, *some = NULL, *full = NULL;

	ck_assert_uint_eq(hz_history_probes(h, &none), 0);
	for (unsigned i = 1; i <= 3; i++)
		add(h, "192.0.2.1", WALL + i, 200);
	ck_assert_uint_eq(hz_history_probes(h, &some), 3);
	ck_assert_uint_eq(some[0].wall_ns, WALL + 1);
	for (unsigned i = 4; i <= HZ_HISTORY_LEN + 7; i++)
		add(h, "192.0.2.1", WALL + i, 200);
	ck_assert_uint_eq(hz_history_probes(h, &full), HZ_HISTORY_LEN);
	for (size_t i = 0; i < HZ_HISTORY_LEN; i++)
		ck_assert_uint_eq(full[i].wall_ns, WALL + 8 + i);
	hz_history_free(h);
}
END_TEST

START_TEST(summary)
{
	struct hz_history *h = hz_history_new();
	KP_AUTO(kp_freep) struct hz_peer_summary *s = NULL;

	add(h, "2001:db8::1", WALL, 0);
	for (unsigned i = 0; i < 5; i++)
		add(h, "192.0.2.1", WALL + 2 * S * i, i == 4 ? 503 : 200);
	ck_assert_uint_eq(hz_history_peers(h, &s), 2);
	ck_assert_uint_eq(s[0].count, 5);
	ck_assert_int_eq(s[0].last_status, 503);
	ck_assert_uint_eq(hz_peer_interval_ns(&s[0]), 2 * S);
	ck_assert_int_eq(s[1].addr.family, KP_IPV6);
	ck_assert_int_eq(s[1].last_status, 0);
	ck_assert_str_eq(s[1].last_outcome, "tcp_only");
	ck_assert_uint_eq(hz_peer_interval_ns(&s[1]), 0);
	hz_history_free(h);
}
END_TEST

START_TEST(many_peers)	/* the one that was silent for longest makes room; those that go on stay */
{
	struct hz_history *h = hz_history_new();
	KP_AUTO(kp_freep) struct hz_peer_summary *s = NULL;
	uint64_t now = WALL;

	for (unsigned i = 0; i < 1000; i++) {
		char peer[32];

		snprintf(peer, sizeof(peer), "198.51.%u.%u", i / 256, i % 256);
		add(h, peer, ++now, 200);
		add(h, "192.0.2.1", ++now, 200);
	}
	ck_assert_uint_eq(hz_history_peers(h, &s), HZ_HISTORY_PEERS);
	ck_assert_uint_eq(s[0].count, 1000);
	for (size_t i = 1; i < HZ_HISTORY_PEERS; i++)
		ck_assert_uint_eq(s[i].count, 1);
	hz_history_free(h);
}
END_TEST

START_TEST(clock_set_back)
{
	const struct hz_peer_summary s = { .count = 2, .first_wall_ns = WALL, .last_wall_ns = WALL - S };

	ck_assert_uint_eq(hz_peer_interval_ns(&s), 0);
}
END_TEST

static const struct {
	const char *in, *want;
	size_t room;
} texts[] = {
	{ "kube-probe/1.36", "kube-probe/1.36", 65 },
	{ "a\x1b[2Jb\n", "a?[2Jb?", 65 },
	{ "\xc3\xa4\x7f~", "???~", 65 },
	{ "12345678", "1234", 5 },
	{ "", "", 5 },
	{ NULL, "", 5 },
};

START_TEST(printable)
{
	char out[65];

	hz_printable(out, texts[_i].room, texts[_i].in, texts[_i].in ? strlen(texts[_i].in) : 0);
	ck_assert_str_eq(out, texts[_i].want);
}
END_TEST

START_TEST(stats)
{
	static const struct { const char *method; size_t at; } methods[] = {
		{ "GET", 1 }, { "HEAD", 2 }, { "OPTIONS", 3 }, { "POST", 4 }, { "PUT", 5 }, { "get", 6 }, { "GETX", 6 }, { "", 0 },
	};

	for (size_t i = 0; i < KP_N(methods); i++) {
		struct hz_stats s = { 0 };

		hz_stats_answer(&s, methods[i].method, 503, S / 1000);
		ck_assert_msg(s.requests[methods[i].at][8] == 1, "method %zu", i);
		ck_assert_uint_eq(s.response[2], 1);	/* 1 ms is not over 1 ms */
		hz_stats_answer(&s, "", 408, 2 * S);
		ck_assert_uint_eq(s.requests[0][4], 1);
		ck_assert_uint_eq(s.response[HZ_N_BOUNDS], 1);
		ck_assert_uint_eq(s.response_ns, 2 * S + S / 1000);
	}
}
END_TEST

/* B.7, B.8: "" stands for no list. */
static const struct {
	const char *list, *peer;
	bool allowed;
	enum hz_proxy_mode optional_is, off_is;
} policies[] = {
	{ "", "192.0.2.1", true, HZ_PROXY_OPTIONAL, HZ_PROXY_OFF },
	{ "192.0.2.0/24", "192.0.2.1", true, HZ_PROXY_OPTIONAL, HZ_PROXY_OFF },
	{ "192.0.2.0/24", "192.0.3.1", false, HZ_PROXY_FORBID, HZ_PROXY_OFF },
	{ "192.0.2.0/24", "2001:db8::1", false, HZ_PROXY_FORBID, HZ_PROXY_OFF },
	{ "2001:db8::/32", "2001:db8::1", true, HZ_PROXY_OPTIONAL, HZ_PROXY_OFF },
	{ "192.0.2.0/24", "fe80::1", true, HZ_PROXY_FORBID, HZ_PROXY_OFF },	/* link-local is let in, not believed */
};

START_TEST(policy)
{
	struct kp_cidr list = { 0 };
	struct hz_policy p = { .trusted = &list, .allowed = &list };
	struct kp_addr peer = addr(policies[_i].peer);
	struct hz_policy *copy;

	p.n_trusted = p.n_allowed = kp_cidr_parse(policies[_i].list, &list);
	copy = hz_policy_copy(&p);
	memset(&list, 0xff, sizeof(list));
	ck_assert_int_eq(hz_policy_allows(copy, &peer), policies[_i].allowed);
	ck_assert_int_eq(hz_policy_mode(copy, HZ_PROXY_OPTIONAL, &peer), policies[_i].optional_is);
	ck_assert_int_eq(hz_policy_mode(copy, HZ_PROXY_OFF, &peer), policies[_i].off_is);
	free(copy);
}
END_TEST

START_TEST(shown)	/* as JSON and as text */
{
	struct hz_probe probes[] = {
		{ .wall_ns = WALL, .listener = "main", .peer = { addr("192.0.2.1"), 4000 }, .has_claimed = true,
		  .claimed = { addr("2001:db8::1"), 5000 }, .link = { HZ_PP_AZURE, "67305985" }, .user_agent = "LB \"x\"",
		  .method = "GET", .path = "/healthz", .status = 200, .outcome = "http", .took_us = 42 },
		{ .wall_ns = WALL, .listener = "svc/ns/web", .peer = { addr("192.0.2.1"), 4001 }, .outcome = "tcp_only" },
	};
	struct hz_peer_summary peers[] = { { addr("192.0.2.1"), 2, WALL - S, WALL, 0, "tcp_only" } };
	const struct hz_report r = { .probes = probes, .n_probes = 2, .peers = peers, .n_peers = 1 };
	json_t *json = kp_probes_json(&r), *first = json_array_get(json_object_get(json, "probes"), 0);
	struct kp_buf text = { 0 };

	ck_assert_str_eq(json_string_value(json_object_get(first, "claimed")), "[2001:db8::1]:5000");
	ck_assert_str_eq(json_string_value(json_object_get(first, "linkId")), "67305985");
	ck_assert_str_eq(json_string_value(json_object_get(first, "userAgent")), "LB \"x\"");
	kp_probes_text(json, &text);
	ck_assert_msg(strstr(text.data, "192.0.2.1                                      2 1s        tcp_only       2026-03-01T10:00:05Z\n"),
		      "%s", text.data);
	ck_assert_msg(strstr(text.data, " main                   192.0.2.1:4000           200                 42 GET     /healthz         "
			     "LB \"x\" claimed=[2001:db8::1]:5000 azure-link=67305985\n"), "%s", text.data);
	ck_assert_msg(strstr(text.data, " svc/ns/web             192.0.2.1:4001           tcp_only             0 -       -                -\n"),
		      "%s", text.data);
	json_decref(json);
	kp_buf_release(&text);
}
END_TEST

START_TEST(nobody)
{
	const struct hz_report r = { 0 };
	json_t *json = kp_probes_json(&r);
	struct kp_buf text = { 0 };

	kp_probes_text(json, &text);
	ck_assert_str_eq(text.data, "nobody has probed this node\n");
	json_decref(json);
	kp_buf_release(&text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("history");
	TCase *tc = tcase_create("history");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, last_ones);
	tcase_add_test(tc, summary);
	tcase_add_test(tc, many_peers);
	tcase_add_test(tc, clock_set_back);
	tcase_add_loop_test(tc, printable, 0, KP_N(texts));
	tcase_add_test(tc, stats);
	tcase_add_loop_test(tc, policy, 0, KP_N(policies));
	tcase_add_test(tc, shown);
	tcase_add_test(tc, nobody);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
