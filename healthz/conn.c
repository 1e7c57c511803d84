#include "healthz/conn.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "healthz/answer.h"
#include "healthz/port.h"
#include "healthz/proxyproto.h"
#include "healthz/request.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define LINGER_MS 500
#define LINGER_BYTES (64 * 1024)
#define IN_MAX HZ_REQ_HEAD_MAX	/* a PROXY header fits as well, and leaves before the head fills up */

_Static_assert(HZ_PP_MAX <= IN_MAX, "a PROXY header must fit");

/*
 * A connection walks through these, one timer each:
 *
 *   accept -> PROXY -> HEAD -> (answer) -> IDLE -> HEAD -> ...
 *                                |
 *                                +-> WAIT (for an answer that was promised) -> back
 *                                +-> WRITE (the socket is full) -> back, or LINGER
 *                                +-> LINGER (the connection ends) -> close
 */
enum phase { PHASE_PROXY, PHASE_HEAD, PHASE_IDLE, PHASE_WAIT, PHASE_WRITE, PHASE_LINGER };

/* How connections end, B.6. */
enum outcome {
	OUTCOME_HTTP, OUTCOME_TCP_ONLY, OUTCOME_TIMEOUT_SILENT, OUTCOME_TIMEOUT_HEAD, OUTCOME_TIMEOUT_WRITE,
	OUTCOME_SHORT_REQUEST, OUTCOME_PROXY_ERROR, OUTCOME_EVICTED,
};

static const char *const outcome_names[] = {
	"http", "tcp_only", "timeout_silent", "timeout_head", "timeout_write",
	"short_request", "proxy_error", "evicted",
};

struct conn {
	TAILQ_ENTRY(conn) link;		/* in cs->fresh or cs->kept */
	struct hz_conns *cs;
	struct hz_port *port;
	enum kp_family family;
	int fd;
	enum phase phase;
	enum outcome outcome;		/* as far as it is known */
	unsigned n_requests;		/* answered, without errors */
	size_t drained;			/* LINGER: bytes thrown away */
	struct event readable, writable, timer;
	size_t in_len, sent;
	struct hz_promise *promise;	/* of an answer; NULL: none */
	struct hz_answer out;
	char in[IN_MAX];
};

TAILQ_HEAD(conn_list, conn);

struct hz_conns {
	struct event_base *base;
	struct hz_limits limits;
	hz_ask_fn *ask;
	void *arg;
	struct conn_list fresh;		/* never completed a request; oldest first */
	struct conn_list kept;		/* longest without a request first */
	size_t n;
	struct conn *asking;		/* NULL: nobody, at the moment */
	bool last_answers;
};

static void close_conn(struct conn *c)
{
	struct hz_conns *cs = c->cs;

	kp_debug("health", "connection closed listener=%s/%s outcome=%s requests=%u",
		 c->port->ns, c->port->name, outcome_names[c->outcome], c->n_requests);
	TAILQ_REMOVE(c->n_requests ? &cs->kept : &cs->fresh, c, link);
	cs->n--;
	if (c->promise)
		c->promise->conn = NULL;
	event_del(&c->readable);
	event_del(&c->writable);
	event_del(&c->timer);
	close(c->fd);
	hz_port_unref(c->port);
	free(c->out.more);
	free(c);
}

static void end_with(struct conn *c, enum outcome outcome)
{
	c->outcome = outcome;
	close_conn(c);
}

/* The peer sees RST: it spoke a protocol we do not, and an HTTP answer could mislead it. */
static void reset_conn(struct conn *c)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	/* If this fails it is a FIN, and there is nothing to do about it. */
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	end_with(c, OUTCOME_PROXY_ERROR);
}

static void enter(struct conn *c, enum phase phase, unsigned timeout_ms)
{
	struct timeval tv = { .tv_sec = timeout_ms / 1000, .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000 };

	c->phase = phase;
	event_add(&c->timer, &tv);	/* replaces the previous phase's */
}

