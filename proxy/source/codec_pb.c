#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/json_room.h"
#include "proxy/base/mem.h"
#include "proxy/source/codec.h"
#include "proxy/source/pb.h"

/*
 * A watch is a sequence of frames: a length of four bytes, big-endian, and a WatchEvent.
 * A list is one object: magic, an envelope (Unknown), and in that the list, which is
 * read item by item. Memory holds one of them at a time.
 */
#define FRAME_HEAD	4
#define KEEP_ROOM	(64u << 10)	/* of the buffer, between large ones */

enum { ENVELOPE_TYPE = 1, ENVELOPE_RAW = 2 };
enum { LIST_META = 1, LIST_ITEMS = 2 };
enum { EVENT_TYPE = 1, EVENT_OBJECT = 2, EXTENSION_RAW = 1 };

struct kp_body {
	kp_event_fn *fn;
	void *arg;
	/* Reads one thing: bytes taken, 0: more are needed, < 0: what fn returned, or -EPROTO with err. */
	ssize_t (*step)(struct kp_body *b, const uint8_t *p, size_t n, struct kp_err *err);
	struct kp_buf part;	/* of the thing that is not complete */
	uint64_t skip;		/* bytes of one that is too large */

	/* A list. */
	struct kp_pb_type type;
	bool has_raw;
	uint64_t raw_left;
	json_t *meta;
};

static ssize_t garbled(struct kp_err *err)
{
	return kp_err_set(err, -EPROTO, "the answer is not Kubernetes protobuf");
}

static int bad(struct kp_body *b, const char *text)
{
	struct kp_event e = { .type = KP_EVENT_BAD, .version = "", .text = text };

	return b->fn(b->arg, &e);
}

static int too_large(struct kp_body *b, uint64_t len)
{
	char text[64];

	b->skip = len;
	snprintf(text, sizeof(text), "an object of more than %u MiB", KP_WATCH_MAX_LINE >> 20);
	return bad(b, text);
}

/* --- a watch --- */

static int on_event(struct kp_body *b, const uint8_t *p, size_t n)
{
	struct kp_pb event = { p, n }, extension = { NULL, 0 };
	struct kp_pb_field f, raw = { .data = NULL };
	KP_AUTO(kp_json_room_forgetp) json_t *object = NULL;
	char type[16] = "";
	int r;

	while ((r = kp_pb_next(&event, &f)) > 0)
		if (f.number == EVENT_TYPE && f.wire == KP_PB_BYTES)
			snprintf(type, sizeof(type), "%.*s", f.n < sizeof(type) ? (int)f.n : 0, (const char *)f.data);
		else if (f.number == EVENT_OBJECT && f.wire == KP_PB_BYTES)
			extension = (struct kp_pb){ f.data, f.n };
	while (r == 0 && kp_pb_next(&extension, &f) > 0)
		if (f.number == EXTENSION_RAW && f.wire == KP_PB_BYTES)
			raw = f;
	kp_json_room_begin();
	if (raw.data)
		object = kp_pb_body(raw.data, raw.n);
	kp_json_room_end();
	return object ? kp_watch_event(type, object, b->fn, b->arg) : bad(b, "no Kubernetes protobuf in an event");
}

static ssize_t watch_step(struct kp_body *b, const uint8_t *p, size_t n, struct kp_err *err)
{
	uint32_t len;
	int r;

	(void)err;
	if (n < FRAME_HEAD)
		return 0;
	len = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	if (len > KP_WATCH_MAX_LINE) {
		r = too_large(b, len);
		return r < 0 ? r : FRAME_HEAD;
	}
	if (n - FRAME_HEAD < len)
		return 0;
	r = on_event(b, p + FRAME_HEAD, len);
	return r < 0 ? r : (ssize_t)(FRAME_HEAD + len);
}

/* --- a list --- */

static int on_item(struct kp_body *b, const struct kp_pb_field *f, struct kp_err *err)
{
	size_t len = strlen(b->type.kind);
	KP_AUTO(kp_json_room_forgetp) json_t *object = NULL;
	char kind[sizeof(b->type.kind)];

	if (len <= 4 || strcmp(b->type.kind + len - 4, "List") != 0)
		return kp_err_set(err, -EPROTO, "the answer is no list");
	snprintf(kind, sizeof(kind), "%.*s", (int)len - 4, b->type.kind);
	kp_json_room_begin();
	object = kp_pb_object(kind, f->data, f->n);
	kp_json_room_end();
	if (!object)
		return bad(b, "an item that is no Kubernetes protobuf");
	return kp_watch_object(KP_EVENT_ADDED, object, b->type.kind, b->fn, b->arg);
}

