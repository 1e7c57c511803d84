#include "proxy/succession.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "healthz/server.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/instance.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/monitor.h"
#include "proxy/nodestate.h"
#include "proxy/plan/runner.h"
#include "proxy/predecessor.h"
#include "proxy/successor.h"

#define LEAVE_TICK_MS	20
#define RETRY_S		1
#define LINGER_MS	600	/* what a connection needs to close without RST, see healthz/conn.c */

struct kp_succession {
	struct kp_succession_view view;
	int instance;			/* -1: still the predecessor's */
	struct kp_successor *from;	/* whom we have it from; NULL: nobody */
	struct kp_predecessor *to;	/* once the place is ours: for who comes next */
	struct kp_inherit *inherited;	/* until we listen */
	bool answers;
	bool giving;			/* a successor has our sockets, and we do not write */
	bool leaving, left;
	bool ending;			/* told to, as soon as that is settled */
	bool orphaned;
	struct event *tick;
	struct event *retry;		/* while a stranger holds the place */
	uint64_t leave_until_ms;
};

/* --- leaving it to somebody --- */

static struct kp_inherit *give(void *arg, struct kp_handover_node *ret, struct kp_err *err)
{
	struct kp_succession *s = arg;
	struct kp_inherit *all;

	if (!*s->view.runner || !*s->view.server || !*s->view.monitor) {
		kp_err_set(err, -EAGAIN, "is too early: this agent has not started yet");
		return NULL;
	}
	all = kp_inherit_new();
	if (kp_inherit_add_copy(all, KP_HANDOVER_INSTANCE, s->instance, err) < 0 || kp_runner_pause(*s->view.runner, err) < 0) {
		kp_inherit_free(all);
		return NULL;
	}
	hz_server_hold(*s->view.server, true);
	hz_server_give(*s->view.server, all);
	kp_monitor_give(*s->view.monitor, all);
	kp_nodestate_give(s->view.state, ret);
	s->giving = true;
	return all;
}

static void resume(void *arg)
{
	struct kp_succession *s = arg;
	struct kp_err err = { 0 };

	s->giving = false;
	kp_nodestate_keep(s->view.state);
	hz_server_hold(*s->view.server, false);
	if (s->ending)
		s->view.end(s->view.arg, NULL);
	else if (kp_runner_resume(*s->view.runner, &err) < 0)
		s->view.end(s->view.arg, &err);
	else
		s->view.write(s->view.arg);
}

/* All connections are closed, or have had their time. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	const struct timeval tv = { .tv_usec = LEAVE_TICK_MS * 1000 };
	struct kp_succession *s = arg;
	uint64_t now = kp_now_ms();

	(void)fd, (void)what;
	if (now + LINGER_MS >= s->leave_until_ms)
		kp_monitor_close_idle(*s->view.monitor);
	if (now < s->leave_until_ms && hz_server_n_left(*s->view.server) + kp_monitor_n_left(*s->view.monitor)) {
		event_add(s->tick, &tv);
		return;
	}
	s->left = true;
	s->view.end(s->view.arg, NULL);
}

static void leave(void *arg)
{
	struct kp_succession *s = arg;

	s->leaving = true;
	s->leave_until_ms = kp_now_ms() + KP_HANDOVER_DRAIN_MS;
	hz_server_leave(*s->view.server, KP_HANDOVER_DRAIN_MS - LINGER_MS);
	kp_monitor_leave(*s->view.monitor);
	s->tick = evtimer_new(s->view.base, on_tick, s);
	on_tick(-1, 0, s);
}

static void orphaned(void *arg)
{
	struct kp_succession *s = arg;

	s->orphaned = true;
	if (s->left)
		event_base_loopbreak(s->view.base);
}

static bool is_willing(const struct kp_succession *s)
{
	return s->view.cfg->handover != KP_HANDOVER_NEVER;
}

static void wait_for_successor(struct kp_succession *s)
{
	const struct kp_predecessor_view view = {
		.instance = s->instance, .willing = is_willing(s), .node_name = s->view.node_name,
		.give = give, .resume = resume, .leave = leave, .orphaned = orphaned, .arg = s,
	};

	(void)kp_instance_claim(s->instance);	/* it may be the predecessor's */
	s->to = kp_predecessor_new(s->view.base, &view);
}

/* --- taking it --- */

static void open_ports(struct kp_succession *s)
{
	struct kp_err err = { 0 };

	if (s->answers)
		return;
	s->answers = true;
	if (kp_monitor_open(*s->view.monitor, s->inherited, &err) < 0)
		kp_warn("handover", "%s", err.msg);
	hz_server_inherit(*s->view.server, kp_steal(&s->inherited));
	s->view.open(s->view.arg);
}

static void given(void *arg, struct kp_inherit *taken, const struct kp_handover_node *node)
{
	struct kp_succession *s = arg;
	const struct kp_err err = { -EPROTO, "the predecessor did not give its place" };

	kp_inherit_free(s->inherited);
	s->inherited = taken;
	kp_nodestate_inherit(s->view.state, node);
	s->instance = kp_inherit_take_named(taken, KP_HANDOVER_INSTANCE);
	if (s->instance < 0)
		s->view.end(s->view.arg, &err);
	else
		s->view.write(s->view.arg);
}

/*
 * The predecessor may have hung up on us and write again. It has only ended if the name is free, for which the
 * copy of the socket that it had given, if so, must go.
 */
