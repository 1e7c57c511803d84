#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/instance.h"

static void setup(void)
{
	if (unshare(CLONE_NEWNET) == -1) {
		fprintf(stderr, "skipped: no network namespaces here: %s\n", strerror(errno));
		exit(77);
	}
}

/* A process that takes the place and keeps it until it is ended. */
static pid_t start_holder(void)
{
	int ready[2], fd;
	char c = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		c = kp_instance_take(&fd, NULL) == 0;
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	ck_assert_int_eq(c, 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

START_TEST(second_is_refused_by_name)
{
	pid_t pid = start_holder();
	struct kp_err err = { 0 };
	char want[128];
	int fd = -7;

	snprintf(want, sizeof(want), "another proxylet (pid %d) already programs this network namespace", (int)pid);
	ck_assert_int_eq(kp_instance_take(&fd, &err), -EADDRINUSE);
	ck_assert_str_eq(err.msg, want);
	ck_assert_int_eq(fd, -7);
	end(pid);
	ck_assert_int_eq(kp_instance_take(&fd, &err), 0);
	close(fd);
	ck_assert_int_eq(kp_instance_take(&fd, &err), 0);
	close(fd);
}
END_TEST

/* Far more attempts than the holder's queue takes, none of them hangs. */
START_TEST(refuses_without_end)
{
	pid_t pid = start_holder();
	struct kp_err err = { 0 };
	int fd;

	for (int i = 0; i < 10000; i++)
		ck_assert_int_eq(kp_instance_take(&fd, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.msg, "already programs"), "%s", err.msg);
	end(pid);
}
END_TEST

START_TEST(each_namespace_has_a_place)
{
	int here, there;

	ck_assert_int_eq(kp_instance_take(&here, NULL), 0);
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	ck_assert_int_eq(kp_instance_take(&there, NULL), 0);
	close(here);
	close(there);
}
END_TEST

/* The holder is dead, a child of it that has not let go of the socket yet is not: that is waited for. */
START_TEST(orphan_lets_go)
{
	int ready[2], fd, r = -1;
	char c = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		c = kp_instance_take(&fd, NULL) == 0;
		if (fork() == 0) {
			usleep(100000);
			_exit(0);
		}
		_exit(write(ready[1], &c, 1) != 1);
	}
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	waitpid(pid, NULL, 0);
	r = kp_instance_take(&fd, NULL);
	ck_assert_int_eq(r, 0);
	close(fd);
	close(ready[0]);
	close(ready[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("instance");
	TCase *tc = tcase_create("netns");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, second_is_refused_by_name);
	tcase_add_test(tc, refuses_without_end);
	tcase_add_test(tc, each_namespace_has_a_place);
	tcase_add_test(tc, orphan_lets_go);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
