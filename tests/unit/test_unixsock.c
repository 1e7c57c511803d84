#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/unixsock.h"

static char folder[64];
static char *path;

static void set_up(void)
{
	snprintf(folder, sizeof(folder), "/tmp/pxl-unixsock.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	path = kp_asprintf("%s/made/x.sock", folder);
}

static void tear_down(void)
{
	static const char *const left[] = { "made/x.sock", "made/x.sock.lock", "made", "" };

	for (size_t i = 0; i < KP_N(left); i++) {
		KP_AUTO(kp_freep) char *name = kp_asprintf("%s/%s", folder, left[i]);

		(void)remove(name);
	}
	free(path);
}

static int exchange(int fd)
{
	struct kp_err err = { 0 };
	int c = kp_unixsock_connect(path, 1000, &err), peer;
	char got = 0;

	if (c < 0)
		return err.code;
	peer = accept(fd, NULL, NULL);
	ck_assert_int_eq(write(c, "x", 1), 1);
	ck_assert_int_eq(read(peer, &got, 1), 1);
	close(peer);
	close(c);
	return got == 'x' ? 0 : -1;
}

START_TEST(test_listen)
{
	struct kp_unixsock s, second;
	struct kp_err err = { 0 };
	struct stat st;

	ck_assert_int_eq(kp_unixsock_listen(&s, path, &err), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode, S_IFSOCK | 0600);
	ck_assert_int_eq(exchange(s.fd), 0);
	/* flock() belongs to the open file: this process is another one as far as it is concerned */
	ck_assert_int_eq(kp_unixsock_listen(&second, path, &err), -EADDRINUSE);
	ck_assert_ptr_null(second.path);
	kp_unixsock_close(&second);
	ck_assert_int_eq(exchange(s.fd), 0);
	kp_unixsock_close(&s);
	ck_assert_int_eq(stat(path, &st), -1);
	ck_assert_int_eq(kp_unixsock_connect(path, 1000, &err), -ENOENT);
	ck_assert_int_eq(kp_unixsock_listen(&s, path, &err), 0);
	kp_unixsock_close(&s);
}
END_TEST

/* As after kill -9: the socket is there, and nobody has the lock. */
START_TEST(test_left_behind)
{
	struct kp_unixsock s;
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_unixsock_listen(&s, path, &err), 0);
	close(s.fd);
	close(s.lock);
	free(s.path);
	ck_assert_int_eq(kp_unixsock_connect(path, 1000, &err), -ECONNREFUSED);
	ck_assert_int_eq(kp_unixsock_listen(&s, path, &err), 0);
	ck_assert_int_eq(exchange(s.fd), 0);
	kp_unixsock_close(&s);
}
END_TEST

/* Only sockets are removed to make room. */
START_TEST(test_something_else_is_there)
{
	struct kp_unixsock s;
	struct kp_err err = { 0 };
	struct stat st;

	ck_assert_int_eq(kp_unixsock_listen(&s, path, &err), 0);
	kp_unixsock_close(&s);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	ck_assert_int_eq(kp_unixsock_listen(&s, path, &err), -EADDRINUSE);
	ck_assert_int_eq(stat(path, &st), 0);
}
END_TEST

START_TEST(test_bad_paths)
{
	struct kp_unixsock s;
	struct kp_err err = { 0 };
	char lengthy[200];

	memset(lengthy, 'x', sizeof(lengthy));
	lengthy[0] = '/';
	lengthy[sizeof(lengthy) - 1] = '\0';
	ck_assert_int_eq(kp_unixsock_listen(&s, lengthy, &err), -ENAMETOOLONG);
	ck_assert_int_eq(kp_unixsock_listen(&s, "", &err), -ENAMETOOLONG);
	ck_assert_int_eq(kp_unixsock_listen(&s, "/nowhere/at/all/x.sock", &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, "/nowhere/at/all/x.sock"));
	kp_unixsock_close(&s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unixsock");
	TCase *t = tcase_create("unixsock");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_listen);
	tcase_add_test(t, test_left_behind);
	tcase_add_test(t, test_something_else_is_there);
	tcase_add_test(t, test_bad_paths);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
