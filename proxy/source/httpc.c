#include "proxy/source/httpc_impl.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define CONNECT_MS		10000L
#define PIECE			(64l << 10)

#define LINK(list, x) do { \
	(x)->next = *(list); \
	if ((x)->next) \
		(x)->next->prev = (x); \
	*(list) = (x); \
} while (0)

#define UNLINK(list, x) do { \
	if ((x)->next) \
		(x)->next->prev = (x)->prev; \
	*((x)->prev ? &(x)->prev->next : (list)) = (x)->next; \
} while (0)

/* --- the loop --- */

static void finish(struct kp_http_call *c, int code, const char *why);

/* libcurl's own words, but where they hold a time, and would be new each time, or leave out the reason. */
static const char *describe(struct kp_http_call *c, CURLcode code)
{
	long os_error = 0;

	if (code == CURLE_OPERATION_TIMEDOUT)
		return "no connection in time";
	if (code == CURLE_HTTP2_STREAM || !c->error[0])
		return curl_easy_strerror(code);
	curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os_error);
	if (code != CURLE_COULDNT_CONNECT || !os_error)
		return c->error;
	snprintf(c->error, sizeof(c->error), "%s%s", c->by_proxy ? "the way through the proxy: " : "", strerror((int)os_error));
	return c->error;
}

static void after_curl(struct kp_httpc *h)
{
	struct kp_http_call *c;
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
		h->suspect |= code != CURLE_OK && !c->aborted;
		if (code == CURLE_OK || c->aborted)
			finish(c, c->aborted, NULL);
		else
			finish(c, code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO, describe(c, code));
	}
	if (h->after)
		h->after(h->arg);
}

/*
 * A server or a proxy with Nagle's algorithm holds the next event of a watch back until the
 * last one is acknowledged, and we who only listen would take 40 ms for that.
 */
static void acknowledge(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));	/* holds until the next packet; only slower without */
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct kp_http_sock *s = arg;
	struct kp_httpc *h = s->h;
	int flags = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	int n_running;

	h->woken_ns = s->waited ? h->rested_ns : kp_wall_ns();
	s->waited = false;
	curl_multi_socket_action(h->multi, fd, flags, &n_running);
	after_curl(h);
	if (what & EV_READ)
		acknowledge(fd);	/* last: nobody waits for it, and sending it takes its time; harmless if it was closed */
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kp_httpc *h = arg;
	bool waited = evtimer_pending(h->rest, NULL);
	int n_running;

	(void)fd;
	(void)what;
	for (struct kp_http_sock *s = h->socks; s; s = s->next) {	/* libcurl may read any of them now */
		waited |= s->waited;
		s->waited = false;
	}
	h->woken_ns = waited ? h->rested_ns : kp_wall_ns();
	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &n_running);
	after_curl(h);
}

/* A connection's end counts as well, which has no bytes: who rests on it over and over never hears of it. */
static bool has_more(const struct kp_http_sock *s)
{
	short want = event_get_events(s->event);
	struct pollfd p = { .fd = event_get_fd(s->event) };

	p.events = (short)((want & EV_READ ? POLLIN : 0) | (want & EV_WRITE ? POLLOUT : 0));
	return poll(&p, 1, 0) > 0;
}

bool kp_httpc_has_more(const struct kp_httpc *h)
{
	const struct kp_http_sock *s = h->socks;

	while (s && !has_more(s))
		s = s->next;
	return s;
}

void kp_httpc_rest(struct kp_httpc *h, unsigned ms)
{
	const struct timeval tv = { .tv_usec = ms * 1000 };

	for (struct kp_http_sock *s = h->socks; s; s = s->next)
		event_del(s->event);
	h->rested_ns = kp_wall_ns();
	event_add(h->rest, &tv);
}

static void on_rest_end(evutil_socket_t fd, short what, void *arg)
{
	struct kp_httpc *h = arg;

	(void)fd;
	(void)what;
	for (struct kp_http_sock *s = h->socks; s; s = s->next) {
		s->waited = has_more(s);
		event_add(s->event, NULL);
	}
}

