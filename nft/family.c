#include "nft/family_impl.h"

#include <stdlib.h>

#include "nft/netlink.h"
#include "proxy/base/buf.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

static void service_free(void *p)
{
	struct dp_service *s = p;

	for (uint32_t i = 0; i < s->plan->n_ports; i++) {
		dp_slots_release(&s->ports[i].cluster);
		dp_slots_release(&s->ports[i].local);
	}
	kp_plan_unref(s->plan);
	free(s);
}

static const void *service_key(const void *p, size_t *ret_len)
{
	return kp_plan_key(((const struct dp_service *)p)->plan, ret_len);
}

static void init(struct dp_family *fam)
{
	fam->services = kp_map_new_keyed(service_key, service_free);
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

static struct dp_known *put_known(struct kp_map *m, const char *name)
{
	struct dp_known *k = kp_calloc(1, sizeof(*k));

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

/* As dp_layout_of() has it. */
static void expect_frontend(const struct kp_plan_port *p, const struct kp_frontend *fe, uint32_t expect[DP_N_SETS])
{
	bool np = fe->kind == KP_FE_NODE_PORT, external = fe->kind != KP_FE_CLUSTER_IP;
	uint32_t at_zero = !external && p->internal_local ? p->n_local : p->n_cluster;
	uint32_t at_local = external && p->external_local ? p->n_local : 0;

	expect[np ? DP_NP : DP_SVC]++;
	expect[np ? DP_NPEPS : DP_EPS] += at_zero + at_local;
	expect[DP_CLUSTER_IPS] += !external;
}

void dp_family_expect(const struct kp_plan *plan, enum kp_family f, uint32_t expect[DP_N_SETS])
{
	for (uint32_t i = 0; i < plan->n_ports; i++) {
		const struct kp_plan_port *p = &plan->ports[i];

		if (p->family != f)
			continue;
		for (uint32_t j = 0; j < p->n_frontends; j++)
			if (p->frontends[j].claimed)
				expect_frontend(p, &p->frontends[j], expect);
		for (uint32_t j = 0; j < p->n_cluster; j++)
			expect[DP_HAIRPIN] += p->cluster[j].local;
		expect[DP_HAIRPIN] += p->n_local;	/* at most: one may serve many */
	}
}

void dp_family_elem(struct dp_family *fam, struct dp_writer *w, bool add, const struct dp_elem *e)
{
	uint8_t key[DP_KEY_MAX];
	struct kp_buf value = { 0 };
	size_t len;

	if (fam->repeats) {
		if (e->set == fam->repeated)
			w->ops->elem(w, true, e);
		return;
	}
	w->ops->elem(w, add, e);
	len = dp_elem_key(e, fam->f, key);
	dp_elem_value(e, fam->f, &value);
	(add ? dp_sum_add : dp_sum_sub)(&fam->sum[e->set], e->set, key, len, value.data, value.len);
	kp_buf_release(&value);
}

const struct dp_sum *dp_family_sum(const struct dp_family *fam, enum dp_set set)
{
	return &fam->sum[set];
}

/* At least twice what is expected, so that a table need not be replaced soon. */
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
	struct dp_known *k = kp_map_gets(fam->sets, by);

	if (!k) {
		k = put_known(fam->sets, by);
		k->size = size_of(fam, set);
		w->ops->set(w, set, name, k->size);
	}
	k->round = fam->round;
}

/* Write the chain if it is not there in this form, and what it leads to. */
static void need_chain(struct dp_family *fam, struct dp_writer *w, const struct dp_chain *c)
{
	uint64_t print = dp_chain_fingerprint(c, fam->f);
	struct dp_known *k = kp_map_gets(fam->chains, c->name);
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
			dp_family_need_class(fam, w, &to);
	}
}

void dp_family_need_class(struct dp_family *fam, struct dp_writer *w, const struct dp_class *c)
{
	struct dp_program p = dp_family_program(fam);
	char name[DP_CHAIN_NAME];
	struct dp_chain_buf b;
	const struct dp_known *k;

	dp_class_name(c, name);
	k = kp_map_gets(fam->chains, name);
	if (k && k->round == fam->round)
		return;
	dp_program_class(&p, c, &b);
	need_chain(fam, w, &b.chain);
	dp_chain_buf_release(&b);
}

