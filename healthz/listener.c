#include "healthz/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "healthz/conns.h"
#include "healthz/peer.h"
#include "healthz/port.h"
#include "healthz/report.h"
#include "healthz/server.h"
#include "healthz/socket.h"
#include "healthz/state.h"
#include "healthz/wanted.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define ACCEPTS_PER_TURN 64	/* then the connections get theirs */
#define RETRY_S 5
#define STARVED_MS 100		/* accept pauses when descriptors run out */
#define LOG_WINDOW_MS 300000

struct sock {
	struct listener *owner;
	struct kp_addr addr;	/* zero: every address of the family */
	int fd;			/* -1: not open */
	bool failed;		/* try again */
	bool paused;		/* no descriptors: not accepting for a while */
	struct event acceptable;
};

struct listener {
	struct hz_listeners *all;
	struct hz_port *port;
	struct sock **socks;	/* each at a fixed place: libevent points to them */
	size_t n;
	char *problem;		/* why not all of them are open; NULL: they are */
	struct kp_ratelimit log;
};

struct hz_listeners {
	struct event_base *base;
	struct hz_conns *conns;
	struct listener **fixed, **services;	/* services: by ns and name */
	size_t n_fixed, cap_fixed, n_services;
	struct hz_services *applied;	/* what services and addrs were made from */
	struct kp_addr *addrs;
	size_t n_addrs;
	enum hz_proxy_mode service_proxy;
	struct event retry, resume;
	struct kp_ratelimit starved_log, contest_log;
	hz_failure_fn *on_failure;	/* may be NULL */
	void *arg;
	struct kp_inherit *inherited;	/* open, and not in use yet; NULL: none */
	bool left;		/* to somebody else: nothing is opened any more */
};

/* One socket. */

static void pause_accept(struct sock *s)
{
	struct hz_listeners *ls = s->owner->all;
	const struct timeval soon = { .tv_usec = STARVED_MS * 1000 };
	unsigned swallowed;

	if (kp_ratelimit_ok(&ls->starved_log, kp_now_ms(), &swallowed))
		kp_warn("health", "out of file descriptors or memory: %s; dropping connections", strerror(errno));
	(void)hz_conns_evict(ls->conns);	/* none to drop: the pause has to do */
	event_del(&s->acceptable);
	s->paused = true;
	event_add(&ls->resume, &soon);
}

/* False: out of descriptors or memory, errno says which. */
static bool accept_some(struct sock *s, unsigned limit)
{
	struct listener *l = s->owner;

	for (unsigned i = 0; i < limit; i++) {
		struct sockaddr_storage ss = { 0 };
		socklen_t len = sizeof(ss);
		int fd = accept4(s->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct hz_peer peer = hz_peer_of(&ss);

		if (fd >= 0)
			hz_conns_add(l->all->conns, fd, l->port, s->addr.family, &peer);
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
	struct sock *s = arg;

	(void)fd, (void)what;
	if (!accept_some(s, ACCEPTS_PER_TURN))
		pause_accept(s);
}

static struct sock *new_sock(struct listener *l, const struct kp_addr *addr)
{
	struct sock *s = kp_calloc(1, sizeof(*s));

	s->owner = l;
	s->addr = *addr;
	s->fd = -1;
	return s;
}

static int open_sock(struct sock *s, struct kp_err *err)
{
	bool v4 = s->addr.family == KP_IPV4;
	struct listener *l = s->owner;
	char text[KP_ADDR_STRLEN];
	int r = kp_inherit_take(l->all->inherited, &s->addr, l->port->number);

	if (r < 0)
		r = hz_socket_listen(&s->addr, l->port->number);
	s->failed = r < 0 && r != -EAFNOSUPPORT;	/* a host without IPv6 goes without */
	if (s->failed)
		return kp_err_set(err, r, "cannot listen on %s%s%s:%u: %s", v4 ? "" : "[",
				  kp_addr_str(&s->addr, text), v4 ? "" : "]", l->port->number, strerror(-r));
	if (r < 0)
		return 0;
	s->fd = r;
	event_assign(&s->acceptable, l->all->base, s->fd, EV_READ | EV_PERSIST, on_acceptable, s);
	event_add(&s->acceptable, NULL);
	return 0;
}

static void close_sock(struct sock *s)
{
	if (s->fd >= 0) {
		if (!s->owner->all->left)
			(void)accept_some(s, HZ_BACKLOG);	/* close() would reset what waits in the queue */
		event_del(&s->acceptable);
		close(s->fd);
	}
	free(s);
}

/* One listener: a port on some addresses. */

static struct listener *new_listener(struct hz_listeners *ls, struct hz_port *taken)
{
	struct listener *l = kp_calloc(1, sizeof(*l));

	l->all = ls;
	l->port = taken;
	l->log = (struct kp_ratelimit){ .window_ms = LOG_WINDOW_MS, .burst = 1 };
	return l;
}

static void free_listener(struct listener *l)
{
	for (size_t i = 0; i < l->n; i++)
		close_sock(l->socks[i]);
	free(l->socks);
	hz_port_unref(l->port);
	free(l->problem);
	free(l);
}

static struct sock *take_sock(struct listener *l, const struct kp_addr *addr)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->socks[i] && kp_addr_cmp(&l->socks[i]->addr, addr) == 0)
			return kp_steal(&l->socks[i]);
	return NULL;
}

