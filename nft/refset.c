#include "nft/refset.h"

#include <stdlib.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct ref {
	struct kp_addr addr;
	bool held, touched;
	int count;
};

struct dp_refset {
	struct kp_map *refs;	/* struct kp_addr -> struct ref */
	struct ref **touched;	/* since the last flush */
	size_t n, cap;
};

static const void *key_of(const void *v, size_t *ret_len)
{
	const struct ref *r = v;

	*ret_len = sizeof(r->addr);
	return &r->addr;
}

struct dp_refset *dp_refset_new(void)
{
	struct dp_refset *s = kp_calloc(1, sizeof(*s));

	s->refs = kp_map_new_keyed(key_of, free);
	return s;
}

struct dp_refset *dp_refset_free(struct dp_refset *s)
{
	if (!s)
		return NULL;
	kp_map_free(s->refs);
	free(s->touched);
	free(s);
	return NULL;
}

void dp_refset_add(struct dp_refset *s, const struct kp_addr *a, int by)
{
	struct ref *r = kp_map_get(s->refs, a, sizeof(*a));

	if (!r) {
		r = kp_calloc(1, sizeof(*r));
		r->addr = *a;
		kp_map_put(s->refs, a, sizeof(*a), r);
	}
	r->count += by;
	if (!r->touched) {
		r->touched = true;
		kp_grow(&s->touched, s->n, &s->cap);
		s->touched[s->n++] = r;
	}
}

void dp_refset_flush(struct dp_refset *s, void (*fn)(void *arg, const struct kp_addr *a, bool add), void *arg)
{
	for (size_t i = 0; i < s->n; i++) {
		struct ref *r = s->touched[i];
		bool want = r->count > 0;

		r->touched = false;
		if (want != r->held)
			fn(arg, &r->addr, want);
		r->held = want;
		if (!want)
			kp_map_del(s->refs, &r->addr, sizeof(r->addr));
	}
	free(kp_steal(&s->touched));	/* the first time it is large */
	s->n = s->cap = 0;
}

void dp_refset_each(const struct dp_refset *s, void (*fn)(void *arg, const struct kp_addr *a, bool add), void *arg)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(s->refs, &it);)
		if (((const struct ref *)it.value)->held)
			fn(arg, it.key, true);
}
