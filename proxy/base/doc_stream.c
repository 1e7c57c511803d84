#include "proxy/base/doc_stream.h"

#include <errno.h>

#include "proxy/base/doc_impl.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

struct kp_doc_stream {
	struct kp_doc_out out;
	struct kp_doc_json json;
};

struct kp_doc_stream *kp_doc_stream_new(const struct kp_doc_sink *sink, void *arg)
{
	struct kp_doc_stream *s = kp_calloc(1, sizeof(*s));

	s->out = (struct kp_doc_out){ .sink = sink, .arg = arg };
	s->json = (struct kp_doc_json){ .out = &s->out, .line = 1 };
	return s;
}

struct kp_doc_stream *kp_doc_stream_free(struct kp_doc_stream *s)
{
	if (!s)
		return NULL;
	kp_doc_json_release(&s->json);
	free(s);
	return NULL;
}

int kp_doc_stream_feed(struct kp_doc_stream *s, const char *p, size_t n, struct kp_err *err)
{
	size_t taken;
	int r;

	s->out.err = err;
	r = kp_doc_json_feed(&s->json, p, n, &taken);
	s->out.err = NULL;
	return r == 1 ? kp_err_set(err, -EINVAL, "line %u: no JSON", s->json.line) : r;
}

int kp_doc_stream_end(struct kp_doc_stream *s, json_t **ret_rest, struct kp_err *err)
{
	int r;

	s->out.err = err;
	r = kp_doc_json_end(&s->json);
	s->out.err = NULL;
	if (r < 0)
		return r;
	/* What the scanner has seen and found well-formed. */
	*ret_rest = s->json.is_list ? json_loadb(s->json.shell.data, s->json.shell.len, 0, NULL) : NULL;
	return 0;
}
