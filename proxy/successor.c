#include "proxy/successor.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/fdline.h"
#include "proxy/base/instance.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/netadmin.h"

enum step { STEP_PREPARING, STEP_ASKED, STEP_GIVEN, STEP_READY, STEP_OVER, STEP_REFUSED };

struct kp_successor {
	struct kp_successor_view view;
	struct kp_fdline *line;
	struct event *readable, *writable, *patience;	/* the last: from take to given */
	struct kp_inherit *got;
	enum step step;
};

/* One line, or -errno; before there is a loop. */
static int wait_line(struct kp_fdline *l, const char **ret)
{
	uint64_t until = kp_now_ms() + KP_HANDOVER_HELLO_MS, now;
	int r = 0;

	while (r == 0 && (now = kp_now_ms()) < until) {
		struct pollfd p = { .fd = kp_fdline_fd(l), .events = POLLIN };

		if (poll(&p, 1, (int)(until - now)) > 0)
			r = kp_fdline_get(l, ret);
	}
	return r == 0 ? -ETIMEDOUT : r < 0 ? r : 0;
}

static int hear_hello(struct kp_fdline *l, struct kp_err *err)
{
	const char *line, *say;
	int r = wait_line(l, &line);
	json_t *o;

	if (r < 0)
		return kp_err_set(err, r, "it does not know how to hand over, or has no time");
	o = kp_handover_parse(line, &say);
	if (o && strcmp(say, "hello") == 0 && kp_handover_int(o, "protocol") == KP_HANDOVER_PROTOCOL)
		kp_info("handover", "version %.32s is running here: taking over from it", kp_handover_text(o, "version"));
	else if (o && strcmp(say, "no") == 0)
		r = kp_err_set(err, -EBUSY, "%.200s", kp_handover_text(o, "why"));
	else
		r = kp_err_set(err, -EPROTO, "it speaks another protocol");
	json_decref(o);
	return r;
}

int kp_successor_new(struct kp_successor **ret, const char *node_name, struct kp_err *err)
{
	int proof = kp_netadmin_prove(err), fd, r;
	struct kp_fdline *l;

	if (proof < 0)
		return proof;
	fd = kp_instance_connect(err);
	if (fd < 0) {
		close(proof);
		return fd;
	}
	l = kp_fdline_new(fd);
	kp_handover_say_with(l, json_pack("{s:s, s:i, s:s, s:s}", "say", "hello", "protocol", KP_HANDOVER_PROTOCOL,
					  "version", KP_VERSION, "node", node_name), proof);
	(void)kp_fdline_flush(l);	/* who turned us away at once has closed, and said why */
	r = hear_hello(l, err);
	if (r < 0) {
		kp_fdline_free(l);
		return r;
	}
	*ret = kp_calloc(1, sizeof(**ret));
	(*ret)->line = l;
	(*ret)->got = kp_inherit_new();
	return 0;
}

static void hang_up(struct kp_successor *s)
{
	struct event **all[] = { &s->readable, &s->writable, &s->patience };

	for (size_t i = 0; i < KP_N(all); i++)
		if (*all[i])
			event_free(kp_steal(all[i]));
	s->line = kp_fdline_free(s->line);
}

struct kp_successor *kp_successor_free(struct kp_successor *s)
{
	if (!s)
		return NULL;
	hang_up(s);
	kp_inherit_free(s->got);
	free(s);
	return NULL;
}

/* Whatever happens to the predecessor: what we were given stays ours, and without it the place is free. */
static void on_gone(struct kp_successor *s, const char *how)
{
	enum step was = s->step;

	hang_up(s);
	s->step = was == STEP_REFUSED ? was : STEP_OVER;
	if (was >= STEP_OVER)
		return;
	kp_warn("handover", "the predecessor %s before the hand-over was complete; going on alone", how);
	if (was < STEP_GIVEN)
		s->view.alone(s->view.arg, kp_steal(&s->got));
	else if (was == STEP_GIVEN)
		s->view.left_alone(s->view.arg);
}

