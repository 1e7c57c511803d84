#ifndef TESTS_HEALTH_LAB_H
#define TESTS_HEALTH_LAB_H

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "healthz/server.h"
#include "healthz/state.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "tests/support/netns.h"

/*
 * A network namespace of the test's own, the real health server in it, and a client
 * that tells FIN from RST. Everything in one process; the server in its thread.
 */

#define S_NS 1000000000ull

/* The kernel's struct for IPv6 interface ioctls; <linux/ipv6.h> does not mix with <netinet/in.h>. */
struct lab_in6_ifreq {
	struct in6_addr addr;
	uint32_t prefixlen;
	int ifindex;
	char room[16];	/* checkers take every SIOCSIFADDR for a struct ifreq */
};

static inline void lab_add_v6(int fd, const char *addr)
{
	struct lab_in6_ifreq req = { .prefixlen = 64, .ifindex = (int)if_nametoindex("lo") };

	inet_pton(AF_INET6, addr, &req.addr);
	if (ioctl(fd, SIOCSIFADDR, &req) < 0)
		perror("cannot add an IPv6 address");
}

static inline void lab_add_v4(int fd, const char *ifname, const char *addr)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct ifreq req = { 0 };

	strcpy(req.ifr_name, ifname);
	inet_pton(AF_INET, addr, &sin.sin_addr);
	memcpy(&req.ifr_addr, &sin, sizeof(sin));
	if (ioctl(fd, SIOCSIFADDR, &req) < 0)
		perror("cannot add an IPv4 address");
}

/* For run_in_netns(). */
static inline void lab_prepare(void)
{
	struct ifreq up = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING };
	struct rlimit files = { 8192, 8192 };
	int v4, v6;

	(void)setrlimit(RLIMIT_NOFILE, &files);	/* tests that need it will say so */
	v4 = socket(AF_INET, SOCK_DGRAM, 0);
	v6 = socket(AF_INET6, SOCK_DGRAM, 0);
	if (ioctl(v4, SIOCSIFFLAGS, &up) < 0)
		perror("cannot bring lo up");
	lab_add_v4(v4, "lo:1", "10.240.0.4");
	lab_add_v4(v4, "lo:2", "10.240.0.5");
	lab_add_v6(v6, "2001:db8::4");
	lab_add_v6(v6, "fe80::4");
	close(v4);
	close(v6);
}

/* States. */

struct lab_service {
	const char *name;	/* in "default"; in order */
	uint16_t port;
	int ready[2];		/* -1: the Service does not have this family */
	int64_t created;
};

/* Healthy, started, eligible, listening everywhere; with the services up to the first nameless one. */
static inline struct hz_state *lab_state(const struct lab_service *services)
{
	struct hz_state *s = kp_calloc(1, sizeof(*s));
	size_t n = 0;

	s->started = s->node_eligible = true;
	s->stale_ns = 60 * S_NS;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		s->any_address[f] = true;
		s->family[f] = (struct hz_family){ .enabled = true, .updated_wall_ns = kp_wall_ns() };
	}
	while (services && services[n].name)
		n++;
	s->services = hz_services_new(n);
	for (size_t i = 0; i < n; i++) {
		struct hz_service *svc = &s->services->items[i];

		svc->ns = kp_strdup("default");
		svc->name = kp_strdup(services[i].name);
		svc->port = services[i].port;
		svc->created = services[i].created;
		for (int f = 0; f < KP_N_FAMILIES; f++) {
			svc->has_family[f] = services[i].ready[f] >= 0;
			svc->local_ready[f] = svc->has_family[f] ? (uint32_t)services[i].ready[f] : 0;
		}
	}
	return s;
}

static inline struct hz_state *lab_stale(struct hz_state *s)
{
	s->family[KP_IPV4].oldest_pending_ns = kp_now_ns() - 61 * S_NS;
	return s;
}

static inline void lab_listen_only(struct hz_state *s, const char *addr)
{
	s->any_address[KP_IPV4] = s->any_address[KP_IPV6] = false;
	s->addresses = kp_calloc(1, sizeof(*s->addresses));
	s->n_addresses = 1;
	ck_assert(kp_addr_parse(addr, s->addresses));
}

/* The server, on 10256 and 10356 unless opt says other. */
static inline struct hz_server *lab_start(struct hz_options opt)
{
	static const struct hz_listen usual[] = {
		{ .name = "main", .port = 10256 },
		{ .name = "shared", .port = 10356 },
	};
	struct hz_server *s = NULL;
	struct kp_err err = { 0 };

	if (!opt.listen) {
		opt.listen = usual;
		opt.n_listen = 2;
	}
	ck_assert_msg(hz_server_start(&s, &opt, &err) == 0, "%s", err.msg);
	return s;
}