/* Sockets for exactly these addresses; those that are there already stay as they are. */
static void set_addrs(struct listener *l, const struct kp_addr *addrs, size_t n)
{
	struct sock **next = kp_calloc(n + 1, sizeof(*next));

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

/* Open what is not; 0 or the last failure, which is remembered, with the timer set that calls again. */
static int open_missing(struct listener *l, struct kp_err *err)
{
	const struct timeval later = { .tv_sec = RETRY_S };
	int failed = 0;

	for (size_t i = 0; i < l->n; i++) {
		int r = l->socks[i]->failed ? open_sock(l->socks[i], err) : 0;

		failed = r < 0 ? r : failed;
	}
	free(l->problem);
	l->problem = failed ? kp_strdup(err->msg) : NULL;
	if (failed && !event_pending(&l->all->retry, EV_TIMEOUT, NULL))
		event_add(&l->all->retry, &later);
	return failed;
}

static void tell_failure(struct hz_listeners *ls, const char *ns, const char *name, uint16_t port, const char *why)
{
	if (ls->on_failure)
		ls->on_failure(ls->arg, ns, name, port, why);
}

static void open_or_log(struct listener *l)
{
	const char *slash = l->port->is_service ? "/" : "";
	bool was_missing = l->problem;
	struct kp_err err = { 0 };
	unsigned swallowed;
	int r = open_missing(l, &err);

	if (r < 0 && kp_ratelimit_ok(&l->log, kp_now_ms(), &swallowed))
		kp_warn("health", "%s, for %s%s%s; retrying every %d s", err.msg,
			l->port->ns, slash, l->port->name, RETRY_S);
	if (r < 0 && l->port->is_service)
		tell_failure(l->all, l->port->ns, l->port->name, l->port->number, err.msg);
	if (r == 0 && was_missing)
		kp_info("health", "listening on port %u for %s%s%s", l->port->number,
			l->port->ns, slash, l->port->name);
}

/* All of them. */

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct hz_listeners *ls = arg;

	(void)fd, (void)what;
	for (size_t i = 0; i < ls->n_fixed; i++)
		open_or_log(ls->fixed[i]);
	for (size_t i = 0; i < ls->n_services; i++)
		open_or_log(ls->services[i]);
}

static void resume_accept(struct listener *l)
{
	for (size_t i = 0; i < l->n; i++) {
		struct sock *s = l->socks[i];

		if (s->paused)
			event_add(&s->acceptable, NULL);
		s->paused = false;
	}
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct hz_listeners *ls = arg;

	(void)fd, (void)what;
	for (size_t i = 0; i < ls->n_fixed; i++)
		resume_accept(ls->fixed[i]);
	for (size_t i = 0; i < ls->n_services; i++)
		resume_accept(ls->services[i]);
}

/* HC-10: 0.0.0.0 and [::] mean every address of both families. Returns how many. */
static size_t fixed_addrs(const struct hz_listen *listen, struct kp_addr ret[KP_N_FAMILIES])
{
	if (!kp_addr_is_zero(&listen->addr)) {
		ret[0] = listen->addr;
		return 1;
	}
	for (int f = 0; f < KP_N_FAMILIES; f++)
		ret[f] = (struct kp_addr){ .family = (uint8_t)f };
	return KP_N_FAMILIES;
}

static struct listener *new_fixed(struct hz_listeners *ls, const struct hz_listen *listen)
{
	struct listener *l = new_listener(ls, hz_port_new_node(listen->name, listen->port, listen->proxy));
	struct kp_addr addrs[KP_N_FAMILIES];
	size_t n = fixed_addrs(listen, addrs);

	set_addrs(l, addrs, n);
	return l;
}

int hz_listeners_add(struct hz_listeners *ls, const struct hz_listen *listen, struct kp_err *err)
{
	struct listener *l = new_fixed(ls, listen);

	kp_grow(&ls->fixed, ls->n_fixed, &ls->cap_fixed);
	ls->fixed[ls->n_fixed++] = l;
	return open_missing(l, err);
}

