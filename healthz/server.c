#include "healthz/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "healthz/answer.h"
#include "healthz/conns.h"
#include "healthz/history.h"
#include "healthz/listeners.h"
#include "healthz/relay.h"
#include "healthz/report.h"
#include "healthz/request.h"
#include "healthz/state.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/thread.h"
#include "proxy/base/wake.h"

#define FAILURES 256	/* in the queue; each takes a page of the pipe while it is there */

/* The listeners to have. */
struct fixed {
	size_t n;
	struct hz_listen listen[];
};

/*
 * The hand-over of states is one pointer. publish() swaps the newest state into the slot, and
 * whoever finds a state in his hands frees it: publish() one that nobody took, the thread
 * the one it answered from so far. Every request looks into the slot itself, so that no
 * answer is older than the last publish() that returned before it. The eventfd only tells
 * the thread to look at its listeners, and most states ask for none but those before.
 */
struct hz_server {
	struct hz_state *slot;		/* atomic */
	uint64_t alive_ns;		/* atomic */
	struct fixed *listen;		/* atomic, handed over in the same way */
	struct hz_policy *policy;	/* atomic, likewise */
	struct hz_report *report;	/* atomic, likewise, but the other way */
	bool asked, stop;		/* atomic; asked: for a report */
	struct kp_inherit *inherit;	/* atomic, handed over in the same way */
	struct kp_inherit *give_to;	/* atomic; its owner waits until the thread has given, see hz_server_give() */
	int given_fd;
	bool held;			/* atomic: nothing more is opened */
	unsigned leave_ms;		/* atomic; 0: not leaving */
	size_t n_left;			/* atomic */
	bool idle;			/* atomic: the thread has not run since it was asked to */
	struct hz_counters counters;	/* atomic, each */
	int wake_fd, told_fd;		/* told_fd: a report is there */
	int failures[2];		/* a pipe of struct hz_failure, one a packet: a queue with a limit and without a lock */
	pthread_t thread;
	struct hz_state *told;		/* publisher's: the last state that the thread was woken for; NULL: none */

	/* The thread's own from here on, once it runs. */
	struct hz_state *state;		/* NULL: none yet */
	bool fresh;			/* listeners do not know this state yet */
	struct event_base *base;
	struct event *wake;
	struct hz_history *history;
	struct hz_conns *conns;
	struct hz_relay *relay;		/* NULL: none */
	struct hz_listeners *listeners;
	struct event *leaving;
};

static void take_newest(struct hz_server *s)
{
	struct hz_state *newer = __atomic_exchange_n(&s->slot, NULL, __ATOMIC_ACQUIRE);

	if (!newer)
		return;
	hz_state_free(s->state);
	s->state = newer;
	s->fresh = true;
}