static void alone(void *arg, struct kp_inherit *taken)
{
	struct kp_succession *s = arg;
	struct kp_err err = { 0 };

	kp_inherit_free(s->inherited);
	s->inherited = taken;
	kp_inherit_free(kp_inherit_split(taken, KP_HANDOVER_INSTANCE));
	if (kp_instance_await(&s->instance, &err) < 0) {
		s->view.end(s->view.arg, &err);
		return;
	}
	open_ports(s);
	wait_for_successor(s);
	s->view.write(s->view.arg);
}

/* Probes are not left without an answer until there is a commit: something may keep us from it for long. */
static void left_alone(void *arg)
{
	struct kp_succession *s = arg;

	open_ports(s);
	wait_for_successor(s);
}

static void refused(void *arg, const char *why)
{
	struct kp_succession *s = arg;
	struct kp_err err = { 0 };

	kp_err_set(&err, -EBUSY, "the running agent carries on: %.200s", why);
	s->view.end(s->view.arg, &err);
}

static int ask_holder(struct kp_succession *s, const char *node_name, struct kp_err *err)
{
	const struct kp_successor_view view = { given, alone, left_alone, refused, .arg = s };
	struct kp_err why = { 0 };

	if (kp_successor_new(&s->from, node_name, &why) < 0) {
		kp_err_wrap(&why, -EADDRINUSE, "%.250s, and it does not hand over", err->msg);
		*err = why;
		return err->code;
	}
	kp_successor_listen(s->from, s->view.base, &view);
	return 0;
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct kp_succession *s = arg;

	(void)fd, (void)what;
	if (kp_instance_try(&s->instance) < 0)
		return;
	event_free(kp_steal(&s->retry));
	kp_info("handover", "the name \"@proxylet\" is free: the place is ours");
	wait_for_successor(s);
}

/*
 * Any process may bind the name, so that waiting for it, or ending, would leave the node without rules as long as
 * some unprivileged one likes. It is none of ours (proxy/base/instance.h), so nobody else writes: program
 * without the place, and take it as soon as it is free, for the next agent to find us.
 */
static int go_without(struct kp_succession *s, const struct kp_err *why)
{
	const struct timeval tv = { .tv_sec = RETRY_S };

	kp_error("handover", "%s: programming all the same; until it ends no other agent can take over from this one", why->msg);
	s->answers = true;
	s->retry = event_new(s->view.base, -1, EV_PERSIST, on_retry, s);
	event_add(s->retry, &tv);
	return 0;
}

int kp_succession_new(struct kp_succession **ret, const char *node_name, struct kp_inherit *inherited,
		      const struct kp_succession_view *view, struct kp_err *err)
{
	struct kp_succession *s = kp_calloc(1, sizeof(*s));
	int r;

	s->view = *view;
	s->instance = -1;
	s->inherited = inherited ? inherited : kp_inherit_new();
	r = kp_instance_take(&s->instance, err);
	if (r == 0) {
		s->answers = true;
		wait_for_successor(s);
	} else if (r == -EADDRINUSE && is_willing(s)) {
		r = ask_holder(s, node_name, err);
	} else if (r == -EPERM) {
		r = go_without(s, err);
	}
	if (r < 0) {
		kp_succession_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct kp_succession *kp_succession_free(struct kp_succession *s)
{
	if (!s)
		return NULL;
	kp_successor_free(s->from);
	kp_predecessor_free(s->to);
	kp_inherit_free(s->inherited);
	if (s->tick)
		event_free(s->tick);
	if (s->retry)
		event_free(s->retry);
	kp_closep(&s->instance);
	free(s);
	return NULL;
}

/* --- what the agent asks --- */

void kp_succession_configured(struct kp_succession *s)
{
	if (s->to)
		kp_predecessor_set_willing(s->to, is_willing(s));
}

struct kp_inherit *kp_succession_inherited(struct kp_succession *s)
{
	return s->inherited;
}

struct kp_inherit *kp_succession_take_health(struct kp_succession *s)
{
	struct kp_inherit *all = s->inherited;

	s->inherited = kp_inherit_split(all, KP_MONITOR_METRICS);
	return all;
}

bool kp_succession_answers(const struct kp_succession *s)
{
	return s->answers;
}

bool kp_succession_may_write(struct kp_succession *s)
{
	return !s->from || kp_successor_may_write(s->from);
}

void kp_succession_committed(struct kp_succession *s)
{
	if (!s->from || s->answers)
		return;
	open_ports(s);
	wait_for_successor(s);
	kp_successor_ready(s->from);
}

bool kp_succession_is_giving(const struct kp_succession *s)
{
	return s->giving;
}

bool kp_succession_delays_end(struct kp_succession *s)
{
	bool delay = !s->ending && !s->left && (s->leaving || kp_predecessor_give_now(s->to));

	s->ending = true;
	return delay;
}

bool kp_succession_has_left(const struct kp_succession *s)
{
	return s->left;
}

bool kp_succession_stand_by(struct kp_succession *s)
{
	if (!s->left || s->ending || getpid() != 1)
		return false;
	kp_closep(&s->instance);
	s->instance = -1;
	kp_info("handover", "standing by: should the successor end, this agent goes on");
	if (!s->orphaned)
		event_base_dispatch(s->view.base);
	return s->orphaned;
}
