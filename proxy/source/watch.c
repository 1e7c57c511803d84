#include "proxy/source/watch.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/doc.h"
#include "proxy/base/json_room.h"
#include "proxy/base/mem.h"
#include "proxy/base/plain_json.h"
#include "proxy/source/pb.h"

#define END_OF_INITIAL	"k8s.io/initial-events-end"
#define MAX_STATUS_TEXT	300

/* --- lines --- */

static int one_line(struct kp_lines *l, const char *p, size_t n, kp_line_fn *fn, void *arg)
{
	int r;

	if (l->skipping) {
		l->skipping = false;
		return 0;
	}
	if (l->part.len + n > l->limit) {
		l->part.len = 0;
		return fn(arg, NULL, 0);
	}
	if (l->part.len) {
		kp_buf_add(&l->part, p, n);
		p = l->part.data;
		n = l->part.len;
	}
	r = n ? fn(arg, p, n) : 0;
	l->part.len = 0;
	return r;
}

/* The beginning of a line whose end is yet to come. */
static int keep(struct kp_lines *l, const char *p, size_t n, kp_line_fn *fn, void *arg)
{
	if (l->skipping || !n)
		return 0;
	if (l->part.len + n <= l->limit) {
		kp_buf_add(&l->part, p, n);
		return 0;
	}
	l->skipping = true;
	kp_buf_release(&l->part);
	return fn(arg, NULL, 0);
}

int kp_lines_feed(struct kp_lines *l, const char *p, size_t n, kp_line_fn *fn, void *arg)
{
	const char *end = p + n, *newline;
	int r = 0;

	while (r >= 0 && (newline = memchr(p, '\n', (size_t)(end - p)))) {
		r = one_line(l, p, (size_t)(newline - p), fn, arg);
		p = newline + 1;
	}
	return r < 0 ? r : keep(l, p, (size_t)(end - p), fn, arg);
}

void kp_lines_release(struct kp_lines *l)
{
	kp_buf_release(&l->part);
	l->skipping = false;
}

/* --- events --- */

static const char *version_of(const json_t *object)
{
	const char *v = json_string_value(json_object_get(json_object_get(object, "metadata"), "resourceVersion"));

	return v ? v : "";
}

static int bad(const char *text, kp_event_fn *fn, void *arg)
{
	struct kp_event e = { .type = KP_EVENT_BAD, .version = "", .text = text };

	return fn(arg, &e);
}

int kp_watch_object(enum kp_event_type type, json_t *object, const char *list_kind, kp_event_fn *fn, void *arg)
{
	struct kp_event e = { .type = type, .version = version_of(object) };
	struct kp_decode_error why;
	int r;

	if (kp_decode(object, list_kind, false, &e.object, &why) < 0)
		e.refused = &why;
	r = fn(arg, &e);
	kp_object_release(&e.object);
	return r;
}

static int on_bookmark(json_t *object, kp_event_fn *fn, void *arg)
{
	const json_t *notes = json_object_get(json_object_get(object, "metadata"), "annotations");
	const char *end = json_string_value(json_object_get(notes, END_OF_INITIAL));
	struct kp_event e = { .type = KP_EVENT_BOOKMARK, .version = version_of(object) };

	e.initial_end = end && strcmp(end, "true") == 0;
	return fn(arg, &e);
}

static int on_error(json_t *object, kp_event_fn *fn, void *arg)
{
	const char *text = json_string_value(json_object_get(object, "message"));
	struct kp_event e = { .type = KP_EVENT_ERROR, .version = "" };

	e.code = (int)json_integer_value(json_object_get(object, "code"));
	e.text = text ? text : "error without a message";
	return fn(arg, &e);
}

int kp_watch_event(const char *type, json_t *object, kp_event_fn *fn, void *arg)
{
	static const char *const objects[] = {
		[KP_EVENT_ADDED] = "ADDED", [KP_EVENT_MODIFIED] = "MODIFIED", [KP_EVENT_DELETED] = "DELETED",
	};

	for (size_t i = 0; i < KP_N(objects); i++)
		if (strcmp(type, objects[i]) == 0)
			return kp_watch_object((enum kp_event_type)i, object, NULL, fn, arg);
	if (strcmp(type, "BOOKMARK") == 0)
		return on_bookmark(object, fn, arg);
	if (strcmp(type, "ERROR") == 0)
		return on_error(object, fn, arg);
	return 0;	/* newer than this program: ignoring it is safe */
}

static json_t *parse_line(const char *line, size_t len, json_error_t *ret_where)
{
	struct kp_buf read = { 0 };
	json_t *event;

	kp_json_room_begin();
	event = kp_json_plain(line, len, kp_decode_unread);
	kp_json_room_end();
	if (event)
		return event;
	kp_buf_add(&read, line, len);
	kp_doc_cut_unread(kp_decode_unread, &read);
	event = json_loadb(read.data, read.len, JSON_ALLOW_NUL, ret_where);	/* as kp_doc_walk */
	kp_buf_release(&read);
	return event;
}

int kp_watch_line(const char *line, size_t len, kp_event_fn *fn, void *arg)
{
	json_error_t where;
	KP_AUTO(kp_json_room_forgetp) json_t *event = parse_line(line, len, &where);
	json_t *object = json_object_get(event, "object");
	const char *type = json_string_value(json_object_get(event, "type"));
	char text[sizeof(where.text) + 64];

	if (event && type && json_is_object(object))
		return kp_watch_event(type, object, fn, arg);
	if (event)
		return bad("an event without type or object", fn, arg);
	snprintf(text, sizeof(text), "no JSON at byte %d of an event: %s", where.position, where.text);
	return bad(text, fn, arg);
}

char *kp_watch_refusal(const char *text, size_t len)
{
	json_t *pb = kp_pb_body((const uint8_t *)text, len);
	json_auto_t *status = pb ? pb : json_loadb(text, len, 0, NULL);
	const char *message = json_string_value(json_object_get(status, "message"));

	if (message && *message)
		return kp_strndup(message, MAX_STATUS_TEXT);
	for (size_t i = 0; i < len; i++)
		if (strchr("\r\n", text[i]))
			len = i;
	return kp_strndup(text, len < MAX_STATUS_TEXT ? len : MAX_STATUS_TEXT);
}
