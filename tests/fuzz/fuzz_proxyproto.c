#include "fuzz.h"
#include "healthz/proxyproto.h"

static enum hz_pp_verdict parse(const uint8_t *data, size_t n, struct hz_pp *ret)
{
	uint8_t *exact = fuzz_copy(data, n);
	enum hz_pp_verdict v = hz_pp_parse(exact, n, ret);

	free(exact);
	return v;
}

static void check_sound(enum hz_pp_verdict v, const struct hz_pp *pp, size_t size)
{
	FUZZ_CHECK((v == HZ_PP_BAD) == (pp->why != NULL));
	FUZZ_CHECK(size <= HZ_PP_MAX || v != HZ_PP_MORE);
	if (v != HZ_PP_HEADER)
		return;
	FUZZ_CHECK(pp->len > 0 && pp->len <= size && pp->len <= HZ_PP_MAX);
	FUZZ_CHECK(pp->local == (pp->src.ss_family == AF_UNSPEC));
	FUZZ_CHECK(pp->src.ss_family == pp->dst.ss_family);
}

/* PROXY headers. However the bytes arrive, the first answer other than "more" is that of all of them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_choice c = fuzz_choice(data, size);
	struct hz_pp whole, part;
	enum hz_pp_verdict v = parse(data, size, &whole);

	check_sound(v, &whole, size);
	for (size_t n = 0; n < size; n += size <= 64 ? 1 : fuzz_piece(&c, size)) {
		enum hz_pp_verdict early = parse(data, n, &part);

		check_sound(early, &part, n);
		if (early == HZ_PP_MORE)
			continue;
		FUZZ_CHECK(early == v);
		if (v == HZ_PP_HEADER)
			FUZZ_CHECK(memcmp(&part, &whole, sizeof(part)) == 0);
		else
			FUZZ_CHECK(part.why == whole.why);
	}
	return 0;
}
