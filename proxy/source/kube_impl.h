#ifndef KP_SOURCE_KUBE_IMPL_H
#define KP_SOURCE_KUBE_IMPL_H

#include "proxy/base/log.h"
#include "proxy/source/codec.h"
#include "proxy/source/httpc.h"
#include "proxy/source/kubeapi.h"

/*
 * Shared by the parts of the API source; nobody else includes this.
 *
 *	kubeapi.c	the source: servers, credentials, when everything is known, what is logged
 *	kube_events.c	what is told to the server
 *	reflector.c	one collection: list, watch, and what to do when either fails
 */

struct kp_collection {
	const char *name;
	const char *path, *older_path;	/* older_path: where older servers have it; NULL: nowhere */
	const char *selector;		/* query, escaped; the node's name is to follow if is_own_node */
	const char *extra_selector;	/* left out when the server does not know it; NULL: none */
	enum kp_kind kind;
	bool optional;			/* nothing waits for it if the server refuses it */
	bool is_own_node;		/* one object, always listed anew: see kp_kube_listed */
};

struct kp_reflector;
struct kp_reflector *kp_reflector_new(struct kp_kube_source *s, struct event_base *base, const struct kp_collection *what,
				      const char *node_name);
struct kp_reflector *kp_reflector_free(struct kp_reflector *r);	/* NULL is fine; returns NULL */
bool kp_reflector_has_listed(const struct kp_reflector *r);	/* complete once */
bool kp_reflector_is_settled(const struct kp_reflector *r);	/* that, or not to be had */
/*
 * The versions seem to go backwards: a list says version, although a later one was seen before it was
 * asked for. Lists anew, once if that shows that its versions count by themselves (--etcd-servers-overrides).
 */
void kp_reflector_check_history(struct kp_reflector *r, uint64_t version);
void kp_reflector_wake(struct kp_reflector *r);	/* the server answers again: no need to wait for that */
void kp_reflector_note_history(struct kp_reflector *r);	/* such a list is being asked for */
void kp_reflector_status(const struct kp_reflector *r, struct kp_source_status *ret);	/* one row */

/* --- the source, as its reflectors see it --- */

/* One request; remembers in *ret_origin where it went and as whom. As kp_httpc_get. */
struct kp_kube_origin {
	size_t server;
	unsigned identity;
};
int kp_kube_get(struct kp_kube_source *s, const char *path, enum kp_body_kind kind, const struct kp_http_handler *handler, void *arg,
		struct kp_kube_origin *ret_origin, struct kp_http_call **ret, struct kp_err *err);
/* Likewise with a body, for answers in JSON. As kp_httpc_send. */
int kp_kube_send(struct kp_kube_source *s, const char *path, const struct kp_http_body *body,
		 const struct kp_http_handler *handler, void *arg, struct kp_kube_origin *ret_origin,
		 struct kp_http_call **ret, struct kp_err *err);
bool kp_kube_one_peer(const struct kp_kube_source *s);	/* see kp_httpc_one_peer */
/* The server of a request does not answer. True: there is another to be tried at once. */
bool kp_kube_unreachable(struct kp_kube_source *s, const struct kp_kube_origin *from, const char *why);
void kp_kube_answered(struct kp_kube_source *s);
/*
 * Not a byte of any answer came since then: all connections are given up, as the next may lead to a server
 * that answers. False: some came, and nothing is done. As kp_httpc_reset: not from a handler.
 */
bool kp_kube_reset_mute(struct kp_kube_source *s, uint64_t since_ms, const char *why);
/* 401. True: there are new credentials to be tried at once. */
bool kp_kube_unauthorized(struct kp_kube_source *s, const struct kp_kube_origin *from);

void kp_kube_upsert(struct kp_kube_source *s, struct kp_object *o);
void kp_kube_remove(struct kp_kube_source *s, enum kp_kind kind, const char *key);
/* A list of the own node is asked for: as a consistent read it also tells the version of the whole store. */
void kp_kube_listing_node(struct kp_kube_source *s);
/* A reflector became settled or was listed again; node_version: 0 unless it is the own node's. */
void kp_kube_listed(struct kp_kube_source *s, uint64_t node_version);

/* Now the sink is told what came, if it is complete. By itself after each round of the HTTP client. */
void kp_kube_after_round(void *source);

/* Logs it unless the same was said in the last minutes. */
void kp_kube_say(struct kp_kube_source *s, enum kp_log_level level, const char *text);

uint32_t kp_kube_random(void);

#endif
