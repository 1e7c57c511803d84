#include "proxy/nolocal.h"

#include <stdbool.h>
#include <stdlib.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/plan/plan.h"

struct kp_nolocal {
	struct kp_map *services;	/* key -> struct kp_nolocal_counts; only those that count */
	struct kp_nolocal_counts total;
};

struct kp_nolocal *kp_nolocal_new(void)
{
	struct kp_nolocal *l = kp_calloc(1, sizeof(*l));

	l->services = kp_map_new(free);
	return l;
}

struct kp_nolocal *kp_nolocal_free(struct kp_nolocal *l)
{
	if (!l)
		return NULL;
	kp_map_free(l->services);
	free(l);
	return NULL;
}

/* False: nothing to count. */
static bool count(const struct kp_plan *plan, struct kp_nolocal_counts *ret)
{
	bool any = false;

	for (uint32_t i = 0; plan && i < plan->n_ports; i++) {
		const struct kp_plan_port *p = &plan->ports[i];
		bool none_here = p->has_any && !p->n_local;
		bool internal = none_here && p->internal_local, external = none_here && p->external_local;

		ret->n[p->family][KP_POLICY_INTERNAL] += internal;
		ret->n[p->family][KP_POLICY_EXTERNAL] += external;
		any = any || internal || external;
	}
	return any;
}

/* Unsigned arithmetic wraps back: what is taken out was put in. */
static void add(struct kp_nolocal_counts *to, const struct kp_nolocal_counts *c, uint32_t sign)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		for (int p = 0; p < KP_N_POLICIES; p++)
			to->n[f][p] += sign * c->n[f][p];
}

void kp_nolocal_put(struct kp_nolocal *l, const char *key, const struct kp_plan *plan)
{
	const struct kp_nolocal_counts *old = kp_map_gets(l->services, key);
	struct kp_nolocal_counts now = { 0 };

	if (old)
		add(&l->total, old, UINT32_MAX);
	if (!count(plan, &now)) {
		if (old)
			kp_map_dels(l->services, key);
		return;
	}
	add(&l->total, &now, 1);
	kp_map_puts(l->services, key, kp_memdup(&now, sizeof(now)));
}

struct kp_nolocal_counts kp_nolocal_get(const struct kp_nolocal *l)
{
	return l->total;
}
