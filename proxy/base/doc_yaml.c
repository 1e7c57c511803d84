#include "proxy/base/doc_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct anchor {
	json_t *value;
	size_t weight;
};

struct reader {
	yaml_parser_t parser;
	yaml_event_t ev;	/* the current one; owned */
	const char *text;
	size_t len;
	unsigned line;		/* of the first line */
	struct kp_err *err;
	unsigned depth;
	/* Anchors of this document. Values are shared, so what an alias stands for is counted, not copied. */
	struct kp_map *anchors;
	size_t weight, expanded;
	bool used_alias;	/* since the item began */
	/* libyaml counts characters; this pair walks along to find the byte. */
	size_t at_char, at_byte;
	/* Duplicate keys: an error, or told here, and the last wins. */
	kp_doc_dup_fn *dup;
	void *dup_arg;
	struct kp_buf path;
};

static void free_anchor(void *p)
{
	struct anchor *a = p;

	json_decref(a->value);
	free(a);
}

static unsigned line_of(const struct reader *y, yaml_mark_t mark)
{
	return y->line + (unsigned)mark.line;
}

static int fail(struct reader *y, yaml_mark_t mark, const char *what)
{
	return kp_err_set(y->err, -EINVAL, "line %u: %s", line_of(y, mark), what);
}

static int parser_error(struct reader *y)
{
	const yaml_parser_t *p = &y->parser;
	unsigned line = y->line;

	if (p->error == YAML_READER_ERROR) {
		for (size_t i = 0; i < p->problem_offset && i < y->len; i++)
			line += y->text[i] == '\n';
		return kp_err_set(y->err, -EINVAL, "line %u: %s", line, p->problem);
	}
	if (!p->context)
		return fail(y, p->problem_mark, p->problem);
	return kp_err_set(y->err, -EINVAL, "line %u: %s, %s that began in line %u", line_of(y, p->problem_mark),
			  p->problem, p->context, line_of(y, p->context_mark));
}

static int next(struct reader *y)
{
	yaml_event_delete(&y->ev);
	return yaml_parser_parse(&y->parser, &y->ev) ? 0 : parser_error(y);
}

static int reader_init(struct reader *y, const char *text, size_t len, unsigned line, struct kp_err *err)
{
	*y = (struct reader){ .text = text, .len = len, .line = line, .err = err };
	if (!yaml_parser_initialize(&y->parser))
		abort();	/* out of memory, as everywhere */
	yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&y->parser, (const unsigned char *)text, len);
	y->anchors = kp_map_new(free_anchor);
	return next(y);		/* the stream start */
}

static void reader_release(struct reader *y)
{
	yaml_event_delete(&y->ev);
	yaml_parser_delete(&y->parser);
	kp_map_free(y->anchors);
	kp_buf_release(&y->path);
}

static json_t *build(struct reader *y);

static bool is_tag(const yaml_char_t *tag, const char *name)
{
	return strncmp((const char *)tag, "tag:yaml.org,2002:", 18) == 0 && strcmp((const char *)tag + 18, name) == 0;
}

static json_t *build_scalar(struct reader *y)
{
	static const char *const resolved[] = { "int", "float", "bool", "null" };
	const char *s = (const char *)y->ev.data.scalar.value;
	size_t len = y->ev.data.scalar.length;
	const yaml_char_t *tag = y->ev.data.scalar.tag;
	bool plain = y->ev.data.scalar.plain_implicit;
	json_t *v;

	if (memchr(s, 0, len))
		return fail(y, y->ev.start_mark, "a NUL byte in a string"), NULL;
	if (tag && !is_tag(tag, "str")) {
		for (size_t i = 0; i < KP_N(resolved); i++)
			plain |= is_tag(tag, resolved[i]);
		if (!plain)
			return kp_err_set(y->err, -EINVAL, "line %u: the tag '%s' is not supported",
					  line_of(y, y->ev.start_mark), tag), NULL;
	}
	y->weight += len + 1;
	v = plain ? kp_doc_yaml_scalar(s, len) : json_stringn_nocheck(s, len);
	if (!v)
		fail(y, y->ev.start_mark, "infinity and not-a-number have no place in an object");
	return v;
}

