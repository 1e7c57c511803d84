#include "nft/iptrun.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

#define MAX_OUTPUT	(256u << 20)	/* of a node with 50,000 Services in mode iptables, twice */

static const struct { const char *save, *restore; } programs[KP_N_FAMILIES] = {
	{ "iptables-legacy-save", "iptables-legacy-restore" }, { "ip6tables-legacy-save", "ip6tables-legacy-restore" },
};

/* A program and our ends of its three streams. */
struct child {
	pid_t pid;
	int streams[3];		/* -1: closed */
};

enum { IN, OUT, ERR };

/* Sockets, so that writing to a program that has ended is an error and no signal. */
static int open_streams(int ours[3], int theirs[3])
{
	for (int i = 0; i < 3; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		ours[i] = pair[0];
		theirs[i] = pair[1];
		(void)fcntl(ours[i], F_SETFL, O_NONBLOCK);
		(void)shutdown(ours[i], i == IN ? SHUT_RD : SHUT_WR);
	}
	return 0;
}

static int spawn(struct child *c, const char *const argv[], const int theirs[3])
{
	static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, pipes;
	int r;

	sigemptyset(&none);
	sigemptyset(&pipes);
	sigaddset(&pipes, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	for (int i = 0; i < 3; i++)
		posix_spawn_file_actions_adddup2(&files, theirs[i], i);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &pipes);
	r = posix_spawnp(&c->pid, argv[0], &files, &attr, (char *const *)argv, (char *const *)env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -r;
}

static void close_stream(struct child *c, int i)
{
	kp_closep(&c->streams[i]);
	c->streams[i] = -1;
}

/* What has come; the stream is closed at its end. */
static int take(struct child *c, int i, struct kp_buf *to)
{
	ssize_t got = read(c->streams[i], kp_buf_reserve(to, 65536), 65535);

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (got == 0)
		close_stream(c, i);
	to->len += (size_t)got;
	return to->len > MAX_OUTPUT ? -EFBIG : 0;
}

static void give(struct child *c, const char *input, size_t len, size_t *at)
{
	ssize_t n = *at < len ? send(c->streams[IN], input + *at, len - *at, MSG_NOSIGNAL) : 0;

	if (n > 0)
		*at += (size_t)n;
	if (*at == len || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_stream(c, IN);	/* one that does not read its input has said why */
}

/* Until both outputs are at their end. */
static int talk(struct child *c, const char *input, uint64_t until_ms, int cancel_fd, struct kp_buf *out, struct kp_buf *errors)
{
	size_t len = input ? strlen(input) : 0, at = 0;
	int r = 0;

	while (r == 0 && (c->streams[OUT] >= 0 || c->streams[ERR] >= 0)) {
		uint64_t now = kp_now_ms();
		struct pollfd fds[] = {
			{ c->streams[IN], POLLOUT, 0 }, { c->streams[OUT], POLLIN, 0 }, { c->streams[ERR], POLLIN, 0 },
			{ cancel_fd, POLLIN, 0 },
		};

		if (now >= until_ms)
			return -ETIMEDOUT;
		if (poll(fds, KP_N(fds), (int)(until_ms - now)) < 0 && errno != EINTR)
			return -errno;
		if (fds[3].revents)
			return -ECANCELED;
		if (fds[IN].revents)
			give(c, input, len, &at);
		if (fds[OUT].revents)
			r = take(c, OUT, out);
		if (r == 0 && fds[ERR].revents)
			r = take(c, ERR, errors);
	}
	return r;
}

static int wait_for(const struct child *c, int *ret_status)
{
	while (waitpid(c->pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int verdict(const char *name, int r, int status, struct kp_buf *errors, struct kp_err *err)
{
	kp_buf_add(errors, "", 1);
	if (r < 0)
		return kp_err_set(err, r, "%s: %s", name, strerror(-r));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	errors->data[strcspn(errors->data, "\n")] = '\0';
	if (WIFSIGNALED(status))
		return kp_err_set(err, -EIO, "%s: ended by signal %d", name, WTERMSIG(status));
	return kp_err_set(err, -EIO, "%s: exit status %d: %s", name, WEXITSTATUS(status), errors->data);
}

int dp_run(const char *const argv[], const char *input, unsigned deadline_ms, int cancel_fd, struct kp_buf *out,
	   struct kp_err *err)
{
	struct child c = { .streams = { -1, -1, -1 } };
	int theirs[3] = { -1, -1, -1 }, status = 0, waited;
	struct kp_buf errors = { 0 };
	int r = open_streams(c.streams, theirs);

	if (r == 0)
		r = spawn(&c, argv, theirs);
	for (int i = 0; i < 3; i++)
		kp_closep(&theirs[i]);
	if (r == 0)
		r = talk(&c, input, kp_now_ms() + deadline_ms, cancel_fd, out, &errors);
	if (r < 0 && c.pid > 0)
		(void)kill(c.pid, SIGKILL);
	waited = c.pid > 0 ? wait_for(&c, &status) : 0;
	for (int i = 0; i < 3; i++)
		close_stream(&c, i);
	r = verdict(argv[0], r < 0 ? r : waited, status, &errors, err);
	kp_buf_release(&errors);
	return r;
}

int dp_legacy_save(enum kp_family f, unsigned deadline_ms, int cancel_fd, struct kp_buf *ret, struct kp_err *err)
{
	const char *const argv[] = { programs[f].save, NULL };
	int r = dp_run(argv, NULL, deadline_ms, cancel_fd, ret, err);

	*kp_buf_reserve(ret, 1) = '\0';
	return r;
}

/* Waits for the lock that all its users share. */
int dp_legacy_restore(enum kp_family f, const char *input, unsigned deadline_ms, int cancel_fd, struct kp_err *err)
{
	const char *const argv[] = { programs[f].restore, "--noflush", "-w", "5", NULL };
	struct kp_buf out = { 0 };
	int r = dp_run(argv, input, deadline_ms, cancel_fd, &out, err);

	kp_buf_release(&out);
	return r;
}

bool dp_legacy_in_use(enum kp_family f)
{
	FILE *names = fopen(f == KP_IPV4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names", "re");
	bool any = names && fgetc(names) != EOF;

	if (names)
		(void)fclose(names);
	return any;
}
