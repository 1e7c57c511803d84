#include "nft/slots.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

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
	return m;
}

uint32_t dp_slots_resize(uint32_t m, uint32_t n)
{
	return n > m || 8 * (uint64_t)n <= 3 * (uint64_t)m ? dp_slots_size(n) : m;
}

static int cmp_slot(const void *a, const void *b)
{
	const struct dp_slot *x = a, *y = b;
	int c = kp_addr_cmp(&x->addr, &y->addr);

	return c ? c : (int)x->port - (int)y->port;
}

/* What is wanted, in the order of addresses, for finding. */
static struct dp_slot *sorted(const struct kp_backend *want, uint32_t n)
{
	struct dp_slot *v = kp_calloc(n, sizeof(*v));

	for (uint32_t i = 0; i < n; i++)
		v[i] = (struct dp_slot){ want[i].addr, want[i].port };
	qsort(v, n, sizeof(*v), cmp_slot);
	return v;
}

/* Which old slots stay, and mark what they hold as placed. */
static void keep_old(const struct dp_slots *old, const struct dp_slot *find, uint32_t n, bool *stays, bool *placed)
{
	for (uint32_t i = 0; i < old->n; i++) {
		const struct dp_slot *hit = bsearch(&old->v[i], find, n, sizeof(*find), cmp_slot);

		stays[i] = hit && !placed[hit - find];	/* a slot held twice stays once */
		if (stays[i])
			placed[hit - find] = true;
	}
}

static bool is_placed(const struct dp_slot *find, uint32_t n, const bool *placed, const struct kp_backend *b)
{
	struct dp_slot key = { b->addr, b->port };
	const struct dp_slot *hit = bsearch(&key, find, n, sizeof(*find), cmp_slot);

	return placed[hit - find];
}

void dp_slots_assign(const struct dp_slots *old, const struct kp_backend *want, uint32_t n, struct dp_slots *ret)
{
	struct dp_slot *find = sorted(want, n);
	bool *stays = kp_calloc(old->n, sizeof(*stays)), *placed = kp_calloc(n, sizeof(*placed));
	struct dp_slots s = { .v = kp_calloc(n, sizeof(*s.v)), .n = n, .m = dp_slots_resize(old->m ? old->m : 1, n) };
	uint32_t next = 0, last = old->n;

	keep_old(old, find, n, stays, placed);
	for (uint32_t i = 0; i < n; i++) {
		if (i < old->n && stays[i]) {
			s.v[i] = old->v[i];
			continue;
		}
		while (next < n && is_placed(find, n, placed, &want[next]))
			next++;
		if (next < n) {		/* a new endpoint takes the hole, or the end */
			s.v[i] = (struct dp_slot){ want[next].addr, want[next].port };
			next++;
			continue;
		}
		do	/* no new ones left: the last one moves into the hole */
			last--;
		while (!stays[last]);
		s.v[i] = old->v[last];
	}
	free(find);
	free(stays);
	free(placed);
	*ret = s;
}