static void count(struct hz_server *s, const struct hz_answer *a)
{
	bool ok = a->status == 200;
	uint64_t *counter = a->path == HZ_PATH_HEALTHZ ?
		(ok ? &s->counters.healthz_200 : &s->counters.healthz_503) :
		(ok ? &s->counters.livez_200 : &s->counters.livez_503);

	if (a->path == HZ_PATH_HEALTHZ || a->path == HZ_PATH_LIVEZ)
		__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static void on_request(void *arg, const struct hz_port *port, enum kp_family family, const struct hz_req *req,
		       struct hz_answer *ret)
{
	struct hz_server *s = arg;
	struct hz_asked asked = { .port = port, .family = family };

	if (s->relay && !req->status) {
		hz_relay_ask(s->relay, req);
		return;
	}
	take_newest(s);
	if (s->state)
		s->state->alive_ns = __atomic_load_n(&s->alive_ns, __ATOMIC_RELAXED);
	asked.state = s->state;
	asked.now_ns = kp_now_ns();	/* after the state was taken: nothing in it is from the future */
	asked.wall_ns = kp_wall_ns();
	hz_answer(&asked, req, ret);
	count(s, ret);
}

static void set_policy(struct hz_server *s)
{
	KP_AUTO(kp_freep) struct hz_policy *p = __atomic_exchange_n(&s->policy, NULL, __ATOMIC_ACQUIRE);

	if (!p)
		return;
	hz_conns_set_policy(s->conns, p);
	hz_listeners_set_service_proxy(s->listeners, p->service_proxy);
}

static void tell(struct hz_server *s)
{
	struct hz_report *r;

	if (!__atomic_exchange_n(&s->asked, false, __ATOMIC_ACQUIRE))
		return;
	r = kp_calloc(1, sizeof(*r));
	r->n_listeners = hz_listeners_report(s->listeners, &r->listeners);
	r->n_evicted = hz_conns_evicted(s->conns);
	r->n_probes = hz_history_probes(s->history, &r->probes);
	r->n_peers = hz_history_peers(s->history, &r->peers);
	hz_report_free(__atomic_exchange_n(&s->report, r, __ATOMIC_ACQ_REL));
	kp_wake_set(s->told_fd);
}

static void set_listeners(struct hz_server *s)
{
	KP_AUTO(kp_freep) struct fixed *f = __atomic_exchange_n(&s->listen, NULL, __ATOMIC_ACQUIRE);

	if (f)
		hz_listeners_set(s->listeners, f->listen, f->n);
}

static void give_sockets(struct hz_server *s)
{
	struct kp_inherit *to = __atomic_exchange_n(&s->give_to, NULL, __ATOMIC_ACQUIRE);

	if (!to)
		return;
	hz_listeners_give(s->listeners, to);
	kp_wake_set(s->given_fd);
}

static void inherit_sockets(struct hz_server *s)
{
	struct kp_inherit *in = __atomic_exchange_n(&s->inherit, NULL, __ATOMIC_ACQUIRE);

	if (in)
		hz_listeners_inherit(s->listeners, in);
}

static void on_leaving(evutil_socket_t fd, short what, void *arg)
{
	struct hz_server *s = arg;
	const struct timeval tick = { .tv_usec = 20000 };
	unsigned left_ms = __atomic_load_n(&s->leave_ms, __ATOMIC_RELAXED);

	(void)fd, (void)what;
	__atomic_store_n(&s->n_left, hz_conns_count(s->conns), __ATOMIC_RELEASE);
	if (left_ms <= 20)
		hz_conns_close_idle(s->conns);
	else
		__atomic_store_n(&s->leave_ms, left_ms - 20, __ATOMIC_RELAXED);
	event_add(s->leaving, &tick);
}

static void start_leaving(struct hz_server *s)
{
	if (s->leaving || !__atomic_load_n(&s->leave_ms, __ATOMIC_ACQUIRE))
		return;
	hz_listeners_leave(s->listeners);
	hz_conns_last_answers(s->conns);
	s->leaving = evtimer_new(s->base, on_leaving, s);
	on_leaving(-1, 0, s);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct hz_server *s = arg;
	uint64_t times;

	(void)what;
	if (read(fd, &times, sizeof(times)) < 0)
		return;
	if (__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		event_base_loopbreak(s->base);
		return;
	}
	set_policy(s);
	__atomic_store_n(&s->idle, false, __ATOMIC_RELEASE);
	inherit_sockets(s);
	hz_listeners_hold(s->listeners, __atomic_load_n(&s->held, __ATOMIC_ACQUIRE));
	set_listeners(s);
	give_sockets(s);
	start_leaving(s);
	take_newest(s);
	if (s->fresh) {
		s->fresh = false;	/* first: what is accepted meanwhile may find a newer state */
		hz_listeners_sync(s->listeners, s->state);
		if (s->state->services)
			hz_listeners_drop_inherited(s->listeners);
	}
	tell(s);
}

static void *run(void *arg)
{
	struct hz_server *s = arg;

	event_base_dispatch(s->base);
	return NULL;
}

static void wake(struct hz_server *s)
{
	kp_wake_set(s->wake_fd);
}

void hz_server_publish(struct hz_server *s, struct hz_state *taken)
{
	bool is_told = s->told && hz_state_same_ports(s->told, taken);

	if (!is_told) {
		hz_state_free(s->told);
		s->told = hz_state_copy(taken);
	}
	hz_state_free(__atomic_exchange_n(&s->slot, taken, __ATOMIC_ACQ_REL));
	if (!is_told)
		wake(s);
}

void hz_server_listen(struct hz_server *s, const struct hz_listen *listen, size_t n)
{
	struct fixed *f = kp_malloc(sizeof(*f) + n * sizeof(*listen));

	f->n = n;
	if (n)
		memcpy(f->listen, listen, n * sizeof(*listen));
	free(__atomic_exchange_n(&s->listen, f, __ATOMIC_ACQ_REL));
	wake(s);
}

void hz_server_set_policy(struct hz_server *s, const struct hz_policy *policy)
{
	free(__atomic_exchange_n(&s->policy, hz_policy_copy(policy), __ATOMIC_ACQ_REL));
	wake(s);
}

struct hz_report *hz_server_report(struct hz_server *s, unsigned timeout_ms)
{
	struct pollfd told = { .fd = s->told_fd, .events = POLLIN };
	uint64_t times;

	/* One that came too late for the last asker is old by now. */
	if (read(s->told_fd, &times, sizeof(times)) > 0)
		hz_report_free(__atomic_exchange_n(&s->report, NULL, __ATOMIC_ACQUIRE));
	__atomic_store_n(&s->asked, true, __ATOMIC_RELEASE);
	wake(s);
	if (poll(&told, 1, (int)timeout_ms) < 1 || read(s->told_fd, &times, sizeof(times)) < 0)
		return NULL;
	return __atomic_exchange_n(&s->report, NULL, __ATOMIC_ACQUIRE);
}

void hz_server_inherit(struct hz_server *s, struct kp_inherit *taken)
{
	kp_inherit_free(__atomic_exchange_n(&s->inherit, taken, __ATOMIC_ACQ_REL));
	hz_state_free(kp_steal(&s->told));	/* the next one decides what of them is of no use */
	wake(s);
}

void hz_server_give(struct hz_server *s, struct kp_inherit *to)
{
	uint64_t times;

	__atomic_store_n(&s->give_to, to, __ATOMIC_RELEASE);
	wake(s);
	while (read(s->given_fd, &times, sizeof(times)) < 0 && errno == EINTR)
		;	/* the thread never blocks, so neither do we */
}

void hz_server_hold(struct hz_server *s, bool on)
{
	__atomic_store_n(&s->held, on, __ATOMIC_RELEASE);
	wake(s);
}

void hz_server_leave(struct hz_server *s, unsigned idle_ms)
{
	__atomic_store_n(&s->n_left, 1, __ATOMIC_RELAXED);	/* until the thread has counted */
	__atomic_store_n(&s->leave_ms, idle_ms ? idle_ms : 1, __ATOMIC_RELEASE);
	wake(s);
}

size_t hz_server_n_left(const struct hz_server *s)
{
	return __atomic_load_n(&s->n_left, __ATOMIC_ACQUIRE);
}

void hz_server_alive(struct hz_server *s, uint64_t now_ns)
{
	__atomic_store_n(&s->alive_ns, now_ns, __ATOMIC_RELAXED);
}

bool hz_server_has_run(struct hz_server *s)
{
	bool was_idle = __atomic_exchange_n(&s->idle, true, __ATOMIC_ACQ_REL);

	wake(s);
	return !was_idle;
}

struct hz_counters hz_server_counters(const struct hz_server *s)
{
	const struct hz_counters *c = &s->counters;

	return (struct hz_counters){
		.healthz_200 = __atomic_load_n(&c->healthz_200, __ATOMIC_RELAXED),
		.healthz_503 = __atomic_load_n(&c->healthz_503, __ATOMIC_RELAXED),
		.livez_200 = __atomic_load_n(&c->livez_200, __ATOMIC_RELAXED),
		.livez_503 = __atomic_load_n(&c->livez_503, __ATOMIC_RELAXED),
	};
}

static void on_failure(void *arg, const char *ns, const char *name, uint16_t port, const char *why)
{
	const struct hz_server *s = arg;
	struct hz_failure f = { .port = port };

	snprintf(f.ns, sizeof(f.ns), "%s", ns);
	snprintf(f.name, sizeof(f.name), "%s", name);
	snprintf(f.why, sizeof(f.why), "%s", why);
	if (write(s->failures[1], &f, sizeof(f)) < 0)
		return;		/* full: nobody takes them, or there are very many */
}

int hz_server_failure_fd(const struct hz_server *s)
{
	return s->failures[0];
}

bool hz_server_take_failure(struct hz_server *s, struct hz_failure *ret)
{
	return read(s->failures[0], ret, sizeof(*ret)) == (ssize_t)sizeof(*ret);
}

static void free_server(struct hz_server *s)
{
	hz_listeners_free(s->listeners);	/* may still accept and answer */
	hz_relay_free(s->relay);
	hz_conns_free(s->conns);
	hz_history_free(s->history);
	if (s->leaving)
		event_free(s->leaving);
	if (s->wake)
		event_free(s->wake);
	if (s->base)
		event_base_free(s->base);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	kp_closep(&s->failures[0]);
	kp_closep(&s->failures[1]);
	if (s->told_fd >= 0)
		close(s->told_fd);
	kp_closep(&s->given_fd);
	kp_inherit_free(s->inherit);
	free(s->listen);
	free(s->policy);
	hz_report_free(s->report);
	hz_state_free(s->slot);
	hz_state_free(s->told);
	hz_state_free(s->state);
	free(s);
}

static int set_up(struct hz_server *s, const struct hz_options *opt, struct kp_err *err)
{
	s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->told_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->given_fd = eventfd(0, EFD_CLOEXEC);
	if (s->wake_fd < 0 || s->told_fd < 0 || s->given_fd < 0)
		return kp_err_set(err, -errno, "cannot make an eventfd: %s", strerror(errno));
	if (pipe2(s->failures, O_DIRECT | O_NONBLOCK | O_CLOEXEC) < 0)
		return kp_err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	(void)fcntl(s->failures[1], F_SETPIPE_SZ, FAILURES * sysconf(_SC_PAGESIZE));	/* else it is some 16 */
	s->base = event_base_new();
	s->wake = s->base ? event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s) : NULL;
	if (!s->wake || event_add(s->wake, NULL) < 0)
		return kp_err_set(err, -ENOMEM, "cannot make an event loop");
	s->history = hz_history_new();
	s->conns = hz_conns_new(s->base, &opt->policy, s->history, on_request, s);
	if (opt->relay)
		s->relay = hz_relay_new(s->base, s->conns, opt->relay);
	s->listeners = hz_listeners_new(s->base, s->conns);
	hz_listeners_on_failure(s->listeners, on_failure, s);
	hz_listeners_set_service_proxy(s->listeners, opt->policy.service_proxy);
	inherit_sockets(s);
	return 0;
}

