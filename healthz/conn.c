#include "healthz/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "healthz/answer.h"
#include "healthz/history.h"
#include "healthz/policy.h"
#include "healthz/request.h"
#include "healthz/socket.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define LINGER_MS 500
#define LINGER_BYTES (64 * 1024)
#define RESERVED_FDS 64		/* for the API, netlink and files: no connection may take the last ones (B.8) */

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

struct conn {
	TAILQ_ENTRY(conn) link;		/* in cs->fresh or cs->kept */
	struct hz_conns *cs;
	struct hz_port *port;
	enum kp_family family;
	struct hz_peer peer;		/* who it really is */
	bool has_claimed;
	struct hz_peer claimed;		/* who its PROXY header says it is: told, never believed */
	struct hz_pp_link pp_link;
	int fd;
	enum phase phase;
	enum hz_outcome outcome;	/* as far as it is known */
	unsigned n_requests;		/* answered, without errors */
	size_t drained;			/* LINGER: bytes thrown away */
	uint64_t heard_ns;		/* when the bytes at hand came */
	struct hz_probe probe;		/* the request that is being answered */
	struct event readable, writable, timer;
	size_t in_len, in_room, sent;
	struct hz_promise *promise;	/* of an answer; NULL: none */
	struct hz_answer out;
	char in[];
};

TAILQ_HEAD(conn_list, conn);

struct hz_conns {
	struct event_base *base;
	struct hz_policy *policy;	/* no limit in it is 0 */
	struct hz_history *history;
	hz_ask_fn *ask;
	void *arg;
	struct conn_list fresh;		/* never completed a request; oldest first */
	struct conn_list kept;		/* longest without a request first */
	size_t n;
	struct conn *asking;		/* NULL: nobody, at the moment */
	uint64_t n_evicted;
	int fd_end;			/* descriptors from here on are for others */
	bool last_answers;
};

/* What is known so far of a probe on this connection. */
static void begin_probe(struct conn *c)
{
	c->probe = (struct hz_probe){
		.peer = c->peer, .has_claimed = c->has_claimed, .claimed = c->claimed, .link = c->pp_link,
	};
	hz_printable(c->probe.listener, sizeof(c->probe.listener), c->port->label, strlen(c->port->label));
}

static void end_probe(struct conn *c)
{
	c->probe.wall_ns = kp_wall_ns();
	c->probe.outcome = hz_outcome_names[c->outcome];
	c->port->stats.last_probe_wall_ns = c->probe.wall_ns;
	if (c->cs->history)
		hz_history_add(c->cs->history, &c->probe);
}

/* Each connection counts once, as what it turned out to be; one that had no answer is a probe as well. */
static void note_end(struct conn *c)
{
	c->port->stats.outcomes[c->outcome]++;
	c->port->n_open--;
	/* A flood that is evicted must not wash away the history. */
	if (c->outcome == HZ_OUTCOME_EVICTED || c->probe.status)
		return;
	begin_probe(c);
	end_probe(c);
}

/* While the request is there. */
static void note_request(struct conn *c, const struct hz_req *req)
{
	struct hz_probe *p = &c->probe;

	begin_probe(c);
	hz_printable(p->method, sizeof(p->method), req->method, req->method_len);
	hz_printable(p->path, sizeof(p->path), req->path, req->path_len);
	hz_printable(p->user_agent, sizeof(p->user_agent), req->user_agent, req->user_agent_len);
}

static void note_answer(struct conn *c)
{
	uint64_t took_ns = kp_now_ns() - c->heard_ns;

	c->probe.status = c->out.status;
	c->probe.took_us = took_ns / 1000;
	hz_stats_answer(&c->port->stats, c->probe.method, c->out.status, took_ns);
	end_probe(c);
}

static void close_conn(struct conn *c)
{
	struct hz_conns *cs = c->cs;

	kp_debug("health", "connection closed listener=%s outcome=%s requests=%u", c->port->label,
		 hz_outcome_names[c->outcome], c->n_requests);
	note_end(c);
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

static void end_with(struct conn *c, enum hz_outcome outcome)
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
	end_with(c, HZ_OUTCOME_PROXY_ERROR);
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
	enum flushed how;

	c->sent = 0;
	how = flush(c);
	note_answer(c);
	return settle(c, how) && after_answer(c);
}

static bool respond(struct conn *c, const struct hz_req *req, size_t used)
{
	note_request(c, req);
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

/* The peer will not send any more: it said so, or it is gone, which is its way to end a TCP probe. */
static void on_end(struct conn *c)
{
	if (c->n_requests || c->in_len == 0)
		end_with(c, c->n_requests ? HZ_OUTCOME_HTTP : HZ_OUTCOME_TCP_ONLY);
	else if (c->phase == PHASE_PROXY)
		reset_truncated(c);
	else
		end_with(c, HZ_OUTCOME_SHORT_REQUEST);
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
			end_with(c, HZ_OUTCOME_TIMEOUT_SILENT);
		break;
	case PHASE_HEAD:
		if (c->in_len == 0) {	/* only a PROXY header came */
			end_with(c, HZ_OUTCOME_TIMEOUT_SILENT);
			break;
		}
		c->outcome = HZ_OUTCOME_TIMEOUT_HEAD;
		respond(c, &too_late, c->in_len);
		break;
	case PHASE_IDLE:
		linger(c);		/* a request may cross our FIN: it must not meet a RST */
		break;
	case PHASE_WAIT:
		break;			/* has no timer */
	case PHASE_WRITE:
		end_with(c, HZ_OUTCOME_TIMEOUT_WRITE);
		break;
	case PHASE_LINGER:
		close_conn(c);
		break;
	}
}

