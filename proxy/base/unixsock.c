#include "proxy/base/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define BACKLOG 16

static int fill(struct sockaddr_un *a, const char *path, struct kp_err *err)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(a->sun_path))
		return kp_err_set(err, -ENAMETOOLONG, "'%s' is no path for a socket: 1 to %zu bytes", path, sizeof(a->sun_path) - 1);
	memcpy(a->sun_path, path, strlen(path) + 1);
	return 0;
}

static void make_folder(const char *path)
{
	KP_AUTO(kp_freep) char *copy = kp_strdup(path);

	/* If it fails, opening the lock says why. */
	(void)mkdir(dirname(copy), 0755);
}

static int take_lock(const char *path, int *ret, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *name = kp_asprintf("%s.lock", path);
	KP_AUTO(kp_closep) int fd = -1;

	make_folder(path);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kp_err_set(err, -errno, "open '%s': %s", name, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return kp_err_set(err, -EADDRINUSE, "another process listens at '%s'", path);
		return kp_err_set(err, -errno, "lock '%s': %s", name, strerror(errno));
	}
	*ret = fd;
	fd = -1;
	return 0;
}

/* With the lock held: whatever socket is at the path, nobody listens there. */
static int bind_there(const struct sockaddr_un *a, int *ret, struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return kp_err_set(err, -errno, "open a UNIX socket: %s", strerror(errno));
	if (lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(a->sun_path);	/* bind() says if it is still there */
	/* The mode of the descriptor becomes that of the path: at no time may others connect. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 || listen(fd, BACKLOG) < 0)
		return kp_err_set(err, -errno, "listen at '%s': %s", a->sun_path, strerror(errno));
	*ret = fd;
	fd = -1;
	return 0;
}

int kp_unixsock_listen(struct kp_unixsock *ret, const char *path, struct kp_err *err)
{
	struct kp_unixsock s = KP_UNIXSOCK_NONE;
	struct sockaddr_un a;
	int r = fill(&a, path, err);

	*ret = s;
	if (r == 0)
		r = take_lock(path, &s.lock, err);
	if (r == 0)
		r = bind_there(&a, &s.fd, err);
	if (r < 0) {
		kp_closep(&s.lock);
		return r;
	}
	s.path = kp_strdup(path);
	*ret = s;
	return 0;
}

void kp_unixsock_close(struct kp_unixsock *s)
{
	if (s->path)
		(void)unlink(s->path);	/* left behind, it refuses connections: nearly as good */
	free(s->path);
	kp_closep(&s->fd);
	kp_closep(&s->lock);	/* last: until here the path is ours */
	*s = (struct kp_unixsock)KP_UNIXSOCK_NONE;
}

/* A name such as this, and the path of the socket, may both be reused; the lock's file is not. */
static bool is_lock_of(const char *path, int lock)
{
	KP_AUTO(kp_freep) char *name = kp_asprintf("%s.lock", path);
	struct stat theirs, ours;

	return fstat(lock, &theirs) == 0 && stat(name, &ours) == 0 && theirs.st_dev == ours.st_dev &&
	       theirs.st_ino == ours.st_ino;
}

bool kp_unixsock_adopt(struct kp_unixsock *ret, const char *path, int fd, int lock)
{
	struct kp_unixsock s = { .fd = fd, .lock = lock };

	if (fd < 0 || lock < 0 || !is_lock_of(path, lock)) {
		kp_unixsock_leave(&s);
		return false;
	}
	s.path = kp_strdup(path);
	*ret = s;
	return true;
}

void kp_unixsock_leave(struct kp_unixsock *s)
{
	free(s->path);
	kp_closep(&s->fd);
	kp_closep(&s->lock);
	*s = (struct kp_unixsock)KP_UNIXSOCK_NONE;
}

int kp_unixsock_connect(const char *path, int timeout_ms, struct kp_err *err)
{
	const struct timeval limit = { .tv_sec = timeout_ms / 1000, .tv_usec = (timeout_ms % 1000) * 1000 };
	KP_AUTO(kp_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	int r = fill(&a, path, err), out;

	if (r < 0)
		return r;
	if (fd < 0)
		return kp_err_set(err, -errno, "open a UNIX socket: %s", strerror(errno));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
	    connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return kp_err_set(err, -errno, "connect to '%s': %s", path, strerror(errno));
	out = fd;
	fd = -1;
	return out;
}
