#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/stamp.h"
#include "healthz/state.h"
#include "healthz/wanted.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"

#define S 1000000000ull
#define STALE (60 * S)

/* now is at 1000 s. */
static const struct {
	const char *name;
	bool started, eligible, enabled[2];
	uint64_t pending[2];	/* seconds; 0: none */
	bool family[2], healthy, ready;
} decisions[] = {
	{ "nothing pending",	true, true, { 1, 1 }, { 0, 0 },		{ 1, 1 }, true, true },
	{ "just below",		true, true, { 1, 1 }, { 941, 0 },	{ 1, 1 }, true, true },
	{ "equal",		true, true, { 1, 1 }, { 940, 0 },	{ 0, 1 }, false, false },
	{ "v6 stale",		true, true, { 1, 1 }, { 0, 900 },	{ 1, 0 }, false, false },
	{ "disabled is stale",	true, true, { 1, 0 }, { 0, 900 },	{ 1, 0 }, true, true },
	{ "clock race",		true, true, { 1, 1 }, { 1001, 0 },	{ 1, 1 }, true, true },
	{ "not started",	false, true, { 1, 1 }, { 0, 0 },	{ 1, 1 }, true, false },
	{ "not eligible",	true, false, { 1, 1 }, { 0, 0 },	{ 1, 1 }, true, false },
	{ "no family",		true, true, { 0, 0 }, { 0, 0 },		{ 1, 1 }, true, true },
};

/* Nobody would tell that something waits; now is at 1000 s. */
START_TEST(nobody_at_work)
{
	static const struct {
		uint64_t alive, stale;	/* seconds */
		bool stuck;
	} rows[] = {
		{ 0, 60, false }, { 941, 60, false }, { 940, 60, true }, { 1001, 60, false },
		{ 996, 2, false }, { 995, 2, true },
	};

	for (size_t i = 0; i < KP_N(rows); i++) {
		struct hz_state s = {
			.started = true, .node_eligible = true, .stale_ns = rows[i].stale * S, .alive_ns = rows[i].alive * S,
			.family = { { .enabled = true } },
		};

		ck_assert_msg(hz_stuck(&s, 1000 * S) == rows[i].stuck, "row %zu", i);
		ck_assert_msg(hz_healthy(&s, 1000 * S) == !rows[i].stuck && hz_ready(&s, 1000 * S) == !rows[i].stuck, "row %zu", i);
	}
}
END_TEST

START_TEST(decision)
{
	struct hz_state s = { .started = decisions[_i].started, .node_eligible = decisions[_i].eligible, .stale_ns = STALE };

	for (int f = 0; f < 2; f++) {
		s.family[f].enabled = decisions[_i].enabled[f];
		s.family[f].oldest_pending_ns = decisions[_i].pending[f] * S;
	}
	for (int f = 0; f < 2; f++)
		ck_assert_msg(hz_family_healthy(&s, (enum kp_family)f, 1000 * S) == decisions[_i].family[f],
			      "%s: family %d", decisions[_i].name, f);
	ck_assert_msg(hz_healthy(&s, 1000 * S) == decisions[_i].healthy, "%s: healthy", decisions[_i].name);
	ck_assert_msg(hz_ready(&s, 1000 * S) == decisions[_i].ready, "%s: ready", decisions[_i].name);
}
END_TEST

static const struct {
	uint64_t ns;
	const char *rfc3339, *http;
} stamps[] = {
	{ 1,				"1970-01-01T00:00:00.000000001Z",	"Thu, 01 Jan 1970 00:00:00 GMT" },
	{ 1772359205000000001ull,	"2026-03-01T10:00:05.000000001Z",	"Sun, 01 Mar 2026 10:00:05 GMT" },
	{ 1772359205120000000ull,	"2026-03-01T10:00:05.12Z",		"Sun, 01 Mar 2026 10:00:05 GMT" },
	{ 1772359205000000000ull,	"2026-03-01T10:00:05Z",			"Sun, 01 Mar 2026 10:00:05 GMT" },
	{ 951782400000000000ull,	"2000-02-29T00:00:00Z",			"Tue, 29 Feb 2000 00:00:00 GMT" },
	{ 1735689599999999999ull,	"2024-12-31T23:59:59.999999999Z",	"Tue, 31 Dec 2024 23:59:59 GMT" },
	{ 4107542400000000000ull,	"2100-03-01T00:00:00Z",			"Mon, 01 Mar 2100 00:00:00 GMT" },
	{ UINT64_MAX,			"2554-07-21T23:34:33.709551615Z",	"Sun, 21 Jul 2554 23:34:33 GMT" },
};

