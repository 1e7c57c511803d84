#include <check.h>
#include <stdlib.h>

#include "nft/prints.h"

static uint64_t print_of(uint32_t i)
{
	return dp_elem_print(DP_EPS, (const uint8_t *)&i, sizeof(i), "x", 1);
}

START_TEST(what_was_not_seen_is_known)
{
	enum { N = 5000 };
	struct dp_prints *p = dp_prints_new(N);

	for (uint32_t i = 0; i < N; i++)
		dp_prints_add(p, print_of(i));
	for (uint32_t i = 0; i < 2 * N; i += 2)
		ck_assert(dp_prints_see(p, print_of(i)) == (i < N));
	for (uint32_t i = 0; i < N; i++)
		ck_assert(dp_prints_seen(p, print_of(i)) == (i % 2 == 0));
	dp_prints_unsee(p);
	for (uint32_t i = 0; i < N; i++)
		ck_assert(!dp_prints_seen(p, print_of(i)));
	ck_assert(dp_prints_see(p, print_of(N - 1)));
	dp_prints_free(p);
}
END_TEST

/* A print may be any number, and the lowest bit is the mark. */
START_TEST(every_print_has_a_place)
{
	const uint64_t all[] = { 0, 1, 8, 9, UINT64_MAX - 1 };
	struct dp_prints *p = dp_prints_new(5);

	for (size_t i = 0; i < 5; i++)
		ck_assert(!dp_prints_see(p, all[i]));
	for (size_t i = 0; i < 5; i++)
		dp_prints_add(p, all[i]);
	for (size_t i = 0; i < 5; i++)
		ck_assert(dp_prints_see(p, all[i]) && dp_prints_seen(p, all[i]));
	dp_prints_free(dp_prints_new(0));
	dp_prints_free(p);
}
END_TEST

START_TEST(set_key_and_value_count)
{
	const uint8_t key[2] = { 1, 2 };

	ck_assert(dp_elem_print(DP_SVC, key, 2, "a", 1) != dp_elem_print(DP_NP, key, 2, "a", 1));
	ck_assert(dp_elem_print(DP_SVC, key, 2, "a", 1) != dp_elem_print(DP_SVC, key, 1, "a", 1));
	ck_assert(dp_elem_print(DP_SVC, key, 2, "a", 1) != dp_elem_print(DP_SVC, key, 2, "b", 1));
	ck_assert(dp_elem_print(DP_SVC, key, 2, NULL, 0) == dp_elem_print(DP_SVC, key, 2, "", 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("prints");
	TCase *tc = tcase_create("prints");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, what_was_not_seen_is_known);
	tcase_add_test(tc, every_print_has_a_place);
	tcase_add_test(tc, set_key_and_value_count);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