static bool is_for(const struct listener *l, const struct hz_listen *listen)
{
	struct kp_addr addrs[KP_N_FAMILIES];

	return l->port->number == listen->port && strcmp(l->port->name, listen->name) == 0 && l->n == fixed_addrs(listen, addrs) &&
	       kp_addr_cmp(&l->socks[0]->addr, &addrs[0]) == 0;
}

static struct listener *take_fixed(struct hz_listeners *ls, const struct hz_listen *listen)
{
	for (size_t i = 0; i < ls->n_fixed; i++)
		if (ls->fixed[i] && is_for(ls->fixed[i], listen))
			return kp_steal(&ls->fixed[i]);
	return NULL;
}

void hz_listeners_set(struct hz_listeners *ls, const struct hz_listen *listen, size_t n)
{
	struct listener **next;

	if (ls->left)
		return;
	next = kp_calloc(n + 1, sizeof(*next));
	for (size_t i = 0; i < n; i++)
		next[i] = take_fixed(ls, &listen[i]);
	for (size_t i = 0; i < ls->n_fixed; i++)
		if (ls->fixed[i])
			free_listener(ls->fixed[i]);
	free(ls->fixed);
	ls->fixed = next;
	ls->n_fixed = n;
	ls->cap_fixed = n + 1;
	for (size_t i = 0; i < n; i++) {
		if (!next[i])
			next[i] = new_fixed(ls, &listen[i]);
		next[i]->port->proxy = listen[i].proxy;
		open_or_log(next[i]);
	}
}

void hz_listeners_set_service_proxy(struct hz_listeners *ls, enum hz_proxy_mode proxy)
{
	ls->service_proxy = proxy;
	for (size_t i = 0; i < ls->n_services; i++)
		ls->services[i]->port->proxy = proxy;
}

static int cmp_names(const struct hz_port *p, const struct hz_service *svc)
{
	int c = strcmp(p->ns, svc->ns);

	return c ? c : strcmp(p->name, svc->name);
}

/*
 * Walk the old listeners and the new owners, both sorted: those that match move over to next,
 * the others close. Before anything opens, since a port may pass from one Service to another.
 */
static void keep_matching(struct hz_listeners *ls, const struct hz_service **owners, size_t n,
			  struct listener **next)
{
	size_t o = 0;

	for (size_t i = 0; i < ls->n_services; i++) {
		struct listener *l = ls->services[i];

		while (o < n && cmp_names(l->port, owners[o]) > 0)
			o++;
		if (o < n && cmp_names(l->port, owners[o]) == 0 && l->port->number == owners[o]->port)
			next[o] = l;
		else
			free_listener(l);
	}
}

static void tell_losers(struct hz_listeners *ls, const struct hz_service **losers, size_t n)
{
	unsigned swallowed;

	for (size_t i = 0; i < n; i++)
		tell_failure(ls, losers[i]->ns, losers[i]->name, losers[i]->port, "it belongs to an older Service");
	if (n && kp_ratelimit_ok(&ls->contest_log, kp_now_ms(), &swallowed))
		kp_warn("health", "healthCheckNodePort %u of Service %s/%s belongs to an older Service%s",
			losers[0]->port, losers[0]->ns, losers[0]->name, n > 1 ? ", and there are more such" : "");
}

void hz_listeners_sync(struct hz_listeners *ls, const struct hz_state *s)
{
	KP_AUTO(kp_freep) const struct hz_service **owners = NULL;
	KP_AUTO(kp_freep) struct kp_addr *addrs = NULL;
	size_t n_addrs = hz_wanted_addrs(s, &addrs), n, n_losers;
	struct hz_services *old = ls->applied;
	struct listener **next;

	if (ls->left || (s->services == old && n_addrs == ls->n_addrs &&
	    (!n_addrs || memcmp(addrs, ls->addrs, n_addrs * sizeof(*addrs)) == 0)))
		return;
	/* From here on only our own references count: accepting below may replace the state. */
	ls->applied = s->services ? hz_services_ref(s->services) : NULL;
	free(ls->addrs);
	ls->addrs = kp_steal(&addrs);
	ls->n_addrs = n_addrs;
	n = hz_wanted_owners(ls->applied, &owners, &n_losers);
	tell_losers(ls, owners + n, n_losers);

	next = kp_calloc(n + 1, sizeof(*next));
	keep_matching(ls, owners, n, next);
	free(ls->services);
	ls->services = next;
	ls->n_services = n;
	for (size_t i = 0; i < n; i++) {
		const struct hz_service *svc = owners[i];

		if (!next[i])
			next[i] = new_listener(ls, hz_port_new_service(svc->ns, svc->name, svc->port, ls->service_proxy));
		set_addrs(next[i], ls->addrs, ls->n_addrs);
		open_or_log(next[i]);
	}
	hz_services_unref(old);
}

