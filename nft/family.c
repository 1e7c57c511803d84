#include "nft/family.h"

#include <stdlib.h>

#include "nft/held.h"
#include "nft/layout.h"
#include "nft/refset.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

/* A chain or set in the kernel. round: the last full write that wanted it. */
struct known {
	uint64_t fingerprint;	/* chains */
	uint32_t size;		/* sets */
	uint64_t round;
};

struct service {
	struct kp_plan *plan;
	struct dp_numbered *ports;	/* as plan->ports; those of the other family stay empty */
};

struct dp_family {
	enum kp_family f;
	struct kp_plan_node *node;
	struct kp_map *services;	/* key -> struct service */
	struct kp_map *chains, *sets;	/* name -> struct known */
	struct dp_refset *cluster_ips, *hairpin, *node_ips, *nodeport_ips;
	uint32_t count[DP_N_SETS], expect[DP_N_SETS];
	uint64_t round;
};

static struct dp_program program(const struct dp_family *fam)
{
	return (struct dp_program){ fam->f, fam->node };
}

static void service_free(void *p)
{
	struct service *s = p;

	for (uint32_t i = 0; i < s->plan->n_ports; i++) {
		dp_slots_release(&s->ports[i].cluster);
		dp_slots_release(&s->ports[i].local);
	}
	free(s->ports);
	kp_plan_unref(s->plan);
	free(s);
}

static void init(struct dp_family *fam)
{
	fam->services = kp_map_new(service_free);
	fam->chains = kp_map_new(free);
	fam->sets = kp_map_new(free);
	fam->cluster_ips = dp_refset_new();
	fam->hairpin = dp_refset_new();
	fam->node_ips = dp_refset_new();
	fam->nodeport_ips = dp_refset_new();
}

static void release(struct dp_family *fam)
{
	kp_map_free(fam->services);
	kp_map_free(fam->chains);
	kp_map_free(fam->sets);
	dp_refset_free(fam->cluster_ips);
	dp_refset_free(fam->hairpin);
	dp_refset_free(fam->node_ips);
	dp_refset_free(fam->nodeport_ips);
	kp_plan_node_unref(fam->node);
}

struct dp_family *dp_family_new(enum kp_family f)
{
	struct dp_family *fam = kp_calloc(1, sizeof(*fam));

	fam->f = f;
	init(fam);
	return fam;
}

struct dp_family *dp_family_free(struct dp_family *fam)
{
	if (!fam)
		return NULL;
	release(fam);
	free(fam);
	return NULL;
}

void dp_family_reset(struct dp_family *fam)
{
	enum kp_family f = fam->f;

	release(fam);
	*fam = (struct dp_family){ .f = f };
	init(fam);
}

static struct known *put_known(struct kp_map *m, const char *name)
{
	struct known *k = kp_calloc(1, sizeof(*k));

	kp_map_puts(m, name, k);
	return k;
}

void dp_family_begin(struct dp_family *fam, const struct dp_held *held, const uint32_t expect[DP_N_SETS])
{
	memcpy(fam->expect, expect, sizeof(fam->expect));
	fam->round = 1;
	if (!held)
		return;
	for (struct kp_map_it it = { 0 }; kp_map_next(held->chains, &it);)
		put_known(fam->chains, it.key)->fingerprint = ((const struct dp_held_chain *)it.value)->fingerprint;
	for (struct kp_map_it it = { 0 }; kp_map_next(held->sets, &it);)
		put_known(fam->sets, it.key)->size = ((const struct dp_held_set *)it.value)->size;
}

void dp_family_expect(const struct kp_plan *plan, enum kp_family f, uint32_t expect[DP_N_SETS])
{
	for (uint32_t i = 0; i < plan->n_ports; i++) {
		const struct kp_plan_port *p = &plan->ports[i];

		for (uint32_t j = 0; p->family == f && j < p->n_frontends; j++) {
			bool np = p->frontends[j].kind == KP_FE_NODE_PORT;

			expect[np ? DP_NP : DP_SVC]++;
			expect[np ? DP_NPEPS : DP_EPS] += p->n_cluster + p->n_local;
			expect[DP_CLUSTER_IPS] += p->frontends[j].kind == KP_FE_CLUSTER_IP;
		}
		expect[DP_HAIRPIN] += p->family == f ? p->n_cluster : 0;	/* at most */
	}
}

