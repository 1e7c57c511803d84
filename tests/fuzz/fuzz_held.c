#include "kernel.h"
#include "nft/held.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"

static uint64_t sum_map(const struct kp_map *m, size_t value_len)
{
	uint64_t sum = kp_map_len(m);

	for (struct kp_map_it it = { 0 }; kp_map_next(m, &it);)
		sum += kp_hash(kp_hash(KP_HASH_INIT, it.key, it.len), it.value, value_len);	/* in any order */
	return sum;
}

static uint64_t sum_elems(const struct kp_map *m)
{
	uint64_t sum = kp_map_len(m);

	for (struct kp_map_it it = { 0 }; kp_map_next(m, &it);) {
		const struct dp_held_elem *e = it.value;

		FUZZ_CHECK(it.len > 1 && it.len <= 1 + DP_KEY_MAX && !e->seen);
		sum += kp_hash(kp_hash(KP_HASH_INIT, it.key, it.len), e->value, e->len);
	}
	return sum;
}

/* Everything that was held, in one number; 0: it could not be read, and is said why. */
static uint64_t sum(const uint8_t *data, size_t size, enum kp_family f)
{
	struct dp_held *h = NULL;
	struct kp_err err = { 0 };
	uint64_t s;

	if (dp_held_read(fuzz_kernel_says(data, size), f, "proxylet", true, &h, &err) < 0) {
		FUZZ_CHECK(!h && *err.msg);
		return 0;
	}
	FUZZ_CHECK(h->table || (!kp_map_len(h->chains) && !kp_map_len(h->sets) && !kp_map_len(h->elems)));
	s = 1 + h->table + 2 * h->format_ok + sum_map(h->chains, sizeof(struct dp_held_chain)) +
	    3 * sum_map(h->sets, sizeof(struct dp_held_set)) + 5 * sum_elems(h->elems);
	dp_held_free(h);
	return s;
}

static void on_entry(void *arg, const uint8_t *key, const uint8_t *data, size_t len, uint64_t expires_ms)
{
	uint64_t *s = arg;

	*s = kp_hash(kp_hash(kp_hash(*s, key, 4), data, len), &expires_ms, sizeof(expires_ms));
}

/* Dumps of nf_tables: tables, chains, rules, sets, elements, with their userdata. Read twice, held the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum kp_family f = size & 1 ? KP_IPV6 : KP_IPV4;
	uint64_t entries = 0;

	FUZZ_CHECK(sum(data, size, f) == sum(data, size, f));
	(void)dp_held_entries(fuzz_kernel_says(data, size), f, "proxylet", "aff-x", on_entry, &entries);
	return 0;
}
