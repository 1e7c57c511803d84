#include "proxy/base/inherit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

struct kp_inherit *kp_inherit_new(void)
{
	return kp_calloc(1, sizeof(struct kp_inherit));
}

struct kp_inherit *kp_inherit_free(struct kp_inherit *in)
{
	if (!in)
		return NULL;
	for (size_t i = 0; i < in->n; i++) {
		free(in->items[i].name);
		close(in->items[i].fd);
	}
	free(in->items);
	free(in);
	return NULL;
}

static bool option_is(int fd, int level, int option, int want)
{
	socklen_t len = sizeof(int);
	int value = 0;

	return getsockopt(fd, level, option, &value, &len) == 0 && value == want;
}

/* Only what answers exactly where we would: a dual-stack socket would keep the IPv4 one from its port. */
static void identify(struct kp_inherited *s)
{
	struct sockaddr_storage ss = { 0 };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&ss;
	socklen_t len = sizeof(ss);

	if (!option_is(s->fd, SOL_SOCKET, SO_ACCEPTCONN, 1) || !option_is(s->fd, SOL_SOCKET, SO_TYPE, SOCK_STREAM) ||
	    getsockname(s->fd, (struct sockaddr *)&ss, &len) < 0)
		return;
	if (ss.ss_family == AF_INET) {
		s->addr.family = KP_IPV4;
		memcpy(s->addr.b, &v4->sin_addr, sizeof(v4->sin_addr));
		s->port = ntohs(v4->sin_port);
	} else if (ss.ss_family == AF_INET6 && option_is(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) {
		s->addr.family = KP_IPV6;
		memcpy(s->addr.b, &v6->sin6_addr, sizeof(v6->sin6_addr));
		s->port = ntohs(v6->sin6_port);
	}
}

void kp_inherit_add(struct kp_inherit *in, const char *name, int fd)
{
	struct kp_inherited *s;

	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	kp_grow(&in->items, in->n, &in->cap);
	s = &in->items[in->n++];
	*s = (struct kp_inherited){ .name = kp_strdup(name), .fd = fd };
	identify(s);
}

int kp_inherit_add_copy(struct kp_inherit *in, const char *name, int fd, struct kp_err *err)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return kp_err_set(err, -errno, "copy the socket of '%s': %s", name, strerror(errno));
	kp_inherit_add(in, name, copy);
	return 0;
}

static int take_at(struct kp_inherit *in, size_t i)
{
	int fd = in->items[i].fd;

	free(in->items[i].name);
	in->items[i] = in->items[--in->n];
	return fd;
}

int kp_inherit_take(struct kp_inherit *in, const struct kp_addr *addr, uint16_t port)
{
	for (size_t i = 0; in && i < in->n; i++)
		if (port && in->items[i].port == port && kp_addr_cmp(&in->items[i].addr, addr) == 0)
			return take_at(in, i);
	return -1;
}

int kp_inherit_take_named(struct kp_inherit *in, const char *name)
{
	for (size_t i = 0; in && i < in->n; i++)
		if (!in->items[i].port && strcmp(in->items[i].name, name) == 0)
			return take_at(in, i);
	return -1;
}

struct kp_inherit *kp_inherit_split(struct kp_inherit *in, const char *name)
{
	struct kp_inherit *out = kp_inherit_new();

	for (size_t i = 0; in && i < in->n;) {
		if (strcmp(in->items[i].name, name) != 0) {
			i++;
			continue;
		}
		kp_grow(&out->items, out->n, &out->cap);
		out->items[out->n++] = in->items[i];
		in->items[i] = in->items[--in->n];
	}
	return out;
}
