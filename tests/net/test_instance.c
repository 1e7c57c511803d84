#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/instance.h"
#include "tests/support/netns.h"

static void setup(void)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
}

/* A process that does this first, and then keeps what it has until it is ended. */
static pid_t start(bool (*first)(int arg), int arg)
{
	int ready[2];
	char c = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (pid == 0) {
		c = first(arg);
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

static bool take_place(int arg)
{
	int fd;

	(void)arg;
	return kp_instance_take(&fd, NULL) == 0;
}

static pid_t start_holder(void)
{
	return start(take_place, 0);
}

#define STRANGER 4711

/* As any user may. backlog -1: without listening; 0: the queue takes one. */
static bool bind_name(int backlog)
{
	const struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0proxylet" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return setresuid(STRANGER, STRANGER, STRANGER) == 0 &&
	       bind(fd, (const struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + 9) == 0 &&
	       (backlog < 0 || listen(fd, 100 * backlog) == 0);
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

START_TEST(refuses_without_end)
{
	pid_t pid = start_holder();
	struct kp_err err = { 0 };
	int fd;

	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(kp_instance_take(&fd, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.msg, "already programs"), "%s", err.msg);
	end(pid);
}
END_TEST

/* Who binds the name, and is no agent, is told from one: it listens, does not, or has filled its queue. */
START_TEST(strangers)
{
	char want[64];

	for (int backlog = -1; backlog < 2; backlog++) {
		pid_t pid = start(bind_name, backlog);
		struct kp_err err = { 0 };
		int fd;

		snprintf(want, sizeof(want), "pid %d of uid %d", (int)pid, STRANGER);
		if (backlog == 0)
			while ((fd = kp_instance_connect(&err)) == -EPERM)
				;
		ck_assert_int_eq(kp_instance_take(&fd, &err), -EPERM);
		ck_assert_msg(strstr(err.msg, backlog > 0 ? want : "lets nobody connect"), "%s", err.msg);
		ck_assert_int_eq(kp_instance_connect(&err), backlog > 0 ? -EPERM : backlog ? -ECONNREFUSED : -EAGAIN);
		ck_assert_int_lt(kp_instance_try(&fd), 0);
		end(pid);
		ck_assert_int_eq(kp_instance_try(&fd), 0);
		close(fd);
	}
}
END_TEST

/* As with systemd's DynamicUser and RuntimeDirectory. */
START_TEST(an_agent_with_a_user_of_its_own)
{
	struct kp_err err = { 0 };
	pid_t pid;
	int fd;

	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("none", "/run", "tmpfs", 0, NULL), 0);
	ck_assert_int_eq(mkdir("/run/proxylet", 0700), 0);
	ck_assert_int_eq(chown("/run/proxylet", STRANGER, STRANGER), 0);
	pid = start(bind_name, 1);
	ck_assert_int_eq(kp_instance_take(&fd, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.msg, "already programs"), "%s", err.msg);
	fd = kp_instance_connect(&err);
	ck_assert_int_ge(fd, 0);
	close(fd);
	end(pid);
}
END_TEST

static bool claim(int fd)
{
	return kp_instance_claim(fd) == 0;
}

/* After a hand-over it is the successor that is named. */
START_TEST(claimed_by_another)
{
	struct kp_err err = { 0 };
	int first, fd;
	char want[16];
	pid_t pid;

	ck_assert_int_eq(kp_instance_take(&first, NULL), 0);
	pid = start(claim, first);
	snprintf(want, sizeof(want), "(pid %d)", (int)pid);
	ck_assert_int_eq(kp_instance_take(&fd, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.msg, want), "%s", err.msg);
	close(first);
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

/* Who hung up on us may be ending: that is waited for, though the process is still there. */
START_TEST(holder_is_ending)
{
	struct kp_err err = { 0 };
	pid_t pid = start_holder();
	int fd;

	if (fork() == 0) {
		usleep(100000);
		kill(pid, SIGKILL);	/* nobody buries it yet */
		_exit(0);
	}
	ck_assert_int_eq(kp_instance_await(&fd, &err), 0);
	close(fd);
	end(pid);
	while (wait(NULL) > 0)
		;
}
END_TEST

int main(void)
{
	Suite *s = suite_create("instance");
	TCase *tc = tcase_create("netns");

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, second_is_refused_by_name);
	tcase_add_test(tc, refuses_without_end);
	tcase_add_test(tc, strangers);
	tcase_add_test(tc, an_agent_with_a_user_of_its_own);
	tcase_add_test(tc, claimed_by_another);
	tcase_add_test(tc, each_namespace_has_a_place);
	tcase_add_test(tc, orphan_lets_go);
	tcase_add_test(tc, holder_is_ending);
	suite_add_tcase(s, tc);
	return run_in_netns(s, NULL);
}
