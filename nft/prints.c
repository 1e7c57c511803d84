#include "nft/prints.h"

#include <stdlib.h>

#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

#define SEEN 1ull	/* in the place of a print's lowest bit */

/* Linear probing; 0 is an empty place. */
struct dp_prints {
	uint64_t *v;
	size_t cap;
};

uint64_t dp_elem_print(enum dp_set set, const uint8_t *key, size_t key_len, const void *value, size_t len)
{
	return kp_hash(kp_hash(KP_HASH_INIT + set, key, key_len), value, len);
}

struct dp_prints *dp_prints_new(size_t n)
{
	struct dp_prints *p = kp_calloc(1, sizeof(*p));

	for (p->cap = 16; p->cap < 2 * n; p->cap *= 2)
		;
	p->v = kp_calloc(p->cap, sizeof(*p->v));
	return p;
}

struct dp_prints *dp_prints_free(struct dp_prints *p)
{
	if (p)
		free(p->v);
	free(p);
	return NULL;
}

/* Its place, or the empty one where it would be. */
static uint64_t *find(const struct dp_prints *p, uint64_t print)
{
	size_t at = (print >> 1) & (p->cap - 1);

	while (p->v[at] && (p->v[at] | SEEN) != (print | SEEN))
		at = (at + 1) & (p->cap - 1);
	return &p->v[at];
}

/* Never 0. */
static uint64_t unseen(uint64_t print)
{
	return print > SEEN ? print & ~SEEN : 2;
}

void dp_prints_add(struct dp_prints *p, uint64_t print)
{
	*find(p, unseen(print)) = unseen(print);
}

bool dp_prints_see(struct dp_prints *p, uint64_t print)
{
	uint64_t *at = find(p, unseen(print));

	if (*at)
		*at |= SEEN;
	return *at != 0;
}

bool dp_prints_seen(const struct dp_prints *p, uint64_t print)
{
	return *find(p, unseen(print)) & SEEN;
}

void dp_prints_unsee(struct dp_prints *p)
{
	for (size_t i = 0; i < p->cap; i++)
		p->v[i] &= ~SEEN;
}
