#include "proxy/base/doc_impl.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/plain_json.h"

/*
 * The scanner counts brackets and leaves all judgement to jansson, or to its quick stand-in
 * for plain text. They see every byte that anybody reads: an item as it is, the outermost
 * value ("shell") with the elements of its list taken out. A wrong bracket therefore only
 * moves the place where jansson complains.
 */

enum { QUOTE = 1, OPEN, CLOSE, NEWLINE };

static const uint8_t outside[256] = {
	['"'] = QUOTE, ['{'] = OPEN, ['['] = OPEN, ['}'] = CLOSE, [']'] = CLOSE, ['\n'] = NEWLINE,
};
static const uint8_t inside[256] = { ['"'] = 1, ['\\'] = 1 };
static const bool blank[256] = { [' '] = true, ['\t'] = true, ['\r'] = true, ['\n'] = true };
static const bool ends_scalar[256] = {
	[' '] = true, ['\t'] = true, ['\r'] = true, ['\n'] = true, [','] = true, [']'] = true, ['}'] = true,
};

static const uint8_t *skip_string(struct kp_doc_json *j, const uint8_t *p, const uint8_t *end)
{
	if (j->escaped && p < end) {
		j->escaped = false;
		p++;
	}
	for (; p < end; p++) {
		while (p < end && !inside[*p])
			p++;
		if (p == end)
			break;
		if (*p == '"') {
			j->in_string = false;
			return p + 1;
		}
		if (++p == end) {
			j->escaped = true;
			break;
		}
	}
	return end;
}

/* To the end of the string or bracket we are in: floor is the depth outside of it. */
static int skip_value(struct kp_doc_json *j, const uint8_t **pp, const uint8_t *end, unsigned floor)
{
	const uint8_t *p = *pp;

	while (p < end) {
		if (j->in_string) {
			p = skip_string(j, p, end);
			if (j->in_string)
				break;
		}
		if (j->depth == floor)
			break;
		while (p < end && !outside[*p])
			p++;
		if (p == end)
			break;
		switch (outside[*p++]) {
		case QUOTE:
			j->in_string = true;
			break;
		case OPEN:
			if (++j->depth > floor + KP_DOC_MAX_DEPTH)
				return kp_err_set(j->out->err, -EINVAL, "line %u: nested deeper than %d levels",
						  j->line, KP_DOC_MAX_DEPTH);
			break;
		case CLOSE:
			j->depth--;
			break;
		case NEWLINE:
			j->line++;
			break;
		}
	}
	*pp = p;
	return 0;
}

static int too_big(struct kp_doc_json *j, unsigned line)
{
	return kp_err_set(j->out->err, -EINVAL, "line %u: one object of more than %u MiB", line, KP_DOC_MAX_ITEM >> 20);
}

static json_t *parse(struct kp_doc_json *j, const char *text, size_t len, unsigned line, bool is_shell)
{
	const char *const *unread = is_shell && j->is_list ? NULL : j->out->sink->unread;
	json_t *value = kp_json_plain(text, len, unread);
	json_error_t e;

	if (value)
		return value;
	if (len && unread) {
		j->read.len = 0;
		kp_buf_add(&j->read, text, len);
		kp_doc_cut_unread(unread, &j->read);
		text = j->read.data;
		len = j->read.len;
	}
	value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
	if (value)
		return value;
	line += e.line > 0 ? (unsigned)e.line - 1 : 0;
	if (is_shell && j->is_list && (size_t)e.position > j->cut_at)
		line += j->cut_lines;
	kp_err_set(j->out->err, -EINVAL, "line %u: %s", line, e.text);
	return NULL;
}

static int deliver(struct kp_doc_json *j, const char *text, size_t len, unsigned line, const char *kind, bool is_shell)
{
	struct kp_doc_item item = { .text = text, .text_len = len, .line = line, .list_kind = kind };
	json_t *value;

	if (len > KP_DOC_MAX_ITEM)
		return too_big(j, line);
	kp_doc_hash(&item, text, len);
	if (!kp_doc_wanted(j->out, &item))
		return 0;
	value = parse(j, text, len, line, is_shell);
	return value ? kp_doc_deliver(j->out, &item, value) : -EINVAL;
}

