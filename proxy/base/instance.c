#include "proxy/base/instance.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

#define TRIES		50
#define TRIES_AWAIT	200
#define PAUSE_MS	10
#define FOLDER		"/run/proxylet"

static const char name[] = "\0proxylet";

static socklen_t fill(struct sockaddr_un *a)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	memcpy(a->sun_path, name, sizeof(name) - 1);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1);
}

/* As the kernel noted it at listen(). The holder need not accept, being connected is enough to learn it. */
struct holder {
	bool known;		/* false: it lets nobody connect */
	struct ucred cred;	/* pid 0: of another pid namespace */
};

/* A connection to the holder, or -errno: *ret stays what it was. */
static int ask(struct holder *ret)
{
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = fill(&a), n = sizeof(ret->cred);
	int out = fd;

	if (fd < 0 || connect(fd, (const struct sockaddr *)&a, len) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ret->cred, &n) < 0)
		return -errno;
	ret->known = true;
	fd = -1;
	return out;
}

/*
 * Any process may bind an abstract name, so that it says nothing about who has it; the uid does. Besides
 * root and ourselves that is the user to whom root gave the folder of the status socket, as systemd does:
 * so root can take over from an agent with a user of its own.
 */
static bool is_trusted(const struct holder *h)
{
	struct stat st;

	return h->known && (h->cred.uid == 0 || h->cred.uid == geteuid() ||
			    (stat(FOLDER, &st) == 0 && st.st_uid == h->cred.uid));
}

/*
 * A child that was killed, or has not become another program yet, when the agent was killed
 * keeps its sockets for a moment.
 */
static bool is_dead(const struct holder *h)
{
	return h->cred.pid > 0 && kill(h->cred.pid, 0) < 0 && errno == ESRCH;
}

static int refuse(const struct holder *h, struct kp_err *err)
{
	if (!h->known)
		return kp_err_set(err, -EPERM, "a process that lets nobody connect holds the name \"@proxylet\"");
	if (!is_trusted(h))
		return kp_err_set(err, -EPERM, "pid %d of uid %u, which is no user of an agent, holds the name \"@proxylet\"",
				  (int)h->cred.pid, (unsigned)h->cred.uid);
	if (h->cred.pid > 0)
		return kp_err_set(err, -EADDRINUSE, "another proxylet (pid %d) already programs this network namespace",
				  (int)h->cred.pid);
	return kp_err_set(err, -EADDRINUSE, "another proxylet already programs this network namespace");
}

int kp_instance_connect(struct kp_err *err)
{
	struct holder h = { .known = false };
	KP_AUTO(kp_closep) int fd = ask(&h);
	int out = fd;

	if (fd < 0)
		return kp_err_set(err, fd, "connect to the running proxylet: %s", strerror(-fd));
	if (!is_trusted(&h))
		return refuse(&h, err);
	fd = -1;
	return out;
}

/* Somebody to wait for: nobody who has the place for good. An agent listens at once and empties its queue. */
static bool may_let_go(const struct holder *h)
{
	return !is_trusted(h) || is_dead(h);
}

static int take(unsigned tries, bool will_end, int *ret_fd, struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a;
	socklen_t len = fill(&a);
	struct holder h = { .known = false };

	if (fd < 0)
		return kp_err_set(err, -errno, "open a UNIX socket: %s", strerror(errno));
	while (bind(fd, (const struct sockaddr *)&a, len) < 0) {
		int r = -errno, asked;

		if (r != -EADDRINUSE)
			return kp_err_set(err, r, "take the place of the only proxylet here: %s", strerror(-r));
		asked = ask(&h);
		kp_closep(&asked);
		if (!--tries || (!will_end && !may_let_go(&h)))
			return refuse(&h, err);
		poll(NULL, 0, PAUSE_MS);
	}
	if (kp_instance_claim(fd) < 0)
		return kp_err_set(err, -errno, "listen on a UNIX socket: %s", strerror(errno));
	*ret_fd = fd;
	fd = -1;
	return 0;
}

int kp_instance_take(int *ret_fd, struct kp_err *err)
{
	return take(TRIES, false, ret_fd, err);
}

int kp_instance_try(int *ret_fd)
{
	return take(1, false, ret_fd, NULL);
}

int kp_instance_await(int *ret_fd, struct kp_err *err)
{
	return take(TRIES_AWAIT, true, ret_fd, err);
}

int kp_instance_claim(int fd)
{
	return listen(fd, SOMAXCONN);
}
