#include "proxy/takeover.h"

#include <errno.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "nft/held.h"
#include "nft/otherclean.h"
#include "nft/otherproxy.h"
#include "nft/table.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/thread.h"
#include "proxy/base/wake.h"

/* How often to look: while it is unknown whether it lives, and else. */
#define UNSURE_MS	500
#define PERIOD_MS	2000
/* While we program, of these looks only some are thorough; between them a commit by anybody is what makes us look. */
#define FULL_EVERY	5
#define LEGACY_EVERY	30

/* It looks at the descriptor of its end between two steps. Sanitizers take longer, and count what is left alone as a leak. */
#define END_MS (KP_SANITIZED ? 10000 : 300)

#define CLEAN_AGAIN_NS	300000000000ull
#define REMIND_MS	60000

/* What a look saw, by value from thread to thread. */
struct report {
	struct dp_other found;
	struct kp_life_signs signs;
	bool cleaned;		/* a removal was tried before this look */
	struct kp_err problem;	/* of it */
};

/* The thread's own. */
struct watcher {
	struct dp_other last;
	struct mnl_socket *nl;	/* NULL: cannot be had, then every look is thorough */
	uint32_t generation;
	bool seen;		/* last is of this life of its rules */
	uint64_t same_since_ns;
	bool changed;
	unsigned ticks;
};

struct kp_takeover {
	enum kp_takeover_mode mode;
	struct kp_takeover_hooks hooks;
	pthread_t thread;
	int wake, done, quit;		/* eventfds: to the thread, from it, and for it to drop everything */
	struct event *event;
	atomic_uint period_ms;
	atomic_bool thorough;		/* every look is */
	pthread_mutex_t lock;		/* over these: */
	struct report report;
	bool posted, clean;

	/* The main thread's. */
	bool known, may_program, programmed, owed, cleaning;
	enum kp_other_state state;
	enum kp_other_action action;
	char *found, *problem;
	char why[KP_LIFE_STRLEN], blocked[160];
	uint64_t clean_again_ns;
	struct kp_ratelimit remind;
};

/* --- the thread --- */

static bool quitting(const struct kp_takeover *t)
{
	struct pollfd p = { t->quit, POLLIN, 0 };

	return poll(&p, 1, 0) > 0;
}

static bool somebody_committed(struct watcher *w)
{
	uint32_t generation, before = w->generation;

	if (!w->nl || dp_genid(w->nl, &generation, NULL) < 0)
		return true;
	w->generation = generation;
	return generation != before;
}

/* For how long its rules have been the same. */
static void compare(struct watcher *w, const struct dp_other *now, struct kp_life_signs *signs)
{
	uint64_t now_ns = kp_now_ns();

	signs->rules = dp_other_any(now);
	if (!signs->rules || !w->seen || now->print != w->last.print) {
		w->changed = signs->rules && w->seen;
		w->same_since_ns = now_ns;
	}
	w->seen = signs->rules;
	signs->changed = w->changed;
	signs->quiet_ns = now_ns - w->same_since_ns;
}

static void look(struct kp_takeover *t, struct watcher *w, struct report *r)
{
	bool all = atomic_load(&t->thorough), full = all || w->ticks % FULL_EVERY == 0;
	bool moved = somebody_committed(w);
	struct kp_err err = { 0 };

	r->found = w->last;
	if ((full || moved) && dp_other_look(&r->found, &w->nl, all || w->ticks % LEGACY_EVERY == 0, t->quit, &err) < 0)
		kp_debug("takeover", "%s", err.msg);
	if (full || (moved && dp_other_any(&r->found)))
		kp_life_look(&r->signs);
	compare(w, &r->found, &r->signs);
	w->last = r->found;
	w->ticks++;
}

static void say(void *arg, bool detail, const char *text)
{
	(void)arg;
	kp_log(detail ? KP_LOG_DEBUG : KP_LOG_INFO, "takeover", detail ? "%s" : "removing %s", text);
}

static void clean(struct kp_takeover *t, struct watcher *w, struct report *r)
{
	struct dp_otherclean how = { .gentle = true, .cancel_fd = t->quit, .say = say };

	r->cleaned = true;
	r->problem = (struct kp_err){ 0 };
	(void)dp_other_clean(&w->last, &how, &r->problem);
	w->seen = w->changed = false;	/* what changed now was our doing */
	w->ticks = 0;
}

static bool take_order(struct kp_takeover *t)
{
	bool order;

	pthread_mutex_lock(&t->lock);
	order = t->clean;
	t->clean = false;
	pthread_mutex_unlock(&t->lock);
	return order;
}