START_TEST(stamp)
{
	char a[HZ_RFC3339_LEN], b[HZ_HTTP_DATE_LEN];

	ck_assert_str_eq(hz_stamp_rfc3339(stamps[_i].ns, a), stamps[_i].rfc3339);
	ck_assert_str_eq(hz_stamp_http(stamps[_i].ns, b), stamps[_i].http);
}
END_TEST

START_TEST(zero_time)
{
	char out[HZ_RFC3339_LEN];

	ck_assert_str_eq(hz_stamp_rfc3339(0, out), "0001-01-01T00:00:00Z");
}
END_TEST

static void set_service(struct hz_service *s, const char *ns, const char *name, uint16_t port, int64_t created)
{
	*s = (struct hz_service){ .ns = kp_strdup(ns), .name = kp_strdup(name), .port = port, .created = created };
}

START_TEST(find)
{
	struct hz_services *v = hz_services_new(3), *second = hz_services_ref(v);

	set_service(&v->items[0], "a-b", "x", 3, 0);	/* before "a/y" as a string, after it as a pair */
	set_service(&v->items[1], "a", "z", 2, 0);
	set_service(&v->items[2], "a", "y", 1, 0);
	hz_services_sort(v);
	for (uint16_t i = 0; i < 3; i++)
		ck_assert_uint_eq(v->items[i].port, i + 1);
	ck_assert_ptr_eq(hz_services_find(v, "a", "z"), &v->items[1]);
	ck_assert_ptr_eq(hz_services_find(v, "a-b", "x"), &v->items[2]);
	ck_assert_ptr_null(hz_services_find(v, "b", "z"));
	ck_assert_ptr_null(hz_services_find(NULL, "b", "z"));
	hz_services_unref(v);
	ck_assert_str_eq(second->items[2].ns, "a-b");	/* still there */
	hz_services_unref(second);
}
END_TEST

/* What the health thread is woken for. */
START_TEST(same_ports)
{
	struct kp_addr here = { .b = { 10, 0, 0, 1 } }, there = { .b = { 10, 0, 0, 2 } };
	struct hz_services *services = hz_services_new(1), *others = hz_services_new(1), *again = hz_services_again(services);
	struct hz_state a = { .services = services, .addresses = &here, .n_addresses = 1 }, b = a;

	b.generation = 7;
	b.family[KP_IPV4].updated_wall_ns = 1;
	ck_assert(hz_state_same_ports(&a, &b));
	b.services = others;
	ck_assert(!hz_state_same_ports(&a, &b));
	b.services = again;
	ck_assert(hz_state_same_ports(&a, &b));
	b = a;
	b.services = NULL;
	ck_assert(!hz_state_same_ports(&a, &b));
	b = a;
	b.addresses = &there;
	ck_assert(!hz_state_same_ports(&a, &b));
	b.n_addresses = 0;
	ck_assert(!hz_state_same_ports(&a, &b));
	b = a;
	b.any_address[KP_IPV6] = true;
	ck_assert(!hz_state_same_ports(&a, &b));
	hz_services_unref(services);
	hz_services_unref(others);
	hz_services_unref(again);
}
END_TEST

