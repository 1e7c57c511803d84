#include "healthz/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/addr.h"

static socklen_t to_sockaddr(const struct kp_addr *a, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	memset(ret, 0, sizeof(*ret));
	if (a->family == KP_IPV4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		memcpy(&v4->sin_addr, a->b, sizeof(v4->sin_addr));
		return sizeof(*v4);
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	memcpy(&v6->sin6_addr, a->b, sizeof(v6->sin6_addr));
	return sizeof(*v6);
}

static int new_socket(const struct sockaddr_storage *ss)
{
	return socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int set_one(int fd, int level, int option)
{
	const int one = 1;

	return setsockopt(fd, level, option, &one, sizeof(one));
}

static bool start_listening(int fd, const struct sockaddr_storage *ss, socklen_t len)
{
	/* No TCP_DEFER_ACCEPT: a bare connect is a probe, too. */
	return set_one(fd, SOL_SOCKET, SO_REUSEADDR) == 0 && set_one(fd, IPPROTO_TCP, TCP_NODELAY) == 0 &&
	       (ss->ss_family != AF_INET6 || set_one(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0) &&
	       bind(fd, (const struct sockaddr *)ss, len) == 0 && listen(fd, HZ_BACKLOG) == 0;
}

/* Why it did not work. */
static int give_up(int fd)
{
	int r = -errno;

	if (fd >= 0)
		close(fd);
	return r;
}

int hz_socket_listen(const struct kp_addr *a, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = to_sockaddr(a, port, &ss);
	int fd = new_socket(&ss);

	return fd >= 0 && start_listening(fd, &ss, len) ? fd : give_up(fd);
}

int hz_socket_connect(const struct kp_addr *a, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = to_sockaddr(a, port, &ss);
	int fd = new_socket(&ss);

	if (fd >= 0 && (connect(fd, (struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS))
		return fd;
	return give_up(fd);
}

void hz_socket_want_reset(int fd)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	/* If this fails it is a FIN, and there is nothing to do about it. */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

bool hz_socket_is_starved(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}