void dp_family_need_private(struct dp_family *fam, struct dp_writer *w, const struct dp_numbered *p, uint32_t mask)
{
	struct dp_program prog = dp_family_program(fam);
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

void dp_family_drop_private(struct dp_family *fam, struct dp_writer *w, const struct kp_plan_port *port, uint32_t mask)
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
	struct dp_program p = dp_family_program(fam);
	struct dp_chain_buf b;

	for (int set = 0; set < DP_N_SETS; set++)
		need_set(fam, w, (enum dp_set)set, NULL);
	for (size_t i = 0; dp_program_fixed(&p, i, &b); i++) {
		need_chain(fam, w, &b.chain);
		dp_chain_buf_release(&b);
	}
	for (size_t i = 0; i < KP_N(tries); i++)
		for (uint32_t m = 1; m <= DP_TRY_PRELOAD; m = dp_slots_size(m + 1))
			dp_family_need_class(fam, w, &(struct dp_class){ .kind = (uint8_t)tries[i], .m = m });
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
		const struct dp_known *k = kp_map_gets(fam->chains, names[i]);

		if (k->round == fam->round)
			continue;
		if (dp_class_parse(names[i], &c)) {
			dp_family_need_class(fam, w, &c);
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
		const struct dp_service *s = it.value;

		for (uint32_t i = 0; i < s->plan->n_ports; i++)
			if (s->plan->ports[i].family == fam->f)
				dp_family_need_private(fam, w, &s->ports[i], dp_layout_privates(&s->ports[i]));
	}
}

struct flush {
	struct dp_family *fam;
	struct dp_writer *w;
	enum dp_set set;
};

static void flush_one(void *arg, const struct kp_addr *a, bool add)
{
	const struct flush *f = arg;

	dp_family_elem(f->fam, f->w, add, &(struct dp_elem){ .set = (uint8_t)f->set, .ip = *a });
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
		const struct dp_known *k = it.value;

		if (k->round == fam->round)
			continue;
		w->ops->del_set(w, it.key);
		kp_map_del_at(fam->sets, &it);
	}
}

/* What the kernel has now takes the place of what was written. */
static void learn(struct dp_family *fam, const struct dp_held *held)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(fam->chains, &it);)
		if (!kp_map_gets(held->chains, it.key))
			kp_map_del_at(fam->chains, &it);
	for (struct kp_map_it it = { 0 }; kp_map_next(held->chains, &it);) {
		struct dp_known *k = kp_map_gets(fam->chains, it.key);

		if (!k)
			k = put_known(fam->chains, it.key);
		k->fingerprint = ((const struct dp_held_chain *)it.value)->fingerprint;
	}
	for (struct kp_map_it it = { 0 }; kp_map_next(held->sets, &it);)
		if (!kp_map_gets(fam->sets, it.key))
			put_known(fam->sets, it.key);
}

void dp_family_rewrite(struct dp_family *fam, struct dp_writer *w, const struct dp_held *held)
{
	learn(fam, held);
	fam->round++;
	write_program(fam, w);
	for (struct kp_map_it it = { 0 }; kp_map_next(fam->services, &it);)
		dp_family_need_service(fam, w, it.value);
	dp_family_prune(fam, w);
}

void dp_family_repeat(struct dp_family *fam, struct dp_writer *w, enum dp_set set, const char *const *keys, size_t n)
{
	const struct dp_refset *all[DP_N_SETS] = {
		[DP_CLUSTER_IPS] = fam->cluster_ips, [DP_HAIRPIN] = fam->hairpin,
		[DP_NODE_IPS] = fam->node_ips, [DP_NODEPORT_IPS] = fam->nodeport_ips,
	};

	fam->repeats = true;
	fam->repeated = set;
	for (size_t i = 0; !all[set] && i < n; i++) {
		const struct dp_service *s = kp_map_gets(fam->services, keys[i]);

		w->tag = (uint32_t)i + 1;
		if (s)
			dp_family_repeat_service(fam, w, s);
	}
	w->tag = 0;
	if (all[set])
		dp_refset_each(all[set], flush_one, &(struct flush){ fam, w, set });
	fam->repeats = false;
}

struct kp_plan *dp_family_plan(const struct dp_family *fam, const char *key)
{
	const struct dp_service *s = kp_map_gets(fam->services, key);

	return s ? s->plan : NULL;
}

bool dp_family_has_set(const struct dp_family *fam, const char *name)
{
	return kp_map_gets(fam->sets, name) != NULL;
}

bool dp_family_has_sets_of(const struct dp_family *fam, const struct dp_held *held)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(fam->sets, &it);)
		if (!kp_map_gets(held->sets, it.key))
			return false;
	return true;
}

/* Some set holds more than so many quarters of its size. */
static bool is_above(const struct dp_family *fam, uint32_t quarters)
{
	for (int set = 0; set < DP_N_SETS; set++) {
		const struct dp_known *k = kp_map_gets(fam->sets, dp_set_defs[set].name);

		if (k && k->size && fam->sum[set].n > k->size / 4 * quarters)
			return true;
	}
	return false;
}

bool dp_family_is_tight(const struct dp_family *fam)
{
	return is_above(fam, 3);
}

bool dp_family_has_room(const struct dp_family *fam)
{
	return !is_above(fam, 4);
}
