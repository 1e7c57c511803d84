#include "nft/family_impl.h"

#include <stdlib.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

/* One Service: from what was written for it last to what its plan wants now. */

static void write_verdict(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p,
			  const struct kp_frontend *fe, const struct dp_layout *l, bool add)
{
	struct dp_elem e = dp_layout_key(p->port, fe);

	e.chain = l->drop ? NULL : l->chain;
	e.comment = p->port->label;
	dp_family_elem(fam, w, add, &e);
}

static void write_record(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p,
			 const struct kp_frontend *fe, const struct dp_layout *l, bool add)
{
	struct dp_elem e = dp_layout_key(p->port, fe);
	char chain[DP_CHAIN_NAME];

	if (l->record == DP_RECORD_NOTHING)
		return;
	e.set = e.set == DP_NP ? DP_AFFRECNP : DP_AFFREC;
	dp_private_name(DP_REC, p->port, chain);
	e.chain = l->record == DP_RECORD_CHOICE ? chain : NULL;
	dp_family_elem(fam, w, add, &e);
}

static void write_slot(struct dp_family *fam, struct dp_writer *w, struct dp_elem e, uint32_t slot,
		       const struct kp_backend *to, bool add)
{
	e.set = e.set == DP_NP ? DP_NPEPS : DP_EPS;
	e.slot = slot;
	e.to = to->addr;
	e.to_port = to->port;
	dp_family_elem(fam, w, add, &e);
}

/* From the old numbering to the new: only the slots that differ. Either may be NULL. */
static void write_slots(struct dp_family *fam, struct dp_writer *w, struct dp_elem key, uint32_t base,
			const struct dp_slots *old, const struct dp_slots *new)
{
	uint32_t n_old = old ? old->n : 0, n_new = new ? new->n : 0;

	for (uint32_t i = 0; i < n_old || i < n_new; i++) {
		const struct kp_backend *was = i < n_old ? dp_slots_at(old, i) : NULL, *is = i < n_new ? dp_slots_at(new, i) : NULL;

		if (was && is && kp_backend_cmp(was, is) == 0)
			continue;
		if (was)
			write_slot(fam, w, key, base + i, was, false);
		if (is)
			write_slot(fam, w, key, base + i, is, true);
	}
}

static bool same_verdict(const struct dp_numbered *old, const struct dp_layout *a,
			 const struct dp_numbered *new, const struct dp_layout *b)
{
	return a->drop == b->drop && strcmp(a->chain, b->chain) == 0 && strcmp(old->port->label, new->port->label) == 0;
}

static void need_class_of(struct dp_family *fam, struct dp_writer *w, const struct dp_layout *l)
{
	struct dp_class c;

	if (dp_class_parse(l->chain, &c))
		dp_family_need_class(fam, w, &c);
}

/* One front end, from what stood there to what shall; either may be absent (NULL). */
static void write_frontend(struct dp_family *fam, struct dp_writer *w,
			   const struct dp_numbered *old, const struct kp_frontend *was,
			   const struct dp_numbered *new, const struct kp_frontend *is)
{
	struct dp_layout a = { 0 }, b = { 0 };
	struct dp_elem key = { 0 };

	if (was) {
		key = dp_layout_key(old->port, was);
		dp_layout_of(old, was, &a);
	}
	if (is) {
		key = dp_layout_key(new->port, is);
		dp_layout_of(new, is, &b);
	}
	if (!was || !is || !same_verdict(old, &a, new, &b)) {
		if (was)
			write_verdict(fam, w, old, was, &a, false);
		if (is) {
			need_class_of(fam, w, &b);
			write_verdict(fam, w, new, is, &b, true);
		}
	}
	write_slots(fam, w, key, 0, a.at_zero, b.at_zero);
	write_slots(fam, w, key, DP_LOCAL_SLOT, a.at_local, b.at_local);
	if (a.record != b.record) {
		if (was)
			write_record(fam, w, old, was, &a, false);
		if (is)
			write_record(fam, w, new, is, &b, true);
	}
	if (was && was->kind == KP_FE_CLUSTER_IP)
		dp_refset_add(fam->cluster_ips, &was->ip, -1);
	if (is && is->kind == KP_FE_CLUSTER_IP)
		dp_refset_add(fam->cluster_ips, &is->ip, 1);
}