static void hear_socket(struct kp_successor *s, const json_t *o)
{
	int fd = kp_fdline_take_fd(s->line);

	if (fd >= 0)
		kp_inherit_add(s->got, kp_handover_text(o, "name"), fd);
}

static void hear_given(struct kp_successor *s, const json_t *o)
{
	struct kp_handover_node node;

	kp_handover_read_given(o, &node);
	kp_info("handover", "got %zu sockets", s->got->n);
	event_del(s->patience);
	s->step = STEP_GIVEN;
	s->view.given(s->view.arg, kp_steal(&s->got), &node);
}

static void hear_no(struct kp_successor *s, const json_t *o)
{
	s->step = STEP_REFUSED;
	s->view.refused(s->view.arg, kp_handover_text(o, "why"));
}

static void hear_done(struct kp_successor *s, const json_t *o)
{
	(void)o;
	kp_info("handover", "taken over");
	s->step = STEP_OVER;
}

/* False: nothing that belongs here. */
static bool hear(struct kp_successor *s, const char *line)
{
	static const struct {
		const char *say;
		enum step from, to;
		void (*hear)(struct kp_successor *s, const json_t *o);
	} all[] = {
		{ "socket", STEP_PREPARING, STEP_ASKED, hear_socket }, { "given", STEP_PREPARING, STEP_ASKED, hear_given },
		{ "no", STEP_PREPARING, STEP_READY, hear_no }, { "done", STEP_READY, STEP_READY, hear_done },
	};
	const char *say;
	json_t *o = kp_handover_parse(line, &say);
	bool ok = false;

	for (size_t i = 0; o && !ok && i < KP_N(all); i++) {
		ok = strcmp(say, all[i].say) == 0 && s->step >= all[i].from && s->step <= all[i].to;
		if (ok)
			all[i].hear(s, o);
	}
	json_decref(o);
	return ok;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct kp_successor *s = arg;
	const char *line;
	int r;

	(void)fd, (void)what;
	while ((r = kp_fdline_get(s->line, &line)) > 0)
		if (!hear(s, line)) {
			r = -EPROTO;
			break;
		}
	if (r < 0)
		on_gone(s, r == -EPROTO ? "sent what is no hand-over" : "ended");
}

static void flush(struct kp_successor *s)
{
	if (kp_fdline_flush(s->line) == -EAGAIN)	/* an end will be read */
		event_add(s->writable, NULL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	flush(arg);
}

/*
 * It lives and may write at any time, so that going on alone would make two that do. Whoever starts us
 * tries again, and whoever watches it ends it if it hangs.
 */
static void on_no_patience(evutil_socket_t fd, short what, void *arg)
{
	struct kp_successor *s = arg;

	(void)fd, (void)what;
	hang_up(s);
	s->step = STEP_REFUSED;
	s->view.refused(s->view.arg, "it did not give its place in time");
}

void kp_successor_listen(struct kp_successor *s, struct event_base *base, const struct kp_successor_view *view)
{
	s->view = *view;
	s->readable = event_new(base, kp_fdline_fd(s->line), EV_READ | EV_PERSIST, on_readable, s);
	s->writable = event_new(base, kp_fdline_fd(s->line), EV_WRITE, on_writable, s);
	s->patience = evtimer_new(base, on_no_patience, s);
	event_add(s->readable, NULL);
	event_active(s->readable, EV_READ, 0);	/* what came right behind the answer has been received already */
}

bool kp_successor_may_write(struct kp_successor *s)
{
	unsigned ms = s->view.give_ms ? s->view.give_ms : KP_HANDOVER_GIVE_MS;
	const struct timeval patience = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	if (s->step == STEP_PREPARING && s->line) {
		s->step = STEP_ASKED;
		event_add(s->patience, &patience);
		kp_handover_say(s->line, json_pack("{s:s}", "say", "take"));
		flush(s);
	}
	return s->step >= STEP_GIVEN && s->step <= STEP_OVER;
}

void kp_successor_ready(struct kp_successor *s)
{
	if (s->step != STEP_GIVEN)
		return;
	s->step = STEP_READY;
	kp_handover_say(s->line, json_pack("{s:s}", "say", "ready"));
	flush(s);
}