static void refuse(int fd, struct hz_port *port)
{
	port->stats.outcomes[HZ_OUTCOME_REFUSED]++;
	hz_socket_want_reset(fd);
	close(fd);
}

/*
 * Descriptors are given lowest first: one that high says that only the reserved ones are left. Somebody
 * makes room, and the place that becomes free is taken, or the reserve would fill up all the same.
 */
static int out_of_reserve(struct hz_conns *cs, int fd)
{
	int lower = hz_conns_evict(cs) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (lower < 0)
		return fd;
	close(fd);
	return lower;
}

static struct conn *new_conn(struct hz_conns *cs, int fd, struct hz_port *port)
{
	size_t pp_max = HZ_PP_V2_FIXED + cs->policy->proxy.v2_len_max;
	/* A PROXY header leaves before the head fills up. */
	size_t room = pp_max > HZ_REQ_HEAD_MAX ? pp_max : HZ_REQ_HEAD_MAX;
	struct conn *c = kp_malloc(sizeof(*c) + room);

	memset(c, 0, offsetof(struct conn, out));	/* not the buffers: 12 KiB, and most stay empty */
	c->cs = cs;
	c->fd = fd;
	c->port = hz_port_ref(port);
	c->outcome = HZ_OUTCOME_TCP_ONLY;
	c->in_room = room;
	c->out.more = NULL;
	return c;
}

void hz_conns_add(struct hz_conns *cs, int fd, struct hz_port *port, enum kp_family family, const struct hz_peer *peer)
{
	struct conn *c;

	if (peer && !hz_policy_allows(cs->policy, &peer->addr)) {
		refuse(fd, port);
		return;
	}
	if (cs->n >= cs->policy->limits.max_connections)
		hz_conns_evict(cs);
	else if (fd >= cs->fd_end)
		fd = out_of_reserve(cs, fd);
	c = new_conn(cs, fd, port);
	c->family = family;
	c->peer = peer ? *peer : (struct hz_peer){ 0 };
	port->n_open++;
	event_assign(&c->readable, cs->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->writable, cs->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	evtimer_assign(&c->timer, cs->base, on_timeout, c);
	TAILQ_INSERT_TAIL(&cs->fresh, c, link);
	cs->n++;
	event_add(&c->readable, NULL);
	enter(c, PHASE_PROXY, cs->policy->limits.header_timeout_ms);
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
	cs->n_evicted++;
	/* One that has its answer stays what it was. */
	end_with(c, c->phase == PHASE_LINGER ? c->outcome : HZ_OUTCOME_EVICTED);
	return true;
}

uint64_t hz_conns_evicted(const struct hz_conns *cs)
{
	return cs->n_evicted;
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

void hz_conns_set_policy(struct hz_conns *cs, const struct hz_policy *policy)
{
	struct hz_policy *p = hz_policy_copy(policy);
	struct hz_limits *l = &p->limits;

	l->header_timeout_ms = or_default(l->header_timeout_ms, 5000);
	l->idle_timeout_ms = or_default(l->idle_timeout_ms, 130000);
	l->write_timeout_ms = or_default(l->write_timeout_ms, 5000);
	l->max_connections = or_default(l->max_connections, 1024);
	l->max_requests = or_default(l->max_requests, 1000);
	p->proxy.v2_len_max = p->proxy.v2_len_max ? p->proxy.v2_len_max : HZ_PP_V2_LEN_DEFAULT;
	free(cs->policy);
	cs->policy = p;
	if (l->max_connections > (unsigned)cs->fd_end)
		kp_warn("health", "the limit of open files allows fewer than %u connections", l->max_connections);
}

/* One past the last descriptor that a connection may have. */
static int end_of_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur > INT_MAX)
		return INT_MAX;
	return l.rlim_cur > 2 * RESERVED_FDS ? (int)l.rlim_cur - RESERVED_FDS : INT_MAX;
}

struct hz_conns *hz_conns_new(struct event_base *base, const struct hz_policy *policy, struct hz_history *history,
			      hz_ask_fn *ask, void *arg)
{
	struct hz_conns *cs = kp_calloc(1, sizeof(*cs));

	cs->base = base;
	cs->history = history;
	cs->ask = ask;
	cs->arg = arg;
	cs->fd_end = end_of_descriptors();
	hz_conns_set_policy(cs, policy);
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
	free(cs->policy);
	free(cs);
	return NULL;
}
