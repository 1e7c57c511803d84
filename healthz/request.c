#include "healthz/request.h"

#include <string.h>
#include <strings.h>

struct span {
	const char *p;
	size_t n;
};

struct headers {
	unsigned hosts;
	struct span host;
	bool close, keep_alive, te, cl_seen;
	unsigned long long cl;
	struct span user_agent;
};

static enum hz_req_verdict fail(struct hz_req *ret, int status)
{
	ret->status = status;
	return HZ_REQ_ERROR;
}

/* Header names and connection options; methods are compared exactly. */
static bool is(struct span s, const char *word)
{
	return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static bool is_method(struct span s, const char *word)
{
	return s.n == strlen(word) && memcmp(s.p, word, s.n) == 0;
}

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return s.n > 0;
}

/* The next line without its CRLF or LF; false if it is not complete yet. */
static bool next_line(struct span *rest, struct span *line)
{
	const char *lf = memchr(rest->p, '\n', rest->n);

	if (!lf)
		return false;
	line->p = rest->p;
	line->n = (size_t)(lf - rest->p);
	rest->n -= line->n + 1;
	rest->p = lf + 1;
	if (line->n && line->p[line->n - 1] == '\r')
		line->n--;
	return true;
}

static struct span cut(struct span *rest, char at)
{
	const char *hit = memchr(rest->p, at, rest->n);
	struct span left = { rest->p, hit ? (size_t)(hit - rest->p) : rest->n };
	size_t used = left.n + (hit ? 1 : 0);

	rest->p += used;
	rest->n -= used;
	return left;
}

static struct span trim(struct span s)
{
	while (s.n && (*s.p == ' ' || *s.p == '\t'))
		s.p++, s.n--;
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* Of the absolute form only the path counts. */
static struct span without_authority(struct span target)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);

		if (target.n < len || strncasecmp(target.p, schemes[i], len) != 0)
			continue;
		target.p += len;
		target.n -= len;
		while (target.n && *target.p != '/' && *target.p != '?')
			target.p++, target.n--;
		break;
	}
	return target;
}

/* 0, or the status that answers a bad request line. */
static int parse_request_line(struct span line, struct hz_req *ret)
{
	struct span version = line, method = cut(&version, ' '), target = cut(&version, ' ');

	if (!is_token(method) || target.n == 0)
		return 400;
	ret->method = method.p;
	ret->method_len = method.n;
	for (size_t i = 0; i < target.n; i++)
		if (target.p[i] <= ' ' || target.p[i] >= 0x7f)	/* whether char has a sign or not */
			return 400;
	if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || version.p[6] != '.')
		return 400;
	if (version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
		return 400;
	if (version.p[5] != '1' || (version.p[7] != '0' && version.p[7] != '1'))
		return 505;
	ret->minor = version.p[7] - '0';
	if (is_method(method, "CONNECT"))
		return 405;
	ret->is_head = is_method(method, "HEAD");
	ret->is_options = is_method(method, "OPTIONS");
	ret->is_post = is_method(method, "POST");

	target = without_authority(target);
	ret->query = memchr(target.p, '?', target.n);
	ret->path = target.p;
	ret->path_len = ret->query ? (size_t)(ret->query - target.p) : target.n;
	if (ret->query) {
		ret->query++;
		ret->query_len = target.n - ret->path_len - 1;
	}
	return 0;
}

/* Content-Length: digits, and the same in all of them. */
static bool parse_length(struct span value, struct headers *h)
{
	unsigned long long cl = 0;

	if (value.n == 0 || value.n > 18)
		return false;
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
		cl = cl * 10 + (unsigned long long)(value.p[i] - '0');
	}
	if (h->cl_seen && h->cl != cl)
		return false;
	h->cl_seen = true;
	h->cl = cl;
	return true;
}

static bool parse_header(struct span line, struct headers *h)
{
	struct span value = line, name = cut(&value, ':'), word;

	/* A name that is not a token covers folding, blanks before the colon, no colon. */
	if (name.n == line.n || !is_token(name))
		return false;
	value = trim(value);
	for (size_t i = 0; i < value.n; i++)
		if (((unsigned char)value.p[i] < ' ' && value.p[i] != '\t') || value.p[i] == 0x7f)
			return false;

	if (is(name, "Host")) {
		h->hosts++;
		h->host = value;
	} else if (is(name, "Transfer-Encoding")) {
		h->te = true;
	} else if (is(name, "Content-Length")) {
		return parse_length(value, h);
	} else if (is(name, "Connection")) {
		while (value.n) {
			word = trim(cut(&value, ','));
			h->close |= is(word, "close");
			h->keep_alive |= is(word, "keep-alive");
		}
	} else if (is(name, "Expect")) {
		h->close = true;	/* a body follows or not, depending on the client: neither can be told */
	} else if (is(name, "User-Agent")) {
		h->user_agent = value;
	}
	return true;
}

enum hz_req_verdict hz_req_parse(const char *buf, size_t len, struct hz_req *ret)
{
	bool full = len >= HZ_REQ_HEAD_MAX;
	struct span rest = { buf, full ? HZ_REQ_HEAD_MAX : len }, line;
	struct headers h = { 0 };
	int status;

	*ret = (struct hz_req){ .minor = 1 };	/* the version of an answer to what is no request line */
	for (int empty = 0;; empty++) {		/* up to two empty lines may precede */
		if (!next_line(&rest, &line)) {
			if (rest.n > HZ_REQ_LINE_MAX + 1)
				return fail(ret, 414);
			return HZ_REQ_MORE;
		}
		if (line.n || empty == 2)
			break;
	}
	if (line.n > HZ_REQ_LINE_MAX)
		return fail(ret, 414);
	status = parse_request_line(line, ret);
	if (status)
		return fail(ret, status);
	for (unsigned n = 0;; n++) {
		if (!next_line(&rest, &line))
			return full ? fail(ret, 431) : HZ_REQ_MORE;
		if (line.n == 0)
			break;
		if (n == HZ_REQ_LINES_MAX)
			return fail(ret, 431);
		if (!parse_header(line, &h))
			return fail(ret, 400);
	}
	if ((ret->minor == 1 && h.hosts != 1) || (h.cl_seen && h.te))
		return fail(ret, 400);
	ret->len = (size_t)(rest.p - buf);
	ret->host = h.host.p;
	ret->host_len = h.host.n;
	ret->user_agent = h.user_agent.p;
	ret->user_agent_len = h.user_agent.n;
	ret->keep_alive = !h.close && (ret->minor == 1 || h.keep_alive) && !h.te && h.cl == 0;
	return HZ_REQ_DONE;
}

bool hz_req_is_path(const struct hz_req *req, const char *path)
{
	return req->path_len == strlen(path) && memcmp(req->path, path, req->path_len) == 0;
}
