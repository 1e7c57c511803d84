#include "healthz/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "healthz/conn_note.h"
#include "healthz/policy.h"
#include "healthz/request.h"
#include "healthz/socket.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"

#define LINGER_MS 500
#define LINGER_BYTES (64 * 1024)

static void close_conn(struct conn *c)
{
	struct hz_conns *cs = c->cs;

	kp_debug("health", "connection closed listener=%s outcome=%s requests=%u", c->port->label,
		 hz_outcome_names[c->outcome], c->n_requests);
	hz_note_end(c);
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

void hz_conn_end(struct conn *c, enum hz_outcome outcome)
{
	c->outcome = outcome;
	close_conn(c);
}

/* It speaks a protocol we do not, and an HTTP answer could mislead it. */
static void reset_conn(struct conn *c, int version, enum hz_pp_error why)
{
	kp_debug("health", "connection reset listener=%s: PROXY header: %s", c->port->label, hz_pp_error_names[why]);
	c->port->stats.bad_headers[version][why]++;
	hz_socket_want_reset(c->fd);
	hz_conn_end(c, HZ_OUTCOME_PROXY_ERROR);
}

/* It ended in the middle of what was going to be one, by its first byte. */
static void reset_truncated(struct conn *c)
{
	reset_conn(c, c->in[0] == 'P' ? 1 : 2, HZ_PP_TRUNCATED);
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
void hz_conn_linger(struct conn *c)
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

/* The error that the mode makes of it; HZ_PP_OK: none. */
static enum hz_pp_error judge(enum hz_pp_verdict v, const struct hz_pp *pp, enum hz_proxy_mode mode)
{
	if (v == HZ_PP_BAD)
		return pp->error;
	if (v == HZ_PP_HEADER && mode == HZ_PROXY_FORBID)
		return HZ_PP_FORBIDDEN;
	return v == HZ_PP_NONE && mode == HZ_PROXY_REQUIRE ? HZ_PP_MISSING : HZ_PP_OK;
}

static void take_header(struct conn *c, const struct hz_pp *pp)
{
	struct hz_stats *s = &c->port->stats;

	s->headers[pp->version][pp->command]++;
	s->tlv_malformed += pp->tlv_malformed;
	c->has_claimed = pp->has_client;
	c->claimed = pp->client;
	c->pp_link = pp->link;
	consume(c, pp->len);
}

/* True when the way is free for HTTP; else more bytes are needed (c lives) or c is closed. */
static bool pass_proxy_header(struct conn *c)
{
	const struct hz_policy *policy = c->cs->policy;
	enum hz_proxy_mode mode = hz_policy_mode(policy, c->port->proxy, &c->peer.addr);
	enum hz_pp_verdict v = HZ_PP_NONE;
	struct hz_pp pp = { 0 };
	enum hz_pp_error error;

	if (mode != HZ_PROXY_OFF)
		v = hz_pp_parse((const uint8_t *)c->in, c->in_len, &policy->proxy, &pp);
	if (v == HZ_PP_MORE && c->in_len == c->in_room) {	/* the limit grew after this connection came */
		v = HZ_PP_BAD;
		pp.error = HZ_PP_V2_TOO_LONG;
	}
	if (v == HZ_PP_MORE)
		return false;
	error = judge(v, &pp, mode);
	if (error) {
		reset_conn(c, pp.version, error);
		return false;
	}
	if (v == HZ_PP_HEADER)
		take_header(c, &pp);
	c->phase = PHASE_HEAD;	/* the header's time counts as the head's */
	return true;
}

static void wait_writable(struct conn *c)
{
	if (c->phase == PHASE_WRITE)
		return;			/* the timeout is for the whole answer */
	event_del(&c->readable);	/* no new request before the peer took this answer */
	event_add(&c->writable, NULL);
	enter(c, PHASE_WRITE, c->cs->policy->limits.write_timeout_ms);
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

enum flushed { ALL_SENT, SOCKET_FULL, PEER_GONE };

static enum flushed flush(struct conn *c)
{
	const char *piece;
	size_t len;

	while ((len = unsent(c, &piece)) > 0) {
		ssize_t n = send(c->fd, piece, len, MSG_NOSIGNAL);

		if (n >= 0)
			c->sent += (size_t)n;
		else if (errno == EAGAIN)
			return SOCKET_FULL;
		else if (errno != EINTR)
			return PEER_GONE;
	}
	return ALL_SENT;
}

/* False: the answer is not all out yet, or never will be and c is closed. */
static bool settle(struct conn *c, enum flushed how)
{
	if (how == SOCKET_FULL)
		wait_writable(c);
	else if (how == PEER_GONE)
		close_conn(c);
	return how == ALL_SENT;
}

static void count_request(struct conn *c, struct hz_req *req)
{
	struct hz_conns *cs = c->cs;

	TAILQ_REMOVE(c->n_requests ? &cs->kept : &cs->fresh, c, link);
	TAILQ_INSERT_TAIL(&cs->kept, c, link);
	if (++c->n_requests >= cs->policy->limits.max_requests || cs->last_answers)
		req->keep_alive = false;
}

/* The answer is out. False: the connection ends with it. */
static bool after_answer(struct conn *c)
{
	struct hz_limits *l = &c->cs->policy->limits;

	free(c->out.more);
	c->out.more = NULL;
	if (c->out.close) {
		hz_conn_linger(c);
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
	enum flushed how;

	c->sent = 0;
	how = flush(c);
	hz_note_answer(c);
	return settle(c, how) && after_answer(c);
}

static bool respond(struct conn *c, const struct hz_req *req, size_t used)
{
	hz_note_request(c, req);
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
		c->outcome = HZ_OUTCOME_HTTP;
		if (v == HZ_REQ_DONE)
			count_request(c, &req);
		/* Where a bad request ends nobody knows. */
		more = respond(c, &req, v == HZ_REQ_DONE ? req.len : c->in_len);
	}
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

/* The peer will not send any more: it said so, or it is gone, which is its way to end a TCP probe. */
static void on_end(struct conn *c)
{
	if (c->n_requests || c->in_len == 0)
		hz_conn_end(c, c->n_requests ? HZ_OUTCOME_HTTP : HZ_OUTCOME_TCP_ONLY);
	else if (c->phase == PHASE_PROXY)
		reset_truncated(c);
	else
		hz_conn_end(c, HZ_OUTCOME_SHORT_REQUEST);
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

/*
 * A head gets another meaning only at the end of a line, and where it grows too long. To
 * parse it for every byte would be work for nothing, and a way to keep us busy.
 */
static bool is_worth_parsing(const struct conn *c, size_t before)
{
	const size_t too_long = HZ_REQ_LINE_MAX + 8;	/* with empty lines in front, and its own end */

	return c->phase == PHASE_PROXY || memchr(c->in + before, '\n', c->in_len - before) ||
	       (before < too_long && c->in_len >= too_long) || c->in_len >= HZ_REQ_HEAD_MAX;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;
	size_t before = c->in_len;
	ssize_t n;

	(void)what;
	if (c->phase == PHASE_LINGER) {
		drain(c);
		return;
	}
	n = recv(fd, c->in + c->in_len, c->in_room - c->in_len, 0);
	if (n > 0) {
		c->heard_ns = kp_now_ns();
		if (c->phase == PHASE_IDLE)
			enter(c, PHASE_HEAD, c->cs->policy->limits.header_timeout_ms);
		c->in_len += (size_t)n;
		if (is_worth_parsing(c, before))
			process(c);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		on_end(c);
	}
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd, (void)what;
	if (!settle(c, flush(c)))
		return;
	event_del(&c->writable);
	event_add(&c->readable, NULL);
	c->heard_ns = kp_now_ns();	/* what waits behind it is not late by our doing */
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
			reset_truncated(c);
		else
			hz_conn_end(c, HZ_OUTCOME_TIMEOUT_SILENT);
		break;
	case PHASE_HEAD:
		if (c->in_len == 0) {	/* only a PROXY header came */
			hz_conn_end(c, HZ_OUTCOME_TIMEOUT_SILENT);
			break;
		}
		c->outcome = HZ_OUTCOME_TIMEOUT_HEAD;
		respond(c, &too_late, c->in_len);
		break;
	case PHASE_IDLE:
		hz_conn_linger(c);		/* a request may cross our FIN: it must not meet a RST */
		break;
	case PHASE_WAIT:
		break;			/* has no timer */
	case PHASE_WRITE:
		hz_conn_end(c, HZ_OUTCOME_TIMEOUT_WRITE);
		break;
	case PHASE_LINGER:
		close_conn(c);
		break;
	}
}

void hz_conn_serve(struct conn *c)
{
	struct event_base *base = c->cs->base;

	event_assign(&c->readable, base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, base, c->fd, EV_WRITE | EV_PERSIST, on_writable, c);
	evtimer_assign(&c->timer, base, on_timeout, c);
	event_add(&c->readable, NULL);
	enter(c, PHASE_PROXY, c->cs->policy->limits.header_timeout_ms);
	/* A good probe's request is often here already; answered now, no flood can evict it. */
	on_readable(c->fd, EV_READ, c);
}
