#include "proxy/base/plain_json.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/doc_impl.h"
#include "proxy/base/swar.h"

#define MAX_DIGITS	18	/* no overflow */
#define SHORT		80	/* bytes: the conditions of an endpoint, which are those of its neighbours */

struct reader {
	const char *p, *end;
	const char *const *unread;
	unsigned depth;
	struct {
		const char *text;
		size_t len;
		json_t *value;
	} last;		/* short object that was read to its end; with a reference, as a second value of its name ends it */
};

/* The next byte that means something; 0: none. */
static char peek(struct reader *r)
{
	while (r->p < r->end && *r->p <= ' ' && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
		r->p++;
	return r->p < r->end ? *r->p : 0;
}

static bool take(struct reader *r, char c)
{
	bool there = peek(r) == c;

	r->p += there;
	return there;
}

/* Where it stops to stand for itself within a string. */
static const char *end_of_plain(const char *p, const char *end)
{
	for (; end - p >= 8; p += 8) {
		uint64_t v = kp_swar_load(p);
		uint64_t odd = kp_swar_below(v, ' ') | kp_swar_is(v, '"') | kp_swar_is(v, '\\') | ((v | (v + KP_SWAR(1))) & KP_SWAR(0x80));

		if (odd)
			return p + kp_swar_first(odd);
	}
	while (p < end && *p >= ' ' && *p < 0x7f && *p != '"' && *p != '\\')
		p++;
	return p;
}

/* Its length; *ret is where it begins, behind the quote. < 0: not plain. */
static ptrdiff_t read_string(struct reader *r, const char **ret)
{
	const char *p;

	if (!take(r, '"'))
		return -1;
	*ret = r->p;
	p = end_of_plain(r->p, r->end);
	if (p == r->end || *p != '"')
		return -1;
	r->p = p + 1;
	return p - *ret;
}

static json_t *read_text(struct reader *r)
{
	const char *s;
	ptrdiff_t len = read_string(r, &s);

	return len < 0 ? NULL : json_stringn_nocheck(s, (size_t)len);
}

static json_t *read_number(struct reader *r)
{
	const char *from = r->p;
	json_int_t n = 0;

	for (; r->p < r->end && *r->p >= '0' && *r->p <= '9' && r->p - from < MAX_DIGITS; r->p++)
		n = 10 * n + (*r->p - '0');
	if (r->p == from || (*from == '0' && r->p - from > 1))
		return NULL;
	return json_integer(n);		/* what makes it longer, or a fraction, is no comma or bracket: not plain */
}

static json_t *read_word(struct reader *r)
{
	static const struct {
		const char *text;
		json_t *(*make)(void);
	} words[] = { { "true", json_true }, { "false", json_false }, { "null", json_null } };

	for (size_t i = 0; i < KP_N(words); i++) {
		size_t len = strlen(words[i].text);

		if ((size_t)(r->end - r->p) >= len && memcmp(r->p, words[i].text, len) == 0) {
			r->p += len;
			return words[i].make();
		}
	}
	return NULL;
}

static bool is_unread(const struct reader *r, const char *name, size_t len)
{
	for (const char *const *u = r->unread; u && *u; u++)
		if (strlen(*u) == len + 2 && memcmp(*u + 1, name, len) == 0)
			return true;
	return false;
}

static json_t *skip_brackets(struct reader *r)
{
	const char *to = kp_doc_end_of_brackets(r->p, r->end);

	r->p = to ? to : r->end;
	return to ? json_integer(0) : NULL;
}

static json_t *read_value(struct reader *r);

static bool read_member(struct reader *r, json_t *object)
{
	const char *name;
	ptrdiff_t len = read_string(r, &name);
	json_t *v;
	char c;

	if (len < 0 || !take(r, ':'))
		return false;
	c = peek(r);
	v = (c == '{' || c == '[') && is_unread(r, name, (size_t)len) ? skip_brackets(r) : read_value(r);
	return v && json_object_setn_new_nocheck(object, name, (size_t)len, v) == 0;
}

static bool read_members(struct reader *r, json_t *object)
{
	size_t n = 0;

	if (take(r, '}'))
		return true;
	do {
		if (!read_member(r, object))
			return false;
		n++;
	} while (take(r, ','));
	return take(r, '}') && json_object_size(object) == n;
}

static bool read_elements(struct reader *r, json_t *array)
{
	if (take(r, ']'))
		return true;
	do {
		json_t *v = read_value(r);

		if (!v || json_array_append_new(array, v) < 0)
			return false;
	} while (take(r, ','));
	return take(r, ']');
}

static json_t *read_container(struct reader *r, bool is_object)
{
	json_t *v = is_object ? json_object() : json_array();
	bool ok;

	r->p++;
	ok = ++r->depth <= KP_DOC_MAX_DEPTH && (is_object ? read_members(r, v) : read_elements(r, v));
	r->depth--;
	if (ok)
		return v;
	json_decref(v);
	return NULL;
}

static bool is_last_again(const struct reader *r)
{
	return r->last.value && (size_t)(r->end - r->p) >= r->last.len && memcmp(r->p, r->last.text, r->last.len) == 0;
}

static void remember(struct reader *r, const char *from, json_t *v)
{
	json_decref(r->last.value);
	r->last.text = from;
	r->last.len = (size_t)(r->p - from);
	r->last.value = json_incref(v);
}

static json_t *read_object(struct reader *r)
{
	const char *from = r->p;
	json_t *v;

	if (is_last_again(r)) {
		r->p += r->last.len;
		return json_incref(r->last.value);
	}
	v = read_container(r, true);
	if (v && r->unread && r->p - from <= SHORT)
		remember(r, from, v);
	return v;
}

static json_t *read_value(struct reader *r)
{
	char c = peek(r);

	if (c == '{')
		return read_object(r);
	if (c == '[')
		return read_container(r, false);
	if (c == '"')
		return read_text(r);
	return c >= '0' && c <= '9' ? read_number(r) : read_word(r);
}

json_t *kp_json_plain(const char *text, size_t len, const char *const *unread)
{
	struct reader r = { .p = text, .end = text + len, .unread = unread };
	char c = peek(&r);
	json_t *v = c == '{' || c == '[' ? read_value(&r) : NULL;

	json_decref(r.last.value);
	if (v && !peek(&r) && r.p == r.end)
		return v;
	json_decref(v);
	return NULL;
}