/* Other numbers under the same names, whichever of them goes first. */
START_TEST(again)
{
	struct hz_services *v = hz_services_new(1), *second, *third;

	set_service(&v->items[0], "a", "x", 1, 0);
	second = hz_services_again(v);
	second->items[0].local_ready[KP_IPV4] = 2;
	third = hz_services_again(second);
	hz_services_unref(second);
	ck_assert_uint_eq(v->items[0].local_ready[KP_IPV4], 0);
	ck_assert(hz_services_same_ports(v, third));
	hz_services_unref(v);
	ck_assert_str_eq(third->items[0].name, "x");
	ck_assert_uint_eq(third->items[0].local_ready[KP_IPV4], 2);
	hz_services_unref(third);
}
END_TEST

START_TEST(owners)
{
	struct hz_services *v = hz_services_new(6);
	const struct hz_service **out;
	size_t n_losers;

	set_service(&v->items[0], "a", "young", 32000, 20);
	set_service(&v->items[1], "b", "old", 32000, 10);
	set_service(&v->items[2], "c", "alone", 32001, 5);
	set_service(&v->items[3], "d", "same-age-1", 32002, 7);
	set_service(&v->items[4], "d", "same-age-2", 32002, 7);
	set_service(&v->items[5], "e", "portless", 0, 1);
	ck_assert_uint_eq(hz_wanted_owners(v, &out, &n_losers), 3);
	ck_assert_ptr_eq(out[0], &v->items[1]);
	ck_assert_ptr_eq(out[1], &v->items[2]);
	ck_assert_ptr_eq(out[2], &v->items[3]);
	ck_assert_uint_eq(n_losers, 2);
	ck_assert_ptr_eq(out[3], &v->items[0]);
	ck_assert_ptr_eq(out[4], &v->items[4]);
	free(out);
	hz_services_unref(v);
	ck_assert_uint_eq(hz_wanted_owners(NULL, &out, &n_losers), 0);
	ck_assert_uint_eq(n_losers, 0);
	free(out);
}
END_TEST

static const struct {
	const char *name;
	bool any[2];
	const char *listed[4];
	const char *want[5];
} addrs[] = {
	{ "both any",		{ 1, 1 }, { NULL },				{ "0.0.0.0", "::" } },
	{ "any hides listed",	{ 1, 0 }, { "10.0.0.1", "2001:db8::1" },	{ "0.0.0.0", "2001:db8::1" } },
	{ "listed",		{ 0, 0 }, { "10.0.0.1", "10.0.0.2" },		{ "10.0.0.1", "10.0.0.2" } },
	{ "link-local",		{ 0, 0 }, { "fe80::1", "febf::1", "fec0::1" },	{ "fec0::1" } },
	{ "none",		{ 0, 0 }, { NULL },				{ NULL } },
};

START_TEST(wanted_addrs)
{
	struct kp_addr listed[4], *got;
	struct hz_state s = { .any_address = { addrs[_i].any[0], addrs[_i].any[1] }, .addresses = listed };
	char text[KP_ADDR_STRLEN];
	size_t n, want = 0;

	while (addrs[_i].listed[s.n_addresses]) {
		ck_assert(kp_addr_parse(addrs[_i].listed[s.n_addresses], &listed[s.n_addresses]));
		s.n_addresses++;
	}
	n = hz_wanted_addrs(&s, &got);
	for (; addrs[_i].want[want]; want++) {
		ck_assert_msg(want < n, "%s: %zu addresses", addrs[_i].name, n);
		ck_assert_str_eq(kp_addr_str(&got[want], text), addrs[_i].want[want]);
	}
	ck_assert_msg(want == n, "%s: %zu addresses, want %zu", addrs[_i].name, n, want);
	free(got);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("hzstate");
	TCase *tc = tcase_create("tables");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, decision, 0, KP_N(decisions));
	tcase_add_test(tc, nobody_at_work);
	tcase_add_loop_test(tc, stamp, 0, KP_N(stamps));
	tcase_add_test(tc, zero_time);
	tcase_add_test(tc, find);
	tcase_add_test(tc, same_ports);
	tcase_add_test(tc, again);
	tcase_add_test(tc, owners);
	tcase_add_loop_test(tc, wanted_addrs, 0, KP_N(addrs));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
