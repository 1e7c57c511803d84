#include "proxy/source/decode_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Writes the path of at from the outermost name inwards; returns its length, cut to room. */
static size_t print_path(const struct kp_at *at, char *out, size_t room)
{
	size_t n;
	int more;

	if (!at) {
		out[0] = '\0';
		return 0;
	}
	n = print_path(at->up, out, room);
	if (!at->name)
		more = snprintf(out + n, room - n, "[%zu]", at->index);
	else if (strpbrk(at->name, "./"))	/* the key of a label */
		more = snprintf(out + n, room - n, "[%s]", at->name);
	else
		more = snprintf(out + n, room - n, "%s%s", n ? "." : "", at->name);
	return more > 0 && n + (size_t)more < room ? n + (size_t)more : room - 1;
}

__attribute__((format(printf, 3, 0)))
static void refuse(struct kp_dec *d, const struct kp_at *at, const char *fmt, va_list ap)
{
	if (d->failed)
		return;
	d->failed = true;
	print_path(at, d->err->field, sizeof(d->err->field));
	vsnprintf(d->err->why, sizeof(d->err->why), fmt, ap);
}

__attribute__((format(printf, 3, 0)))
static void note(struct kp_dec *d, const struct kp_at *at, const char *fmt, va_list ap)
{
	char *out = d->obj->note;
	size_t room = sizeof(d->obj->note), n;

	if (*out)
		return;		/* one is enough for a debug line */
	n = print_path(at, out, room);
	if (n && n + 2 < room)
		n += (size_t)snprintf(out + n, room - n, ": ");
	vsnprintf(out + n, room - n, fmt, ap);
}

void kp_dec_refuse(struct kp_dec *d, const struct kp_at *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	refuse(d, at, fmt, ap);
	va_end(ap);
}

void kp_dec_note(struct kp_dec *d, const struct kp_at *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	note(d, at, fmt, ap);
	va_end(ap);
}

void kp_dec_refuse_or_note(struct kp_dec *d, const struct kp_at *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (d->strict)
		refuse(d, at, fmt, ap);
	else
		note(d, at, fmt, ap);
	va_end(ap);
}

const char *kp_dec_quote(const char *s, char out[KP_QUOTE_LEN])
{
	size_t len = strlen(s), max = KP_QUOTE_LEN - sizeof("\"\"...");

	if (len <= max) {
		snprintf(out, KP_QUOTE_LEN, "\"%s\"", s);
		return out;
	}
	while (max && ((unsigned char)s[max] & 0xc0) == 0x80)	/* never cut inside a UTF-8 character */
		max--;
	snprintf(out, KP_QUOTE_LEN, "\"%.*s\"...", (int)max, s);
	return out;
}

static const char *show(json_t *v, char out[KP_QUOTE_LEN])
{
	switch (json_typeof(v)) {
	case JSON_STRING:
		return kp_dec_quote(json_string_value(v), out);
	case JSON_INTEGER:
		snprintf(out, KP_QUOTE_LEN, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		return out;
	case JSON_REAL:
		snprintf(out, KP_QUOTE_LEN, "%g", json_real_value(v));
		return out;
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	default:
		return "null";
	}
}

static void refuse_type(struct kp_dec *d, const struct kp_at *at, json_t *v, const char *want)
{
	char shown[KP_QUOTE_LEN];

	kp_dec_refuse(d, at, "%s: must be %s", show(v, shown), want);
}

/* The member if it is there, not null, and of the type. */
static json_t *member(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key, json_type type,
		      const char *want)
{
	json_t *v = json_object_get(obj, key);

	if (!v || json_is_null(v))
		return NULL;
	if (json_typeof(v) == type)
		return v;
	refuse_type(d, KP_AT(up, key), v, want);
	return NULL;
}

json_t *kp_dec_object(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key)
{
	return member(d, up, obj, key, JSON_OBJECT, "an object");
}

json_t *kp_dec_list(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key)
{
	return member(d, up, obj, key, JSON_ARRAY, "a list");
}

json_t *kp_dec_element(struct kp_dec *d, const struct kp_at *at, json_t *v)
{
	if (json_is_object(v))
		return v;
	refuse_type(d, at, v, "an object");
	return NULL;
}

const char *kp_dec_element_text(struct kp_dec *d, const struct kp_at *at, json_t *v)
{
	const char *s = json_string_value(v);

	if (!s) {
		refuse_type(d, at, v, "a string");
	} else if (strlen(s) != json_string_length(v)) {
		kp_dec_refuse(d, at, "must not contain a NUL character");
		s = NULL;
	}
	return s;
}

const char *kp_dec_text(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key)
{
	json_t *v = json_object_get(obj, key);

	return !v || json_is_null(v) ? NULL : kp_dec_element_text(d, KP_AT(up, key), v);
}

bool kp_dec_bool(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key, bool fallback)
{
	json_t *v = json_object_get(obj, key);

	if (!v || json_is_null(v))
		return fallback;
	if (json_is_boolean(v))
		return json_is_true(v);
	refuse_type(d, KP_AT(up, key), v, "true or false");
	return fallback;
}

long kp_dec_int(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key,
		long lo, long hi, long fallback)
{
	json_t *v = member(d, up, obj, key, JSON_INTEGER, "a whole number");
	json_int_t n = json_integer_value(v);

	if (!v)
		return fallback;
	if (n >= lo && n <= hi)
		return (long)n;
	kp_dec_refuse_or_note(d, KP_AT(up, key), "%" JSON_INTEGER_FORMAT ": must be between %ld and %ld",
			      n, lo, hi);
	return fallback;
}

/* "TCP, UDP or SCTP" */
static const char *list_words(const struct kp_word *words, char *out, size_t room)
{
	size_t n = 0;

	for (const struct kp_word *w = words; w->word && n < room; w++)
		n += (size_t)snprintf(out + n, room - n, "%s%s",
				      w == words ? "" : w[1].word ? ", " : " or ", w->word);
	return out;
}

int kp_dec_word(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key,
		const struct kp_word *words, int fallback)
{
	const char *s = kp_dec_text(d, up, obj, key);
	char shown[KP_QUOTE_LEN], all[96];

	if (!s || !*s)
		return fallback;
	for (const struct kp_word *w = words; w->word; w++)
		if (strcmp(w->word, s) == 0)
			return w->value;
	kp_dec_refuse_or_note(d, KP_AT(up, key), "%s: must be %s", kp_dec_quote(s, shown),
			      list_words(words, all, sizeof(all)));
	return -1;
}