static void elem(struct dp_family *fam, struct dp_writer *w, bool add, const struct dp_elem *e)
{
	w->ops->elem(w, add, e);
	fam->count[e->set] += add ? 1u : -1u;
}

/* Twice what is expected, rounded up, so that a table need not be replaced soon. */
static uint32_t size_of(const struct dp_family *fam, enum dp_set set)
{
	uint32_t size = dp_set_defs[set].min_size;

	while (size && set < DP_N_SETS && size < 2 * fam->expect[set])
		size *= 2;
	return size;
}

static void need_set(struct dp_family *fam, struct dp_writer *w, enum dp_set set, const char *name)
{
	const char *by = name ? name : dp_set_defs[set].name;
	struct known *k = kp_map_gets(fam->sets, by);

	if (!k) {
		k = put_known(fam->sets, by);
		k->size = size_of(fam, set);
		w->ops->set(w, set, name, k->size);
	}
	k->round = fam->round;
}

static void need_class(struct dp_family *fam, struct dp_writer *w, const struct dp_class *c);

/* Write the chain if it is not there in this form, and what it leads to. */
static void need_chain(struct dp_family *fam, struct dp_writer *w, const struct dp_chain *c)
{
	uint64_t print = dp_chain_fingerprint(c, fam->f);
	struct known *k = kp_map_gets(fam->chains, c->name);
	bool exists = k != NULL;
	struct dp_class to;

	if (!k)
		k = put_known(fam->chains, c->name);
	k->round = fam->round;
	if (!exists || k->fingerprint != print)
		w->ops->chain(w, c, exists);
	k->fingerprint = print;
	for (size_t i = 0; i < c->n_rules; i++) {
		const struct dp_stmt *last = &c->rules[i].stmts[c->rules[i].n - 1];

		if ((last->kind == DP_JUMP || last->kind == DP_GOTO) && dp_class_parse(last->name, &to))
			need_class(fam, w, &to);
	}
}

static void need_class(struct dp_family *fam, struct dp_writer *w, const struct dp_class *c)
{
	struct dp_program p = program(fam);
	char name[DP_CHAIN_NAME];
	struct dp_chain_buf b;
	const struct known *k;

	dp_class_name(c, name);
	k = kp_map_gets(fam->chains, name);
	if (k && k->round == fam->round)
		return;
	dp_program_class(&p, c, &b);
	need_chain(fam, w, &b.chain);
	dp_chain_buf_release(&b);
}

static void need_private(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p, uint32_t mask)
{
	struct dp_program prog = program(fam);
	char name[DP_CHAIN_NAME];

	for (int local = 0; local < 2; local++) {
		if (!(mask & (local ? DP_MAP_LOCAL : DP_MAP_CLUSTER)))
			continue;
		dp_affinity_map(p->port, local, name);
		need_set(fam, w, DP_AFF, name);
	}
	for (int k = 0; k < DP_N_PRIVATES; k++) {
		struct dp_chain_buf b;

		if (!(mask & 1u << k))
			continue;
		dp_layout_private(&prog, p, (enum dp_private_kind)k, &b);
		need_chain(fam, w, &b.chain);
		dp_chain_buf_release(&b);
	}
}

static void drop_private(struct dp_family *fam, struct dp_writer *w, const struct kp_plan_port *port, uint32_t mask)
{
	char name[DP_CHAIN_NAME];

	for (int k = 0; k < DP_N_PRIVATES; k++) {
		if (!(mask & 1u << k))
			continue;
		dp_private_name((enum dp_private_kind)k, port, name);
		w->ops->del_chain(w, name);
		kp_map_dels(fam->chains, name);
	}
	for (int local = 0; local < 2; local++) {
		if (!(mask & (local ? DP_MAP_LOCAL : DP_MAP_CLUSTER)))
			continue;
		dp_affinity_map(port, local, name);
		w->ops->del_set(w, name);
		kp_map_dels(fam->sets, name);
	}
}

