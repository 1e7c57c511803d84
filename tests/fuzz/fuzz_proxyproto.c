#include "fuzz.h"
#include "healthz/proxyproto.h"

#define LONGEST (HZ_PP_V2_FIXED + HZ_PP_V2_LEN_DEFAULT)

static enum hz_pp_verdict parse(const uint8_t *data, size_t n, const struct hz_pp_rules *rules, struct hz_pp *ret)
{
	uint8_t *exact = fuzz_copy(data, n);
	enum hz_pp_verdict v = hz_pp_parse(exact, n, rules, ret);

	free(exact);
	return v;
}

static void check_sound(enum hz_pp_verdict v, const struct hz_pp *pp, size_t size)
{
	FUZZ_CHECK((v == HZ_PP_BAD) == (pp->error != HZ_PP_OK));
	FUZZ_CHECK(size <= LONGEST || v != HZ_PP_MORE);
	if (v != HZ_PP_HEADER)
		return;
	FUZZ_CHECK(pp->len > 0 && pp->len <= size && pp->len <= LONGEST);
	FUZZ_CHECK(pp->version == 1 || pp->version == 2);
	FUZZ_CHECK(!pp->has_client || pp->command == HZ_PP_PROXY);
	FUZZ_CHECK((pp->link.cloud != HZ_PP_NO_CLOUD) == (pp->link.id[0] != '\0'));
	FUZZ_CHECK(memchr(pp->link.id, '\0', sizeof(pp->link.id)));
}

static void check_same(const struct hz_pp *a, const struct hz_pp *b)
{
	FUZZ_CHECK(a->len == b->len && a->version == b->version && a->command == b->command);
	FUZZ_CHECK(a->has_client == b->has_client && a->tlv_malformed == b->tlv_malformed);
	FUZZ_CHECK(!a->has_client || (kp_addr_cmp(&a->client.addr, &b->client.addr) == 0 && a->client.port == b->client.port));
	FUZZ_CHECK(a->link.cloud == b->link.cloud && strcmp(a->link.id, b->link.id) == 0);
}

/* PROXY headers. However the bytes arrive, the first answer other than "more" is that of all of them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_choice c = fuzz_choice(data, size);
	const struct hz_pp_rules rules = { .lax_tcp6 = fuzz_piece(&c, 2) == 2 };
	struct hz_pp whole, part;
	enum hz_pp_verdict v = parse(data, size, &rules, &whole);

	check_sound(v, &whole, size);
	for (size_t n = 0; n < size; n += size <= 64 ? 1 : fuzz_piece(&c, size)) {
		enum hz_pp_verdict early = parse(data, n, &rules, &part);

		check_sound(early, &part, n);
		if (early == HZ_PP_MORE)
			continue;
		FUZZ_CHECK(early == v && part.error == whole.error);
		if (v == HZ_PP_HEADER)
			check_same(&part, &whole);
	}
	return 0;
}