static json_t *build_alias(struct reader *y)
{
	const struct anchor *a = kp_map_gets(y->anchors, (const char *)y->ev.data.alias.anchor);

	if (!a)
		return kp_err_set(y->err, -EINVAL, "line %u: no anchor '%s' before this alias",
				  line_of(y, y->ev.start_mark), y->ev.data.alias.anchor), NULL;
	y->used_alias = true;
	y->weight += a->weight;
	y->expanded += a->weight;
	if (y->expanded > KP_DOC_MAX_EXPANDED)
		return fail(y, y->ev.start_mark, "aliases stand for too much text"), NULL;
	return json_incref(a->value);
}

static json_t *build_sequence(struct reader *y)
{
	json_t *array = json_array(), *v;
	size_t path_len = y->path.len;

	for (size_t i = 0;; i++) {
		if (next(y) < 0)
			break;
		if (y->ev.type == YAML_SEQUENCE_END_EVENT)
			return array;
		if (y->dup)
			kp_buf_printf(&y->path, "[%zu]", i);
		v = build(y);
		y->path.len = path_len;
		if (!v)
			break;
		json_array_append_new(array, v);
	}
	json_decref(array);
	return NULL;
}

/* Keys are strings in JSON: 1: and yes: become "1" and "true". */
static char *key_text(struct reader *y)
{
	json_t *v;
	char *key = NULL;

	if (y->ev.type != YAML_SCALAR_EVENT)
		return fail(y, y->ev.start_mark, "a key must be a simple value"), NULL;
	v = build_scalar(y);
	if (json_is_string(v))
		key = kp_strndup(json_string_value(v), json_string_length(v));
	else if (v)
		key = json_dumps(v, JSON_ENCODE_ANY);
	json_decref(v);
	return key;
}

/* "<<": the members of another mapping, or of several, where there is no such key here. */
static int add_merge(struct reader *y, json_t *into, const json_t *from)
{
	size_t i;
	json_t *one;

	if (json_is_object(from))
		return json_object_update_missing(into, (json_t *)from);
	if (!json_is_array(from))
		return fail(y, y->ev.start_mark, "only mappings can be merged");
	json_array_foreach(from, i, one)
		if (!json_is_object(one) || json_object_update_missing(into, one) < 0)
			return fail(y, y->ev.start_mark, "only mappings can be merged");
	return 0;
}

static int check_dup(struct reader *y, const json_t *object, const char *key, yaml_mark_t mark)
{
	if (!json_object_get(object, key))
		return 0;
	if (!y->dup)
		return kp_err_set(y->err, -EINVAL, "line %u: the key '%s' is there twice", line_of(y, mark), key);
	y->dup(y->dup_arg, y->path.data, line_of(y, mark));
	return 0;
}

static void enter_path(struct reader *y, const char *key)
{
	if (y->dup)
		kp_buf_printf(&y->path, strpbrk(key, ".[") ? "[%s]" : y->path.len ? ".%s" : "%s", key);
}

/* The value of key, which is the current event, with the events behind it. */
static int add_member(struct reader *y, json_t *object, json_t *merged, const char *key, bool is_merge, yaml_mark_t mark)
{
	size_t path_len = y->path.len;
	json_t *v;
	int r;

	enter_path(y, key);
	r = is_merge ? 0 : check_dup(y, object, key, mark);
	v = r == 0 ? build(y) : NULL;
	y->path.len = path_len;
	if (!v)
		return -EINVAL;
	if (!is_merge)
		return json_object_set_new_nocheck(object, key, v);
	r = add_merge(y, merged, v);
	json_decref(v);
	return r;
}

static bool is_merge_key(const yaml_event_t *ev)
{
	return ev->type == YAML_SCALAR_EVENT && ev->data.scalar.plain_implicit &&
	       strcmp((const char *)ev->data.scalar.value, "<<") == 0;
}

