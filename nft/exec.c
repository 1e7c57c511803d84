#include "nft/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

#define MAX_OUTPUT	(256u << 20)	/* of a node with 50,000 Services in mode iptables, twice */

enum { IN, OUT, COMPLAINT, N_STREAMS };

/* A program and both ends of its streams, -1 when closed. */
struct child {
	pid_t pid;
	int ours[N_STREAMS], its[N_STREAMS];
};

static void close_one(int *fd)
{
	kp_closep(fd);
	*fd = -1;
}

static void close_all(int fds[N_STREAMS])
{
	for (int i = 0; i < N_STREAMS; i++)
		close_one(&fds[i]);
}

/* Sockets, so that writing to a program that has ended is an error and no signal. */
static int open_streams(struct child *c)
{
	for (int i = 0; i < N_STREAMS; i++) {
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			return -errno;
		c->ours[i] = pair[0];
		c->its[i] = pair[1];
		(void)shutdown(c->ours[i], i == IN ? SHUT_RD : SHUT_WR);
		if (fcntl(c->ours[i], F_SETFL, O_NONBLOCK) < 0)
			return -errno;
	}
	return 0;
}

/* In the child: only what is safe after a fork of one thread of several. */
__attribute__((noreturn))
static void become(const char *const argv[], const struct child *c, pid_t parent)
{
	static const char *const env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL };
	sigset_t none;

	for (int i = 0; i < N_STREAMS; i++)
		if (dup2(c->its[i], i) < 0)
			_exit(126);
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);	/* execve() would: sooner, should the agent be killed just now */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (getppid() == parent)	/* else it died before we said that we want to know */
		execve(argv[0], (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env);
	_exit(127);
}

static int start(struct child *c, const char *const argv[])
{
	pid_t parent = getpid();
	int r = access(argv[0], X_OK) < 0 ? -errno : open_streams(c);

	if (r == 0) {
		c->pid = fork();
		if (c->pid == 0)
			become(argv, c, parent);
		r = c->pid < 0 ? -errno : 0;
	}
	close_all(c->its);
	return r;
}

/* A child that closed its input has said why, or will by its status. */
static void feed(int *fd, const struct kp_buf *in, size_t *at)
{
	size_t len = in ? in->len : 0;
	ssize_t n = *at < len ? send(*fd, in->data + *at, len - *at, MSG_NOSIGNAL) : 0;

	if (n > 0)
		*at += (size_t)n;
	if (*at == len || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_one(fd);
}

/* What has come; the stream is closed at its end. */
static int take(int *fd, struct kp_buf *to)
{
	ssize_t n = read(*fd, kp_buf_reserve(to, 65536), 65535);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		close_one(fd);
	to->len += (size_t)n;
	to->data[to->len] = '\0';
	return to->len > MAX_OUTPUT ? -EFBIG : 0;
}

/* Until both outputs are at their end. */
static int converse(struct child *c, const struct kp_buf *in, uint64_t until_ms, int cancel_fd, struct kp_buf *to[N_STREAMS])
{
	size_t at = 0;
	int r = 0;

	while (r == 0 && (c->ours[OUT] >= 0 || c->ours[COMPLAINT] >= 0)) {
		uint64_t now = kp_now_ms();
		struct pollfd p[] = {
			{ c->ours[IN], POLLOUT, 0 }, { c->ours[OUT], POLLIN, 0 }, { c->ours[COMPLAINT], POLLIN, 0 },
			{ cancel_fd, POLLIN, 0 },
		};

		if (now >= until_ms)
			return -ETIMEDOUT;
		if (poll(p, KP_N(p), (int)(until_ms - now)) < 0 && errno != EINTR)
			return -errno;
		if (p[N_STREAMS].revents)
			return -ECANCELED;
		if (p[IN].revents)
			feed(&c->ours[IN], in, &at);
		for (int i = OUT; i < N_STREAMS && r == 0; i++)
			r = p[i].revents ? take(&c->ours[i], to[i]) : 0;
	}
	return r;
}

static int reap(const struct child *c, int *ret_status)
{
	while (waitpid(c->pid, ret_status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int verdict(const char *name, int status, const struct kp_buf *complaint, struct kp_err *err)
{
	int len = (int)strcspn(complaint->data, "\n");

	if (WIFSIGNALED(status))
		return kp_err_set(err, -EIO, "%s: killed by signal %d", name, WTERMSIG(status));
	if (WEXITSTATUS(status))
		return kp_err_set(err, -EIO, "%s: exit status %d%s%.*s", name, WEXITSTATUS(status), len ? ": " : "", len,
				  complaint->data);
	return 0;
}

static int run(const char *const argv[], const struct kp_buf *in, unsigned deadline_ms, int cancel_fd,
	       struct kp_buf *to[N_STREAMS], struct kp_err *err)
{
	struct child c = { .ours = { -1, -1, -1 }, .its = { -1, -1, -1 } };
	int r = start(&c, argv), status = 0, waited;

	if (r < 0) {
		close_all(c.ours);
		return kp_err_set(err, r, "%s: cannot be started: %s", argv[0], strerror(-r));
	}
	r = converse(&c, in, kp_now_ms() + deadline_ms, cancel_fd, to);
	close_all(c.ours);
	if (r < 0)
		(void)kill(c.pid, SIGKILL);
	waited = reap(&c, &status);
	r = r < 0 ? r : waited;
	if (r == -ETIMEDOUT)
		return kp_err_set(err, r, "%s: no end after %u ms, killed", argv[0], deadline_ms);
	if (r < 0)
		return kp_err_set(err, r, "%s: %s", argv[0], strerror(-r));
	return verdict(argv[0], status, to[COMPLAINT], err);
}

int dp_exec(const char *const argv[], const struct kp_buf *in, unsigned deadline_ms, int cancel_fd, struct kp_buf *out,
	    struct kp_buf *complaint, struct kp_err *err)
{
	struct kp_buf bin[N_STREAMS] = { { 0 } };
	struct kp_buf *to[N_STREAMS] = { [OUT] = out ? out : &bin[OUT], [COMPLAINT] = complaint ? complaint : &bin[COMPLAINT] };
	int r;

	for (int i = OUT; i < N_STREAMS; i++)
		*kp_buf_reserve(to[i], 1) = '\0';
	r = run(argv, in, deadline_ms, cancel_fd, to, err);
	for (int i = OUT; i < N_STREAMS; i++)
		kp_buf_release(&bin[i]);
	return r;
}
