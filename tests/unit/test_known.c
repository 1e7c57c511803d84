#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/source/known.h"

static char removed[64];

static void gone(void *arg, const char *key)
{
	size_t len = strlen(removed);

	(void)arg;
	snprintf(removed + len, sizeof(removed) - len, "%s ", key);
}

static struct kp_known *k;

static void setup(void)
{
	removed[0] = '\0';
	k = kp_known_new();
	kp_known_begin(k);
	kp_known_put(k, "a", "1");
	kp_known_put(k, "b", "2");
	kp_known_put(k, "c", "3");
	ck_assert_uint_eq(kp_known_sweep(k, gone, NULL), 0);
}

static void teardown(void)
{
	ck_assert_ptr_null(kp_known_free(k));
}

START_TEST(what_a_list_lacks_is_gone)
{
	kp_known_begin(k);
	kp_known_put(k, "a", "4");
	kp_known_put(k, "c", "3");
	kp_known_put(k, "d", "5");
	ck_assert_uint_eq(kp_known_sweep(k, gone, NULL), 1);
	ck_assert_str_eq(removed, "b ");
	ck_assert_uint_eq(kp_known_len(k), 3);
	ck_assert(!kp_known_del(k, "b"));
}
END_TEST

START_TEST(a_list_that_was_broken_off_removes_nothing)
{
	kp_known_begin(k);
	kp_known_put(k, "a", "1");
	kp_known_begin(k);
	kp_known_put(k, "b", "2");
	kp_known_put(k, "c", "3");
	ck_assert_uint_eq(kp_known_sweep(k, gone, NULL), 1);
	ck_assert_str_eq(removed, "a ");
}
END_TEST

START_TEST(kept_although_its_form_is_bad)
{
	kp_known_begin(k);
	kp_known_put(k, "a", "1");
	kp_known_keep(k, "b");
	kp_known_put(k, "c", "3");
	kp_known_keep(k, "never seen");
	ck_assert_uint_eq(kp_known_sweep(k, gone, NULL), 0);
	ck_assert_uint_eq(kp_known_len(k), 3);
}
END_TEST

START_TEST(watched_objects_belong_to_the_list_before)
{
	kp_known_put(k, "d", "9");
	ck_assert(kp_known_del(k, "a"));
	ck_assert_uint_eq(kp_known_sweep(k, gone, NULL), 0);
	ck_assert_uint_eq(kp_known_len(k), 3);
}
END_TEST

static const struct {
	const char *key, *version;
	bool stale;
} versions[] = {
	{ "c", "2", true }, { "c", "3", false }, { "c", "4", false }, { "c", "10", false },
	{ "c", "", false }, { "c", "x", false }, { "c", "-1", false }, { "c", "2x", false },
	{ "c", "99999999999999999999", false },	/* no 64 bits */
	{ "nobody", "1", false },
};

START_TEST(stale_case)
{
	ck_assert_msg(kp_known_is_stale(k, versions[_i].key, versions[_i].version) == versions[_i].stale,
		      "%s in version \"%s\"", versions[_i].key, versions[_i].version);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("known");
	TCase *tc = tcase_create("known");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, what_a_list_lacks_is_gone);
	tcase_add_test(tc, a_list_that_was_broken_off_removes_nothing);
	tcase_add_test(tc, kept_although_its_form_is_bad);
	tcase_add_test(tc, watched_objects_belong_to_the_list_before);
	tcase_add_loop_test(tc, stale_case, 0, sizeof(versions) / sizeof(versions[0]));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