static int walk_items(struct reader *y, struct kp_doc_out *out, const char *list_kind);

/*
 * The members of a mapping, up to its end. With out, the elements of a sequence
 * "items" go there instead, and *ret_is_list says that there was one.
 */
static int read_members(struct reader *y, json_t *object, struct kp_doc_out *out, bool *ret_is_list)
{
	json_t *merged = json_object();
	char *key = NULL;
	int r;

	while ((r = next(y)) == 0 && y->ev.type != YAML_MAPPING_END_EVENT) {
		bool is_merge = is_merge_key(&y->ev);
		yaml_mark_t mark = y->ev.start_mark;

		r = -EINVAL;
		key = key_text(y);
		if (!key || next(y) < 0)
			break;
		if (out && strcmp(key, "items") == 0 && y->ev.type == YAML_SEQUENCE_START_EVENT) {
			r = check_dup(y, object, key, mark);
			if (r == 0)
				r = walk_items(y, out, json_string_value(json_object_get(object, "kind")));
			json_object_set_new_nocheck(object, key, json_null());
			*ret_is_list = true;
		} else {
			r = add_member(y, object, merged, key, is_merge, mark);
		}
		if (r < 0)
			break;
		free(key);
		key = NULL;
	}
	free(key);
	if (r == 0)
		json_object_update_missing(object, merged);
	json_decref(merged);
	return r;
}

static json_t *build_mapping(struct reader *y)
{
	json_t *object = json_object();

	if (read_members(y, object, NULL, NULL) == 0)
		return object;
	json_decref(object);
	return NULL;
}

static const char *anchor_of(const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_SCALAR_EVENT:		return (const char *)ev->data.scalar.anchor;
	case YAML_SEQUENCE_START_EVENT:	return (const char *)ev->data.sequence_start.anchor;
	case YAML_MAPPING_START_EVENT:	return (const char *)ev->data.mapping_start.anchor;
	default:			return NULL;
	}
}

static void remember(struct reader *y, const char *name, json_t *value, size_t weight)
{
	struct anchor *a = kp_malloc(sizeof(*a));

	*a = (struct anchor){ .value = json_incref(value), .weight = weight };
	kp_map_puts(y->anchors, name, a);
}

/* The value that begins with the current event; afterwards its last event is the current one. */
static json_t *build(struct reader *y)
{
	const char *name = anchor_of(&y->ev);
	char *anchor = name ? kp_strdup(name) : NULL;
	size_t weight = y->weight++;
	json_t *v = NULL;

	if (++y->depth > KP_DOC_MAX_DEPTH)
		fail(y, y->ev.start_mark, "nested too deeply");
	else if (y->ev.type == YAML_SCALAR_EVENT)
		v = build_scalar(y);
	else if (y->ev.type == YAML_ALIAS_EVENT)
		v = build_alias(y);
	else if (y->ev.type == YAML_SEQUENCE_START_EVENT)
		v = build_sequence(y);
	else
		v = build_mapping(y);
	y->depth--;
	if (v && anchor)
		remember(y, anchor, v, y->weight - weight);
	free(anchor);
	return v;
}

static size_t byte_at(struct reader *y, size_t index)
{
	for (; y->at_char < index && y->at_byte < y->len; y->at_char++) {
		uint8_t c = (uint8_t)y->text[y->at_byte];

		y->at_byte += c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	}
	return y->at_byte < y->len ? y->at_byte : y->len;
}

/* Where an item begins. */
struct span {
	size_t begin, column;
	unsigned line;
};

static struct span begin_item(struct reader *y)
{
	yaml_mark_t mark = y->ev.start_mark;

	y->used_alias = false;
	return (struct span){ .begin = byte_at(y, mark.index), .column = mark.column, .line = line_of(y, mark) };
}

/* The text from there to the end of the current event, its first line indented as in the file. */
static void item_text(struct reader *y, const struct span *at, struct kp_buf *ret)
{
	size_t end = byte_at(y, y->ev.end_mark.index);

	while (end > at->begin && strchr(" \t\r\n", y->text[end - 1]))
		end--;
	memset(kp_buf_reserve(ret, at->column + 1), ' ', at->column);
	ret->len = at->column;
	kp_buf_add(ret, y->text + at->begin, end - at->begin);
}

