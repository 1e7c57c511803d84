#ifndef KP_BASE_DOC_STREAM_H
#define KP_BASE_DOC_STREAM_H

#include "proxy/base/doc.h"

/*
 * kp_doc_walk for JSON that arrives in pieces from somewhere else than a file, such as
 * a connection: the items of a list are delivered as soon as they are complete.
 */
struct kp_doc_stream;

/* sink and arg as kp_doc_walk; *sink is borrowed. */
struct kp_doc_stream *kp_doc_stream_new(const struct kp_doc_sink *sink, void *arg);
struct kp_doc_stream *kp_doc_stream_free(struct kp_doc_stream *s);	/* NULL is fine; returns NULL */

/* 0, what item returned, or -EINVAL with err; no more calls after that. */
int kp_doc_stream_feed(struct kp_doc_stream *s, const char *p, size_t n, struct kp_err *err);
/* The text is over. ret_rest: the list without its items (metadata, ...), owned by the caller; NULL if it was none. */
int kp_doc_stream_end(struct kp_doc_stream *s, json_t **ret_rest, struct kp_err *err);

#endif
