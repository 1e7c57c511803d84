#include "nft/slots.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

#define GOES UINT32_MAX

void dp_slots_release(struct dp_slots *s)
{
	free(s->v);
	*s = (struct dp_slots){ 0 };
}

uint32_t dp_slots_size(uint32_t n)
{
	uint32_t m = 1;

	while (m < n)
		m *= 2;
	return m > 2 && n <= m / 4 * 3 ? m / 4 * 3 : m;
}

uint32_t dp_slots_resize(uint32_t m, uint32_t n)
{
	return n > m || 2 * n < m || (2 * n == m && m > 2) ? dp_slots_size(n) : m;
}

static int by_backend(const void *a, const void *b)
{
	return kp_backend_cmp(*(const struct kp_backend *const *)a, *(const struct kp_backend *const *)b);
}

/* What is wanted, in the order of addresses, for finding. */
static const struct kp_backend **sorted(const struct kp_backend *want, uint32_t n)
{
	const struct kp_backend **v = kp_calloc(n, sizeof(*v));

	for (uint32_t i = 0; i < n; i++)
		v[i] = &want[i];
	qsort(v, n, sizeof(*v), by_backend);
	return v;
}

/* For each old slot where in want its endpoint is, GOES if it is not; and which of want are placed so. */
static void keep_old(const struct dp_slots *old, const struct kp_backend *want, uint32_t n, uint32_t *stays, bool *placed)
{
	const struct kp_backend **find = sorted(want, n);

	for (uint32_t i = 0; i < old->n; i++) {
		const struct kp_backend *key = dp_slots_at(old, i);
		const struct kp_backend **hit = bsearch(&key, find, n, sizeof(*find), by_backend);

		stays[i] = hit && !placed[*hit - want] ? (uint32_t)(*hit - want) : GOES;	/* a slot held twice stays once */
		if (stays[i] != GOES)
			placed[stays[i]] = true;
	}
	free(find);
}

static uint32_t *renumber(const struct dp_slots *old, const struct kp_backend *want, uint32_t n)
{
	uint32_t *stays = kp_calloc(old->n, sizeof(*stays)), *v = kp_calloc(n, sizeof(*v)), next = 0, last = old->n;
	bool *placed = kp_calloc(n, sizeof(*placed));

	keep_old(old, want, n, stays, placed);
	for (uint32_t i = 0; i < n; i++) {
		if (i < old->n && stays[i] != GOES) {
			v[i] = stays[i];
			continue;
		}
		while (next < n && placed[next])
			next++;
		if (next < n) {		/* a new endpoint takes the hole, or the end */
			v[i] = next++;
			continue;
		}
		do	/* no new ones left: the last one moves into the hole */
			last--;
		while (stays[last] == GOES);
		v[i] = stays[last];
	}
	free(stays);
	free(placed);
	return v;
}

void dp_slots_assign(const struct dp_slots *old, const struct kp_backend *want, uint32_t n, struct dp_slots *ret)
{
	*ret = (struct dp_slots){ .of = want, .n = n, .m = dp_slots_resize(old->m ? old->m : 1, n) };
	if (old->n)
		ret->v = renumber(old, want, n);
}
