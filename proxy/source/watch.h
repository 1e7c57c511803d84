#ifndef KP_SOURCE_WATCH_H
#define KP_SOURCE_WATCH_H

#include <jansson.h>
#include <stdbool.h>

#include "proxy/base/buf.h"
#include "proxy/source/decode.h"

/* What the API server says about a collection, as lists and as watches. */

enum kp_event_type {
	KP_EVENT_ADDED, KP_EVENT_MODIFIED, KP_EVENT_DELETED,
	KP_EVENT_BOOKMARK,
	KP_EVENT_ERROR,		/* the server ends the watch with a Status */
	KP_EVENT_PAGE,		/* the end of a list, or of one page of it */
	KP_EVENT_BAD,		/* something that is no event; an event may have been lost */
};

/* Valid during the callback. */
struct kp_event {
	enum kp_event_type type;
	const char *version;	/* resourceVersion of object, bookmark or list; "" if there is none */
	/* ADDED, MODIFIED, DELETED: */
	struct kp_object object;	/* whoever is called may take its value */
	const struct kp_decode_error *refused;	/* instead of object, when it does not decode; else NULL */
	bool initial_end;	/* BOOKMARK: all that exists was sent */
	const char *next;	/* PAGE: token for the rest, "" if that was all */
	int code;		/* ERROR: 410, ... */
	const char *text;	/* ERROR, BAD: for humans */
};

/* < 0 ends the reading. */
typedef int kp_event_fn(void *arg, struct kp_event *e);

/* One event of a watch in JSON, without its newline. Returns what fn returns. */
int kp_watch_line(const char *line, size_t len, kp_event_fn *fn, void *arg);

/* The same event once it is parsed: type as the server names it. */
int kp_watch_event(const char *type, json_t *object, kp_event_fn *fn, void *arg);

/* An API object, as an event of that type. list_kind as kp_decode. */
int kp_watch_object(enum kp_event_type type, json_t *object, const char *list_kind, kp_event_fn *fn, void *arg);

/* The message of a Status, in JSON or protobuf, as far as text is one; else the beginning of text in one line. Caller frees. */
char *kp_watch_refusal(const char *text, size_t len);

/*
 * Splits a stream into lines. Memory never holds more than limit bytes of a line; one
 * that is longer is told once, as text NULL, and skipped to its end. Empty lines are
 * left out. Zero-initialise but for limit.
 */
#define KP_WATCH_MAX_LINE (16u << 20)
struct kp_lines {
	size_t limit;
	struct kp_buf part;	/* of the line that is not complete */
	bool skipping;
};
typedef int kp_line_fn(void *arg, const char *line, size_t len);
/* 0, or what fn returned when that is < 0. */
int kp_lines_feed(struct kp_lines *l, const char *p, size_t n, kp_line_fn *fn, void *arg);
void kp_lines_release(struct kp_lines *l);

#endif