/* Fixed chains, the draws, and every class and private chain that exists already. */
static void write_program(struct dp_family *fam, struct dp_writer *w)
{
	static const enum dp_class_kind tries[] = { DP_TRY, DP_NP_TRY, DP_LOC_TRY, DP_NP_LOC_TRY };
	struct dp_program p = program(fam);
	struct dp_chain_buf b;

	for (int set = 0; set < DP_N_SETS; set++)
		need_set(fam, w, (enum dp_set)set, NULL);
	for (size_t i = 0; dp_program_fixed(&p, i, &b); i++) {
		need_chain(fam, w, &b.chain);
		dp_chain_buf_release(&b);
	}
	for (size_t i = 0; i < KP_N(tries); i++)
		for (uint32_t m = 1; m <= DP_TRY_PRELOAD; m *= 2)
			need_class(fam, w, &(struct dp_class){ .kind = (uint8_t)tries[i], .m = m });
}

/* Chains that this round did not touch: classes are kept and brought up to date, others go if asked. */
static void visit_untouched(struct dp_family *fam, struct dp_writer *w, bool drop_others)
{
	const char **names = kp_map_sorted_keys(fam->chains);
	size_t n = kp_map_len(fam->chains);
	struct dp_class c;

	for (size_t i = 0; i < n; i++)
		names[i] = kp_strdup(names[i]);		/* the map changes under us */
	for (size_t i = 0; i < n; i++) {
		const struct known *k = kp_map_gets(fam->chains, names[i]);

		if (k->round == fam->round)
			continue;
		if (dp_class_parse(names[i], &c)) {
			need_class(fam, w, &c);
		} else if (drop_others) {
			w->ops->del_chain(w, names[i]);
			kp_map_dels(fam->chains, names[i]);
		}
	}
	for (size_t i = 0; i < n; i++)
		free((char *)names[i]);
	free(names);
}

static void count_node(struct dp_family *fam, const struct kp_plan_node *n, int by)
{
	for (uint32_t i = 0; n && i < n->n_node_ips[fam->f]; i++)
		dp_refset_add(fam->node_ips, &n->node_ips[fam->f][i], by);
	for (uint32_t i = 0; n && !n->nodeport_all[fam->f] && i < n->n_nodeport_ips[fam->f]; i++)
		if (!kp_addr_is_loopback(&n->nodeport_ips[fam->f][i]))
			dp_refset_add(fam->nodeport_ips, &n->nodeport_ips[fam->f][i], by);
}

void dp_family_node(struct dp_family *fam, struct dp_writer *w, struct kp_plan_node *node)
{
	struct kp_plan_node *old = fam->node;

	count_node(fam, node, 1);
	count_node(fam, old, -1);
	fam->node = kp_plan_node_ref(node);
	if (old)
		fam->round++;
	write_program(fam, w);
	if (!old)
		return;
	kp_plan_node_unref(old);
	visit_untouched(fam, w, false);
	for (struct kp_map_it it = { 0 }; kp_map_next(fam->services, &it);) {
		const struct service *s = it.value;

		for (uint32_t i = 0; i < s->plan->n_ports; i++)
			if (s->plan->ports[i].family == fam->f)
				need_private(fam, w, &s->ports[i], dp_layout_privates(&s->ports[i]));
	}
}

static void write_verdict(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p,
			  const struct kp_frontend *fe, const struct dp_layout *l, bool add)
{
	struct dp_elem e = dp_layout_key(p->port, fe);

	e.chain = l->drop ? NULL : l->chain;
	e.comment = p->port->label;
	elem(fam, w, add, &e);
}

static void write_record(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p,
			 const struct kp_frontend *fe, bool add)
{
	struct dp_elem e = dp_layout_key(p->port, fe);
	char chain[DP_CHAIN_NAME];

	e.set = e.set == DP_NP ? DP_AFFRECNP : DP_AFFREC;
	dp_private_name(DP_REC, p->port, chain);
	e.chain = chain;
	elem(fam, w, add, &e);
}

static void write_slot(struct dp_family *fam, struct dp_writer *w, struct dp_elem e, uint32_t slot,
		       const struct dp_slot *to, bool add)
{
	e.set = e.set == DP_NP ? DP_NPEPS : DP_EPS;
	e.slot = slot;
	e.to = to->addr;
	e.to_port = to->port;
	elem(fam, w, add, &e);
}

