#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/thread.h"
#include "proxy/sandbox.h"

/* There is no way back from a sandbox, and libcheck needs more than it allows: each goes into a child. */
static int in_sandbox(enum kp_seccomp how, enum kp_mode mode, int (*fn)(void))
{
	struct kp_config *c = kp_config_new();
	struct kp_err err = { 0 };
	int status = -1;
	pid_t pid;

	c->seccomp = how;
	pid = fork();
	if (pid == 0)
		_exit(kp_sandbox_enter(c, mode, &err) < 0 ? 255 : fn());
	kp_config_free(c);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "status %#x", status);
	return WEXITSTATUS(status);
}

/* 0 or an errno. */
static int swap_place(void)	{ return syscall(SYS_pivot_root, "/nowhere", "/nowhere") < 0 ? errno : 0; }
static int change_uts(void)	{ return unshare(CLONE_NEWUTS) < 0 ? errno : 0; }
static int raw_packets(void)	{ return socket(AF_PACKET, SOCK_DGRAM, 0) < 0 ? errno : 0; }
static int run_program(void)	{ return execl("/nowhere", "nowhere", NULL) < 0 ? errno : 0; }
static int clone_user(void)	{ return syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0) < 0 ? errno : 0; }
static int change_root(void)	{ return chroot("/") < 0 ? errno : 0; }
static int look_around(void)	{ struct stat st; return stat("/nowhere", &st) < 0 ? errno : 0; }
static int netlink(void)	{ return close(socket(AF_NETLINK, SOCK_RAW, 12)) < 0 ? errno : 0; }

static const struct {
	const char *name;
	int (*fn)(void);
	int enforced, programs, logged;		/* in a relay, in mode iptables, in a relay with seccomp: log */
} calls[] = {
	{ "pivot_root", swap_place, ENOSYS, ENOSYS, EPERM },
	{ "unshare", change_uts, ENOSYS, ENOSYS, EPERM },
	{ "socket of another family", raw_packets, ENOSYS, ENOSYS, EPERM },
	{ "chroot", change_root, ENOSYS, ENOSYS, EPERM },
	{ "clone with a namespace", clone_user, ENOSYS, ENOSYS, -1 },
	{ "execve", run_program, ENOSYS, ENOENT, ENOENT },
	{ "stat", look_around, ENOENT, ENOENT, ENOENT },
	{ "netlink", netlink, 0, 0, 0 },
};

START_TEST(listed_calls)
{
	int none = in_sandbox(KP_SECCOMP_ENFORCE, KP_MODE_UNSET, calls[_i].fn);
	int ipt = in_sandbox(KP_SECCOMP_ENFORCE, KP_MODE_IPTABLES, calls[_i].fn);

	ck_assert_msg(none == calls[_i].enforced, "%s without programs: errno %d", calls[_i].name, none);
	ck_assert_msg(ipt == calls[_i].programs, "%s in mode iptables: errno %d", calls[_i].name, ipt);
}
END_TEST

/* Let through; what then fails, fails for want of a capability. */
START_TEST(only_logged)
{
	int got = calls[_i].logged < 0 ? -1 : in_sandbox(KP_SECCOMP_LOG, KP_MODE_UNSET, calls[_i].fn);

	ck_assert_msg(got == calls[_i].logged, "%s: errno %d", calls[_i].name, got);
}
END_TEST

static pthread_barrier_t entered;

static void *refused_later(void *arg)
{
	pthread_barrier_wait(&entered);
	return change_uts() == ENOSYS ? arg : NULL;
}

/* The filter goes to threads that were there before, and to those that come. */
START_TEST(all_threads)
{
	struct kp_config *c = kp_config_new();
	struct kp_err err = { 0 };
	void *before = NULL, *after = NULL;
	pthread_t thread;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		pthread_barrier_init(&entered, NULL, 2);
		pthread_create(&thread, NULL, refused_later, c);
		if (kp_sandbox_enter(c, KP_MODE_NFTABLES, &err) < 0)
			_exit(1);
		pthread_barrier_wait(&entered);
		pthread_join(thread, &before);
		pthread_create(&thread, NULL, refused_later, c);
		pthread_barrier_wait(&entered);
		pthread_join(thread, &after);
		_exit(before && after ? 0 : 2);
	}
	kp_config_free(c);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

static void *refused_here(void *arg)
{
	return change_uts() == ENOSYS ? arg : NULL;
}

static int refused_in_our_thread(void)
{
	void *ok = NULL;
	pthread_t thread;

	if (kp_thread_start(&thread, "test", refused_here, &thread) < 0)
		return 1;
	pthread_join(thread, &ok);
	return ok ? 0 : 2;
}

/* The agent's threads have every other signal blocked; with this one blocked the kernel would end the process. */
START_TEST(our_threads)
{
	ck_assert_int_eq(in_sandbox(KP_SECCOMP_ENFORCE, KP_MODE_UNSET, refused_in_our_thread), 0);
}
END_TEST

static int refused_thrice(void)
{
	return swap_place() == ENOSYS && swap_place() == ENOSYS && swap_place() == ENOSYS ? 0 : 1;
}

/* What was refused is said by name, and only once. */
START_TEST(named_in_the_log)
{
	int saved = dup(STDERR_FILENO), log[2], code;
	char text[4096] = "";
	const char *first;
	ssize_t n;

	ck_assert_int_eq(pipe(log), 0);
	dup2(log[1], STDERR_FILENO);
	code = in_sandbox(KP_SECCOMP_ENFORCE, KP_MODE_UNSET, refused_thrice);
	dup2(saved, STDERR_FILENO);
	ck_assert_int_eq(code, 0);
	close(log[1]);
	n = read(log[0], text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	first = strstr(text, "refused system call pivot_root");
	ck_assert_msg(first, "%s", text);
	ck_assert_ptr_null(strstr(first + 1, "refused"));
}
END_TEST

static int run_shell(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", "test \"$(echo x | cat)\" = x", NULL);
		_exit(99);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : 1;
}

/* A program that is started where there are any inherits the filter, and works. */
START_TEST(programs_run)
{
	ck_assert_int_eq(in_sandbox(KP_SECCOMP_ENFORCE, KP_MODE_IPTABLES, run_shell), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sandbox");
	TCase *tc = tcase_create("calls");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, listed_calls, 0, KP_N(calls));
	tcase_add_loop_test(tc, only_logged, 0, KP_N(calls));
	tcase_add_test(tc, all_threads);
	tcase_add_test(tc, our_threads);
	tcase_add_test(tc, named_in_the_log);
	tcase_add_test(tc, programs_run);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
