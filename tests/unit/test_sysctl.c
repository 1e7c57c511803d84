#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/sysctl.h"

static const struct {
	int64_t per_core, min;
	unsigned n_cpus;
	int64_t want;
} maxima[] = {
	{ 0, 131072, 4, 0 },			/* untouched, whatever the minimum */
	{ -1, 131072, 4, 0 },
	{ 32768, 131072, 1, 131072 },
	{ 32768, 131072, 4, 131072 },
	{ 32768, 131072, 5, 163840 },
	{ 32768, 0, 32, 1048576 },
	{ 32768, 0, 33, 1048576 },		/* not above */
	{ 1, 2000000, 4, 2000000 },		/* but a larger minimum counts, */
	{ 1048577, 2000000, 1, 1048576 },	/* unless the product is above */
	{ INT64_MAX, 0, 4, 1048576 },
};

START_TEST(max_case)
{
	int64_t is = kp_sysctl_conntrack_max(maxima[_i].per_core, maxima[_i].min, maxima[_i].n_cpus);

	ck_assert_msg(is == maxima[_i].want, "row %d: %lld", _i, (long long)is);
}
END_TEST

START_TEST(list)
{
	struct kp_config_conntrack c = { 0 };
	struct kp_sysctl got[KP_SYSCTLS_MAX];

	ck_assert_uint_eq(kp_sysctl_conntrack(&c, 4, got), 0);
	c = (struct kp_config_conntrack){ 10, 0, true, 1999, 2000, 3000, 4000 };
	ck_assert_uint_eq(kp_sysctl_conntrack(&c, 4, got), KP_SYSCTLS_MAX);
	ck_assert_str_eq(got[0].path, "/proc/sys/net/netfilter/nf_conntrack_max");
	ck_assert_int_eq(got[0].value, 40);
	ck_assert_str_eq(got[1].path, "/sys/module/nf_conntrack/parameters/hashsize");
	ck_assert(got[1].value == 10 && got[1].at_least && !got[0].at_least);
	ck_assert_int_eq(got[2].value, 1);	/* seconds, truncated */
	ck_assert_int_eq(got[4].value, 1);
	ck_assert_str_eq(got[6].path, "/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream");
}
END_TEST

static char root[64];

static void set_up(void)
{
	strcpy(root, "/tmp/test-sysctl-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static char *path_of(const char *name)
{
	return kp_asprintf("%s/%s", root, name);
}

static void tear_down(void)
{
	static const char *const names[] = { "a", "b", "c" };

	for (size_t i = 0; i < KP_N(names); i++) {
		KP_AUTO(kp_freep) char *path = path_of(names[i]);

		(void)remove(path);
	}
	rmdir(root);
}

static void put(const char *name, const char *text)
{
	KP_AUTO(kp_freep) char *path = path_of(name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void check_holds(const char *name, const char *want)
{
	KP_AUTO(kp_freep) char *path = path_of(name);
	FILE *f = fopen(path, "r");
	char text[32] = "";

	ck_assert_ptr_nonnull(f);
	ck_assert_ptr_nonnull(fgets(text, sizeof(text), f));
	fclose(f);
	ck_assert_msg(strcmp(text, want) == 0, "%s holds '%s'", name, text);
}

START_TEST(written_where_different)
{
	static const struct kp_sysctl all[] = { { "x", "/a", 5, false }, { "x", "/b", 5, false }, { "x", "/c", 5, false } };

	put("a", "7\n");
	put("b", "5 \n");	/* stays as it is, to the blank */
	put("c", "4\n");
	ck_assert_uint_eq(kp_sysctl_apply(root, all, KP_N(all)), 0);
	check_holds("a", "5\n");
	check_holds("b", "5 \n");
	check_holds("c", "5\n");
}
END_TEST

START_TEST(at_least)
{
	static const struct kp_sysctl all[] = { { "x", "/a", 5, true }, { "x", "/b", 5, true } };

	put("a", "7\n");
	put("b", "4\n");
	ck_assert_uint_eq(kp_sysctl_apply(root, all, KP_N(all)), 0);
	check_holds("a", "7\n");
	check_holds("b", "5\n");
}
END_TEST

/* Missing, not a number, not writable: each counts, and the rest is done. */
START_TEST(failures_do_not_stop)
{
	static const struct kp_sysctl all[] = {
		{ "x", "/missing", 5, false }, { "x", "/a", 5, false }, { "x", "/b", 5, false }, { "x", "/c", 5, false },
	};
	KP_AUTO(kp_freep) char *folder = path_of("b");

	put("a", "many\n");
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	put("c", "4\n");
	ck_assert_uint_eq(kp_sysctl_apply(root, all, KP_N(all)), 3);
	check_holds("a", "many\n");
	check_holds("c", "5\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sysctl");
	TCase *tc = tcase_create("core"), *files = tcase_create("files");
	SRunner *r = srunner_create(s);
	int failed;

	kp_log_set_level(KP_LOG_ERROR);
	tcase_add_loop_test(tc, max_case, 0, KP_N(maxima));
	tcase_add_test(tc, list);
	tcase_add_checked_fixture(files, set_up, tear_down);
	tcase_add_test(files, written_where_different);
	tcase_add_test(files, at_least);
	tcase_add_test(files, failures_do_not_stop);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, files);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
