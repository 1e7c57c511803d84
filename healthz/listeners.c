#include "healthz/listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "healthz/listener.h"
#include "healthz/port.h"
#include "healthz/report.h"
#include "healthz/server.h"
#include "healthz/state.h"
#include "healthz/wanted.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define RETRY_S 5

struct hz_listeners {
	struct hz_listen_env env;
	struct hz_listener **fixed, **services;	/* services: by ns and name */
	size_t n_fixed, cap_fixed, n_services;
	struct hz_services *applied;	/* what services and addrs were made from */
	struct kp_addr *addrs;
	size_t n_addrs;
	enum hz_proxy_mode service_proxy;
	struct event retry;
	struct kp_ratelimit contest_log;
	hz_failure_fn *on_failure;	/* may be NULL */
	void *arg;
};

static void tell_failure(struct hz_listeners *ls, const char *ns, const char *name, uint16_t port, const char *why)
{
	if (ls->on_failure)
		ls->on_failure(ls->arg, ns, name, port, why);
}

/* With the timer that calls again, if it fails. */
static int open_now(struct hz_listeners *ls, struct hz_listener *l, struct kp_err *err)
{
	const struct timeval later = { .tv_sec = RETRY_S };
	int r = hz_listener_open(l, err);

	if (r < 0 && !event_pending(&ls->retry, EV_TIMEOUT, NULL))
		event_add(&ls->retry, &later);
	return r;
}

