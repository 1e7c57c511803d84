#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"

START_TEST(grows)
{
	struct kp_buf b = { 0 };

	for (int i = 0; i < 5000; i++)
		kp_buf_add(&b, "abc", 3);
	ck_assert_uint_eq(b.len, 15000);
	for (size_t i = 0; i < b.len; i++)
		ck_assert_int_eq(b.data[i], "abc"[i % 3]);
	kp_buf_release(&b);
	ck_assert_ptr_null(b.data);
	ck_assert_uint_eq(b.len + b.cap, 0);
}
END_TEST

START_TEST(reserve_keeps_and_promises)
{
	struct kp_buf b = { 0 };

	kp_buf_add(&b, "x", 1);
	memset(kp_buf_reserve(&b, 100000), 'y', 100000);
	ck_assert_uint_eq(b.len, 1);
	ck_assert_uint_ge(b.cap, 100001);
	ck_assert_int_eq(b.data[0], 'x');
	kp_buf_release(&b);
}
END_TEST

START_TEST(adding_nothing)
{
	struct kp_buf b = { 0 };

	kp_buf_add(&b, NULL, 0);
	ck_assert_uint_eq(b.len, 0);
	kp_buf_puts(&b, "");
	ck_assert_str_eq(b.data, "");
	kp_buf_release(&b);
}
END_TEST

/* Around the size up to which one attempt is enough. */
START_TEST(printf_of_any_length)
{
	char want[512];
	struct kp_buf b = { 0 };

	memset(want, 'z', sizeof(want));
	want[120 + _i] = '\0';
	kp_buf_printf(&b, "<%s>", want);
	ck_assert_uint_eq(b.len, 120 + (size_t)_i + 2);
	ck_assert_int_eq(b.data[0], '<');
	ck_assert_int_eq(b.data[b.len - 1], '>');
	ck_assert_int_eq(b.data[b.len], '\0');
	ck_assert(strncmp(b.data + 1, want, 120 + (size_t)_i) == 0);
	kp_buf_release(&b);
}
END_TEST

START_TEST(puts_and_printf_mix)
{
	struct kp_buf b = { 0 };

	kp_buf_puts(&b, "a");
	kp_buf_printf(&b, "%d", 17);
	kp_buf_puts(&b, "z");
	ck_assert_str_eq(b.data, "a17z");
	ck_assert_uint_eq(b.len, 4);
	kp_buf_release(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("buf");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, grows);
	tcase_add_test(tc, reserve_keeps_and_promises);
	tcase_add_test(tc, adding_nothing);
	tcase_add_loop_test(tc, printf_of_any_length, 0, 16);
	tcase_add_loop_test(tc, printf_of_any_length, 300, 302);
	tcase_add_test(tc, puts_and_printf_mix);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
