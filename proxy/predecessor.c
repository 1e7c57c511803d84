#include "proxy/predecessor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/fdline.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/netadmin.h"

/* How far the one successor is. */
enum step {
	STEP_NEW,	/* connected, or has only asked who we are */
	STEP_PREPARING,	/* has introduced itself */
	STEP_GIVEN,	/* has our sockets; we do not write */
	STEP_DONE,	/* has taken over */
};

struct kp_predecessor {
	struct kp_predecessor_view view;
	struct event_base *base;
	struct event *acceptable;
	/* The successor; NULL: none. */
	struct kp_fdline *line;
	struct event *readable, *writable, *timer;
	struct ucred cred;
	enum step step;
	bool ending;	/* told to */
};

static void forget(struct kp_predecessor *p)
{
	struct event **all[] = { &p->readable, &p->writable, &p->timer };

	for (size_t i = 0; i < KP_N(all); i++)
		if (*all[i])
			event_free(kp_steal(all[i]));
	p->line = kp_fdline_free(p->line);
}

/* The end of an attempt. why: NULL if there is nothing to say. */
static void give_up(struct kp_predecessor *p, const char *why)
{
	enum step was = p->step;

	if (why)
		kp_warn("handover", "the successor (pid %d) %s%s", (int)p->cred.pid, why,
			p->ending ? "" : "; carrying on");
	forget(p);
	p->step = STEP_NEW;
	if (was == STEP_GIVEN)
		p->view.resume(p->view.arg);
}

/* Sends what is queued. False: the peer is gone, and so is p->line. */
static bool flush(struct kp_predecessor *p)
{
	int r = kp_fdline_flush(p->line);

	if (r == 0)
		return true;
	if (r == -EAGAIN) {
		event_add(p->writable, NULL);
		return true;
	}
	give_up(p, p->step == STEP_NEW ? NULL : "has gone");
	return false;
}

static void refuse(struct kp_predecessor *p, const char *why)
{
	kp_handover_say_no(p->line, why);
	(void)kp_fdline_flush(p->line);		/* a few bytes; if they do not go out, the end says enough */
}

static void wait_for(struct kp_predecessor *p, unsigned ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(p->timer, &tv);
}

static void give(struct kp_predecessor *p)
{
	struct kp_handover_node node = { 0 };
	struct kp_err err = { 0 };
	struct kp_inherit *all = p->view.give(p->view.arg, &node, &err);

	if (!all && p->ending) {
		kp_warn("handover", "%s: the successor (pid %d) has to wait for our end", err.msg, (int)p->cred.pid);
		return;
	}
	if (!all) {
		refuse(p, err.msg);
		give_up(p, err.msg);
		return;
	}
	kp_info("handover", "giving %zu sockets to the successor (pid %d)", all->n, (int)p->cred.pid);
	p->step = STEP_GIVEN;
	kp_handover_say_sockets(p->line, all);
	kp_handover_say_given(p->line, &node);
	wait_for(p, p->view.ready_ms);
	flush(p);
}

static const char *unwelcome(struct kp_predecessor *p, const json_t *o)
{
	KP_AUTO(kp_closep) int proof = kp_fdline_take_fd(p->line);

	if (!kp_netadmin_is_proof(proof))
		return "has not shown that it may administer the network";
	if (!p->view.willing)
		return "proxylet.handover is \"never\"";
	if (kp_handover_int(o, "protocol") != KP_HANDOVER_PROTOCOL)
		return "speaks another version of the protocol";
	if (!*p->view.node_name || strcmp(kp_handover_text(o, "node"), *p->view.node_name) != 0)
		return "is of another node";
	return NULL;
}

static bool hear_hello(struct kp_predecessor *p, const json_t *o)
{
	const char *why = unwelcome(p, o);

	if (p->step != STEP_NEW)
		return false;
	if (why) {
		refuse(p, why);
		give_up(p, why);
		return true;
	}
	p->step = STEP_PREPARING;
	event_del(p->timer);	/* it may take its time: nothing has changed yet */
	kp_info("handover", "a successor prepares itself: pid %d, version %.32s", (int)p->cred.pid,
		kp_handover_text(o, "version"));
	kp_handover_say(p->line, json_pack("{s:s, s:i, s:s}", "say", "hello", "protocol", KP_HANDOVER_PROTOCOL,
					   "version", KP_VERSION));
	flush(p);
	return true;
}

static bool hear_take(struct kp_predecessor *p, const json_t *o)
{
	(void)o;
	if (p->step == STEP_PREPARING)
		give(p);	/* if it was given unasked, it need not ask any more */
	return true;
}

