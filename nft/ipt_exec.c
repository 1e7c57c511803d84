#include "nft/ipt_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

enum { IN, OUT, COMPLAINT, N_PIPES };

/* Our ends, -1 when closed, and the child's. */
struct child {
	pid_t pid;
	int ours[N_PIPES], its[N_PIPES];
};

static void close_all(int fds[N_PIPES])
{
	for (int i = 0; i < N_PIPES; i++) {
		kp_closep(&fds[i]);
		fds[i] = -1;
	}
}

static int open_pipes(struct child *c)
{
	for (int i = 0; i < N_PIPES; i++)
		c->ours[i] = c->its[i] = -1;
	for (int i = 0; i < N_PIPES; i++) {
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		c->ours[i] = fds[i == IN ? 1 : 0];
		c->its[i] = fds[i == IN ? 0 : 1];
		if (fcntl(c->ours[i], F_SETFL, O_NONBLOCK) < 0)
			return -errno;
	}
	return 0;
}

/* In the child: only what is safe after a fork of one thread of several. */
__attribute__((noreturn))
static void become(const char *const argv[], const struct child *c, pid_t parent)
{
	sigset_t none;

	for (int i = 0; i < N_PIPES; i++)
		if (dup2(c->its[i], i) < 0)
			_exit(126);
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);	/* execv() would: sooner, should the agent be killed just now */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (getppid() == parent)	/* else it died before we said that we want to know */
		execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static int start(struct child *c, const char *const argv[])
{
	pid_t parent = getpid();
	int r = open_pipes(c);

	if (r == 0) {
		c->pid = fork();
		if (c->pid == 0)
			become(argv, c, parent);
		r = c->pid < 0 ? -errno : 0;
	}
	close_all(c->its);
	if (r < 0)
		close_all(c->ours);
	return r;
}

static void close_one(int *fd)
{
	close(*fd);
	*fd = -1;
}

/* A child that closed its input has said why, or will by its status. */
static void feed(int *fd, const struct kp_buf *in, size_t *at)
{
	ssize_t n = write(*fd, in->data + *at, in->len - *at);

	if (n > 0)
		*at += (size_t)n;
	if ((n < 0 && errno != EAGAIN && errno != EINTR) || *at == in->len)
		close_one(fd);
}

static void drain(int *fd, struct kp_buf *to)
{
	char buf[65536];
	ssize_t n = read(*fd, buf, sizeof(buf));

	if (n > 0 && to)
		kp_buf_add(to, buf, (size_t)n);
	else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_one(fd);
}

/* Until it has closed its outputs, or -ETIMEDOUT. */
static int converse(struct child *c, const struct kp_buf *in, struct kp_buf *to[N_PIPES], uint64_t until_ms)
{
	size_t at = 0;

	if (!in || !in->len)
		close_one(&c->ours[IN]);
	while (c->ours[OUT] >= 0 || c->ours[COMPLAINT] >= 0) {
		uint64_t now = kp_now_ms();
		struct pollfd p[N_PIPES];

		for (int i = 0; i < N_PIPES; i++)
			p[i] = (struct pollfd){ .fd = c->ours[i], .events = i == IN ? POLLOUT : POLLIN };
		if (now >= until_ms || poll(p, N_PIPES, (int)(until_ms - now)) == 0)
			return -ETIMEDOUT;
		if (c->ours[IN] >= 0 && p[IN].revents)
			feed(&c->ours[IN], in, &at);
		for (int i = OUT; i < N_PIPES; i++)
			if (c->ours[i] >= 0 && p[i].revents)
				drain(&c->ours[i], to[i]);
	}
	return 0;
}

static int reap(pid_t pid, const char *name, struct kp_err *err)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return kp_err_set(err, -errno, "%s: wait: %s", name, strerror(errno));
	if (WIFSIGNALED(status))
		return kp_err_set(err, -EIO, "%s: killed by signal %d", name, WTERMSIG(status));
	if (WEXITSTATUS(status))
		return kp_err_set(err, -EIO, "%s: exit status %d", name, WEXITSTATUS(status));
	return 0;
}

int dp_ipt_exec(const char *const argv[], const struct kp_buf *in, struct kp_buf *out, struct kp_buf *complaint,
		unsigned deadline_ms, struct kp_err *err)
{
	struct kp_buf *to[N_PIPES] = { [OUT] = out, [COMPLAINT] = complaint };
	struct child c = { 0 };
	int r = start(&c, argv), status;

	if (r < 0)
		return kp_err_set(err, r, "%s: cannot be started: %s", argv[0], strerror(-r));
	r = converse(&c, in, to, kp_now_ms() + deadline_ms);
	close_all(c.ours);
	if (r < 0 && c.pid > 0)
		kill(c.pid, SIGKILL);
	status = reap(c.pid, argv[0], err);
	return r < 0 ? kp_err_set(err, r, "%s: no end after %u ms, killed", argv[0], deadline_ms) : status;
}