static void free_sock(struct kp_http_sock *s)
{
	UNLINK(&s->h->socks, s);
	if (s->event)
		event_free(s->event);
	free(s);
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct kp_httpc *h = arg;
	struct kp_http_sock *s = known;
	short want = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0));

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s)
			free_sock(s);
		return 0;
	}
	if (!s) {
		s = kp_calloc(1, sizeof(*s));
		s->h = h;
		LINK(&h->socks, s);
		curl_multi_assign(h->multi, fd, s);
	}
	if (s->event)
		event_free(s->event);
	s->event = event_new(h->base, fd, want | EV_PERSIST, on_socket, s);
	if (!evtimer_pending(h->rest, NULL))
		event_add(s->event, NULL);
	return 0;
}

static int set_timer(CURLM *multi, long ms, void *arg)
{
	struct kp_httpc *h = arg;
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	(void)multi;
	if (ms < 0)
		event_del(h->timer);
	else
		event_add(h->timer, &tv);
	return 0;
}

static CURLM *new_multi(struct kp_httpc *h)
{
	CURLM *m = curl_multi_init();

	if (!m)
		return NULL;
	curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, watch_socket);
	curl_multi_setopt(m, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(m, CURLMOPT_TIMERDATA, h);
	curl_multi_setopt(m, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	return m;
}

static void drop_multi(struct kp_httpc *h)
{
	curl_multi_cleanup(h->multi);
	h->multi = NULL;
	event_del(h->timer);
	while (h->socks)
		free_sock(h->socks);
}

/* Closes every connection; only when there are no calls. */
static int renew(struct kp_httpc *h, struct kp_err *err)
{
	drop_multi(h);
	h->suspect = h->is_http2 = h->one_peer = false;
	h->multi = new_multi(h);
	return h->multi ? 0 : kp_err_set(err, -ENOMEM, "start libcurl");
}

int kp_httpc_new(struct kp_httpc **ret, struct event_base *base, void (*after)(void *arg), void *arg,
		 struct kp_err *err)
{
	struct kp_httpc *h;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return kp_err_set(err, -ENOMEM, "start libcurl");
	h = kp_calloc(1, sizeof(*h));
	h->base = base;
	h->after = after;
	h->arg = arg;
	h->timer = evtimer_new(base, on_timer, h);
	h->rest = evtimer_new(base, on_rest_end, h);
	h->multi = new_multi(h);
	if (!h->multi) {
		kp_httpc_free(h);
		return kp_err_set(err, -ENOMEM, "start libcurl");
	}
	*ret = h;
	return 0;
}

struct kp_httpc *kp_httpc_free(struct kp_httpc *h)
{
	if (!h)
		return NULL;
	while (h->calls)
		kp_httpc_cancel(h->calls);
	drop_multi(h);
	event_free(h->timer);
	event_free(h->rest);
	free(h);
	curl_global_cleanup();
	return NULL;
}

/* --- one call --- */

static void free_call(struct kp_http_call *c)
{
	UNLINK(&c->h->calls, c);
	if (c->easy) {
		curl_multi_remove_handle(c->h->multi, c->easy);
		curl_easy_cleanup(c->easy);
	}
	curl_slist_free_all(c->headers);
	curl_slist_free_all(c->connect_to);
	free(c);
}

struct kp_http_call *kp_httpc_cancel(struct kp_http_call *c)
{
	if (c)
		free_call(c);
	return NULL;
}

static bool has_header(CURL *easy, const char *name)
{
	struct curl_header *found;

	return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK;
}

static void tell_head(struct kp_http_call *c)
{
	struct kp_http_head head = { .content_type = "" };
	curl_off_t retry_after = 0;
	char *type = NULL;
	long version = 0;

	c->has_head = true;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &head.status);
	curl_easy_getinfo(c->easy, CURLINFO_CONTENT_TYPE, &type);
	curl_easy_getinfo(c->easy, CURLINFO_RETRY_AFTER, &retry_after);
	curl_easy_getinfo(c->easy, CURLINFO_HTTP_VERSION, &version);
	if (type)
		head.content_type = type;
	if (retry_after > 0)
		head.retry_after_ms = (uint64_t)retry_after * 1000;
	c->h->is_http2 = version == CURL_HTTP_VERSION_2_0;
	c->h->one_peer = c->h->is_http2 && !has_header(c->easy, "Via") && !has_header(c->easy, "Server");
	head.one_peer = c->h->one_peer;
	c->h->suspect = false;
	c->handler->head(c->arg, &head);
}

