#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"

START_TEST(set_and_wrap)
{
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_err_set(&err, -ENOSPC, "add element: %s", "no room"), -ENOSPC);
	ck_assert_int_eq(err.code, -ENOSPC);
	ck_assert_int_eq(kp_err_wrap(&err, -EIO, "apply '%s'", "default/web"), -EIO);
	ck_assert_int_eq(err.code, -EIO);
	ck_assert_str_eq(err.msg, "apply 'default/web': add element: no room");
}
END_TEST

START_TEST(nobody_listens)
{
	ck_assert_int_eq(kp_err_set(NULL, -EINVAL, "x"), -EINVAL);
	ck_assert_int_eq(kp_err_wrap(NULL, -EINVAL, "x"), -EINVAL);
}
END_TEST

/* What does not fit is cut, and one sees that it was. */
START_TEST(too_long)
{
	char text[1000];
	struct kp_err err = { 0 };

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	kp_err_set(&err, -EINVAL, "%s", text);
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	kp_err_wrap(&err, -EINVAL, "outer");
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	ck_assert(strncmp(err.msg, "outer: xxx", 10) == 0);
	ck_assert_str_eq(err.msg + sizeof(err.msg) - 4, "...");
	kp_err_set(&err, -EINVAL, "inner");
	kp_err_wrap(&err, -EINVAL, "%s", text);
	ck_assert_str_eq(err.msg + sizeof(err.msg) - 4, "...");
}
END_TEST

START_TEST(exact_fit)
{
	struct kp_err err = { 0 };
	char text[sizeof(err.msg)];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1 - strlen("a: ")] = '\0';
	kp_err_set(&err, -EINVAL, "%s", text);
	kp_err_wrap(&err, -EINVAL, "a");
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	ck_assert_int_eq(err.msg[sizeof(err.msg) - 2], 'x');	/* not cut */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("err");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, set_and_wrap);
	tcase_add_test(tc, nobody_listens);
	tcase_add_test(tc, too_long);
	tcase_add_test(tc, exact_fit);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