static void open_or_log(struct hz_listeners *ls, struct hz_listener *l)
{
	const char *slash = l->port->is_service ? "/" : "";
	bool was_missing = l->problem;
	struct kp_err err = { 0 };
	unsigned swallowed;
	int r = open_now(ls, l, &err);

	if (r == -EINPROGRESS)
		return;		/* nothing is wrong */
	if (r < 0 && kp_ratelimit_ok(&l->log, kp_now_ms(), &swallowed))
		kp_warn("health", "%s, for %s%s%s; retrying every %d s", err.msg,
			l->port->ns, slash, l->port->name, RETRY_S);
	if (r < 0 && l->port->is_service)
		tell_failure(ls, l->port->ns, l->port->name, l->port->number, err.msg);
	if (r == 0 && was_missing)
		kp_info("health", "listening on port %u for %s%s%s", l->port->number,
			l->port->ns, slash, l->port->name);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct hz_listeners *ls = arg;

	(void)fd, (void)what;
	for (size_t i = 0; i < ls->n_fixed; i++)
		open_or_log(ls, ls->fixed[i]);
	for (size_t i = 0; i < ls->n_services; i++)
		open_or_log(ls, ls->services[i]);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct hz_listeners *ls = arg;

	(void)fd, (void)what;
	for (size_t i = 0; i < ls->n_fixed; i++)
		hz_listener_resume(ls->fixed[i]);
	for (size_t i = 0; i < ls->n_services; i++)
		hz_listener_resume(ls->services[i]);
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

static struct hz_listener *new_fixed(struct hz_listeners *ls, const struct hz_listen *listen)
{
	struct hz_listener *l = hz_listener_new(&ls->env, hz_port_new_node(listen->name, listen->port, listen->proxy));
	struct kp_addr addrs[KP_N_FAMILIES];
	size_t n = fixed_addrs(listen, addrs);

	hz_listener_set_addrs(l, addrs, n);
	return l;
}

int hz_listeners_add(struct hz_listeners *ls, const struct hz_listen *listen, struct kp_err *err)
{
	struct hz_listener *l = new_fixed(ls, listen);

	kp_grow(&ls->fixed, ls->n_fixed, &ls->cap_fixed);
	ls->fixed[ls->n_fixed++] = l;
	return open_now(ls, l, err);
}

static bool is_for(const struct hz_listener *l, const struct hz_listen *listen)
{
	struct kp_addr addrs[KP_N_FAMILIES];

	return l->port->number == listen->port && strcmp(l->port->name, listen->name) == 0 &&
	       hz_listener_is_at(l, addrs, fixed_addrs(listen, addrs));
}

static struct hz_listener *take_fixed(struct hz_listeners *ls, const struct hz_listen *listen)
{
	for (size_t i = 0; i < ls->n_fixed; i++)
		if (ls->fixed[i] && is_for(ls->fixed[i], listen))
			return kp_steal(&ls->fixed[i]);
	return NULL;
}

void hz_listeners_set(struct hz_listeners *ls, const struct hz_listen *listen, size_t n)
{
	struct hz_listener **next;

	if (ls->env.left)
		return;
	next = kp_calloc(n + 1, sizeof(*next));
	for (size_t i = 0; i < n; i++)
		next[i] = take_fixed(ls, &listen[i]);
	for (size_t i = 0; i < ls->n_fixed; i++)
		hz_listener_free(ls->fixed[i]);
	free(ls->fixed);
	ls->fixed = next;
	ls->n_fixed = n;
	ls->cap_fixed = n + 1;
	for (size_t i = 0; i < n; i++) {
		if (!next[i])
			next[i] = new_fixed(ls, &listen[i]);
		next[i]->port->proxy = listen[i].proxy;
		open_or_log(ls, next[i]);
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
			  struct hz_listener **next)
{
	size_t o = 0;

	for (size_t i = 0; i < ls->n_services; i++) {
		struct hz_listener *l = ls->services[i];

		while (o < n && cmp_names(l->port, owners[o]) > 0)
			o++;
		if (o < n && cmp_names(l->port, owners[o]) == 0 && l->port->number == owners[o]->port)
			next[o] = l;
		else
			hz_listener_free(l);
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
	struct hz_listener **next;

	if (ls->env.left || (hz_services_same_ports(s->services, old) && n_addrs == ls->n_addrs &&
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
			next[i] = hz_listener_new(&ls->env, hz_port_new_service(svc->ns, svc->name, svc->port, ls->service_proxy));
		hz_listener_set_addrs(next[i], ls->addrs, ls->n_addrs);
		open_or_log(ls, next[i]);
	}
	hz_services_unref(old);
}

/* Hand-over. */

void hz_listeners_inherit(struct hz_listeners *ls, struct kp_inherit *taken)
{
	kp_inherit_free(ls->env.inherited);
	ls->env.inherited = taken;
}

void hz_listeners_drop_inherited(struct hz_listeners *ls)
{
	ls->env.inherited = kp_inherit_free(ls->env.inherited);
}

void hz_listeners_give(const struct hz_listeners *ls, struct kp_inherit *to)
{
	for (size_t i = 0; i < ls->n_fixed; i++)
		hz_listener_give(ls->fixed[i], to);
	for (size_t i = 0; i < ls->n_services; i++)
		hz_listener_give(ls->services[i], to);
}

void hz_listeners_hold(struct hz_listeners *ls, bool on)
{
	bool over = ls->env.held && !on;

	ls->env.held = on;
	if (over)
		on_retry(-1, 0, ls);
}

struct hz_listeners *hz_listeners_new(struct event_base *base, struct hz_conns *conns)
{
	struct hz_listeners *ls = kp_calloc(1, sizeof(*ls));

	ls->env.base = base;
	ls->env.conns = conns;
	ls->env.starved_log = (struct kp_ratelimit){ .window_ms = HZ_LISTEN_LOG_MS, .burst = 1 };
	ls->contest_log = ls->env.starved_log;
	evtimer_assign(&ls->retry, base, on_retry, ls);
	evtimer_assign(&ls->env.resume, base, on_resume, ls);
	return ls;
}

/* What there is to tell. */

static struct hz_listener_report report_on(const struct hz_listener *l)
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

static void free_all(struct hz_listener **array, size_t n)
{
	for (size_t i = 0; i < n; i++)
		hz_listener_free(array[i]);
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
	event_del(&ls->env.resume);
	free_all(ls->fixed, ls->n_fixed);
	free_all(ls->services, ls->n_services);
	ls->fixed = ls->services = NULL;
	ls->n_fixed = ls->n_services = 0;
}

void hz_listeners_leave(struct hz_listeners *ls)
{
	ls->env.left = true;
	close_all(ls);
}

struct hz_listeners *hz_listeners_free(struct hz_listeners *ls)
{
	if (!ls)
		return NULL;
	close_all(ls);
	kp_inherit_free(ls->env.inherited);
	hz_services_unref(ls->applied);
	free(ls->addrs);
	free(ls);
	return NULL;
}