static void finish(struct kp_http_call *c, int code, const char *why)
{
	const struct kp_http_handler *handler = c->handler;
	void *arg = c->arg;
	char text[CURL_ERROR_SIZE] = "";

	if (code == 0 && !c->has_head)
		tell_head(c);
	if (why) {
		memcpy(text, why, strnlen(why, sizeof(text) - 1));
		for (char *end = text + strlen(text); end > text && end[-1] == '\n'; )
			*--end = '\0';
	}
	free_call(c);
	handler->done(arg, code, why ? text : NULL);
}

/* The empty line ends a head; those of 100 Continue and of proxies come before it. */
static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct kp_http_call *c = arg;
	long status = 0;

	c->h->heard_ms = kp_now_ms();
	if (n * size > 2 || *p != '\r')
		return size * n;
	curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && !c->has_head)
		tell_head(c);
	return size * n;
}

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
	struct kp_http_call *c = arg;

	c->h->heard_ms = kp_now_ms();
	if (!c->has_head)
		tell_head(c);
	c->aborted = c->handler->data(c->arg, p, size * n);
	return c->aborted < 0 ? size * n + 1 : size * n;
}

static void set_plain(struct kp_http_call *c)
{
	curl_easy_setopt(c->easy, CURLOPT_PRIVATE, c);
	curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, c->error);
	curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->easy, CURLOPT_NOPROGRESS, 1L);
	curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c->easy, CURLOPT_USERAGENT, "proxylet/" KP_VERSION);
	curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(c->easy, CURLOPT_BUFFERSIZE, PIECE);
	curl_easy_setopt(c->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, c);
}

int kp_httpc_send(struct kp_httpc *h, const char *url, const char *accept, const struct kp_http_body *body,
		  const struct kp_http_identity *who, const struct kp_http_handler *handler, void *arg,
		  struct kp_http_call **ret, struct kp_err *err)
{
	struct kp_http_call *c;
	CURLMcode code;
	int r = h->suspect && !h->calls ? renew(h, err) : 0;

	if (r < 0)
		return r;
	c = kp_calloc(1, sizeof(*c));
	c->h = h;
	c->handler = handler;
	c->arg = arg;
	c->easy = curl_easy_init();
	LINK(&h->calls, c);
	r = c->easy ? kp_http_call_ask(c, url, accept, body, who, err) : kp_err_set(err, -ENOMEM, "start libcurl");
	if (r < 0) {
		free_call(c);
		return r;
	}
	set_plain(c);
	*ret = c;	/* before libcurl may answer */
	code = curl_multi_add_handle(h->multi, c->easy);
	if (code == CURLM_OK)
		return 0;
	*ret = NULL;
	free_call(c);
	return kp_err_set(err, -EIO, "%s", curl_multi_strerror(code));
}

int kp_httpc_get(struct kp_httpc *h, const char *url, const char *accept, const struct kp_http_identity *who,
		 const struct kp_http_handler *handler, void *arg, struct kp_http_call **ret, struct kp_err *err)
{
	return kp_httpc_send(h, url, accept, NULL, who, handler, arg, ret, err);
}

uint64_t kp_httpc_woken_ns(const struct kp_httpc *h)
{
	return h->woken_ns;
}

uint64_t kp_httpc_heard_ms(const struct kp_httpc *h)
{
	return h->heard_ms;
}

bool kp_httpc_is_http2(const struct kp_httpc *h)
{
	return h->is_http2;
}

bool kp_httpc_one_peer(const struct kp_httpc *h)
{
	return h->one_peer;
}

static struct kp_http_call *first_doomed(struct kp_httpc *h)
{
	struct kp_http_call *c = h->calls;

	while (c && !c->doomed)
		c = c->next;
	return c;
}

void kp_httpc_reset(struct kp_httpc *h, const char *why)
{
	struct kp_http_call *c;

	for (c = h->calls; c; c = c->next) {
		curl_multi_remove_handle(h->multi, c->easy);
		c->doomed = true;
	}
	if (renew(h, NULL) < 0)
		abort();	/* as every allocation that fails */
	while ((c = first_doomed(h)))	/* each may start or cancel others */
		finish(c, -ETIMEDOUT, why);
	if (h->after)
		h->after(h->arg);
}

char *kp_http_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0), *copy = kp_strdup(escaped ? escaped : "");

	curl_free(escaped);
	return copy;
}
