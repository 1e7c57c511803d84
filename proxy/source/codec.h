#ifndef KP_SOURCE_CODEC_H
#define KP_SOURCE_CODEC_H

#include <stdbool.h>

#include "proxy/source/watch.h"

struct kp_err;

/*
 * Bodies of answers to events, object by object, as the bytes arrive. What a body
 * is made of follows from its Content-Type; one struct kp_codec for each.
 */
enum kp_body_kind {
	KP_BODY_LIST,	/* ADDED..., PAGE */
	KP_BODY_WATCH,
};

struct kp_body;		/* one that is being read; each codec has its own */

struct kp_codec {
	const char *content_type;
	struct kp_body *(*open)(enum kp_body_kind kind, kp_event_fn *fn, void *arg);
	/* 0, what fn returned, or -EPROTO with err: this is not such a body. */
	int (*feed)(struct kp_body *b, const char *p, size_t n, struct kp_err *err);
	/* The body is complete. */
	int (*end)(struct kp_body *b, struct kp_err *err);
	struct kp_body *(*free)(struct kp_body *b);	/* NULL is fine; returns NULL */
};

/* What to ask for, in an Accept header: protobuf, a quarter of the bytes, rather than JSON, unless that alone is wanted. */
const char *kp_codec_accept(enum kp_body_kind kind, bool json_only);
/* Parameters (";charset=...") do not count. NULL: none of ours. */
const struct kp_codec *kp_codec_find(const char *content_type);

extern const struct kp_codec kp_codec_json, kp_codec_pb;

#endif