static void post(struct kp_takeover *t, const struct report *r)
{
	pthread_mutex_lock(&t->lock);
	if (t->posted && t->report.cleaned && !r->cleaned) {	/* not seen yet, and not to be lost */
		struct kp_err problem = t->report.problem;

		t->report = *r;
		t->report.cleaned = true;
		t->report.problem = problem;
	} else {
		t->report = *r;
	}
	t->posted = true;
	pthread_mutex_unlock(&t->lock);
	kp_wake_set(t->done);
}

static void *watch(void *arg)
{
	struct kp_takeover *t = arg;
	struct watcher w = { 0 };
	struct report r = { .cleaned = false };

	(void)dp_socket_open(&w.nl, NULL);
	while (!quitting(t)) {
		struct pollfd fds[] = { { t->wake, POLLIN, 0 }, { t->quit, POLLIN, 0 } };

		r.cleaned = take_order(t);
		if (r.cleaned)
			clean(t, &w, &r);
		look(t, &w, &r);
		post(t, &r);
		(void)poll(fds, KP_N(fds), (int)atomic_load(&t->period_ms));
		kp_wake_clear(t->wake);
	}
	if (w.nl)
		mnl_socket_close(w.nl);
	return NULL;
}

/* --- the main thread --- */

static void replace_text(char **text, const char *with)
{
	free(*text);
	*text = with ? kp_strdup(with) : NULL;
}

static void take_report(struct kp_takeover *t, const struct report *r)
{
	struct kp_buf found = { 0 };

	dp_other_describe(&r->found, &found);
	replace_text(&t->found, found.data);
	kp_buf_release(&found);
	kp_life_str(&r->signs, t->why);
	t->state = kp_other_judge(&r->signs);
	if (!t->known && r->found.unseen)
		kp_warn("takeover", "what iptables-legacy holds cannot be seen: that takes its programs, root and CAP_NET_RAW");
	if (!r->cleaned)
		return;
	t->cleaning = false;
	t->owed = false;
	replace_text(&t->problem, r->problem.code < 0 ? r->problem.msg : NULL);
	if (r->problem.code < 0) {
		t->clean_again_ns = kp_now_ns() + CLEAN_AGAIN_NS;
		kp_error("takeover", "cannot remove all that kube-proxy left, will try again: %s", r->problem.msg);
	}
}

/* What was found and what will be done, in words, before anything is done. */
static void announce(struct kp_takeover *t, bool again)
{
	bool must_act = t->action == KP_OTHER_ALARM || (t->action == KP_OTHER_WAIT && t->state == KP_OTHER_ALIVE);
	unsigned n;

	if (!again)
		t->remind = (struct kp_ratelimit){ .window_ms = REMIND_MS, .burst = 1 };
	if ((again && !must_act) || !kp_ratelimit_ok(&t->remind, kp_now_ms(), &n))
		return;
	switch (t->action) {
	case KP_OTHER_PROGRAM:
		if (t->known)
			kp_info("takeover", "nothing of kube-proxy is here any more");
		break;
	case KP_OTHER_WAIT:
		if (t->state == KP_OTHER_ALIVE)
			kp_error("takeover", "kube-proxy is running here (%s; found: %s): programming nothing until it ends", t->why, t->found);
		else
			kp_info("takeover", "found kube-proxy's: %s; programming nothing before it is known whether it runs", t->found);
		break;
	case KP_OTHER_WATCH:
		kp_info("takeover", "found kube-proxy's: %s; watching whether it runs", t->found);
		break;
	case KP_OTHER_REPLACE:
		kp_info("takeover", "found kube-proxy's: %s; %s: to be removed once our own rules are in place", t->found, t->why);
		break;
	case KP_OTHER_BESIDE:
		kp_warn("takeover", "found kube-proxy's: %s; it stays, beside our rules", t->found);
		break;
	case KP_OTHER_ALARM:
		kp_error("takeover", "kube-proxy is back (%s; found: %s): two proxies program this node; end one of them", t->why, t->found);
		break;
	}
}

static void set_blocked(struct kp_takeover *t)
{
	t->blocked[0] = '\0';
	if (t->action == KP_OTHER_WAIT)
		snprintf(t->blocked, sizeof(t->blocked), t->state == KP_OTHER_ALIVE ? "kube-proxy is running here: %s" :
			 "watching whether kube-proxy still runs: %s", t->why);
}