static int bind_fixed(struct hz_server *s, const struct hz_options *opt, struct kp_err *err)
{
	for (size_t i = 0; i < opt->n_listen; i++) {
		struct kp_err why = { 0 };
		int r = hz_listeners_add(s->listeners, &opt->listen[i], &why);

		if (r < 0 && opt->hard_fail)
			return kp_err_set(err, r, "%s", why.msg);
		if (r < 0)
			kp_warn("health", "%s, for %s; retrying", why.msg, opt->listen[i].name);
	}
	return 0;
}

static int start_thread(struct hz_server *s, struct kp_err *err)
{
	int r = kp_thread_start(&s->thread, "health", run, s);

	return r < 0 ? kp_err_set(err, r, "cannot start the health thread: %s", strerror(-r)) : 0;
}

int hz_server_start(struct hz_server **ret, const struct hz_options *opt, struct kp_err *err)
{
	struct hz_server *s = kp_calloc(1, sizeof(*s));
	int r;

	s->wake_fd = s->told_fd = s->given_fd = s->failures[0] = s->failures[1] = -1;
	s->slot = opt->state;
	s->inherit = opt->inherited;
	r = set_up(s, opt, err);
	if (r == 0)
		r = bind_fixed(s, opt, err);
	if (r == 0)
		r = start_thread(s, err);
	if (r < 0) {
		free_server(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct hz_server *hz_server_stop(struct hz_server *s)
{
	if (!s)
		return NULL;
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	wake(s);
	pthread_join(s->thread, NULL);
	free_server(s);
	return NULL;
}
