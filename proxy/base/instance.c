#include "proxy/base/instance.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

#define DEAD_TRIES	50
#define DEAD_PAUSE_MS	10

static const char name[] = "\0proxylet";

static socklen_t fill(struct sockaddr_un *a)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	memcpy(a->sun_path, name, sizeof(name) - 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1);
}

int kp_instance_connect(struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = fill(&a);
	int out = fd;

	if (fd < 0 || connect(fd, (const struct sockaddr *)&a, len) < 0)
		return kp_err_set(err, -errno, "connect to the running proxylet: %s", strerror(errno));
	fd = -1;
	return out;
}

/*
 * The holder need not accept: being connected is enough to learn who it is, and
 * listen() is there for that. If so many have asked that its queue is full, or it
 * lives in another pid namespace, it stays unknown: 0. That costs the message its
 * number and nothing else, since bind() alone decides.
 */
static pid_t holder(const struct sockaddr_un *a, socklen_t len)
{
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred cred;
	socklen_t n = sizeof(cred);

	if (fd < 0 || connect(fd, (const struct sockaddr *)a, len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return 0;
	return cred.pid;
}

/*
 * A child that was killed, or has not become another program yet, when the agent was killed
 * keeps its sockets for a moment.
 */
static bool is_dead(pid_t pid)
{
	return pid > 0 && kill(pid, 0) < 0 && errno == ESRCH;
}

static int refuse(pid_t pid, struct kp_err *err)
{
	if (pid > 0)
		return kp_err_set(err, -EADDRINUSE, "another proxylet (pid %d) already programs this network namespace",
				  (int)pid);
	return kp_err_set(err, -EADDRINUSE, "another proxylet already programs this network namespace");
}

int kp_instance_take(int *ret_fd, struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = fill(&a);

	if (fd < 0)
		return kp_err_set(err, -errno, "open a UNIX socket: %s", strerror(errno));
	for (int tries = 0; bind(fd, (const struct sockaddr *)&a, len) < 0; tries++) {
		int r = -errno;

		if (r != -EADDRINUSE)
			return kp_err_set(err, r, "take the place of the only proxylet here: %s", strerror(-r));
		if (tries == DEAD_TRIES || !is_dead(holder(&a, len)))
			return refuse(holder(&a, len), err);
		poll(NULL, 0, DEAD_PAUSE_MS);
	}
	if (listen(fd, SOMAXCONN) < 0)
		return kp_err_set(err, -errno, "listen on a UNIX socket: %s", strerror(errno));
	*ret_fd = fd;
	fd = -1;
	return 0;
}