static bool hear_ready(struct kp_predecessor *p, const json_t *o)
{
	(void)o;
	if (p->step != STEP_GIVEN)
		return false;
	p->step = STEP_DONE;
	event_del(p->timer);
	event_del(p->acceptable);	/* who comes now is the successor's */
	kp_handover_say(p->line, json_pack("{s:s}", "say", "done"));
	(void)kp_fdline_flush(p->line);	/* also if it ended a moment ago: the place is its own */
	kp_info("handover", "the successor (pid %d) has taken over", (int)p->cred.pid);
	p->view.leave(p->view.arg);
	return true;
}

/* False: that is no successor. */
static bool hear(struct kp_predecessor *p, const char *line)
{
	static const struct {
		const char *say;
		bool (*hear)(struct kp_predecessor *p, const json_t *o);
	} all[] = { { "hello", hear_hello }, { "take", hear_take }, { "ready", hear_ready } };
	const char *say;
	json_t *o = kp_handover_parse(line, &say);
	bool ok = false;

	for (size_t i = 0; o && i < KP_N(all); i++)
		if (strcmp(say, all[i].say) == 0)
			ok = all[i].hear(p, o);
	json_decref(o);
	return ok;
}

static void on_gone(struct kp_predecessor *p)
{
	if (p->step == STEP_DONE) {
		forget(p);
		p->view.orphaned(p->view.arg);
		return;
	}
	give_up(p, p->step == STEP_NEW ? NULL : "has ended before it took over");
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct kp_predecessor *p = arg;
	const char *line;
	int r = 0;

	(void)fd, (void)what;
	while (p->line && (r = kp_fdline_get(p->line, &line)) > 0)
		if (!hear(p, line)) {
			r = -EPROTO;
			break;
		}
	if (!p->line || r == 0)
		return;
	if (r == -EPROTO)
		give_up(p, "sent what is no hand-over");
	else
		on_gone(p);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	flush(arg);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct kp_predecessor *p = arg;
	const char *why = p->step == STEP_GIVEN ? "was not ready in time" : "said nothing";

	(void)fd, (void)what;
	if (!p->ending)		/* else it goes on with what it has, since nobody carries on here */
		refuse(p, why);
	give_up(p, why);
}

static bool is_trusted(const struct ucred *c)
{
	return c->uid == 0 || c->uid == geteuid();
}

static void begin(struct kp_predecessor *p, int fd_taken, const struct ucred *cred)
{
	p->line = kp_fdline_new(fd_taken);
	p->cred = *cred;
	p->step = STEP_NEW;
	p->readable = event_new(p->base, fd_taken, EV_READ | EV_PERSIST, on_readable, p);
	p->writable = event_new(p->base, fd_taken, EV_WRITE, on_writable, p);
	p->timer = evtimer_new(p->base, on_timeout, p);
	event_add(p->readable, NULL);
	wait_for(p, KP_HANDOVER_HELLO_MS);
}

static void turn_away(int fd_taken, const char *why)
{
	struct kp_fdline *l = kp_fdline_new(fd_taken);

	kp_handover_say_no(l, why);
	(void)kp_fdline_flush(l);
	kp_fdline_free(l);
}

static void on_acceptable(evutil_socket_t listening, short what, void *arg)
{
	struct kp_predecessor *p = arg;
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	(void)what;
	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || !is_trusted(&cred)) {
		kp_warn("handover", "pid %d of uid %u may not take over", (int)cred.pid, (unsigned)cred.uid);
		turn_away(fd, "only uid 0 and the agent's own may take over");
		return;
	}
	if (p->line)
		on_readable(-1, 0, p);	/* who only wanted to know who we are may have gone already */
	if (p->line && p->step != STEP_NEW) {
		turn_away(fd, "another successor is taking over");
		return;
	}
	forget(p);
	begin(p, fd, &cred);
}

struct kp_predecessor *kp_predecessor_new(struct event_base *base, const struct kp_predecessor_view *view)
{
	struct kp_predecessor *p = kp_calloc(1, sizeof(*p));

	p->view = *view;
	p->base = base;
	if (!p->view.ready_ms)
		p->view.ready_ms = KP_HANDOVER_READY_MS;
	p->acceptable = event_new(base, view->instance, EV_READ | EV_PERSIST, on_acceptable, p);
	event_add(p->acceptable, NULL);
	return p;
}

struct kp_predecessor *kp_predecessor_free(struct kp_predecessor *p)
{
	if (!p)
		return NULL;
	forget(p);
	event_free(p->acceptable);
	free(p);
	return NULL;
}

void kp_predecessor_set_willing(struct kp_predecessor *p, bool willing)
{
	p->view.willing = willing;
}

bool kp_predecessor_give_now(struct kp_predecessor *p)
{
	if (!p)
		return false;
	p->ending = true;
	if (p->line && p->step == STEP_PREPARING)
		give(p);
	return p->line && p->step == STEP_GIVEN;
}
