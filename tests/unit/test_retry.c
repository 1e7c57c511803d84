#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "nft/retry.h"
#include "proxy/base/clock.h"

static const struct dp_retry_limits limits = { 100, 400, 10000, 40000 };
static const bool known[KP_N_FAMILIES] = { true, true };

static int after(struct dp_retry *r, int code, size_t n_refused, bool again)
{
	const struct dp_result res = { .family = { { .tried = true, .code = code } }, .n_refused = n_refused };

	return dp_retry_schedule(r, &res, known, again);
}

/* Set just now, on a machine that may be slow. */
static void assert_in(const struct dp_retry *r, int ms)
{
	int left = dp_retry_pending_ms(r, kp_now_ns());

	ck_assert_int_le(left, ms);
	ck_assert_int_gt(left, ms - 5000);
}

START_TEST(failures_soon_refusals_later)
{
	struct dp_retry r = { .limits = &limits };

	ck_assert_int_eq(after(&r, 0, 0, false), 0);
	ck_assert_int_eq(dp_retry_pending_ms(&r, kp_now_ns()), -1);
	ck_assert_int_eq(after(&r, -EIO, 0, false), -EIO);
	ck_assert_uint_eq(r.failed_ms, 100);
	for (int i = 0; i < 4; i++)
		after(&r, -EIO, 0, true);
	ck_assert_uint_eq(r.failed_ms, 400);
	after(&r, 0, 1, true);
	assert_in(&r, 10000);
	for (int i = 0; i < 4; i++)
		after(&r, 0, 1, true);
	assert_in(&r, 40000);
	after(&r, 0, 0, true);
	ck_assert_int_eq(dp_retry_pending_ms(&r, kp_now_ns()), -1);
}
END_TEST

/* A cluster in which something changes every second. */
START_TEST(others_changes_put_nothing_off)
{
	struct dp_retry r = { .limits = &limits };
	uint64_t at;

	after(&r, 0, 1, false);
	at = r.at_ns;
	for (int i = 0; i < 100; i++)
		after(&r, 0, 1, false);
	ck_assert_uint_eq(r.at_ns, at);
	ck_assert_uint_eq(r.refused_ms, 10000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("retry");
	TCase *t = tcase_create("retry");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, failures_soon_refusals_later);
	tcase_add_test(t, others_changes_put_nothing_off);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