/* From the old numbering to the new: only the slots that differ. Either may be NULL. */
static void write_slots(struct dp_family *fam, struct dp_writer *w, struct dp_elem key, uint32_t base,
			const struct dp_slots *old, const struct dp_slots *new)
{
	uint32_t n_old = old ? old->n : 0, n_new = new ? new->n : 0;

	for (uint32_t i = 0; i < n_old || i < n_new; i++) {
		if (i < n_old && i < n_new && dp_slot_equal(&old->v[i], &new->v[i]))
			continue;
		if (i < n_old)
			write_slot(fam, w, key, base + i, &old->v[i], false);
		if (i < n_new)
			write_slot(fam, w, key, base + i, &new->v[i], true);
	}
}

static bool same_verdict(const struct dp_numbered *old, const struct dp_layout *a,
			 const struct dp_numbered *new, const struct dp_layout *b)
{
	return a->drop == b->drop && strcmp(a->chain, b->chain) == 0 && strcmp(old->port->label, new->port->label) == 0;
}

/* One front end, from what stood there to what shall; either may be absent (NULL). */
static void write_frontend(struct dp_family *fam, struct dp_writer *w,
			   const struct dp_numbered *old, const struct kp_frontend *was,
			   const struct dp_numbered *new, const struct kp_frontend *is)
{
	struct dp_layout a = { 0 }, b = { 0 };
	struct dp_elem key = was ? dp_layout_key(old->port, was) : dp_layout_key(new->port, is);

	if (was)
		dp_layout_of(old, was, &a);
	if (is)
		dp_layout_of(new, is, &b);
	if (!was || !is || !same_verdict(old, &a, new, &b)) {
		if (was)
			write_verdict(fam, w, old, was, &a, false);
		if (is)
			write_verdict(fam, w, new, is, &b, true);
	}
	write_slots(fam, w, key, 0, a.at_zero, b.at_zero);
	write_slots(fam, w, key, DP_LOCAL_SLOT, a.at_local, b.at_local);
	if (a.record && !b.record)
		write_record(fam, w, old, was, false);
	if (b.record && !a.record)
		write_record(fam, w, new, is, true);
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

		if (o->claimed && o->port == fe->port && kp_addr_cmp(&o->ip, &fe->ip) == 0 &&
		    (o->kind == KP_FE_NODE_PORT) == (fe->kind == KP_FE_NODE_PORT))
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
		need_private(fam, w, new, has);
	for (uint32_t i = 0; new && i < new->port->n_frontends; i++) {
		const struct kp_frontend *fe = &new->port->frontends[i];
		struct dp_layout l;
		struct dp_class c;

		if (!fe->claimed)
			continue;
		dp_layout_of(new, fe, &l);
		if (dp_class_parse(l.chain, &c))
			need_class(fam, w, &c);
		write_frontend(fam, w, old, find_frontend(old, fe), new, fe);
	}
	for (uint32_t i = 0; old && i < old->port->n_frontends; i++) {
		const struct kp_frontend *fe = &old->port->frontends[i];

		if (fe->claimed && !find_frontend(new, fe))
			write_frontend(fam, w, old, fe, NULL, NULL);
	}
	if (old)
		drop_private(fam, w, old->port, had & ~has);
	if (new)
		count_local(fam, new->port, 1);
	if (old)
		count_local(fam, old->port, -1);
}

/* The slots the kernel holds for one front end. */
static void peek_slots(struct dp_writer *w, struct dp_elem e, uint32_t base, struct dp_slots *ret)
{
	size_t cap = 0;

	e.set = e.set == DP_NP ? DP_NPEPS : DP_EPS;
	for (e.slot = base; w->ops->peek(w, &e); e.slot++) {
		kp_grow(&ret->v, ret->n, &cap);
		ret->v[ret->n++] = (struct dp_slot){ e.to, e.to_port };
	}
}

