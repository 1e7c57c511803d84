#include "proxy/base/doc.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/doc_impl.h"
#include "proxy/base/err.h"
#include "proxy/base/hash.h"

#define PIECE (64u << 10)
#define HASH_INIT_2 0x6a09e667f3bcc909ull	/* any other seed */

void kp_doc_hash(struct kp_doc_item *item, const char *text, size_t len)
{
	item->hash[0] = kp_hash(KP_HASH_INIT, text, len);
	item->hash[1] = kp_hash(HASH_INIT_2, text, len);
}

bool kp_doc_wanted(struct kp_doc_out *out, const struct kp_doc_item *item)
{
	bool wanted = !out->sink->want || out->sink->want(out->arg, item);

	out->n_seen += !wanted;
	return wanted;
}

int kp_doc_deliver(struct kp_doc_out *out, struct kp_doc_item *item, json_t *value)
{
	int r;

	out->n_seen++;
	item->value = value;
	r = out->sink->item(out->arg, item);
	json_decref(value);
	return r < 0 ? r : 0;
}

/*
 * '{' also opens YAML in flow style. What JSON refuses is tried again as YAML, as
 * long as nothing was delivered; if that fails too, JSON's complaint is the better one.
 */
static int retry_as_yaml(struct kp_doc_out *out, const char *text, size_t len, int r)
{
	struct kp_err as_yaml = { 0 };
	struct kp_doc_out yaml = *out;

	if (r != -EINVAL || out->n_seen)
		return r;
	yaml.err = &as_yaml;
	r = kp_doc_yaml_walk(&yaml, text, len, 1);
	if (out->err && (r != -EINVAL || yaml.n_seen))
		*out->err = as_yaml;
	return r;
}

size_t kp_doc_bom_len(const char *text, size_t len)
{
	return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

int kp_doc_walk(const char *text, size_t len, const struct kp_doc_sink *sink, void *arg, struct kp_err *err)
{
	struct kp_doc_out out = { .sink = sink, .arg = arg, .err = err };
	struct kp_doc_json json = { .out = &out, .line = 1 };
	size_t bom = kp_doc_bom_len(text, len), rest;
	int r;

	text += bom;
	len -= bom;
	r = kp_doc_json_feed(&json, text, len, &rest);
	if (r == 0)
		r = kp_doc_json_end(&json);
	if (r == 1) {
		if (json.n_blanks != UINT_MAX)
			rest -= json.n_blanks;	/* in YAML they mean something */
		r = kp_doc_yaml_walk(&out, text + rest, len - rest, json.line);
	} else {
		r = retry_as_yaml(&out, text, len, r);
	}
	kp_doc_json_release(&json);
	return r;
}

static ssize_t read_piece(int fd, struct kp_buf *to, struct kp_err *err)
{
	ssize_t n;

	do
		n = read(fd, kp_buf_reserve(to, PIECE), PIECE);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return kp_err_set(err, -errno, "read: %s", strerror(errno));
	to->len += (size_t)n;
	return n;
}

static int read_rest(int fd, struct kp_buf *to, struct kp_err *err)
{
	ssize_t n;

	do
		n = read_piece(fd, to, err);
	while (n > 0);
	return (int)n;
}

/* From byte `from` of piece on it is YAML, which is read whole. */
static int continue_as_yaml(struct kp_doc_json *json, int fd, const struct kp_buf *piece, size_t from)
{
	struct kp_buf text = { 0 };
	int r;

	for (unsigned i = 0; json->n_blanks != UINT_MAX && i < json->n_blanks; i++)
		kp_buf_add(&text, " ", 1);
	kp_buf_add(&text, piece->data + from, piece->len - from);
	r = read_rest(fd, &text, json->out->err);
	if (r == 0)
		r = kp_doc_yaml_walk(json->out, text.data, text.len, json->line);
	kp_buf_release(&text);
	return r;
}

/* Enough to see a byte order mark. */
static int read_start(int fd, struct kp_buf *to, struct kp_err *err)
{
	ssize_t n = 1;

	while (n > 0 && to->len < 3)
		n = read_piece(fd, to, err);
	return n < 0 ? (int)n : 0;
}

/* Pieces are collected in buf until the first item is out, because it may all turn out to be YAML. */
static int walk_pieces(struct kp_doc_json *json, int fd, struct kp_buf *buf)
{
	int r = read_start(fd, buf, json->out->err);
	size_t bom = kp_doc_bom_len(buf->data, buf->len), at = bom, taken;
	ssize_t n;

	for (n = 1; r == 0 && n > 0; n = read_piece(fd, buf, json->out->err)) {
		r = kp_doc_json_feed(json, buf->data + at, buf->len - at, &taken);
		if (r == 1)
			return continue_as_yaml(json, fd, buf, at + taken);
		if (r < 0)
			break;
		if (json->out->n_seen)
			buf->len = 0;
		at = buf->len;
	}
	if (n < 0)
		return (int)n;
	if (r == 0)
		r = kp_doc_json_end(json);
	if (r != -EINVAL || json->out->n_seen)
		return r;
	n = read_rest(fd, buf, NULL);
	return n < 0 ? (int)n : retry_as_yaml(json->out, buf->data + bom, buf->len - bom, -EINVAL);
}

int kp_doc_walk_fd(int fd, const struct kp_doc_sink *sink, void *arg, struct kp_err *err)
{
	struct kp_doc_out out = { .sink = sink, .arg = arg, .err = err };
	struct kp_doc_json json = { .out = &out, .line = 1 };
	struct kp_buf buf = { 0 };
	int r = walk_pieces(&json, fd, &buf);

	kp_buf_release(&buf);
	kp_doc_json_release(&json);
	return r;
}