/*
 * Close so that the peer gets everything we wrote: with unread bytes in the receive
 * buffer close() sends RST, and RST makes the peer drop our answer (trap T5).
 */
static void linger(struct conn *c)
{
	shutdown(c->fd, SHUT_WR);
	event_del(&c->writable);
	event_add(&c->readable, NULL);
	enter(c, PHASE_LINGER, LINGER_MS);
}

static void consume(struct conn *c, size_t n)
{
	c->in_len -= n;
	memmove(c->in, c->in + n, c->in_len);
}

/* True when the way is free for HTTP; else more bytes are needed (c lives) or c is closed. */
static bool pass_proxy_header(struct conn *c)
{
	enum hz_proxy_mode mode = c->port->proxy;
	struct hz_pp pp = { 0 };
	enum hz_pp_verdict v = HZ_PP_NONE;

	if (mode != HZ_PROXY_OFF)
		v = hz_pp_parse((const uint8_t *)c->in, c->in_len, &pp);
	if (v == HZ_PP_MORE)
		return false;
	if (v == HZ_PP_BAD || (v == HZ_PP_HEADER && mode == HZ_PROXY_FORBID) ||
	    (v == HZ_PP_NONE && mode == HZ_PROXY_REQUIRE)) {
		kp_debug("health", "connection reset listener=%s/%s: %s", c->port->ns, c->port->name,
			 pp.why ? pp.why : "PROXY header required or forbidden");
		reset_conn(c);
		return false;
	}
	if (v == HZ_PP_HEADER)
		consume(c, pp.len);
	c->phase = PHASE_HEAD;	/* the header's time counts as the head's */
	return true;
}

static void wait_writable(struct conn *c)
{
	if (c->phase == PHASE_WRITE)
		return;			/* the timeout is for the whole answer */
	event_del(&c->readable);	/* no new request before the peer took this answer */
	event_add(&c->writable, NULL);
	enter(c, PHASE_WRITE, c->cs->limits.write_timeout_ms);
}

/* The next piece of the answer; 0: all of it is out. */
static size_t unsent(const struct conn *c, const char **ret)
{
	const struct hz_answer *a = &c->out;
	size_t at;

	if (c->sent < a->len) {
		*ret = a->bytes + c->sent;
		return a->len - c->sent;
	}
	at = c->sent - a->len;
	*ret = a->more ? a->more + at : "";
	return a->more_len - at;
}

/* False: the socket takes no more for now, or c is closed. */
static bool flush(struct conn *c)
{
	const char *piece;
	size_t len;

	while ((len = unsent(c, &piece)) > 0) {
		ssize_t n = send(c->fd, piece, len, MSG_NOSIGNAL);

		if (n >= 0) {
			c->sent += (size_t)n;
		} else if (errno == EAGAIN) {
			wait_writable(c);
			return false;
		} else if (errno != EINTR) {
			close_conn(c);
			return false;
		}
	}
	return true;
}

static void count_request(struct conn *c, struct hz_req *req)
{
	struct hz_conns *cs = c->cs;

	TAILQ_REMOVE(c->n_requests ? &cs->kept : &cs->fresh, c, link);
	TAILQ_INSERT_TAIL(&cs->kept, c, link);
	if (++c->n_requests >= cs->limits.max_requests || cs->last_answers)
		req->keep_alive = false;
}

/* The answer is out. False: the connection ends with it. */
static bool after_answer(struct conn *c)
{
	struct hz_limits *l = &c->cs->limits;

	free(c->out.more);
	c->out.more = NULL;
	if (c->out.close) {
		linger(c);
		return false;
	}
	if (c->in_len)
		enter(c, PHASE_HEAD, l->header_timeout_ms);
	else
		enter(c, PHASE_IDLE, l->idle_timeout_ms);
	return true;
}

