#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/source/series.h"

#define MINUTE	60000ull
#define WALL	(1763724000ull * 1000000000)

static struct kp_series_table *t;

static void set_up(void)
{
	t = kp_series_new();
}

static void tear_down(void)
{
	kp_series_free(t);
}

static bool note(const char *name, const char *reason, const char *text, uint64_t now_ms)
{
	const struct kp_notice n = { true, "Service", "default", name, reason, "Listen", text };

	return kp_series_note(t, &n, now_ms, WALL + now_ms * 1000000);
}

/* Tells the server what is due: "create 1", "update 2", "". Static. */
static const char *tell(uint64_t now_ms)
{
	static char said[32];
	struct kp_series *s = kp_series_due(t, now_ms);

	if (!s)
		return "";
	snprintf(said, sizeof(said), "%s %u", s->state == KP_SERIES_CREATE ? "create" : "update", s->count);
	kp_series_told(s, s->count, now_ms);
	return said;
}

START_TEST(test_the_same_again)
{
	ck_assert_int_eq(kp_series_pending_ms(t, 0), -1);
	ck_assert(note("a", "R", "first", 0));
	ck_assert_int_eq(kp_series_pending_ms(t, 0), 0);
	ck_assert_str_eq(tell(0), "create 1");
	ck_assert_int_eq(kp_series_pending_ms(t, 0), -1);
	ck_assert(note("a", "R", "another text", 5000));
	ck_assert_str_eq(tell(5000), "update 2");
	for (uint64_t ms = 10000; ms <= 4 * MINUTE; ms += 5000)
		ck_assert(note("a", "R", "first", ms));
	ck_assert_str_eq(tell(4 * MINUTE), "");
	ck_assert_int_eq(kp_series_pending_ms(t, 4 * MINUTE), MINUTE + 5000);
	ck_assert_str_eq(tell(5 * MINUTE + 5000), "update 49");
}
END_TEST

START_TEST(test_after_a_silence)
{
	ck_assert(note("a", "R", "", 0));
	ck_assert_str_eq(tell(0), "create 1");
	ck_assert(note("a", "R", "", 6 * MINUTE));
	ck_assert_str_eq(tell(6 * MINUTE), "update 2");
	ck_assert(note("a", "R", "", 13 * MINUTE));
	ck_assert_str_eq(tell(13 * MINUTE), "create 1");
}
END_TEST

/* What came while the server was asked is told after it. */
START_TEST(test_meanwhile)
{
	struct kp_series *s;

	ck_assert(note("a", "R", "", 0));
	s = kp_series_due(t, 0);
	ck_assert(note("a", "R", "", 10));
	kp_series_told(s, 1, 20);
	ck_assert_str_eq(tell(20), "update 2");
	ck_assert_int_eq(kp_series_pending_ms(t, 20), -1);
}
END_TEST

START_TEST(test_burst_of_one_object)
{
	char reason[16];

	for (int i = 0; i < 30; i++) {
		snprintf(reason, sizeof(reason), "R%d", i);
		ck_assert_msg(note("a", reason, "", 0) == (i < 25), "%s", reason);
	}
	ck_assert_msg(note("b", "R", "", 0), "another object");
	ck_assert(!note("a", "R30", "", 4 * MINUTE));
	ck_assert(note("a", "R30", "", 5 * MINUTE));
	ck_assert(!note("a", "R31", "", 5 * MINUTE));
	ck_assert_msg(note("a", "R0", "", 5 * MINUTE), "a series costs nothing");
}
END_TEST

START_TEST(test_limit)
{
	char name[16];
	unsigned n = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		n += note(name, "R", "", 0);
	}
	ck_assert_uint_eq(n, 500);
	for (unsigned i = 0; i < n; i++)
		ck_assert_str_eq(tell(0), "create 1");
	ck_assert_str_eq(tell(0), "");
	ck_assert_msg(note("late", "R", "", 7 * MINUTE), "room again");
}
END_TEST

START_TEST(test_failures)
{
	struct kp_series *s;

	ck_assert(note("a", "R", "", 0));
	s = kp_series_due(t, 0);
	for (int i = 0; i < 11; i++)
		ck_assert_msg(kp_series_failed(t, s, 10, 0), "failure %d", i);
	ck_assert_str_eq(tell(9), "");
	ck_assert_int_eq(kp_series_pending_ms(t, 9), 1);
	ck_assert(!kp_series_failed(t, s, 10, 0));
	ck_assert_int_eq(kp_series_pending_ms(t, 1000), -1);
}
END_TEST

/* Names of objects may be as long as names of events, and end in what may not stand before a dot. */
START_TEST(test_names)
{
	char longest[254];
	struct kp_series *s;

	ck_assert(note("web", "R", "", 0));
	s = kp_series_due(t, 0);
	ck_assert_str_eq(s->event_name, "web.187a01a225d4c000");
	ck_assert_str_eq(s->ns, "default");
	kp_series_drop(t, s);
	memset(longest, 'a', 253);
	longest[235] = '-';
	longest[253] = '\0';
	ck_assert(note(longest, "R", "", 0));
	s = kp_series_due(t, 0);
	ck_assert_uint_eq(strlen(s->event_name), 252);
	ck_assert_msg(strstr(s->event_name, "a.187a01a225d4c000"), "%s", s->event_name);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("series");
	TCase *tc = tcase_create("series");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, test_the_same_again);
	tcase_add_test(tc, test_after_a_silence);
	tcase_add_test(tc, test_meanwhile);
	tcase_add_test(tc, test_burst_of_one_object);
	tcase_add_test(tc, test_limit);
	tcase_add_test(tc, test_failures);
	tcase_add_test(tc, test_names);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