/* Hand-over. */

void hz_listeners_inherit(struct hz_listeners *ls, struct kp_inherit *taken)
{
	kp_inherit_free(ls->inherited);
	ls->inherited = taken;
}

void hz_listeners_drop_inherited(struct hz_listeners *ls)
{
	ls->inherited = kp_inherit_free(ls->inherited);
}

static void give_listener(const struct listener *l, struct kp_inherit *to)
{
	KP_AUTO(kp_freep) char *service = l->port->is_service ? kp_asprintf("%s/%s", l->port->ns, l->port->name) : NULL;
	const char *name = service ? service : l->port->name;
	struct kp_err err = { 0 };

	for (size_t i = 0; i < l->n; i++)
		if (l->socks[i]->fd >= 0 && kp_inherit_add_copy(to, name, l->socks[i]->fd, &err) < 0)
			kp_warn("health", "%s", err.msg);
}

void hz_listeners_give(const struct hz_listeners *ls, struct kp_inherit *to)
{
	for (size_t i = 0; i < ls->n_fixed; i++)
		give_listener(ls->fixed[i], to);
	for (size_t i = 0; i < ls->n_services; i++)
		give_listener(ls->services[i], to);
}

struct hz_listeners *hz_listeners_new(struct event_base *base, struct hz_conns *conns)
{
	struct hz_listeners *ls = kp_calloc(1, sizeof(*ls));

	ls->base = base;
	ls->conns = conns;
	ls->starved_log = (struct kp_ratelimit){ .window_ms = LOG_WINDOW_MS, .burst = 1 };
	ls->contest_log = ls->starved_log;
	evtimer_assign(&ls->retry, base, on_retry, ls);
	evtimer_assign(&ls->resume, base, on_resume, ls);
	return ls;
}

/* What there is to tell. */

static struct hz_listener_report report_on(const struct listener *l)
{
	return (struct hz_listener_report){
		.name = kp_strdup(l->port->label), .is_service = l->port->is_service, .port = l->port->number,
		.problem = l->problem ? kp_strdup(l->problem) : NULL, .n_open = l->port->n_open, .stats = l->port->stats,
	};
}

static struct hz_listener_report report_on_loser(const struct hz_service *svc)
{
	return (struct hz_listener_report){
		.name = kp_asprintf("svc/%s/%s", svc->ns, svc->name), .is_service = true, .port = svc->port,
		.problem = kp_asprintf("port %u belongs to an older Service", svc->port),
	};
}

size_t hz_listeners_report(const struct hz_listeners *ls, struct hz_listener_report **ret)
{
	KP_AUTO(kp_freep) const struct hz_service **owners = NULL;
	size_t n_losers, n_owners = hz_wanted_owners(ls->applied, &owners, &n_losers), n = 0;
	struct hz_listener_report *out = kp_calloc(ls->n_fixed + ls->n_services + n_losers + 1, sizeof(*out));

	for (size_t i = 0; i < ls->n_fixed; i++)
		out[n++] = report_on(ls->fixed[i]);
	for (size_t i = 0; i < ls->n_services; i++)
		out[n++] = report_on(ls->services[i]);
	for (size_t i = 0; i < n_losers; i++)
		out[n++] = report_on_loser(owners[n_owners + i]);
	*ret = out;
	return n;
}

static void free_all(struct listener **array, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free_listener(array[i]);
	free(array);
}

void hz_listeners_on_failure(struct hz_listeners *ls, hz_failure_fn *fn, void *arg)
{
	ls->on_failure = fn;
	ls->arg = arg;
}

static void close_all(struct hz_listeners *ls)
{
	event_del(&ls->retry);
	event_del(&ls->resume);
	free_all(ls->fixed, ls->n_fixed);
	free_all(ls->services, ls->n_services);
	ls->fixed = ls->services = NULL;
	ls->n_fixed = ls->n_services = 0;
}

void hz_listeners_leave(struct hz_listeners *ls)
{
	ls->left = true;
	close_all(ls);
}

struct hz_listeners *hz_listeners_free(struct hz_listeners *ls)
{
	if (!ls)
		return NULL;
	close_all(ls);
	kp_inherit_free(ls->inherited);
	hz_services_unref(ls->applied);
	free(ls->addrs);
	free(ls);
	return NULL;
}
