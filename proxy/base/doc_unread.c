#include "proxy/base/doc_impl.h"

#include <stdbool.h>
#include <string.h>

#include "proxy/base/swar.h"

/*
 * Half of what the API server sends is members that no rule depends on, and jansson
 * takes most of the time of a start. Their values are cut out of the text before it is
 * parsed, by nothing but finding the name and counting brackets. A name with its closing
 * quote and a colon cannot stand inside a string, where quotes are escaped.
 */
static const bool is_blank[256] = { [' '] = true, ['\t'] = true, ['\r'] = true, ['\n'] = true };

static const char *end_of_string(const char *p, const char *end)
{
	for (p++; p < end;) {
		uint64_t v = end - p >= 8 ? kp_swar_load(p) : 0;
		uint64_t mark = kp_swar_is(v, '"') | kp_swar_is(v, '\\');

		if (v && !mark) {
			p += 8;
			continue;
		}
		p += mark ? kp_swar_first(mark) : 0;
		if (*p == '"')
			return p + 1;
		p += *p == '\\' ? 2 : 1;
	}
	return end;
}

const char *kp_doc_end_of_brackets(const char *p, const char *end)
{
	unsigned depth = 0;

	while (p < end) {
		switch (*p) {
		case '"':
			p = end_of_string(p, end);
			continue;
		case '{': case '[':
			depth++;
			break;
		case '}': case ']':
			if (--depth == 0)
				return p + 1;
			break;
		}
		p++;
	}
	return NULL;
}

/* Where the name's value begins if it is a list or an object; NULL: it is not, or not a name. */
static const char *value_of(const char *after_name, const char *end)
{
	const char *p = after_name;

	while (p < end && is_blank[(unsigned char)*p])
		p++;
	if (p == end || *p++ != ':')
		return NULL;
	while (p < end && is_blank[(unsigned char)*p])
		p++;
	return p < end && (*p == '{' || *p == '[') ? p : NULL;
}

/* The next member of that name from p on, which is somewhere in the text, by its value; false: none. */
static bool find(const char *name, const struct kp_buf *text, const char *p, const char **ret_from, const char **ret_to)
{
	const char *end = text->data + text->len;
	size_t len = strlen(name);

	while ((p = memmem(p, (size_t)(end - p), name, len))) {
		bool escaped = p > text->data && p[-1] == '\\';

		p += len;
		*ret_from = value_of(p, end);
		if (!*ret_from || escaped)
			continue;
		*ret_to = kp_doc_end_of_brackets(*ret_from, end);
		return *ret_to != NULL;
	}
	return false;
}

static void cut(const char *name, struct kp_buf *text)
{
	const char *end = text->data + text->len, *from, *to, *kept = text->data;
	char *out = text->data;

	while (find(name, text, kept, &from, &to)) {
		memmove(out, kept, (size_t)(from - kept));
		out += from - kept;
		*out++ = '0';
		for (const char *p = from; (p = memchr(p, '\n', (size_t)(to - p))); p++)
			*out++ = '\n';	/* lines keep their numbers */
		kept = to;
	}
	memmove(out, kept, (size_t)(end - kept));
	text->len = (size_t)(out - text->data) + (size_t)(end - kept);
}

void kp_doc_cut_unread(const char *const *names, struct kp_buf *text)
{
	for (; *names; names++)
		cut(*names, text);
}
