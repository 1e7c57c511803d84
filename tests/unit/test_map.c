#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

static unsigned n_freed;

static void count_free(void *p)
{
	n_freed++;
	free(p);
}

static int *number(int n)
{
	return kp_memdup(&n, sizeof(n));
}

static const char *key_of(int i)
{
	static char key[16];

	snprintf(key, sizeof(key), "key-%d", i);
	return key;
}

START_TEST(put_get_del)
{
	struct kp_map *m = kp_map_new(count_free);

	n_freed = 0;
	ck_assert_ptr_null(kp_map_gets(m, "a"));
	ck_assert(!kp_map_dels(m, "a"));
	kp_map_puts(m, "a", number(1));
	kp_map_puts(m, "b", number(2));
	ck_assert_int_eq(*(int *)kp_map_gets(m, "a"), 1);
	ck_assert_uint_eq(kp_map_len(m), 2);
	kp_map_puts(m, "a", number(3));
	ck_assert_uint_eq(n_freed, 1);
	ck_assert_int_eq(*(int *)kp_map_gets(m, "a"), 3);
	ck_assert_uint_eq(kp_map_len(m), 2);
	kp_map_puts(m, "a", kp_map_gets(m, "a"));	/* the same pointer stays alive */
	ck_assert_uint_eq(n_freed, 1);
	ck_assert(kp_map_dels(m, "a"));
	ck_assert_uint_eq(n_freed, 2);
	ck_assert_ptr_null(kp_map_free(m));
	ck_assert_uint_eq(n_freed, 3);
	ck_assert_ptr_null(kp_map_free(NULL));
}
END_TEST

START_TEST(taking_hands_over)
{
	struct kp_map *m = kp_map_new(count_free);
	int *seven;

	n_freed = 0;
	kp_map_puts(m, "a", number(7));
	seven = kp_map_takes(m, "a");
	ck_assert_uint_eq(n_freed, 0);
	ck_assert_int_eq(*seven, 7);
	ck_assert_ptr_null(kp_map_takes(m, "a"));
	ck_assert_uint_eq(kp_map_len(m), 0);
	free(seven);
	kp_map_free(m);
}
END_TEST

/* Keys are bytes: NULs and lengths count, and the map has a copy. */
START_TEST(keys_are_bytes)
{
	struct kp_map *m = kp_map_new(free);
	char key[] = "a\0b";

	kp_map_put(m, key, 3, number(3));
	kp_map_put(m, key, 1, number(1));
	kp_map_put(m, "", 0, number(0));
	key[0] = 'x';
	ck_assert_int_eq(*(int *)kp_map_get(m, "a\0b", 3), 3);
	ck_assert_int_eq(*(int *)kp_map_get(m, "a", 1), 1);
	ck_assert_int_eq(*(int *)kp_map_get(m, "", 0), 0);
	ck_assert_ptr_null(kp_map_get(m, "a\0c", 3));
	ck_assert_uint_eq(kp_map_len(m), 3);
	kp_map_free(m);
}
END_TEST

struct cell {
	char key[16];
	int n;
};

static const void *cell_key(const void *value, size_t *ret_len)
{
	const struct cell *c = value;

	*ret_len = strlen(c->key);
	return c->key;
}

static struct cell *new_cell(const char *key, int n)
{
	struct cell *c = kp_calloc(1, sizeof(*c));

	strcpy(c->key, key);
	c->n = n;
	return c;
}

