#ifndef KP_SOURCE_HTTPC_H
#define KP_SOURCE_HTTPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct kp_err;
struct kp_httpc;
struct kp_http_call;

/*
 * HTTP requests on the event loop (libcurl). All requests to a server share one
 * HTTP/2 connection where the server has HTTP/2, and have a connection each where it
 * has not. Paths that lose packets are noticed by TCP within 25 s; a peer that is
 * stuck while its kernel still answers is not noticed here: see kp_httpc_reset.
 */

struct kp_http_bytes {
	const char *data;	/* NULL: none */
	size_t len;
};

/* Who we are, and whom we trust. Borrowed for the call that takes it. */
struct kp_http_identity {
	struct kp_http_bytes ca;	/* PEM; none: the authorities of the system */
	struct kp_http_bytes cert, key;	/* PEM */
	const char *token;
	const char *username, *password;
	const char *tls_server_name;	/* name in the server's certificate instead of the URL's */
	const char *proxy_url;		/* NULL: as the environment says */
	bool insecure;			/* any certificate will do */
	bool no_compression;
};

/* Valid during the callback. */
struct kp_http_head {
	long status;
	bool one_peer;			/* see kp_httpc_one_peer */
	const char *content_type;	/* "" if there is none */
	uint64_t retry_after_ms;	/* 0: not given */
};

/*
 * head and data may start no call and end none; data ends its own by returning a negative
 * value. done may do both, and is the last that is heard of a call: 0 when the body is
 * complete (whatever the status), what data returned, or -errno with why; why is NULL else.
 */
struct kp_http_handler {
	void (*head)(void *arg, const struct kp_http_head *head);
	int (*data)(void *arg, const char *p, size_t n);
	void (*done)(void *arg, int code, const char *why);
};

/* after: called when the callbacks of one round of the loop are done; may be NULL. */
int kp_httpc_new(struct kp_httpc **ret, struct event_base *base, void (*after)(void *arg), void *arg,
		 struct kp_err *err);
/* Ends all calls without a word to their handlers. */
struct kp_httpc *kp_httpc_free(struct kp_httpc *h);

/* What is sent along; copied. */
struct kp_http_body {
	const char *method;		/* "POST", "PATCH" */
	const char *content_type;
	const char *data;
	size_t len;
};

/* body: NULL for a GET. -errno with err if it cannot even be tried; done is not called then. */
int kp_httpc_send(struct kp_httpc *h, const char *url, const char *accept, const struct kp_http_body *body,
		  const struct kp_http_identity *who, const struct kp_http_handler *handler, void *arg,
		  struct kp_http_call **ret, struct kp_err *err);
/* GET. */
int kp_httpc_get(struct kp_httpc *h, const char *url, const char *accept, const struct kp_http_identity *who,
		 const struct kp_http_handler *handler, void *arg, struct kp_http_call **ret, struct kp_err *err);
/* Ends a call without a word to its handler. NULL is fine; returns NULL. */
struct kp_http_call *kp_httpc_cancel(struct kp_http_call *c);

/* When a byte of an answer arrived last (CLOCK_MONOTONIC), and whether that was over HTTP/2. */
uint64_t kp_httpc_heard_ms(const struct kp_httpc *h);
/* Does a connection have something for us that is not handled yet: bytes, its end, room for what we send? */
bool kp_httpc_has_more(const struct kp_httpc *h);
/* Reads nothing for so long, so that what the server sends meanwhile comes together. */
void kp_httpc_rest(struct kp_httpc *h, unsigned ms);
/* Wall clock: when we last learnt that something can be read, before we did; after a rest its beginning. */
uint64_t kp_httpc_woken_ns(const struct kp_httpc *h);
bool kp_httpc_is_http2(const struct kp_httpc *h);
/*
 * By the last answer: HTTP/2, and nothing between us and the server that says so (Via, or
 * Server, which an API server does not send). Only then a sign of life is one for all calls;
 * a proxy may have a connection to another server for each.
 */
bool kp_httpc_one_peer(const struct kp_httpc *h);
/* Closes all connections; all calls end with -ETIMEDOUT and why. Not from a handler. */
void kp_httpc_reset(struct kp_httpc *h, const char *why);

/* Text made fit for a query. Caller frees. */
char *kp_http_escape(const char *text);

#endif
