#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

#include "nft/slots.h"

static const struct {
	uint32_t m, n, want;
} sizes[] = {
	{ 1, 0, 1 }, { 1, 1, 1 }, { 1, 2, 2 }, { 2, 1, 2 }, { 2, 0, 1 }, { 2, 3, 3 }, { 3, 2, 3 }, { 3, 1, 1 }, { 3, 4, 4 },
	{ 4, 3, 4 }, { 4, 2, 2 }, { 4, 5, 6 }, { 6, 4, 6 }, { 6, 3, 3 }, { 6, 7, 8 }, { 8, 5, 8 }, { 8, 4, 4 }, { 8, 9, 12 },
	{ 12, 13, 16 }, { 16, 9, 16 }, { 16, 8, 8 }, { 16, 5, 6 }, { 1024, 513, 1024 }, { 1024, 512, 512 }, { 1024, 1025, 1536 },
	{ 24576, 24577, 32768 }, { 32768, 32768, 32768 },
};

/* The sizes that a restart tries are all that a change may have left: see adopt_sizes() in nft/service.c. */
START_TEST(sizes_that_stay)
{
	for (uint32_t n = 1; n <= 2048; n++)
		for (uint32_t m = 1; m <= 4096; m = dp_slots_size(m + 1)) {
			uint32_t least = dp_slots_size(n);

			if (dp_slots_resize(m, n) == m)
				ck_assert_msg(m == least || m == dp_slots_size(least + 1), "%u endpoints stay in %u", n, m);
		}
}
END_TEST

START_TEST(resize)
{
	ck_assert_uint_eq(dp_slots_resize(sizes[_i].m, sizes[_i].n), sizes[_i].want);
}
END_TEST

static struct kp_backend backend(unsigned id)
{
	return (struct kp_backend){ .addr = { .b = { 10, 0, (uint8_t)(id >> 8), (uint8_t)id } }, .port = 8080 };
}

/* Every wanted endpoint has one slot, and no more than 2k slots moved for k changes. */
static void check(const struct dp_slots *old, const struct kp_backend *want, uint32_t n, const struct dp_slots *got, uint32_t k)
{
	uint32_t moved = 0;

	ck_assert_uint_eq(got->n, n);
	ck_assert_uint_ge(got->m, n);
	for (uint32_t i = 0; i < n; i++) {
		unsigned times = 0;

		for (uint32_t j = 0; j < n; j++)
			times += kp_backend_cmp(dp_slots_at(got, j), &want[i]) == 0;
		ck_assert_uint_eq(times, 1);
		moved += i < old->n && kp_backend_cmp(dp_slots_at(got, i), dp_slots_at(old, i)) != 0;
	}
	ck_assert_uint_le(moved, 2 * k);
}

/* Random endpoints come and go; seeded, so that a failure can be seen again. */
START_TEST(assign)
{
	struct kp_backend lists[2][64];		/* the one of before is borrowed until the next */
	struct dp_slots old = { 0 };
	bool in[64] = { false };

	srand((unsigned)_i);
	for (int round = 0; round < 200; round++) {
		struct kp_backend *want = lists[round % 2];
		struct dp_slots new;
		uint32_t n = 0, k = 1 + (uint32_t)(rand() % 4);

		for (uint32_t i = 0; i < k; i++) {
			unsigned id = (unsigned)rand() % 64;

			in[id] = !in[id];
		}
		for (unsigned id = 64; id-- > 0;)	/* another order than before */
			if (in[id])
				want[n++] = backend(id);
		dp_slots_assign(&old, want, n, &new);
		check(&old, want, n, &new, k);
		dp_slots_release(&old);
		old = new;
	}
	dp_slots_release(&old);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("slots");
	TCase *tc = tcase_create("slots");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, resize, 0, sizeof(sizes) / sizeof(sizes[0]));
	tcase_add_test(tc, sizes_that_stay);
	tcase_add_loop_test(tc, assign, 0, 20);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
