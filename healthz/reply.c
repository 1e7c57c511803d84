#include "healthz/reply.h"

#include <string.h>
#include <strings.h>

#include "proxy/base/buf.h"

#define MAX_BODY (1u << 20)	/* more than any caller's buffer: keeps the sums small */

struct rest {
	const char *p, *end;
};

struct line {
	const char *p;
	size_t n;
};

struct framing {
	bool has_length, chunked;
	size_t length;
};

/* False: it is not complete. */
static bool next_line(struct rest *r, struct line *ret)
{
	const char *lf = memchr(r->p, '\n', (size_t)(r->end - r->p));

	if (!lf)
		return false;
	*ret = (struct line){ r->p, (size_t)(lf - r->p) };
	if (ret->n && lf[-1] == '\r')
		ret->n--;
	r->p = lf + 1;
	return true;
}

static bool parse_status(struct line l, int *ret)
{
	int status = 0;

	if (l.n < 12 || memcmp(l.p, "HTTP/1.", 7) != 0 || l.p[8] != ' ' || (l.n > 12 && l.p[12] != ' '))
		return false;
	for (int i = 9; i < 12; i++) {
		if (l.p[i] < '0' || l.p[i] > '9')
			return false;
		status = status * 10 + (l.p[i] - '0');
	}
	*ret = status;
	return status >= 200 && status <= 599;	/* nothing was asked for that has interim answers */
}

/* Digits alone, of base 10 or 16; returns how many, 0: none, or too much. */
static size_t parse_number(struct line l, unsigned base, size_t *ret)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0, value = 0;

	for (; n < l.n && value <= MAX_BODY; n++) {
		char c = l.p[n] >= 'A' && l.p[n] <= 'F' ? (char)(l.p[n] + 32) : l.p[n];
		const char *digit = memchr(digits, c, base);

		if (!digit)
			break;
		value = value * base + (size_t)(digit - digits);
	}
	*ret = value;
	return value <= MAX_BODY ? n : 0;
}

static bool is_name(struct line l, const char *name)
{
	size_t len = strlen(name);

	return l.n > len && l.p[len] == ':' && strncasecmp(l.p, name, len) == 0;
}

static struct line value_of(struct line l, const char *name)
{
	size_t skip = strlen(name) + 1;
	struct line v = { l.p + skip, l.n - skip };

	while (v.n && strchr(" \t", *v.p))
		v.p++, v.n--;
	while (v.n && strchr(" \t", v.p[v.n - 1]))
		v.n--;
	return v;
}

static bool is_printable(struct line l)
{
	for (size_t i = 0; i < l.n; i++)
		if (l.p[i] < ' ' || l.p[i] > '~')
			return false;
	return true;
}

static bool parse_header(struct line l, struct hz_reply *ret, struct framing *f)
{
	struct line v;

	if (is_name(l, "Content-Length")) {
		size_t before = f->length;

		v = value_of(l, "Content-Length");
		if (!v.n || parse_number(v, 10, &f->length) != v.n || (f->has_length && f->length != before))
			return false;
		f->has_length = true;
	} else if (is_name(l, "Transfer-Encoding")) {
		v = value_of(l, "Transfer-Encoding");
		f->chunked = v.n == 7 && strncasecmp(v.p, "chunked", 7) == 0;
		return f->chunked;
	} else if (is_name(l, "Content-Type")) {
		v = value_of(l, "Content-Type");
		ret->type = is_printable(v) ? v.p : NULL;
		ret->type_len = v.n;
	}
	return true;
}

/* One chunk with its line end. The trailer is nobody's business. */
static enum hz_reply_verdict read_chunk(struct rest *r, struct kp_buf *body, bool *ret_last)
{
	struct line size, end;
	size_t len, digits;

	if (!next_line(r, &size))
		return HZ_REPLY_MORE;
	digits = parse_number(size, 16, &len);
	if (!digits || (digits < size.n && !strchr("; \t", size.p[digits])))
		return HZ_REPLY_BAD;
	*ret_last = len == 0;
	if (*ret_last)
		return HZ_REPLY_DONE;
	if ((size_t)(r->end - r->p) < len)
		return HZ_REPLY_MORE;
	if (body)
		kp_buf_add(body, r->p, len);
	r->p += len;
	if (!next_line(r, &end))
		return HZ_REPLY_MORE;
	return end.n ? HZ_REPLY_BAD : HZ_REPLY_DONE;
}

/* body NULL: they are only looked at. */
static enum hz_reply_verdict read_chunks(struct rest r, struct kp_buf *body)
{
	enum hz_reply_verdict v = HZ_REPLY_DONE;
	bool last = false;

	while (v == HZ_REPLY_DONE && !last)
		v = read_chunk(&r, body, &last);
	return v;
}

static enum hz_reply_verdict read_body(struct rest r, const struct framing *f, bool ended, struct hz_reply *ret,
				       struct kp_buf *body)
{
	size_t have = (size_t)(r.end - r.p), before = body->len;
	enum hz_reply_verdict v;

	if (f->chunked) {
		v = read_chunks(r, NULL);
		if (v == HZ_REPLY_DONE)
			(void)read_chunks(r, body);
		ret->body_len = body->len - before;
		return v;
	}
	if (f->has_length ? have < f->length : !ended)
		return HZ_REPLY_MORE;
	ret->body_len = f->has_length ? f->length : have;
	kp_buf_add(body, r.p, ret->body_len);
	return HZ_REPLY_DONE;
}

static enum hz_reply_verdict parse(struct rest r, bool ended, bool head_only, struct hz_reply *ret, struct kp_buf *body)
{
	struct framing f = { 0 };
	struct line l;

	if (!next_line(&r, &l))
		return HZ_REPLY_MORE;
	if (!parse_status(l, &ret->status))
		return HZ_REPLY_BAD;
	for (;;) {
		if (!next_line(&r, &l))
			return HZ_REPLY_MORE;
		if (!l.n)
			break;
		if (!parse_header(l, ret, &f))
			return HZ_REPLY_BAD;
	}
	if (head_only || ret->status == 204 || ret->status == 304) {
		ret->body_len = head_only ? f.length : 0;
		return HZ_REPLY_DONE;
	}
	return read_body(r, &f, ended, ret, body);
}

enum hz_reply_verdict hz_reply_parse(const char *buf, size_t len, bool ended, bool head_only, struct hz_reply *ret,
				     struct kp_buf *body)
{
	struct hz_reply reply = { 0 };
	enum hz_reply_verdict v = parse((struct rest){ buf, buf + len }, ended, head_only, &reply, body);

	*ret = reply;
	return v == HZ_REPLY_MORE && ended ? HZ_REPLY_BAD : v;
}
