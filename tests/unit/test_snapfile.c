#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/source/snapfile.h"

static char folder[] = "/tmp/pxl-snapfile-XXXXXX";

static void setup(void)
{
	strcpy(folder, "/tmp/pxl-snapfile-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static const char *in_folder(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void teardown(void)
{
	(void)unlink(in_folder("snapshot"));
	(void)unlink(in_folder("snapshot.new"));
	(void)rmdir(folder);
}

static struct kp_buf file(const char *body)
{
	struct kp_buf b = { 0 };

	kp_snapfile_open(&b, "node-1", 77);
	kp_buf_puts(&b, body);
	kp_snapfile_close(&b, 1234567890123456789u);
	return b;
}

static int check(const char *data, size_t len, const char *node, struct kp_err *err)
{
	char *copy = kp_memdup(data, len);
	struct kp_snapfile_head head;
	int r = kp_snapfile_check(copy, len, node, &head, err);

	if (r == 0) {
		ck_assert_uint_eq(head.wall_ns, 1234567890123456789u);
		ck_assert_uint_eq(head.boot, 77);
		ck_assert(len - head.at == 7 && memcmp(data + head.at, "objects", 7) == 0);
	}
	free(copy);
	return r;
}

START_TEST(whole)
{
	struct kp_buf b = file("objects");
	struct kp_err err = { 0 };

	ck_assert_int_eq(check(b.data, b.len, "node-1", &err), 0);
	kp_buf_release(&b);
}
END_TEST

START_TEST(cut_off_or_longer)
{
	struct kp_buf b = file("objects");
	struct kp_err err;

	for (size_t len = 0; len < b.len; len++)
		ck_assert_msg(check(b.data, len, "node-1", &err) == -EBADMSG, "%zu", len);
	kp_buf_puts(&b, "x");
	ck_assert_int_eq(check(b.data, b.len, "node-1", &err), -EBADMSG);
	kp_buf_release(&b);
}
END_TEST

START_TEST(any_bit_is_another)
{
	struct kp_buf b = file("objects");
	struct kp_err err;

	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (char)(1 << bit % 8);
		ck_assert_msg(check(b.data, b.len, "node-1", &err) == -EBADMSG, "bit %zu", bit);
		b.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	kp_buf_release(&b);
}
END_TEST

START_TEST(of_somebody_else)
{
	struct kp_buf b = file("objects");
	struct kp_err err;

	ck_assert_int_eq(check(b.data, b.len, "node-2", &err), -EBADMSG);
	ck_assert_str_eq(err.msg, "it is of another node, \"node-1\"");
	ck_assert_int_eq(check(b.data, b.len, "node-10", &err), -EBADMSG);
	b.data[8] = 1;
	ck_assert_int_eq(check(b.data, b.len, "node-1", &err), -EBADMSG);
	ck_assert_str_eq(err.msg, "it is of version 1, and this proxylet reads 2");
	kp_buf_release(&b);
}
END_TEST

static void expect_read(const struct kp_buf *want)
{
	struct kp_err err = { 0 };
	struct kp_buf got = { 0 };

	ck_assert_msg(kp_snapfile_read(folder, &got, &err) == 0, "%s", err.msg);
	ck_assert(got.len == want->len && memcmp(got.data, want->data, got.len) == 0);
	kp_buf_release(&got);
}

START_TEST(written_and_read)
{
	struct kp_buf a = file("objects"), b = file("");
	struct kp_err err = { 0 };
	struct stat st;
	FILE *left;

	ck_assert_int_eq(kp_snapfile_write(folder, &a, &err), 0);
	expect_read(&a);
	ck_assert_int_eq(stat(in_folder("snapshot"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	left = fopen(in_folder("snapshot.new"), "w");	/* by one that was killed */
	ck_assert(left && fputs("half", left) >= 0 && fclose(left) == 0);
	ck_assert_int_eq(kp_snapfile_write(folder, &b, &err), 0);
	expect_read(&b);
	ck_assert_int_lt(access(in_folder("snapshot.new"), F_OK), 0);
	kp_buf_release(&a);
	kp_buf_release(&b);
}
END_TEST

/* Nobody leads us by a link to a file of somebody else. */
START_TEST(never_through_a_link)
{
	struct kp_buf b = file("objects");
	struct kp_err err = { 0 };
	struct stat st;

	ck_assert_int_eq(symlink("/dev/full", in_folder("snapshot.new")), 0);
	ck_assert_int_eq(kp_snapfile_write(folder, &b, &err), 0);
	ck_assert(lstat(in_folder("snapshot"), &st) == 0 && S_ISREG(st.st_mode));
	kp_buf_release(&b);
}
END_TEST

START_TEST(no_place)
{
	struct kp_buf b = file("objects"), got = { 0 };
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_snapfile_read(folder, &got, &err), -ENOENT);
	ck_assert_int_eq(kp_snapfile_write("/nonexistent/folder", &b, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "/nonexistent/folder: No such file or directory");
	ck_assert_int_eq(mkdir(in_folder("snapshot"), 0700), 0);
	ck_assert_int_lt(kp_snapfile_write(folder, &b, &err), 0);
	ck_assert_int_lt(access(in_folder("snapshot.new"), F_OK), 0);
	ck_assert_int_lt(kp_snapfile_read(folder, &got, &err), 0);
	ck_assert_int_eq(rmdir(in_folder("snapshot")), 0);
	kp_buf_release(&b);
}
END_TEST

START_TEST(too_large)
{
	struct kp_buf b = file("objects"), got = { 0 };
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_snapfile_write(folder, &b, &err), 0);
	ck_assert_int_eq(truncate(in_folder("snapshot"), (off_t)KP_SNAPFILE_MAX + 1), 0);
	ck_assert_int_eq(kp_snapfile_read(folder, &got, &err), -EFBIG);
	b.len = KP_SNAPFILE_MAX + 1;
	ck_assert_int_eq(kp_snapfile_write(folder, &b, &err), -EFBIG);
	kp_buf_release(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("snapfile");
	TCase *tc = tcase_create("snapfile");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, whole);
	tcase_add_test(tc, cut_off_or_longer);
	tcase_add_test(tc, any_bit_is_another);
	tcase_add_test(tc, of_somebody_else);
	tcase_add_test(tc, written_and_read);
	tcase_add_test(tc, never_through_a_link);
	tcase_add_test(tc, no_place);
	tcase_add_test(tc, too_large);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