/* Is the kernel's picture of this port what we would write? */
static bool is_as_held(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p)
{
	struct dp_program prog = program(fam);
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
		const struct known *held;

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
 * Classes shrink late, so the kernel may hold a size twice what a new Service would get.
 * Take the one that is there: a restart that changes nothing must write nothing.
 */
static void adopt_sizes(struct dp_family *fam, struct dp_writer *w, struct dp_numbered *p)
{
	uint32_t m = dp_slots_size(p->cluster.n), ml = dp_slots_size(p->local.n);

	for (uint32_t try = 0; try < 4; try++) {
		p->cluster.m = dp_slots_resize(try & 1 ? 2 * m : m, p->cluster.n);
		p->local.m = dp_slots_resize(try & 2 ? 2 * ml : ml, p->local.n);
		if (is_as_held(fam, w, p))
			return;
	}
	p->cluster.m = m;
	p->local.m = ml;
}

/* After a restart: continue the numbering that the kernel holds. */
static void adopt(struct dp_family *fam, struct dp_writer *w, struct dp_numbered *p)
{
	struct dp_slots cluster = { 0 }, local = { 0 };
	const struct kp_plan_port *port = p->port;

	for (uint32_t i = 0; i < port->n_frontends; i++) {
		const struct kp_frontend *fe = &port->frontends[i];
		bool external = fe->kind != KP_FE_CLUSTER_IP;
		struct dp_elem e = dp_layout_key(port, fe);

		if (fe->claimed && !cluster.n && (external || !port->internal_local))
			peek_slots(w, e, 0, &cluster);
		if (fe->claimed && !local.n && (external ? port->external_local : port->internal_local))
			peek_slots(w, e, external ? DP_LOCAL_SLOT : 0, &local);
	}
	dp_slots_assign(&cluster, port->cluster, port->n_cluster, &p->cluster);
	dp_slots_assign(&local, port->local, port->n_local, &p->local);
	if (cluster.n || local.n)
		adopt_sizes(fam, w, p);
	dp_slots_release(&cluster);
	dp_slots_release(&local);
}

static struct dp_numbered *find_port(const struct service *s, const struct kp_plan_port *p)
{
	for (uint32_t i = 0; s && i < s->plan->n_ports; i++)
		if (s->plan->ports[i].family == p->family && strcmp(s->plan->ports[i].id, p->id) == 0)
			return &s->ports[i];
	return NULL;
}

static struct service *number(struct dp_family *fam, struct dp_writer *w, const struct service *old, struct kp_plan *plan)
{
	static const struct dp_slots none;
	struct service *s = kp_calloc(1, sizeof(*s));

	s->plan = kp_plan_ref(plan);
	s->ports = kp_calloc(plan->n_ports, sizeof(*s->ports));
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

void dp_family_service(struct dp_family *fam, struct dp_writer *w, const char *key, struct kp_plan *plan)
{
	struct service *old = kp_map_gets(fam->services, key), *new = plan ? number(fam, w, old, plan) : NULL;

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

struct flush {
	struct dp_family *fam;
	struct dp_writer *w;
	enum dp_set set;
};

static void flush_one(void *arg, const struct kp_addr *a, bool add)
{
	const struct flush *f = arg;

	elem(f->fam, f->w, add, &(struct dp_elem){ .set = (uint8_t)f->set, .ip = *a });
}

void dp_family_finish(struct dp_family *fam, struct dp_writer *w)
{
	const struct { struct dp_refset *refs; enum dp_set set; } all[] = {
		{ fam->cluster_ips, DP_CLUSTER_IPS }, { fam->hairpin, DP_HAIRPIN },
		{ fam->node_ips, DP_NODE_IPS }, { fam->nodeport_ips, DP_NODEPORT_IPS },
	};

	w->tag = 0;
	for (size_t i = 0; i < KP_N(all); i++)
		dp_refset_flush(all[i].refs, flush_one, &(struct flush){ fam, w, all[i].set });
}

void dp_family_prune(struct dp_family *fam, struct dp_writer *w)
{
	w->tag = 0;
	visit_untouched(fam, w, true);
	for (struct kp_map_it it = { 0 }; kp_map_next(fam->sets, &it);) {
		const struct known *k = it.value;

		if (k->round == fam->round)
			continue;
		w->ops->del_set(w, it.key);
		kp_map_del_at(fam->sets, &it);
	}
}

struct kp_plan *dp_family_plan(const struct dp_family *fam, const char *key)
{
	const struct service *s = kp_map_gets(fam->services, key);

	return s ? s->plan : NULL;
}

bool dp_family_is_tight(const struct dp_family *fam)
{
	for (int set = 0; set < DP_N_SETS; set++) {
		const struct known *k = kp_map_gets(fam->sets, dp_set_defs[set].name);

		if (k && k->size && fam->count[set] > k->size / 4 * 3)
			return true;
	}
	return false;
}
