#include "nft/wanted.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

static void plan_free(void *p)
{
	kp_plan_unref(p);
}

static void refusal_free(void *p)
{
	struct dp_refusal *r = p;

	free(r->key);
	free(r->why);
	free(r);
}

struct kp_map *dp_plans_new(void)
{
	return kp_map_new_keyed(kp_plan_key, plan_free);
}

struct kp_map *dp_refusals_new(void)
{
	return kp_map_new(refusal_free);
}

struct dp_wanted dp_wanted_new(void)
{
	return (struct dp_wanted){ .plans = dp_plans_new() };
}

void dp_wanted_release(struct dp_wanted *w)
{
	kp_map_free(w->plans);
	kp_plan_node_unref(w->node);
	*w = (struct dp_wanted){ 0 };
}

void dp_wanted_take(struct dp_wanted *w, const struct dp_batch *b)
{
	if (b->node) {
		kp_plan_node_unref(w->node);
		w->node = kp_plan_node_ref(b->node);
	}
	for (size_t i = 0; i < b->n_changes; i++) {
		const struct dp_change *c = &b->changes[i];

		if (c->plan)
			kp_map_puts(w->plans, c->key, kp_plan_ref(c->plan));
		else
			kp_map_dels(w->plans, c->key);
	}
}

struct kp_plan **dp_wanted_before(const struct dp_wanted *w, const struct dp_batch *b)
{
	struct kp_plan **before = kp_calloc(b->n_changes, sizeof(struct kp_plan *));

	for (size_t i = 0; i < b->n_changes; i++) {
		struct kp_plan *p = kp_map_gets(w->plans, b->changes[i].key);

		before[i] = p ? kp_plan_ref(p) : NULL;
	}
	return before;
}

void dp_wanted_before_free(struct kp_plan **before, const struct dp_batch *b)
{
	for (size_t i = 0; i < b->n_changes; i++)
		kp_plan_unref(before[i]);
	free(before);
}

static bool port_answers(const struct kp_plan_port *p, uint8_t proto, const struct kp_frontend *fe)
{
	for (uint32_t i = 0; p->proto == proto && i < p->n_frontends; i++)
		if (p->frontends[i].claimed && kp_frontend_same_place(&p->frontends[i], fe))
			return true;
	return false;
}

static bool overlap(const struct kp_plan *a, const struct kp_plan_port *b)
{
	for (uint32_t i = 0; i < a->n_ports; i++)
		for (uint32_t j = 0; a->ports[i].family == b->family && j < b->n_frontends; j++)
			if (b->frontends[j].claimed && port_answers(&a->ports[i], b->proto, &b->frontends[j]))
				return true;
	return false;
}

bool dp_wanted_elsewhere(const struct dp_wanted *w, enum kp_family f, const struct kp_plan *plan)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(w->plans, &it);) {
		const struct kp_plan *other = it.value;

		for (uint32_t i = 0; strcmp(other->key, plan->key) != 0 && i < plan->n_ports; i++)
			if (plan->ports[i].family == f && overlap(other, &plan->ports[i]))
				return true;
	}
	return false;
}

void dp_refusals_copy(const struct kp_map *refusals, struct dp_result *ret)
{
	size_t cap = ret->n_refused;

	for (struct kp_map_it it = { 0 }; kp_map_next(refusals, &it);) {
		const struct dp_refusal *r = it.value;

		kp_grow(&ret->refused, ret->n_refused, &cap);
		ret->refused[ret->n_refused++] = (struct dp_refusal){
			kp_strdup(r->key), r->family, r->code, kp_strdup(r->why), r->gone };
	}
}
