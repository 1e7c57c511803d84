#include "healthz/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "healthz/conns.h"
#include "healthz/peer.h"
#include "healthz/port.h"
#include "healthz/socket.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define ACCEPTS_PER_TURN 64	/* then the connections get theirs */
#define STARVED_MS 100		/* accept pauses when descriptors run out */

/* One socket. */

struct hz_sock {
	struct hz_listener *owner;
	struct kp_addr addr;	/* zero: every address of the family */
	int fd;			/* -1: not open */
	bool failed;		/* try again */
	bool paused;		/* no descriptors: not accepting for a while */
	struct event acceptable;
};

static void pause_accept(struct hz_sock *s)
{
	struct hz_listen_env *env = s->owner->env;
	const struct timeval soon = { .tv_usec = STARVED_MS * 1000 };
	unsigned swallowed;

	if (kp_ratelimit_ok(&env->starved_log, kp_now_ms(), &swallowed))
		kp_warn("health", "out of file descriptors or memory: %s; dropping connections", strerror(errno));
	(void)hz_conns_evict(env->conns);	/* none to drop: the pause has to do */
	event_del(&s->acceptable);
	s->paused = true;
	event_add(&env->resume, &soon);
}

/* False: out of descriptors or memory, errno says which. */
static bool accept_some(struct hz_sock *s, unsigned limit)
{
	struct hz_listener *l = s->owner;

	for (unsigned i = 0; i < limit; i++) {
		struct sockaddr_storage ss = { 0 };
		socklen_t len = sizeof(ss);
		int fd = accept4(s->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct hz_peer peer = hz_peer_of(&ss);

		if (fd >= 0)
			hz_conns_add(l->env->conns, fd, l->port, s->addr.family, &peer);
		else if (errno == EAGAIN)
			break;
		else if (hz_socket_is_starved(errno))
			return false;
		/* Anything else is the end of that one connection (accept(2)). */
	}
	return true;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct hz_sock *s = arg;

	(void)fd, (void)what;
	if (!accept_some(s, ACCEPTS_PER_TURN))
		pause_accept(s);
}

static struct hz_sock *new_sock(struct hz_listener *l, const struct kp_addr *addr)
{
	struct hz_sock *s = kp_calloc(1, sizeof(*s));

	s->owner = l;
	s->addr = *addr;
	s->fd = -1;
	return s;
}

static int open_sock(struct hz_sock *s, struct kp_err *err)
{
	bool v4 = s->addr.family == KP_IPV4;
	struct hz_listener *l = s->owner;
	char text[KP_ADDR_STRLEN];
	int r;

	if (l->env->held)
		return kp_err_set(err, -EINPROGRESS, "left to the successor that is taking over");
	r = kp_inherit_take(l->env->inherited, &s->addr, l->port->number);
	if (r < 0)
		r = hz_socket_listen(&s->addr, l->port->number);
	s->failed = r < 0 && r != -EAFNOSUPPORT;	/* a host without IPv6 goes without */
	if (s->failed)
		return kp_err_set(err, r, "cannot listen on %s%s%s:%u: %s", v4 ? "" : "[",
				  kp_addr_str(&s->addr, text), v4 ? "" : "]", l->port->number, strerror(-r));
	if (r < 0)
		return 0;
	s->fd = r;
	event_assign(&s->acceptable, l->env->base, s->fd, EV_READ | EV_PERSIST, on_acceptable, s);
	event_add(&s->acceptable, NULL);
	return 0;
}

static void close_sock(struct hz_sock *s)
{
	if (s->fd >= 0) {
		if (!s->owner->env->left)
			(void)accept_some(s, HZ_BACKLOG);	/* close() would reset what waits in the queue */
		event_del(&s->acceptable);
		close(s->fd);
	}
	free(s);
}

/* The listener. */

struct hz_listener *hz_listener_new(struct hz_listen_env *env, struct hz_port *taken)
{
	struct hz_listener *l = kp_calloc(1, sizeof(*l));

	l->env = env;
	l->port = taken;
	l->log = (struct kp_ratelimit){ .window_ms = HZ_LISTEN_LOG_MS, .burst = 1 };
	return l;
}

struct hz_listener *hz_listener_free(struct hz_listener *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < l->n; i++)
		close_sock(l->socks[i]);
	free(l->socks);
	hz_port_unref(l->port);
	free(l->problem);
	free(l);
	return NULL;
}

bool hz_listener_is_at(const struct hz_listener *l, const struct kp_addr *addrs, size_t n)
{
	if (l->n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (kp_addr_cmp(&l->socks[i]->addr, &addrs[i]) != 0)
			return false;
	return true;
}

static struct hz_sock *take_sock(struct hz_listener *l, const struct kp_addr *addr)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->socks[i] && kp_addr_cmp(&l->socks[i]->addr, addr) == 0)
			return kp_steal(&l->socks[i]);
	return NULL;
}

void hz_listener_set_addrs(struct hz_listener *l, const struct kp_addr *addrs, size_t n)
{
	struct hz_sock **next = kp_calloc(n + 1, sizeof(*next));

	for (size_t i = 0; i < n; i++)
		next[i] = take_sock(l, &addrs[i]);
	for (size_t i = 0; i < l->n; i++)
		if (l->socks[i])
			close_sock(l->socks[i]);
	for (size_t i = 0; i < n; i++) {
		if (next[i])
			continue;
		next[i] = new_sock(l, &addrs[i]);
		next[i]->failed = true;	/* not open yet */
	}
	free(l->socks);
	l->socks = next;
	l->n = n;
}

int hz_listener_open(struct hz_listener *l, struct kp_err *err)
{
	int failed = 0;

	for (size_t i = 0; i < l->n; i++) {
		int r = l->socks[i]->failed ? open_sock(l->socks[i], err) : 0;

		failed = r < 0 ? r : failed;
	}
	free(l->problem);
	l->problem = failed ? kp_strdup(err->msg) : NULL;
	return failed;
}

void hz_listener_resume(struct hz_listener *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct hz_sock *s = l->socks[i];

		if (s->paused)
			event_add(&s->acceptable, NULL);
		s->paused = false;
	}
}

void hz_listener_give(const struct hz_listener *l, struct kp_inherit *to)
{
	KP_AUTO(kp_freep) char *service = l->port->is_service ? kp_asprintf("%s/%s", l->port->ns, l->port->name) : NULL;
	const char *name = service ? service : l->port->name;
	struct kp_err err = { 0 };

	for (size_t i = 0; i < l->n; i++)
		if (l->socks[i]->fd >= 0 && kp_inherit_add_copy(to, name, l->socks[i]->fd, &err) < 0)
			kp_warn("health", "%s", err.msg);
}
