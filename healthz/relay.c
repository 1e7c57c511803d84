#include "healthz/relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "healthz/answer.h"
#include "healthz/conns.h"
#include "healthz/reply.h"
#include "healthz/request.h"
#include "healthz/socket.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define LIMIT_S 3
#define MAX_ANSWER (64 * 1024)
#define LOG_WINDOW_MS 60000

/* One request on its way. */
struct exchange {
	LIST_ENTRY(exchange) link;
	struct hz_relay *relay;
	struct hz_promise promise;
	struct hz_req req;	/* what the answer needs of it; no pointer in it is good any more */
	int fd, error;		/* error: why there is no fd */
	struct event *ready, *limit;
	struct kp_buf out, in;
	size_t sent;
};

struct hz_relay {
	struct event_base *base;
	struct hz_conns *conns;
	struct hz_relay_target target;
	LIST_HEAD(exchanges, exchange) exchanges;
	struct kp_ratelimit log;
};

static void free_exchange(struct exchange *x)
{
	LIST_REMOVE(x, link);
	if (x->ready)
		event_free(x->ready);
	event_free(x->limit);
	if (x->fd >= 0)
		close(x->fd);
	kp_buf_release(&x->out);
	kp_buf_release(&x->in);
	free(x);
}

/* The answer is there. body is taken. */
static void conclude(struct exchange *x, int status, const char *type, struct kp_buf *body)
{
	struct hz_answer *to = hz_promise_answer(&x->promise);

	if (!to) {	/* nobody waits for it any more */
		kp_buf_release(body);
		free_exchange(x);
		return;
	}
	hz_answer_page(&x->req, status, type, body, kp_wall_ns(), to);
	hz_promise_keep(&x->promise);
	free_exchange(x);
}

static void fail(struct exchange *x, const char *why)
{
	struct kp_buf body = { 0 };
	unsigned swallowed;

	if (kp_ratelimit_ok(&x->relay->log, kp_now_ms(), &swallowed))
		kp_warn("relay", "no answer from the target: %s", why);
	kp_buf_puts(&body, "502 Bad Gateway\n");
	conclude(x, 502, "text/plain", &body);
}

static void on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *x = arg;

	(void)fd, (void)what;
	fail(x, x->error ? strerror(x->error) : "it takes too long");
}

/* False: x is gone. */
static bool judge(struct exchange *x, bool ended)
{
	struct kp_buf body = { 0 };
	char type[128] = "text/plain";
	struct hz_reply reply;

	switch (hz_reply_parse(x->in.data ? x->in.data : "", x->in.len, ended, x->req.is_head, &reply, &body)) {
	case HZ_REPLY_MORE:
		if (x->in.len <= MAX_ANSWER)
			return true;
		fail(x, "its answer is too long");
		return false;
	case HZ_REPLY_BAD:
		fail(x, "what it says is no answer");
		return false;
	case HZ_REPLY_DONE:
		break;
	}
	if (reply.type && reply.type_len < sizeof(type)) {
		memcpy(type, reply.type, reply.type_len);
		type[reply.type_len] = '\0';
	}
	if (x->req.is_head)
		body.len = reply.body_len;	/* it is told, and not sent */
	conclude(x, reply.status, type, &body);
	return false;
}

static void on_readable(struct exchange *x)
{
	ssize_t n;

	for (;;) {
		n = recv(x->fd, kp_buf_reserve(&x->in, 4096), 4096, 0);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n < 0) {
			fail(x, strerror(errno));
			return;
		}
		x->in.len += (size_t)n;
		if (!judge(x, n == 0))
			return;
	}
}

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void watch(struct exchange *x, short what)
{
	if (x->ready)
		event_free(x->ready);
	x->ready = event_new(x->relay->base, x->fd, what | EV_PERSIST, on_ready, x);
	event_add(x->ready, NULL);
}

/* Also a connection that failed says so here. */
static void on_writable(struct exchange *x)
{
	ssize_t n = send(x->fd, x->out.data + x->sent, x->out.len - x->sent, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		fail(x, strerror(errno));
		return;
	}
	x->sent += n > 0 ? (size_t)n : 0;
	if (x->sent == x->out.len)
		watch(x, EV_READ);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *x = arg;

	(void)fd;
	if (!x->promise.conn)
		free_exchange(x);
	else if (what & EV_WRITE)
		on_writable(x);
	else
		on_readable(x);
}

/* "192.0.2.1", "2001:db8::1"; what a PROXY header said is nothing one could rely on. */
static const char *peer_text(int fd, char text[INET6_ADDRSTRLEN])
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof(ss);
	const void *addr = &((struct sockaddr_in6 *)&ss)->sin6_addr;

	if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
		return "unknown";
	if (ss.ss_family == AF_INET)
		addr = &((struct sockaddr_in *)&ss)->sin_addr;
	return inet_ntop(ss.ss_family, addr, text, INET6_ADDRSTRLEN) ? text : "unknown";
}

static void write_request(struct kp_buf *out, const struct hz_req *req, const char *peer)
{
	bool star = req->path_len == 1 && *req->path == '*', rooted = req->path_len && *req->path == '/';

	/* "OPTIONS *" asks for the default path, "http://host?x" for "/". */
	kp_buf_printf(out, "%s %s%.*s%s%.*s HTTP/1.1\r\n", req->is_head ? "HEAD" : "GET",
		      star ? "/healthz" : rooted ? "" : "/", star ? 0 : (int)req->path_len, req->path,
		      req->query ? "?" : "", (int)req->query_len, req->query ? req->query : "");
	kp_buf_printf(out, "Host: %.*s\r\nX-Forwarded-For: %s\r\nConnection: close\r\n\r\n",
		      (int)req->host_len, req->host ? req->host : "", peer);
}

void hz_relay_ask(struct hz_relay *r, const struct hz_req *req)
{
	static const struct timeval limit = { .tv_sec = LIMIT_S }, now = { 0 };
	struct exchange *x = kp_calloc(1, sizeof(*x));
	char peer[INET6_ADDRSTRLEN];

	x->relay = r;
	x->req = *req;
	LIST_INSERT_HEAD(&r->exchanges, x, link);
	hz_conns_promise(r->conns, &x->promise);
	write_request(&x->out, req, peer_text(hz_conns_asking(r->conns), peer));
	x->limit = evtimer_new(r->base, on_limit, x);
	x->fd = hz_socket_connect(&r->target.addr, r->target.port);
	x->error = x->fd < 0 ? -x->fd : 0;
	/* A failure is told from the loop: within ask the connection cannot be answered yet. */
	event_add(x->limit, x->fd < 0 ? &now : &limit);
	if (x->fd >= 0)
		watch(x, EV_WRITE);
}

struct hz_relay *hz_relay_new(struct event_base *base, struct hz_conns *conns, const struct hz_relay_target *target)
{
	struct hz_relay *r = kp_calloc(1, sizeof(*r));

	r->base = base;
	r->conns = conns;
	r->target = *target;
	r->log = (struct kp_ratelimit){ .window_ms = LOG_WINDOW_MS, .burst = 1 };
	LIST_INIT(&r->exchanges);
	return r;
}

struct hz_relay *hz_relay_free(struct hz_relay *r)
{
	if (!r)
		return NULL;
	while (!LIST_EMPTY(&r->exchanges)) {
		struct exchange *x = LIST_FIRST(&r->exchanges);

		if (x->promise.conn)
			hz_promise_break(&x->promise);
		free_exchange(x);
	}
	free(r);
	return NULL;
}