/* Whoever promised an answer has a limit of his own. */
static void wait_promise(struct conn *c)
{
	c->phase = PHASE_WAIT;
	event_del(&c->readable);
	event_del(&c->timer);
}

/* The answer is in c->out. False: no further request for now, or c is closed. */
static bool deliver(struct conn *c)
{
	c->sent = 0;
	return flush(c) && after_answer(c);
}

static bool respond(struct conn *c, const struct hz_req *req, size_t used)
{
	c->cs->asking = c;
	c->cs->ask(c->cs->arg, c->port, c->family, req, &c->out);
	c->cs->asking = NULL;
	consume(c, used);	/* req points into c->in: not before it is answered */
	if (c->promise) {
		wait_promise(c);
		return false;
	}
	return deliver(c);
}

/* Everything that the bytes at hand allow. c may be gone afterwards. */
static void process(struct conn *c)
{
	bool more = c->phase != PHASE_PROXY || pass_proxy_header(c);

	while (more && c->in_len) {
		struct hz_req req;
		enum hz_req_verdict v = hz_req_parse(c->in, c->in_len, &req);

		if (v == HZ_REQ_MORE)
			return;
		c->outcome = OUTCOME_HTTP;
		if (v == HZ_REQ_DONE)
			count_request(c, &req);
		/* Where a bad request ends nobody knows. */
		more = respond(c, &req, v == HZ_REQ_DONE ? req.len : c->in_len);
	}
}

int hz_conns_asking(const struct hz_conns *cs)
{
	return cs->asking->fd;
}

void hz_conns_promise(struct hz_conns *cs, struct hz_promise *p)
{
	p->conn = cs->asking;
	p->conn->promise = p;
	p->conn->out.more = NULL;	/* nothing is there yet that close_conn() would have to free */
}

struct hz_answer *hz_promise_answer(const struct hz_promise *p)
{
	return p->conn ? &p->conn->out : NULL;
}

void hz_promise_keep(struct hz_promise *p)
{
	struct conn *c = p->conn;

	p->conn = NULL;
	c->promise = NULL;
	event_add(&c->readable, NULL);
	if (deliver(c))
		process(c);
}

void hz_promise_break(struct hz_promise *p)
{
	struct conn *c = p->conn;

	p->conn = NULL;
	c->promise = NULL;
	close_conn(c);
}

/* The peer will not send any more. */
static void on_end(struct conn *c)
{
	if (c->n_requests || c->in_len == 0)
		end_with(c, c->n_requests ? OUTCOME_HTTP : OUTCOME_TCP_ONLY);
	else if (c->phase == PHASE_PROXY)
		reset_conn(c);
	else
		end_with(c, OUTCOME_SHORT_REQUEST);
}