static int on_field(struct kp_body *b, const struct kp_pb_field *f, struct kp_err *err)
{
	bool inside = b->raw_left > 0;

	if (f->wire != KP_PB_BYTES)
		return 0;
	if (inside && f->number == LIST_ITEMS)
		return on_item(b, f, err);
	if (inside && f->number == LIST_META) {
		json_decref(b->meta);
		b->meta = kp_pb_object("ListMeta", f->data, f->n);
		return b->meta ? 0 : (int)garbled(err);
	}
	if (!inside && f->number == ENVELOPE_TYPE)
		return kp_pb_read_type(f->data, f->n, &b->type) < 0 ? (int)garbled(err) : 0;
	return 0;
}

/* A field of the envelope, or of the list inside it. */
static ssize_t field_step(struct kp_body *b, const uint8_t *p, size_t n, struct kp_err *err)
{
	struct kp_pb_field f;
	int head = kp_pb_head(p, n, &f), r;
	uint64_t more, inside = b->raw_left;

	if (head <= 0)
		return head == 0 ? 0 : garbled(err);
	if (!inside && f.number == ENVELOPE_RAW && f.wire == KP_PB_BYTES) {
		b->has_raw = true;
		b->raw_left = f.n;
		return head;
	}
	more = f.data ? f.n : 0;
	if (inside && (inside < (unsigned)head || inside - (unsigned)head < more))
		return garbled(err);
	if (more > KP_WATCH_MAX_LINE) {
		r = too_large(b, more);
		more = 0;
		b->raw_left -= inside ? b->skip : 0;
	} else if (n - (unsigned)head < more) {
		return 0;
	} else {
		r = on_field(b, &f, err);
	}
	if (inside)
		b->raw_left -= (unsigned)head + more;
	return r < 0 ? r : (ssize_t)((unsigned)head + more);
}

static ssize_t magic_step(struct kp_body *b, const uint8_t *p, size_t n, struct kp_err *err)
{
	if (n < KP_PB_MAGIC_LEN)
		return 0;
	if (memcmp(p, kp_pb_magic, KP_PB_MAGIC_LEN) != 0)
		return garbled(err);
	b->step = field_step;
	return KP_PB_MAGIC_LEN;
}

/* --- both --- */

static struct kp_body *pb_open(enum kp_body_kind kind, kp_event_fn *fn, void *arg)
{
	struct kp_body *b = kp_calloc(1, sizeof(*b));

	b->fn = fn;
	b->arg = arg;
	b->step = kind == KP_BODY_LIST ? magic_step : watch_step;
	return b;
}

static ssize_t skip(struct kp_body *b, size_t n)
{
	size_t now = b->skip < n ? (size_t)b->skip : n;

	b->skip -= now;
	return (ssize_t)now;
}

/* What is left of the bytes given waits for the next ones. */
static void keep(struct kp_body *b, const char *p, size_t n)
{
	if (!b->part.len) {
		kp_buf_add(&b->part, p, n);
		return;
	}
	memmove(b->part.data, p, n);
	b->part.len = n;
	if (!n && b->part.cap > KEEP_ROOM)
		kp_buf_release(&b->part);
}

static int pb_feed(struct kp_body *b, const char *p, size_t n, struct kp_err *err)
{
	ssize_t used = 0;

	if (b->part.len) {
		kp_buf_add(&b->part, p, n);
		p = b->part.data;
		n = b->part.len;
	}
	do {
		p += used;
		n -= (size_t)used;
		used = b->skip ? skip(b, n) : b->step(b, (const uint8_t *)p, n, err);
	} while (used > 0);
	if (used < 0)
		return (int)used;
	keep(b, p, n);
	return 0;
}

static const char *meta_text(const struct kp_body *b, const char *key)
{
	const char *s = json_string_value(json_object_get(b->meta, key));

	return s ? s : "";
}

static int pb_end(struct kp_body *b, struct kp_err *err)
{
	struct kp_event e = { .type = KP_EVENT_PAGE };

	if (b->step == watch_step)
		return 0;	/* a frame that was cut off comes again with the next watch */
	if (b->part.len || b->skip || b->raw_left || !b->has_raw)
		return kp_err_set(err, -EPROTO, "the list is cut short");
	e.version = meta_text(b, "resourceVersion");
	e.next = meta_text(b, "continue");
	return b->fn(b->arg, &e);
}

static struct kp_body *pb_free(struct kp_body *b)
{
	if (!b)
		return NULL;
	json_decref(b->meta);
	kp_buf_release(&b->part);
	free(b);
	return NULL;
}

const struct kp_codec kp_codec_pb = { "application/vnd.kubernetes.protobuf", pb_open, pb_feed, pb_end, pb_free };
