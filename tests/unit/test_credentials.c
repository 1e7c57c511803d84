#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/source/credentials.h"

static char dir[40], token[64], ca[64];
static struct kp_kubeconfig config;
static struct kp_credentials *c;
static struct kp_err err;

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	fputs(text, f);
	fclose(f);
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/pxl-credentials-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(token, sizeof(token), "%s/token", dir);
	snprintf(ca, sizeof(ca), "%s/ca", dir);
	put(token, " one\n\n");
	put(ca, "CA");
	config = (struct kp_kubeconfig){ .token.file = token, .ca.file = ca, .username = NULL };
	c = NULL;
	err = (struct kp_err){ 0 };
}

static void teardown(void)
{
	ck_assert_ptr_null(kp_credentials_free(c));
	unlink(token);
	unlink(ca);
	rmdir(dir);
}

static const char *current(void)
{
	return kp_credentials_identity(c)->token;
}

/* 1: something is different now. */
static int refresh(bool force)
{
	bool changed;
	int r = kp_credentials_refresh(c, force, &changed, &err);

	return r < 0 ? r : changed;
}

START_TEST(read_and_trimmed)
{
	const struct kp_http_identity *who;

	ck_assert_int_eq(kp_credentials_new(&c, &config, &err), 0);
	who = kp_credentials_identity(c);
	ck_assert_str_eq(who->token, "one");
	ck_assert_uint_eq(who->ca.len, 2);
	ck_assert_mem_eq(who->ca.data, "CA", 2);
	ck_assert_ptr_null(who->cert.data);
	ck_assert_int_eq(refresh(false), 0);
	ck_assert_int_eq(refresh(true), 0);
}
END_TEST

START_TEST(replaced)
{
	char other[80];

	ck_assert_int_eq(kp_credentials_new(&c, &config, &err), 0);
	snprintf(other, sizeof(other), "%s.new", token);
	put(other, "two");
	ck_assert_int_eq(rename(other, token), 0);
	ck_assert_int_eq(refresh(false), 1);
	ck_assert_str_eq(current(), "two");
	put(ca, "CB, longer");
	ck_assert_int_eq(refresh(false), 1);
	ck_assert_uint_eq(kp_credentials_identity(c)->ca.len, 10);
	ck_assert_int_eq(refresh(false), 0);
}
END_TEST

/* Same size and times: only a forced look finds it. */
START_TEST(looks_the_same)
{
	struct stat st;
	struct timespec times[2];

	ck_assert_int_eq(kp_credentials_new(&c, &config, &err), 0);
	ck_assert_int_eq(stat(token, &st), 0);
	put(token, " two\n\n");
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	ck_assert_int_eq(utimensat(AT_FDCWD, token, times, 0), 0);
	ck_assert_int_eq(refresh(true), 1);
	ck_assert_str_eq(current(), "two");
}
END_TEST

START_TEST(the_last_good_one_stays)
{
	ck_assert_int_eq(kp_credentials_new(&c, &config, &err), 0);
	put(token, "");
	ck_assert_int_eq(refresh(false), -ENODATA);
	ck_assert_str_eq(current(), "one");
	unlink(token);
	ck_assert_int_eq(refresh(false), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, token));
	ck_assert_str_eq(current(), "one");
	put(token, "two");
	ck_assert_int_eq(refresh(false), 1);
	ck_assert_str_eq(current(), "two");
}
END_TEST

START_TEST(one_changes_and_another_is_missing)
{
	bool changed;

	ck_assert_int_eq(kp_credentials_new(&c, &config, &err), 0);
	put(token, "two");
	unlink(ca);
	ck_assert_int_eq(kp_credentials_refresh(c, true, &changed, &err), -ENOENT);
	ck_assert(changed);
	ck_assert_str_eq(current(), "two");
	ck_assert_uint_eq(kp_credentials_identity(c)->ca.len, 2);
}
END_TEST

START_TEST(missing_at_the_start)
{
	unlink(ca);
	ck_assert_int_eq(kp_credentials_new(&c, &config, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, "certificate authority"));
	ck_assert_ptr_null(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("credentials");
	TCase *tc = tcase_create("files");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, read_and_trimmed);
	tcase_add_test(tc, replaced);
	tcase_add_test(tc, looks_the_same);
	tcase_add_test(tc, the_last_good_one_stays);
	tcase_add_test(tc, one_changes_and_another_is_missing);
	tcase_add_test(tc, missing_at_the_start);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