/* The front end with the same key, if we own it. */
static const struct kp_frontend *find_frontend(const struct dp_numbered *p, const struct kp_frontend *fe)
{
	for (uint32_t i = 0; p && i < p->port->n_frontends; i++) {
		const struct kp_frontend *o = &p->port->frontends[i];

		if (o->claimed && kp_frontend_same_place(o, fe))
			return o;
	}
	return NULL;
}

static void count_local(struct dp_family *fam, const struct kp_plan_port *p, int by)
{
	for (uint32_t i = 0; i < p->n_cluster; i++)
		if (p->cluster[i].local)
			dp_refset_add(fam->hairpin, &p->cluster[i].addr, by);
	for (uint32_t i = 0; i < p->n_local; i++)
		dp_refset_add(fam->hairpin, &p->local[i].addr, by);
}

static void write_port(struct dp_family *fam, struct dp_writer *w,
		       const struct dp_numbered *old, const struct dp_numbered *new)
{
	uint32_t had = old ? dp_layout_privates(old) : 0, has = new ? dp_layout_privates(new) : 0;

	if (new)
		dp_family_need_private(fam, w, new, has);
	for (uint32_t i = 0; new && i < new->port->n_frontends; i++) {
		const struct kp_frontend *fe = &new->port->frontends[i];

		if (fe->claimed)
			write_frontend(fam, w, old, find_frontend(old, fe), new, fe);
	}
	for (uint32_t i = 0; old && i < old->port->n_frontends; i++) {
		const struct kp_frontend *fe = &old->port->frontends[i];

		if (fe->claimed && !find_frontend(new, fe))
			write_frontend(fam, w, old, fe, NULL, NULL);
	}
	if (old)
		dp_family_drop_private(fam, w, old->port, had & ~has);
	if (new)
		count_local(fam, new->port, 1);
	if (old)
		count_local(fam, old->port, -1);
}

/* The slots the kernel holds for one front end. The caller frees the array, which ret borrows. */
static struct kp_backend *peek_slots(struct dp_writer *w, struct dp_elem e, uint32_t base, struct dp_slots *ret)
{
	struct kp_backend *held = NULL;
	size_t cap = 0;

	e.set = e.set == DP_NP ? DP_NPEPS : DP_EPS;
	for (e.slot = base; w->ops->peek(w, &e); e.slot++) {
		kp_grow(&held, ret->n, &cap);
		held[ret->n++] = (struct kp_backend){ .addr = e.to, .port = e.to_port };
	}
	ret->of = held;
	return held;
}

/* Is the kernel's picture of this port what we would write? */
static bool is_as_held(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p)
{
	struct dp_program prog = dp_family_program(fam);
	uint32_t mask = dp_layout_privates(p);
	bool same = true;

	for (uint32_t i = 0; i < p->port->n_frontends && same; i++) {
		struct dp_elem e = dp_layout_key(p->port, &p->port->frontends[i]);
		struct dp_layout l;

		if (!p->port->frontends[i].claimed)
			continue;
		dp_layout_of(p, &p->port->frontends[i], &l);
		same = w->ops->peek(w, &e) && strcmp(e.chain, l.chain) == 0;
	}
	for (int k = 0; k < DP_N_PRIVATES && same; k++) {
		struct dp_chain_buf b;
		const struct dp_known *held;

		if (!(mask & 1u << k))
			continue;
		dp_layout_private(&prog, p, (enum dp_private_kind)k, &b);
		held = kp_map_gets(fam->chains, b.chain.name);
		same = held && held->fingerprint == dp_chain_fingerprint(&b.chain, fam->f);
		dp_chain_buf_release(&b);
	}
	return same;
}

