#include "proxy/source/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/doc_stream.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

/* A watch is a line of JSON for each event, a list is one document. */
struct kp_body {
	kp_event_fn *fn;
	void *arg;
	struct kp_doc_stream *list;	/* NULL: a watch */
	json_t *empty;			/* a list without any items, as the walker does not know lists by their kind */
	struct kp_lines lines;
};

/* Go writes null for a list that was never filled. */
static bool is_empty_list(const json_t *value)
{
	const char *kind = json_string_value(json_object_get(value, "kind"));
	size_t len = kind ? strlen(kind) : 0;

	return len > 4 && strcmp(kind + len - 4, "List") == 0 && !json_array_size(json_object_get(value, "items"));
}

static int on_item(void *arg, const struct kp_doc_item *item)
{
	struct kp_body *b = arg;

	if (!item->list_kind && !b->empty && is_empty_list(item->value)) {
		b->empty = json_incref(item->value);
		return 0;
	}
	return kp_watch_object(KP_EVENT_ADDED, item->value, item->list_kind, b->fn, b->arg);
}

static int on_line(void *arg, const char *line, size_t len)
{
	struct kp_body *b = arg;
	struct kp_event e = { .type = KP_EVENT_BAD, .version = "" };
	char text[64];

	if (line)
		return kp_watch_line(line, len, b->fn, b->arg);
	snprintf(text, sizeof(text), "an event of more than %u MiB", KP_WATCH_MAX_LINE >> 20);
	e.text = text;
	return b->fn(b->arg, &e);
}

static struct kp_body *json_open(enum kp_body_kind kind, kp_event_fn *fn, void *arg)
{
	static const struct kp_doc_sink sink = { .item = on_item, .unread = kp_decode_unread };
	struct kp_body *b = kp_calloc(1, sizeof(*b));

	b->fn = fn;
	b->arg = arg;
	b->lines.limit = KP_WATCH_MAX_LINE;
	if (kind == KP_BODY_LIST)
		b->list = kp_doc_stream_new(&sink, b);
	return b;
}

static int json_feed(struct kp_body *b, const char *p, size_t n, struct kp_err *err)
{
	int r;

	if (!b->list)
		return kp_lines_feed(&b->lines, p, n, on_line, b);
	r = kp_doc_stream_feed(b->list, p, n, err);
	return r == -EINVAL ? -EPROTO : r;
}

static const char *text_of(const json_t *meta, const char *key)
{
	const char *s = json_string_value(json_object_get(meta, key));

	return s ? s : "";
}

static int json_end(struct kp_body *b, struct kp_err *err)
{
	struct kp_event e = { .type = KP_EVENT_PAGE };
	json_auto_t *list = NULL;
	const json_t *meta;

	if (!b->list)
		return 0;	/* a line that was cut off comes again with the next watch */
	if (kp_doc_stream_end(b->list, &list, err) < 0)
		return -EPROTO;
	if (!list)
		list = json_incref(b->empty);
	if (!list)
		return kp_err_set(err, -EPROTO, "the answer is no list");
	meta = json_object_get(list, "metadata");
	e.version = text_of(meta, "resourceVersion");
	e.next = text_of(meta, "continue");
	return b->fn(b->arg, &e);
}

static struct kp_body *json_free(struct kp_body *b)
{
	if (!b)
		return NULL;
	kp_doc_stream_free(b->list);
	json_decref(b->empty);
	kp_lines_release(&b->lines);
	free(b);
	return NULL;
}

const struct kp_codec kp_codec_json = { "application/json", json_open, json_feed, json_end, json_free };