/* The client. */

struct client {
	int fd;
	size_t len;
	char buf[32768];
};

struct reply {
	int status;
	char head[1024], body[1024];
	size_t body_len;
};

/* -errno if nobody listens. addr may have a "%lo" scope. */
static inline int dial(struct client *c, const char *addr, uint16_t port)
{
	struct timeval patience = { .tv_sec = 60 };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	bool is_v6 = strchr(addr, ':') != NULL;
	char text[64];
	char *scope;
	int r;

	snprintf(text, sizeof(text), "%s", addr);
	scope = strchr(text, '%');
	if (scope) {
		*scope = '\0';
		v6.sin6_scope_id = if_nametoindex(scope + 1);
	}
	ck_assert_int_eq(inet_pton(is_v6 ? AF_INET6 : AF_INET, text, is_v6 ? (void *)&v6.sin6_addr : &v4.sin_addr), 1);
	c->len = 0;
	c->fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_msg(c->fd >= 0, "socket: %s", strerror(errno));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	r = connect(c->fd, is_v6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, is_v6 ? sizeof(v6) : sizeof(v4));
	if (r == 0)
		return 0;
	r = -errno;
	close(c->fd);
	return r;
}

static inline void must_dial(struct client *c, const char *addr, uint16_t port)
{
	int r = dial(c, addr, port);

	ck_assert_msg(r == 0, "connect to %s port %u: %s", addr, port, strerror(-r));
}

static inline void say_bytes(struct client *c, const char *p, size_t len)
{
	ck_assert_int_eq(send(c->fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void say(struct client *c, const char *text)
{
	say_bytes(c, text, strlen(text));
}

/* One more piece: > 0, 0 at FIN, -errno. */
static inline int hear(struct client *c)
{
	ssize_t n = recv(c->fd, c->buf + c->len, sizeof(c->buf) - c->len - 1, 0);

	if (n < 0)
		return -errno;
	c->len += (size_t)n;
	c->buf[c->len] = '\0';
	return (int)n;
}

/* The next whole answer: 0, 1 at FIN before it, -errno. to_head: it has no body. */
static inline int hear_reply(struct client *c, bool to_head, struct reply *r)
{
	const char *end, *length;
	size_t head, used;
	int n;

	memset(r, 0, sizeof(*r));
	c->buf[c->len] = '\0';
	for (;;) {
		end = strstr(c->buf, "\r\n\r\n");
		length = strstr(c->buf, "Content-Length: ");
		if (end && length) {
			head = (size_t)(end - c->buf) + 4;
			r->body_len = to_head ? 0 : strtoul(length + 16, NULL, 10);
			if (c->len >= head + r->body_len)
				break;
		}
		n = hear(c);
		if (n <= 0)
			return n == 0 ? 1 : n;
	}
	ck_assert_uint_lt(head, sizeof(r->head));
	ck_assert_uint_lt(r->body_len, sizeof(r->body));
	memcpy(r->head, c->buf, head);
	memcpy(r->body, c->buf + head, r->body_len);
	r->status = atoi(r->head + 9);
	used = head + r->body_len;
	c->len -= used;
	memmove(c->buf, c->buf + used, c->len);
	return 0;
}

/* What ends the connection: 0 FIN, -errno. Anything that still comes before is an error. */
static inline int hear_end(struct client *c)
{
	int n = c->len ? (int)c->len : hear(c);

	ck_assert_msg(n <= 0, "more bytes: %.*s", (int)c->len, c->buf);
	return n;
}

static inline void hang_up(struct client *c)
{
	close(c->fd);
}

/* One request on a connection of its own; the status, or what hear_reply() said. */
static inline int ask(const char *addr, uint16_t port, const char *request, struct reply *r)
{
	struct client c;
	int n = dial(&c, addr, port);

	if (n < 0)
		return n;
	say(&c, request);
	n = hear_reply(&c, false, r);
	hang_up(&c);
	return n == 0 ? r->status : n;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static inline int get_healthz(const char *addr, uint16_t port)
{
	struct reply r;

	return ask(addr, port, GET("/healthz"), &r);
}

/* Poll until it answers so, at most limit_ms; returns the milliseconds it took, or -1. */
static inline int wait_for(const char *addr, uint16_t port, int want, unsigned limit_ms)
{
	uint64_t start = kp_now_ms();

	for (;;) {
		uint64_t took = kp_now_ms() - start;

		if (get_healthz(addr, port) == want)
			return (int)took;
		if (took > limit_ms)
			return -1;
		usleep(2000);
	}
}

#endif