/*
 * Classes shrink late, so the kernel may hold the size above what a new Service would get.
 * Take the one that is there: a restart that changes nothing must write nothing.
 */
static void adopt_sizes(struct dp_family *fam, struct dp_writer *w, struct dp_numbered *p)
{
	uint32_t m = dp_slots_size(p->cluster.n), ml = dp_slots_size(p->local.n);

	for (uint32_t try = 0; try < 4; try++) {
		p->cluster.m = dp_slots_resize(try & 1 ? dp_slots_size(m + 1) : m, p->cluster.n);
		p->local.m = dp_slots_resize(try & 2 ? dp_slots_size(ml + 1) : ml, p->local.n);
		if (is_as_held(fam, w, p))
			return;
	}
	p->cluster.m = m;
	p->local.m = ml;
}

/* After a restart: continue the numbering that the kernel holds. */
static void adopt(struct dp_family *fam, struct dp_writer *w, struct dp_numbered *p)
{
	struct kp_backend *held_cluster = NULL, *held_local = NULL;
	struct dp_slots cluster = { 0 }, local = { 0 };
	const struct kp_plan_port *port = p->port;

	for (uint32_t i = 0; i < port->n_frontends; i++) {
		const struct kp_frontend *fe = &port->frontends[i];
		bool external = fe->kind != KP_FE_CLUSTER_IP;
		struct dp_elem e = dp_layout_key(port, fe);

		if (fe->claimed && !cluster.n && (external || !port->internal_local))
			held_cluster = peek_slots(w, e, 0, &cluster);
		if (fe->claimed && !local.n && (external ? port->external_local : port->internal_local))
			held_local = peek_slots(w, e, external ? DP_LOCAL_SLOT : 0, &local);
	}
	dp_slots_assign(&cluster, port->cluster, port->n_cluster, &p->cluster);
	dp_slots_assign(&local, port->local, port->n_local, &p->local);
	if (cluster.n || local.n)
		adopt_sizes(fam, w, p);
	free(held_cluster);
	free(held_local);
}

static const struct dp_numbered *find_port(const struct dp_service *s, const struct kp_plan_port *p)
{
	for (uint32_t i = 0; s && i < s->plan->n_ports; i++)
		if (s->plan->ports[i].family == p->family && strcmp(s->plan->ports[i].id, p->id) == 0)
			return &s->ports[i];
	return NULL;
}

static struct dp_service *number(struct dp_family *fam, struct dp_writer *w, const struct dp_service *old, struct kp_plan *plan)
{
	static const struct dp_slots none;
	struct dp_service *s = kp_calloc(1, sizeof(*s) + plan->n_ports * sizeof(*s->ports));

	s->plan = kp_plan_ref(plan);
	for (uint32_t i = 0; i < plan->n_ports; i++) {
		struct dp_numbered *p = &s->ports[i];
		const struct kp_plan_port *port = &plan->ports[i];
		const struct dp_numbered *was = find_port(old, port);

		p->port = port;
		if (port->family != fam->f)
			continue;
		if (!was && w->ops->peek) {
			adopt(fam, w, p);
			continue;
		}
		dp_slots_assign(was ? &was->cluster : &none, port->cluster, port->n_cluster, &p->cluster);
		dp_slots_assign(was ? &was->local : &none, port->local, port->n_local, &p->local);
	}
	return s;
}

bool dp_family_has(const struct dp_family *fam, const struct kp_plan *plan)
{
	bool any = false;

	for (uint32_t i = 0; plan && i < plan->n_ports; i++)
		any |= plan->ports[i].family == fam->f;
	return any;
}

void dp_family_service(struct dp_family *fam, struct dp_writer *w, const char *key, struct kp_plan *plan)
{
	struct dp_service *old = kp_map_gets(fam->services, key);
	struct dp_service *new = dp_family_has(fam, plan) ? number(fam, w, old, plan) : NULL;

	for (uint32_t i = 0; new && i < plan->n_ports; i++)
		if (plan->ports[i].family == fam->f)
			write_port(fam, w, find_port(old, &plan->ports[i]), &new->ports[i]);
	for (uint32_t i = 0; old && i < old->plan->n_ports; i++)
		if (old->plan->ports[i].family == fam->f && !find_port(new, &old->plan->ports[i]))
			write_port(fam, w, &old->ports[i], NULL);
	if (new)
		kp_map_puts(fam->services, key, new);
	else
		kp_map_dels(fam->services, key);
}