/* An item that ends at p and began at from, or in an earlier piece. */
static int end_item(struct kp_doc_json *j, const uint8_t *from, const uint8_t *p)
{
	const char *text = (const char *)from;
	size_t len = (size_t)(p - from);

	if (j->item.len) {
		kp_buf_add(&j->item, from, len);
		text = j->item.data;
		len = j->item.len;
	}
	j->item.len = 0;
	j->state = KP_JSON_ELEMENTS;
	return deliver(j, text, len, j->item_line, j->kind[0] ? j->kind : NULL, false);
}

static int end_shell(struct kp_doc_json *j)
{
	json_t *value;

	j->state = KP_JSON_GAP;
	j->n_blanks = UINT_MAX;
	if (!j->is_list)
		return deliver(j, j->shell.data, j->shell.len, j->shell_line, NULL, true);
	value = parse(j, j->shell.data, j->shell.len, j->shell_line, true);
	json_decref(value);
	return value ? 0 : -EINVAL;
}

static void begin_shell(struct kp_doc_json *j, bool is_object)
{
	j->state = KP_JSON_SHELL;
	j->depth = 1;
	j->is_object = is_object;
	j->is_list = false;
	j->shell.len = j->cut_lines = 0;
	j->shell_line = j->line;
	j->str_len = j->key_len = 0;
	j->kind[0] = '\0';
}

static bool is_text(const struct kp_doc_json *j, size_t at, size_t len, const char *want)
{
	return len == strlen(want) && memcmp(j->shell.data + at, want, len) == 0;
}

/* A comma or the end of the outermost object: a member is complete. */
static void end_member(struct kp_doc_json *j)
{
	if (is_text(j, j->key_at, j->key_len, "kind") && j->str_at > j->key_at && j->str_len < sizeof(j->kind)) {
		memcpy(j->kind, j->shell.data + j->str_at, j->str_len);
		j->kind[j->str_len] = '\0';
	}
	j->key_len = 0;
}

static void keep(struct kp_buf *buf, const uint8_t **from, const uint8_t *to)
{
	kp_buf_add(buf, *from, (size_t)(to - *from));
	*from = to;
}

/* The outermost value; ends with the piece, with the value, or at the elements of its list. */
static int feed_shell(struct kp_doc_json *j, const uint8_t **pp, const uint8_t *end)
{
	const uint8_t *p = *pp, *from = p;
	int r = 0;

	while (p < end && j->state == KP_JSON_SHELL && r == 0) {
		if (j->in_string || j->depth > 1) {
			bool is_string = j->in_string && j->depth == 1;

			r = skip_value(j, &p, end, 1);
			keep(&j->shell, &from, p);
			if (is_string && !j->in_string)
				j->str_len = j->shell.len - 1 - j->str_at;
			continue;
		}
		keep(&j->shell, &from, p + 1);
		switch (*p++) {
		case '"':
			j->in_string = true;
			j->str_at = j->shell.len;
			break;
		case ':':
			j->key_at = j->str_at;
			j->key_len = j->str_len;
			break;
		case ',':
			end_member(j);
			break;
		case '[':
			j->depth++;
			if (!j->is_object || !is_text(j, j->key_at, j->key_len, "items"))
				break;
			j->state = KP_JSON_ELEMENTS;
			j->is_list = true;
			j->cut_at = j->shell.len;
			j->any_element = j->after_comma = false;
			break;
		case '{':
			j->depth++;
			break;
		case '}': case ']':
			r = end_shell(j);
			break;
		case '\n':
			j->line++;
			break;
		}
		if (j->shell.len > KP_DOC_MAX_ITEM)
			r = too_big(j, j->shell_line);
	}
	*pp = p;
	return r;
}

static int unexpected(struct kp_doc_json *j, const char *what)
{
	return kp_err_set(j->out->err, -EINVAL, "line %u: %s", j->line, what);
}

