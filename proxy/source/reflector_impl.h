#ifndef KP_SOURCE_REFLECTOR_IMPL_H
#define KP_SOURCE_REFLECTOR_IMPL_H

#include "proxy/base/buf.h"
#include "proxy/source/backoff.h"
#include "proxy/source/codec.h"
#include "proxy/source/known.h"
#include "proxy/source/kube_impl.h"

/*
 * Shared by the two parts of a reflector; nobody else includes this.
 *
 *	reflector.c		requests: what to ask for next, and what to do when it fails
 *	reflector_event.c	what an answer says about the collection
 */

enum kp_reflector_phase { KP_STREAM, KP_PAGES, KP_WATCH };

struct kp_reflector {
	struct kp_kube_source *s;
	const struct kp_collection *what;
	const char *node_name;		/* the source's */
	char *selector;
	struct event *timer;		/* the next attempt, or the deadline of this one */
	struct kp_backoff backoff;
	struct kp_known *known;

	char *version;			/* to watch from; NULL: list first */
	uint64_t history;		/* its number when the own node was asked for, */
	uint64_t doubted;		/* and the one that seemed to be lost, until the next list tells; 0: none */
	bool counts_apart;		/* its versions say nothing about those of others: another store */
	char *list_version, *next;	/* KP_PAGES */
	bool lossy;			/* something in this list could not be identified: sweep nothing */
	bool no_stream, no_extra, use_older, no_limit;	/* what the server made us leave */
	unsigned n_expired;		/* page tokens in a row */
	unsigned n_broken, n_brief;	/* streams, watches */
	unsigned n_failed;		/* attempts in a row */
	bool synced, unavailable, restart;
	bool is_cut_off;		/* waits, because no server answered */
	bool was_broken_off;		/* a request since the last list, and not by the server's word */
	uint64_t event_ms, listed_ms;
	char error[512];

	/* The request under way. */
	struct kp_http_call *call;
	struct kp_kube_origin origin;
	enum kp_reflector_phase asked, phase;	/* what it was begun for, and what it has become */
	uint64_t began_ms, heard_ms, until_ms;
	bool has_head, has_bookmarks;
	struct kp_http_head head;	/* without its content_type */
	const struct kp_codec *codec;
	struct kp_body *body;
	struct kp_buf refusal;
	int error_code;			/* of an ERROR event */
	char trouble[400];		/* why its data was refused */
};

/* A kp_event_fn; arg is the reflector. -EREMOTEIO: an ERROR event, -EPROTO: no event at all; see trouble. */
int kp_reflector_event(void *arg, struct kp_event *e);
/* The collection is as good as it gets for now. */
void kp_reflector_settle(struct kp_reflector *r, uint64_t node_version);
void kp_reflector_trouble(struct kp_reflector *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void kp_reflector_set(char **to, const char *text);	/* a copy, "" becomes NULL */

#endif