static void drain(struct conn *c)
{
	char bin[4096];
	ssize_t n;

	while ((n = recv(c->fd, bin, sizeof(bin), 0)) > 0) {
		c->drained += (size_t)n;
		if (c->drained >= LINGER_BYTES)
			break;
	}
	if (n >= 0 || errno != EAGAIN)
		close_conn(c);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	ssize_t n;

	(void)what;
	if (c->phase == PHASE_LINGER) {
		drain(c);
		return;
	}
	n = recv(fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);
	if (n > 0) {
		if (c->phase == PHASE_IDLE)
			enter(c, PHASE_HEAD, c->cs->limits.header_timeout_ms);
		c->in_len += (size_t)n;
		process(c);
	} else if (n == 0) {
		on_end(c);
	} else if (errno != EAGAIN && errno != EINTR) {
		close_conn(c);		/* reset by the peer: its way to end a TCP probe */
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd, (void)what;
	if (!flush(c))
		return;
	event_del(&c->writable);
	event_add(&c->readable, NULL);
	if (after_answer(c))
		process(c);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	static const struct hz_req too_late = { .status = 408, .minor = 1 };
	struct conn *c = arg;

	(void)fd, (void)what;
	switch (c->phase) {
	case PHASE_PROXY:
		if (c->in_len)
			reset_conn(c);
		else
			end_with(c, OUTCOME_TIMEOUT_SILENT);
		break;
	case PHASE_HEAD:
		if (c->in_len == 0) {	/* only a PROXY header came */
			end_with(c, OUTCOME_TIMEOUT_SILENT);
			break;
		}
		c->outcome = OUTCOME_TIMEOUT_HEAD;
		respond(c, &too_late, c->in_len);
		break;
	case PHASE_IDLE:
		linger(c);		/* a request may cross our FIN: it must not meet a RST */
		break;
	case PHASE_WAIT:
		break;			/* has no timer */
	case PHASE_WRITE:
		end_with(c, OUTCOME_TIMEOUT_WRITE);
		break;
	case PHASE_LINGER:
		close_conn(c);
		break;
	}
}

void hz_conns_add(struct hz_conns *cs, int fd, struct hz_port *port, enum kp_family family)
{
	struct conn *c;

	if (cs->n >= cs->limits.max_connections)
		hz_conns_evict(cs);
	c = kp_malloc(sizeof(*c));
	memset(c, 0, offsetof(struct conn, out));	/* not the buffers: 12 KiB, and most stay empty */
	c->cs = cs;
	c->fd = fd;
	c->port = hz_port_ref(port);
	c->family = family;
	c->outcome = OUTCOME_TCP_ONLY;
	c->out.more = NULL;
	event_assign(&c->readable, cs->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, cs->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	evtimer_assign(&c->timer, cs->base, on_timeout, c);
	TAILQ_INSERT_TAIL(&cs->fresh, c, link);
	cs->n++;
	event_add(&c->readable, NULL);
	enter(c, PHASE_PROXY, cs->limits.header_timeout_ms);
	/* A good probe's request is often here already; answered now, no flood can evict it. */
	on_readable(fd, EV_READ, c);
}

bool hz_conns_evict(struct hz_conns *cs)
{
	struct conn *c = TAILQ_FIRST(&cs->fresh);

	if (!c)
		c = TAILQ_FIRST(&cs->kept);
	if (!c)
		return false;
	end_with(c, OUTCOME_EVICTED);
	return true;
}

void hz_conns_last_answers(struct hz_conns *cs)
{
	cs->last_answers = true;
}

/* The queue of kept ones changes only when a connection closes or completes a request, which linger() does not. */
void hz_conns_close_idle(struct hz_conns *cs)
{
	struct conn *c;

	TAILQ_FOREACH(c, &cs->kept, link)
		if (c->phase == PHASE_IDLE)
			linger(c);
}

size_t hz_conns_count(const struct hz_conns *cs)
{
	return cs->n;
}

static unsigned or_default(unsigned value, unsigned def)
{
	return value ? value : def;
}

struct hz_conns *hz_conns_new(struct event_base *base, const struct hz_limits *limits, hz_ask_fn *ask, void *arg)
{
	struct hz_conns *cs = kp_calloc(1, sizeof(*cs));

	cs->base = base;
	cs->limits = (struct hz_limits){
		.header_timeout_ms = or_default(limits->header_timeout_ms, 5000),
		.idle_timeout_ms = or_default(limits->idle_timeout_ms, 130000),
		.write_timeout_ms = or_default(limits->write_timeout_ms, 5000),
		.max_connections = or_default(limits->max_connections, 1024),
		.max_requests = or_default(limits->max_requests, 1000),
	};
	cs->ask = ask;
	cs->arg = arg;
	TAILQ_INIT(&cs->fresh);
	TAILQ_INIT(&cs->kept);
	return cs;
}

struct hz_conns *hz_conns_free(struct hz_conns *cs)
{
	if (!cs)
		return NULL;
	while (hz_conns_evict(cs))
		;
	free(cs);
	return NULL;
}
