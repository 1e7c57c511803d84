#include <check.h>
#include <stdint.h>
#include <stdlib.h>

#include "proxy/source/backoff.h"

/* Without jitter: client-go's 800 ms, doubling to 30 s. */
START_TEST(doubles_up_to_a_limit)
{
	static const uint64_t want[] = { 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000 };
	struct kp_backoff b = { 0 };
	uint64_t now = 1000;

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		ck_assert_uint_eq(kp_backoff_next(&b, now, 0), want[i]);
		now += want[i];
	}
}
END_TEST

START_TEST(jitter_adds_up_to_as_much_again)
{
	struct kp_backoff b = { 0 };

	ck_assert_uint_eq(kp_backoff_next(&b, 0, UINT32_MAX / 2), 800 + 399);
	ck_assert_uint_eq(kp_backoff_next(&b, 0, UINT32_MAX), 1600 + 1599);
	ck_assert_uint_eq(kp_backoff_next(&b, 0, 0), 3200);
}
END_TEST

START_TEST(two_quiet_minutes_start_over)
{
	struct kp_backoff b = { 0 };

	kp_backoff_next(&b, 5000, 0);
	ck_assert_uint_eq(kp_backoff_next(&b, 125000, 0), 1600);
	ck_assert_uint_eq(kp_backoff_next(&b, 245001, 0), 800);
	ck_assert_uint_eq(kp_backoff_next(&b, 245002, 0), 1600);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("backoff");
	TCase *tc = tcase_create("backoff");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, doubles_up_to_a_limit);
	tcase_add_test(tc, jitter_adds_up_to_as_much_again);
	tcase_add_test(tc, two_quiet_minutes_start_over);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
