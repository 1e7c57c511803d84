#ifndef KP_SOURCE_HTTPC_IMPL_H
#define KP_SOURCE_HTTPC_IMPL_H

#include <curl/curl.h>

#include "proxy/source/httpc.h"

/*
 * Shared by the two parts of the HTTP client; nobody else includes this.
 *
 *	httpc.c		the loop, connections, calls and their answers
 *	httpc_ask.c	what is asked, where and as whom
 */

struct kp_httpc {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	struct event *rest;	/* its end; pending: no socket is read */
	uint64_t rested_ns;	/* when the last one began, wall clock */
	struct kp_http_sock *socks;
	struct kp_http_call *calls;
	void (*after)(void *arg);
	void *arg;
	uint64_t heard_ms;
	uint64_t woken_ns;
	bool is_http2, one_peer;
	bool suspect;		/* a connection broke, and no answer came since */
};

/* A socket of libcurl's that we watch. */
struct kp_http_sock {
	struct kp_httpc *h;
	struct event *event;
	bool waited;		/* something came during the last rest, and is not read yet */
	struct kp_http_sock *prev, *next;
};

struct kp_http_call {
	struct kp_httpc *h;
	struct kp_http_call *prev, *next;
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	char error[CURL_ERROR_SIZE];
	const struct kp_http_handler *handler;
	void *arg;
	bool has_head;
	bool by_proxy;		/* or it is one of the exceptions */
	bool doomed;		/* its connection was closed by kp_httpc_reset */
	int aborted;		/* what data returned */
};

/* Everything about a new call that is not about its answer. */
int kp_http_call_ask(struct kp_http_call *c, const char *url, const char *accept, const struct kp_http_body *body,
		     const struct kp_http_identity *who, struct kp_err *err);

#endif