/* With takeover "always", a removal that was decided is not given up because it lives. */
static void decide(struct kp_takeover *t, enum kp_other_state state_before)
{
	bool holding = t->may_program && !(t->mode == KP_TAKEOVER_ALWAYS && t->owed);
	enum kp_other_action before = t->action;

	t->action = kp_other_decide(t->mode, t->state, holding);
	announce(t, t->known && before == t->action && state_before == t->state);
	if (t->known && (before == KP_OTHER_ALARM) != (t->action == KP_OTHER_ALARM) && t->hooks.other) {
		struct kp_other_view v = kp_takeover_view(t);

		t->hooks.other(t->hooks.arg, &v);
	}
	t->known = true;
	t->owed = t->action == KP_OTHER_REPLACE;
	t->may_program |= t->action != KP_OTHER_WAIT;
	set_blocked(t);
	atomic_store(&t->thorough, t->state != KP_OTHER_NONE && t->action != KP_OTHER_BESIDE);
	atomic_store(&t->period_ms, t->state == KP_OTHER_UNSURE ? UNSURE_MS : PERIOD_MS);
}

static void order_clean(struct kp_takeover *t)
{
	if (!t->owed || !t->programmed || t->cleaning || kp_now_ns() < t->clean_again_ns)
		return;
	t->cleaning = true;
	pthread_mutex_lock(&t->lock);
	t->clean = true;
	pthread_mutex_unlock(&t->lock);
	kp_wake_set(t->wake);
}

static void on_report(evutil_socket_t fd, short what, void *arg)
{
	struct kp_takeover *t = arg;
	enum kp_other_state before = t->state;
	struct report r;
	bool any;

	(void)what;
	kp_wake_clear(fd);
	pthread_mutex_lock(&t->lock);
	any = t->posted;
	t->posted = false;
	r = t->report;
	pthread_mutex_unlock(&t->lock);
	if (!any)
		return;
	take_report(t, &r);
	decide(t, before);
	order_clean(t);
	t->hooks.changed(t->hooks.arg);
}

static void release(struct kp_takeover *t)
{
	if (t->event)
		event_free(t->event);
	kp_closep(&t->wake);
	kp_closep(&t->done);
	kp_closep(&t->quit);
	pthread_mutex_destroy(&t->lock);
	free(t->found);
	free(t->problem);
	free(t);
}

bool kp_takeover_must_watch(enum kp_takeover_mode mode)
{
	struct dp_other found = { 0 };
	struct kp_err err = { 0 };

	if (kp_other_decide(mode, KP_OTHER_UNSURE, false) != KP_OTHER_WAIT)
		return false;
	if (dp_other_look(&found, NULL, true, -1, &err) < 0)
		kp_debug("takeover", "%s", err.msg);
	return dp_other_any(&found);
}

int kp_takeover_start(struct kp_takeover **ret, struct event_base *base, enum kp_takeover_mode mode, bool holding,
		      const struct kp_takeover_hooks *hooks, struct kp_err *err)
{
	struct kp_takeover *t = kp_calloc(1, sizeof(*t));
	int r;

	t->mode = mode;
	t->may_program = holding;
	t->hooks = *hooks;
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_init(&t->period_ms, UNSURE_MS);
	atomic_init(&t->thorough, true);
	pthread_mutex_init(&t->lock, NULL);
	/* Started under the name kube-proxy we are not one: this is how a successor of ours can tell. */
	(void)prctl(PR_SET_NAME, "proxylet");
	r = t->wake < 0 || t->done < 0 || t->quit < 0 ? -errno : 0;
	if (r == 0) {
		t->event = event_new(base, t->done, EV_READ | EV_PERSIST, on_report, t);
		event_add(t->event, NULL);
		r = kp_thread_start(&t->thread, "takeover", watch, t);
	}
	if (r < 0) {
		release(t);
		return kp_err_set(err, r, "start to look for another proxy: %s", strerror(-r));
	}
	*ret = t;
	return 0;
}

struct kp_takeover *kp_takeover_stop(struct kp_takeover *t)
{
	if (!t)
		return NULL;
	kp_wake_set(t->quit);
	if (kp_thread_join(t->thread, END_MS)) {
		release(t);
		return NULL;
	}
	kp_debug("takeover", "still looking: left alone");
	event_free(t->event);
	return NULL;
}

bool kp_takeover_may_program(const struct kp_takeover *t)
{
	return t->known && t->may_program;
}

const char *kp_takeover_blocked(const struct kp_takeover *t)
{
	return *t->blocked ? t->blocked : NULL;
}

void kp_takeover_programmed(struct kp_takeover *t)
{
	t->programmed = true;
	order_clean(t);
}

struct kp_other_view kp_takeover_view(const struct kp_takeover *t)
{
	return (struct kp_other_view){ t->state, t->action, t->found ? t->found : "nothing", t->why, t->problem };
}
