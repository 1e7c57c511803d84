#include "proxy/base/fdline.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/fdsend.h"
#include "proxy/base/mem.h"

#define MAX_FDS 253		/* of one message: the kernel's SCM_MAX_FD */

struct queued {
	char *line;
	size_t len;		/* with its newline */
	int fd;
};

struct kp_fdline {
	int fd;
	struct queued *out;
	size_t n_out, cap_out;
	size_t at, sent;	/* the line that goes next, and how much of it is out */
	char in[KP_FDLINE_MAX];
	size_t in_len, used;	/* used: by the line that was got last */
	int *fds;		/* in the order they came */
	size_t n_fds, cap_fds;
};

struct kp_fdline *kp_fdline_new(int fd_taken)
{
	struct kp_fdline *l = kp_calloc(1, sizeof(*l));

	l->fd = fd_taken;
	return l;
}

struct kp_fdline *kp_fdline_free(struct kp_fdline *l)
{
	if (!l)
		return NULL;
	for (size_t i = l->at; i < l->n_out; i++) {
		free(l->out[i].line);
		kp_closep(&l->out[i].fd);
	}
	for (size_t i = 0; i < l->n_fds; i++)
		close(l->fds[i]);
	free(l->out);
	free(l->fds);
	close(l->fd);
	free(l);
	return NULL;
}

int kp_fdline_fd(const struct kp_fdline *l)
{
	return l->fd;
}

void kp_fdline_put(struct kp_fdline *l, const char *line, int fd_taken)
{
	kp_grow(&l->out, l->n_out, &l->cap_out);
	l->out[l->n_out++] = (struct queued){ kp_asprintf("%s\n", line), strlen(line) + 1, fd_taken };
}

int kp_fdline_flush(struct kp_fdline *l)
{
	while (l->at < l->n_out) {
		struct queued *q = &l->out[l->at];
		/* the descriptor goes with the line's first byte */
		ssize_t n = kp_fdsend(l->fd, q->line + l->sent, q->len - l->sent, l->sent ? -1 : q->fd, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)	/* ETOOMANYREFS: so many are under way that the peer has to take some first */
			return errno == ETOOMANYREFS ? -EAGAIN : -errno;
		l->sent += (size_t)n;
		if (l->sent < q->len)
			continue;
		free(q->line);
		kp_closep(&q->fd);
		l->at++;
		l->sent = 0;
	}
	l->n_out = l->at = 0;
	return 0;
}

static void keep_fds(struct kp_fdline *l, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			kp_grow(&l->fds, l->n_fds, &l->cap_fds);
			memcpy(&l->fds[l->n_fds++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		}
	}
}

static int receive(struct kp_fdline *l)
{
	union { char space[CMSG_SPACE(MAX_FDS * sizeof(int))]; struct cmsghdr align; } control;
	struct iovec iov = { .iov_base = l->in + l->in_len, .iov_len = sizeof(l->in) - l->in_len };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space),
	};
	ssize_t n = recvmsg(l->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
	keep_fds(l, &msg);
	l->in_len += (size_t)n;
	return n ? 1 : -ECONNRESET;
}

static bool next_line(struct kp_fdline *l, const char **ret)
{
	char *end = memchr(l->in, '\n', l->in_len);

	if (!end)
		return false;
	*end = '\0';
	l->used = (size_t)(end - l->in) + 1;
	*ret = l->in;
	return true;
}

int kp_fdline_get(struct kp_fdline *l, const char **ret)
{
	int r;

	l->in_len -= l->used;
	memmove(l->in, l->in + l->used, l->in_len);
	l->used = 0;
	while (!next_line(l, ret)) {
		if (l->in_len == sizeof(l->in))
			return -EPROTO;
		r = receive(l);
		if (r <= 0)
			return r;
	}
	return 1;
}

int kp_fdline_take_fd(struct kp_fdline *l)
{
	int fd = l->n_fds ? l->fds[0] : -1;

	if (l->n_fds)
		memmove(l->fds, l->fds + 1, --l->n_fds * sizeof(*l->fds));
	return fd;
}