/* Between the elements of the list. */
static int feed_elements(struct kp_doc_json *j, const uint8_t **pp, const uint8_t *end)
{
	for (; *pp < end; (*pp)++) {
		uint8_t c = **pp;

		if (blank[c]) {
			j->line += c == '\n';
			j->cut_lines += c == '\n';
		} else if (c == ']') {
			if (j->after_comma)
				return unexpected(j, "a comma before the end of the list");
			j->state = KP_JSON_SHELL;	/* which sees the bracket */
			return 0;
		} else if (c == ',') {
			if (!j->any_element || j->after_comma)
				return unexpected(j, "a comma without an element before it");
			j->after_comma = true;
		} else {
			if (j->any_element && !j->after_comma)
				return unexpected(j, "a comma is missing between two elements of the list");
			j->any_element = true;
			j->after_comma = false;
			j->item_line = j->line;
			j->state = c == '"' || c == '{' || c == '[' ? KP_JSON_ITEM : KP_JSON_SCALAR;
			return 0;
		}
	}
	return 0;
}

static int feed_item(struct kp_doc_json *j, const uint8_t **pp, const uint8_t *end)
{
	const uint8_t *p = *pp, *from = p;
	bool done;
	int r;

	if (j->state == KP_JSON_SCALAR) {
		while (p < end && !ends_scalar[*p])
			p++;
		done = p < end;
	} else {
		if (j->item.len == 0) {
			j->in_string = *p == '"';
			j->depth += *p != '"';
			p++;
		}
		r = skip_value(j, &p, end, 2);
		if (r < 0)
			return r;
		done = !j->in_string && j->depth == 2;
	}
	*pp = p;
	if (done) {
		j->cut_lines += j->line - j->item_line;
		return end_item(j, from, p);
	}
	keep(&j->item, &from, p);
	return j->item.len > KP_DOC_MAX_ITEM ? too_big(j, j->item_line) : 0;
}

/* Between outermost values. 1: what comes is no JSON. */
static int feed_gap(struct kp_doc_json *j, const uint8_t **pp, const uint8_t *end)
{
	for (; *pp < end; (*pp)++) {
		switch (**pp) {
		case '\n':
			j->line++;
			j->n_blanks = 0;
			break;
		case '\r':
			j->n_blanks = 0;
			break;
		case ' ':
			if (j->n_blanks != UINT_MAX)
				j->n_blanks++;
			break;
		case '\t':
			j->n_blanks = UINT_MAX;
			break;
		case '{': case '[':
			begin_shell(j, **pp == '{');
			kp_buf_add(&j->shell, (*pp)++, 1);
			return 0;
		case '}': case ']': case ',': case ':':
			return kp_err_set(j->out->err, -EINVAL, "line %u: unexpected '%c'", j->line, **pp);
		default:
			return 1;
		}
	}
	return 0;
}

int kp_doc_json_feed(struct kp_doc_json *j, const char *text, size_t n, size_t *ret_rest)
{
	static int (*const feed[])(struct kp_doc_json *, const uint8_t **, const uint8_t *) = {
		[KP_JSON_GAP] = feed_gap,
		[KP_JSON_SHELL] = feed_shell,
		[KP_JSON_ELEMENTS] = feed_elements,
		[KP_JSON_ITEM] = feed_item,
		[KP_JSON_SCALAR] = feed_item,
	};
	const uint8_t *p = (const uint8_t *)text, *end = p + n;
	int r = 0;

	while (p < end && r == 0)
		r = feed[j->state](j, &p, end);
	*ret_rest = (size_t)(p - (const uint8_t *)text);
	return r;
}

/* Cut off inside a value: let jansson say where the last sensible place was. */
int kp_doc_json_end(struct kp_doc_json *j)
{
	const struct kp_buf *left = j->state == KP_JSON_SHELL ? &j->shell : &j->item;
	unsigned line = j->state == KP_JSON_SHELL ? j->shell_line : j->item_line;
	json_t *value;

	if (j->state == KP_JSON_GAP)
		return 0;
	if (j->state == KP_JSON_ELEMENTS || (j->state == KP_JSON_SHELL && j->is_list))
		return unexpected(j, "the list is not closed at the end of the text");
	value = parse(j, left->data, left->len, line, false);
	if (!value)
		return -EINVAL;
	json_decref(value);
	return unexpected(j, "the list is not closed at the end of the text");
}

void kp_doc_json_release(struct kp_doc_json *j)
{
	kp_buf_release(&j->shell);
	kp_buf_release(&j->item);
	kp_buf_release(&j->read);
}