static void repeat_frontend(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p, const struct kp_frontend *fe)
{
	struct dp_elem key = dp_layout_key(p->port, fe);
	struct dp_layout l;

	dp_layout_of(p, fe, &l);
	write_verdict(fam, w, p, fe, &l, true);
	write_slots(fam, w, key, 0, NULL, l.at_zero);
	write_slots(fam, w, key, DP_LOCAL_SLOT, NULL, l.at_local);
	write_record(fam, w, p, fe, &l, true);
}

static void need_chain_of(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p, const struct kp_frontend *fe)
{
	struct dp_layout l;

	dp_layout_of(p, fe, &l);
	need_class_of(fam, w, &l);
}

static void each_frontend(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p,
			  void (*fn)(struct dp_family *, struct dp_writer *, const struct dp_numbered *, const struct kp_frontend *))
{
	for (uint32_t i = 0; i < p->port->n_frontends; i++)
		if (p->port->frontends[i].claimed)
			fn(fam, w, p, &p->port->frontends[i]);
}

void dp_family_repeat_service(struct dp_family *fam, struct dp_writer *w, const struct dp_service *s)
{
	for (uint32_t i = 0; i < s->plan->n_ports; i++)
		if (s->plan->ports[i].family == fam->f)
			each_frontend(fam, w, &s->ports[i], repeat_frontend);
}

void dp_family_need_service(struct dp_family *fam, struct dp_writer *w, const struct dp_service *s)
{
	for (uint32_t i = 0; i < s->plan->n_ports; i++) {
		if (s->plan->ports[i].family != fam->f)
			continue;
		dp_family_need_private(fam, w, &s->ports[i], dp_layout_privates(&s->ports[i]));
		each_frontend(fam, w, &s->ports[i], need_chain_of);
	}
}

/* The key of a slot begins with that of its front end. */
static struct kp_map *frontends_of(const struct kp_map *keys, size_t len)
{
	struct kp_map *m = kp_map_new(NULL);

	for (struct kp_map_it it = { 0 }; kp_map_next(keys, &it);)
		if (it.len >= len)
			kp_map_put(m, it.key, len, m);
	return m;
}

static bool has_frontend(const struct dp_family *fam, const struct dp_service *s, enum dp_set kind,
			 const struct kp_map *keys)
{
	uint8_t key[DP_KEY_MAX];

	for (uint32_t i = 0; i < s->plan->n_ports; i++) {
		const struct kp_plan_port *p = &s->plan->ports[i];

		for (uint32_t j = 0; p->family == fam->f && j < p->n_frontends; j++) {
			struct dp_elem e = dp_layout_key(p, &p->frontends[j]);

			if (e.set == kind && kp_map_get(keys, key, dp_elem_key(&e, fam->f, key)))
				return true;
		}
	}
	return false;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **dp_family_owners(const struct dp_family *fam, enum dp_set set, const struct kp_map *keys, size_t *ret_n)
{
	enum dp_set kind = set == DP_NP || set == DP_NPEPS || set == DP_AFFRECNP ? DP_NP : DP_SVC;
	struct kp_map *frontends = keys ? frontends_of(keys, dp_set_key_len(kind, fam->f)) : NULL;
	const char **names = kp_calloc(kp_map_len(fam->services), sizeof(*names));

	*ret_n = 0;
	for (struct kp_map_it it = { 0 }; kp_map_next(fam->services, &it);)
		if (!keys || has_frontend(fam, it.value, kind, frontends))
			names[(*ret_n)++] = it.key;
	qsort(names, *ret_n, sizeof(*names), by_name);
	kp_map_free(frontends);
	return names;
}
