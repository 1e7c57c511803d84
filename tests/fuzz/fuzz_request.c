#include "fuzz.h"
#include "healthz/request.h"

/* The answer, with places in the buffer as offsets: comparable over copies. */
struct heard {
	enum hz_req_verdict verdict;
	struct hz_req req;
	size_t path_at, query_at;
};

static struct heard parse(const uint8_t *data, size_t n)
{
	char *exact = fuzz_copy(data, n);
	struct heard h;

	memset(&h, 0, sizeof(h));
	h.verdict = hz_req_parse(exact, n, &h.req);
	if (h.verdict == HZ_REQ_DONE) {
		h.path_at = (size_t)(h.req.path - exact);
		FUZZ_CHECK(h.path_at + h.req.path_len <= h.req.len);
		if (h.req.query) {
			h.query_at = (size_t)(h.req.query - exact);
			FUZZ_CHECK(h.query_at + h.req.query_len <= h.req.len);
		}
	}
	h.req.path = h.req.query = NULL;
	free(exact);
	return h;
}

static void check_sound(const struct heard *h, size_t size)
{
	const struct hz_req *r = &h->req;

	FUZZ_CHECK((h->verdict == HZ_REQ_ERROR) == (r->status != 0));
	FUZZ_CHECK(size < HZ_REQ_HEAD_MAX || h->verdict != HZ_REQ_MORE);
	FUZZ_CHECK(r->minor == 0 || r->minor == 1);
	if (h->verdict == HZ_REQ_DONE)
		FUZZ_CHECK(r->len > 0 && r->len <= size && r->len <= HZ_REQ_HEAD_MAX);
}

static bool same(const struct heard *a, const struct heard *b)
{
	if (a->verdict != b->verdict || a->req.status != b->req.status || a->req.minor != b->req.minor)
		return false;
	return a->verdict != HZ_REQ_DONE ||
	       (a->req.len == b->req.len && a->req.keep_alive == b->req.keep_alive && a->req.is_head == b->req.is_head &&
		a->req.is_options == b->req.is_options && a->path_at == b->path_at && a->query_at == b->query_at &&
		a->req.path_len == b->req.path_len && a->req.query_len == b->req.query_len);
}

/* Heads of requests, to health ports, metrics and the admin socket: as fuzz_proxyproto. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_choice c = fuzz_choice(data, size);
	struct heard whole = parse(data, size);

	check_sound(&whole, size);
	for (size_t n = 0; n < size; n += size <= 64 ? 1 : fuzz_piece(&c, size)) {
		struct heard part = parse(data, n);

		check_sound(&part, n);
		FUZZ_CHECK(part.verdict == HZ_REQ_MORE || same(&part, &whole));
	}
	return 0;
}
