#include <check.h>
#include <stdlib.h>

#include "proxy/source/pace.h"

#define MS	1000000ull

START_TEST(what_is_apart_waits_for_nothing)
{
	struct kp_pace p = { 0 };

	for (uint64_t now = 1000 * MS; now < 2000 * MS; now += 5 * MS)
		ck_assert_uint_eq(kp_pace_next(&p, now, false), 0);
}
END_TEST

START_TEST(what_comes_closely_rests_longer_each_time)
{
	static const unsigned expected[] = { 0, 1, 2, 3, 4, 5, 5, 5 };
	struct kp_pace p = { 0 };
	uint64_t now = 1000 * MS;

	for (size_t i = 0; i < sizeof(expected) / sizeof(*expected); i++) {
		unsigned ms = kp_pace_next(&p, now, false);

		ck_assert_uint_eq(ms, expected[i]);
		now += ms * MS + 5 * MS - 1;	/* as late as is close, after the rest */
	}
	ck_assert_uint_eq(kp_pace_next(&p, now + 1, false), 0);
	ck_assert_uint_eq(kp_pace_next(&p, now + 2, false), 1);
}
END_TEST

/* A burst is read to its end, and counts as one. */
START_TEST(what_is_there_waits_for_nothing)
{
	struct kp_pace p = { 0 };
	uint64_t now = 1000 * MS;

	for (unsigned i = 0; i < 100; i++)
		ck_assert_uint_eq(kp_pace_next(&p, now += MS / 10, true), 0);
	ck_assert_uint_eq(kp_pace_next(&p, now, false), 1);
	ck_assert_uint_eq(kp_pace_next(&p, now + 5 * MS, true), 0);
	ck_assert_uint_eq(kp_pace_next(&p, now + 5 * MS, false), 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pace");
	TCase *tc = tcase_create("pace");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, what_is_apart_waits_for_nothing);
	tcase_add_test(tc, what_comes_closely_rests_longer_each_time);
	tcase_add_test(tc, what_is_there_waits_for_nothing);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
