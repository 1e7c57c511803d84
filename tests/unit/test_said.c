#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/said.h"

#define MINUTE 60000ull

START_TEST(once_in_ten_minutes)
{
	struct kp_said *s = kp_said_new();

	ck_assert(!kp_said_lately(s, "a", 0));
	ck_assert(!kp_said_lately(s, "b", 0));
	ck_assert(kp_said_lately(s, "a", 10 * MINUTE - 1));
	ck_assert(!kp_said_lately(s, "a", 10 * MINUTE));
	ck_assert(kp_said_lately(s, "a", 11 * MINUTE));
	kp_said_free(s);
}
END_TEST

START_TEST(news_after_the_end)
{
	struct kp_said *s = kp_said_new();

	ck_assert(!kp_said_lately(s, "a", 0));
	kp_said_forget(s);
	ck_assert(!kp_said_lately(s, "a", 1));
	kp_said_free(s);
}
END_TEST

START_TEST(limit)
{
	struct kp_said *s = kp_said_new();
	char text[16];
	int known = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%d", i);
		ck_assert(!kp_said_lately(s, text, 0));
	}
	for (int i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "%d", i);
		known += kp_said_lately(s, text, 0);
	}
	ck_assert_int_le(known, 200);
	kp_said_free(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("said");
	TCase *t = tcase_create("said");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, once_in_ten_minutes);
	tcase_add_test(t, news_after_the_end);
	tcase_add_test(t, limit);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