/* The key of a replaced value may be gone: that of the new one stands in its place. */
START_TEST(values_hold_the_keys)
{
	struct kp_map *m = kp_map_new_keyed(cell_key, count_free);
	struct cell *a = new_cell("a", 1);

	n_freed = 0;
	kp_map_puts(m, a->key, a);
	kp_map_puts(m, a->key, a);
	ck_assert_uint_eq(n_freed, 0);
	kp_map_puts(m, a->key, new_cell("a", 2));
	ck_assert_uint_eq(n_freed, 1);
	kp_map_puts(m, "b", new_cell("b", 3));
	ck_assert_uint_eq(kp_map_len(m), 2);
	ck_assert_int_eq(((struct cell *)kp_map_gets(m, "a"))->n, 2);
	for (struct kp_map_it it = { 0 }; kp_map_next(m, &it);)
		ck_assert_ptr_eq(it.key, ((struct cell *)it.value)->key);
	a = kp_map_takes(m, "a");
	ck_assert_int_eq(a->n, 2);
	ck_assert_uint_eq(n_freed, 1);
	free(a);
	ck_assert_ptr_null(kp_map_gets(m, "a"));
	kp_map_dels(m, ((struct cell *)kp_map_gets(m, "b"))->key);
	ck_assert_uint_eq(n_freed, 2);
	kp_map_puts(m, "c", new_cell("c", 4));
	kp_map_free(m);
	ck_assert_uint_eq(n_freed, 3);
}
END_TEST

/* Against a plain array, through growth and many removals. */
START_TEST(agrees_with_an_array)
{
	enum { N = 500 };
	struct kp_map *m = _i ? kp_map_new_keyed(cell_key, NULL) : kp_map_new(NULL);
	static struct cell cell[N];
	bool present[N] = { false };
	uint32_t random = 1;
	size_t n = 0;

	for (int i = 0; i < N; i++)
		strcpy(cell[i].key, key_of(i));
	for (int step = 0; step < 50000; step++) {
		int i;

		random = random * 1664525 + 1013904223;
		i = (int)(random >> 8) % N;
		if (random >> 31) {
			kp_map_puts(m, key_of(i), &cell[i]);
			n += !present[i];
			present[i] = true;
		} else {
			ck_assert_int_eq(kp_map_dels(m, key_of(i)), present[i]);
			n -= present[i];
			present[i] = false;
		}
		ck_assert_uint_eq(kp_map_len(m), n);
	}
	for (int i = 0; i < N; i++)
		ck_assert_ptr_eq(kp_map_gets(m, key_of(i)), present[i] ? &cell[i] : NULL);
	for (struct kp_map_it it = { 0 }; kp_map_next(m, &it); n--)
		ck_assert_ptr_eq(it.value, &cell[atoi((const char *)it.key + 4)]);
	ck_assert_uint_eq(n, 0);
	kp_map_free(m);
}
END_TEST

START_TEST(deleting_under_the_iterator)
{
	struct kp_map *m = kp_map_new(count_free);
	unsigned seen = 0;

	n_freed = 0;
	for (int i = 0; i < 100; i++)
		kp_map_puts(m, key_of(i), number(i));
	for (struct kp_map_it it = { 0 }; kp_map_next(m, &it); seen++)
		if (*(int *)it.value % 2)
			kp_map_del_at(m, &it);
	ck_assert_uint_eq(seen, 100);
	ck_assert_uint_eq(n_freed, 50);
	ck_assert_uint_eq(kp_map_len(m), 50);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(kp_map_gets(m, key_of(i)) != NULL, i % 2 == 0);
	kp_map_free(m);
}
END_TEST

START_TEST(keys_sorted)
{
	static const char *const in[] = { "b", "", "ba", "a", "B" }, *const want[] = { "", "B", "a", "b", "ba" };
	struct kp_map *m = kp_map_new(NULL);
	const char **keys;

	for (size_t i = 0; i < 5; i++)
		kp_map_puts(m, in[i], m);
	keys = kp_map_sorted_keys(m);
	for (size_t i = 0; i < 5; i++)
		ck_assert_str_eq(keys[i], want[i]);
	free(keys);
	kp_map_free(m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("map");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, put_get_del);
	tcase_add_test(tc, taking_hands_over);
	tcase_add_test(tc, keys_are_bytes);
	tcase_add_test(tc, values_hold_the_keys);
	tcase_add_loop_test(tc, agrees_with_an_array, 0, 2);
	tcase_add_test(tc, deleting_under_the_iterator);
	tcase_add_test(tc, keys_sorted);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