/* Takes the value. */
static int end_item(struct reader *y, struct kp_doc_out *out, const struct span *at, json_t *value, const char *kind)
{
	struct kp_doc_item item = { .line = at->line, .list_kind = kind };
	struct kp_buf text = { 0 };
	int r = 0;

	item_text(y, at, &text);
	if (text.len > KP_DOC_MAX_ITEM) {
		r = kp_err_set(y->err, -EINVAL, "line %u: one object of more than %u MiB", at->line,
			       KP_DOC_MAX_ITEM >> 20);
	} else if (y->used_alias) {
		/* The same text may mean something else when its anchor changes. */
		char *flat = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

		kp_doc_hash(&item, flat, strlen(flat));
		free(flat);
	} else {
		item.text = text.data;
		item.text_len = text.len;
		kp_doc_hash(&item, text.data, text.len);
	}
	if (r == 0 && kp_doc_wanted(out, &item))
		r = kp_doc_deliver(out, &item, value);
	else
		json_decref(value);
	kp_buf_release(&text);
	return r;
}

static int walk_items(struct reader *y, struct kp_doc_out *out, const char *list_kind)
{
	while (next(y) == 0) {
		struct span at;
		json_t *v;
		int r;

		if (y->ev.type == YAML_SEQUENCE_END_EVENT)
			return 0;
		at = begin_item(y);
		v = build(y);
		r = v ? end_item(y, out, &at, v, list_kind) : -EINVAL;
		if (r < 0)
			return r;
	}
	return -EINVAL;
}

/* The current event is the first of the document's value. */
static int walk_document(struct reader *y, struct kp_doc_out *out)
{
	struct span at = begin_item(y);
	bool is_list = false;
	json_t *v;
	int r = 0;

	if (y->ev.type == YAML_MAPPING_START_EVENT) {
		v = json_object();
		r = read_members(y, v, out, &is_list);
	} else {
		v = build(y);
		r = v ? 0 : -EINVAL;
	}
	if (r < 0 || is_list || json_is_null(v)) {
		json_decref(v);
		return r;
	}
	return end_item(y, out, &at, v, NULL);
}

/* To the first event of the next document's value; 1: there is none. */
static int next_document(struct reader *y)
{
	do {
		if (next(y) < 0)
			return -EINVAL;
		if (y->ev.type == YAML_STREAM_END_EVENT)
			return 1;
	} while (y->ev.type != YAML_DOCUMENT_START_EVENT);
	kp_map_free(y->anchors);
	y->anchors = kp_map_new(free_anchor);
	y->expanded = 0;
	return next(y);
}

int kp_doc_yaml_walk(struct kp_doc_out *out, const char *text, size_t len, unsigned line)
{
	struct reader y;
	int r = reader_init(&y, text, len, line, out->err);

	while (r == 0 && (r = next_document(&y)) == 0)
		r = walk_document(&y, out);
	reader_release(&y);
	return r < 0 ? r : 0;
}

int kp_doc_load(const char *text, size_t len, kp_doc_dup_fn *dup, void *dup_arg, json_t **ret, struct kp_err *err)
{
	size_t bom = kp_doc_bom_len(text, len);
	json_t *value = NULL;
	struct reader y;
	int r = reader_init(&y, text + bom, len - bom, 1, err);

	y.dup = dup;
	y.dup_arg = dup_arg;
	if (r == 0)
		r = next_document(&y);
	if (r == 0)
		value = build(&y);
	else if (r == 1)
		value = json_null();
	r = !value ? -EINVAL : r == 0 ? next_document(&y) : 1;
	if (r == 0)
		r = fail(&y, y.ev.start_mark, "a second document begins here, but one is expected");
	if (r == 1)
		*ret = value;
	else
		json_decref(value);
	reader_release(&y);
	return r < 0 ? r : 0;
}
