#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/family.h"
#include "nft/layout.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/plan/draft.h"

/*
 * A kernel as a writer: takes a batch, then applies it in the order a transaction has,
 * and refuses what nf_tables would refuse. After every batch it must hold exactly what
 * the plans ask for, whatever the way there.
 */
struct op {
	bool add;
	uint8_t id[1 + DP_KEY_MAX];
	size_t len;
	char value[DP_CHAIN_NAME];
};

struct kernel {
	struct dp_writer w;
	struct kp_map *elems, *chains, *sets;	/* key -> text; name -> list of targets; name -> "" */
	struct op *ops;
	size_t n, cap;
	char **gone;
	size_t n_gone, cap_gone;
};

static struct kernel *kernel_of(struct dp_writer *w)
{
	return (struct kernel *)w;
}

static void k_set(struct dp_writer *w, enum dp_set set, const char *name, uint32_t size)
{
	const char *by = name ? name : dp_set_defs[set].name;

	(void)size;
	ck_assert_msg(!kp_map_gets(kernel_of(w)->sets, by), "set %s created twice", by);
	kp_map_puts(kernel_of(w)->sets, by, kp_strdup(""));
}

static void k_chain(struct dp_writer *w, const struct dp_chain *c, bool exists)
{
	struct kp_buf targets = { 0 };

	ck_assert_msg(exists == (kp_map_gets(kernel_of(w)->chains, c->name) != NULL), "chain %s: exists is %d", c->name, exists);
	kp_buf_puts(&targets, " ");
	for (size_t i = 0; i < c->n_rules; i++)
		for (size_t j = 0; j < c->rules[i].n; j++)
			if (c->rules[i].stmts[j].name)
				kp_buf_printf(&targets, "%s ", c->rules[i].stmts[j].name);
	kp_map_puts(kernel_of(w)->chains, c->name, targets.data);
}

static void k_elem(struct dp_writer *w, bool add, const struct dp_elem *e)
{
	struct kernel *k = kernel_of(w);
	char text[KP_ADDR_STRLEN];
	struct op *op;

	kp_grow(&k->ops, k->n, &k->cap);
	op = &k->ops[k->n++];
	*op = (struct op){ .add = add, .id = { e->set } };
	op->len = 1 + dp_elem_key(e, w->f, op->id + 1);
	if (dp_set_defs[e->set].data == DP_DATA_VERDICT)
		snprintf(op->value, sizeof(op->value), "%s", e->chain ? e->chain : "drop");
	else if (dp_set_defs[e->set].data == DP_DATA_ENDPOINT)
		snprintf(op->value, sizeof(op->value), "%s %u", kp_addr_str(&e->to, text), e->to_port);
}

static void k_gone(struct dp_writer *w, const char *name)
{
	struct kernel *k = kernel_of(w);

	kp_grow(&k->gone, k->n_gone, &k->cap_gone);
	k->gone[k->n_gone++] = kp_strdup(name);
}

static const struct dp_writer_ops kernel_ops = {
	.set = k_set, .chain = k_chain, .elem = k_elem, .del_chain = k_gone, .del_set = k_gone,
};

static void apply_elems(struct kernel *k, bool add)
{
	for (size_t i = 0; i < k->n; i++) {
		const struct op *op = &k->ops[i];

		if (op->add != add)
			continue;
		if (add) {
			ck_assert_msg(!kp_map_get(k->elems, op->id, op->len), "element of set %d added twice", op->id[0]);
			kp_map_put(k->elems, op->id, op->len, kp_strdup(op->value));
		} else {
			ck_assert_msg(kp_map_del(k->elems, op->id, op->len), "deleted element of set %d is not there", op->id[0]);
		}
	}
}

static void check_references(const struct kernel *k)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(k->elems, &it);) {
		const uint8_t *id = it.key;

		if (dp_set_defs[id[0]].data == DP_DATA_VERDICT && strcmp(it.value, "drop") != 0)
			ck_assert_msg(kp_map_gets(k->chains, it.value) != NULL, "verdict to missing chain %s", (char *)it.value);
	}
	for (struct kp_map_it it = { 0 }; kp_map_next(k->chains, &it);) {
		KP_AUTO(kp_freep) char *targets = kp_strdup(it.value);
		char *rest = NULL;

		for (char *t = strtok_r(targets, " ", &rest); t; t = strtok_r(NULL, " ", &rest))
			ck_assert_msg(kp_map_gets(k->chains, t) || kp_map_gets(k->sets, t), "chain %s names missing %s", (char *)it.key, t);
	}
}

static void commit(struct kernel *k)
{
	apply_elems(k, false);
	apply_elems(k, true);
	for (size_t i = 0; i < k->n_gone; i++) {
		ck_assert_msg(kp_map_dels(k->chains, k->gone[i]) || kp_map_dels(k->sets, k->gone[i]), "%s is not there", k->gone[i]);
		free(k->gone[i]);
	}
	k->n = k->n_gone = 0;
	check_references(k);
}

static struct kernel *kernel_new(void)
{
	struct kernel *k = kp_calloc(1, sizeof(*k));

	k->w.ops = &kernel_ops;
	k->elems = kp_map_new(free);
	k->chains = kp_map_new(free);
	k->sets = kp_map_new(free);
	return k;
}

static void kernel_free(struct kernel *k)
{
	kp_map_free(k->elems);
	kp_map_free(k->chains);
	kp_map_free(k->sets);
	free(k->ops);
	free(k->gone);
	free(k);
}

static const char *held(const struct kernel *k, const struct dp_elem *e)
{
	uint8_t id[1 + DP_KEY_MAX] = { e->set };
	size_t len = 1 + dp_elem_key(e, k->w.f, id + 1);

	return kp_map_get(k->elems, id, len);
}

/* Slots base.. of a front end hold exactly these endpoints. Returns how many. */
static size_t check_slots(const struct kernel *k, struct dp_elem e, uint32_t base, const struct kp_backend *want, uint32_t n)
{
	e.set = e.set == DP_NP ? DP_NPEPS : DP_EPS;
	for (uint32_t i = 0; i < n; i++) {
		char text[KP_ADDR_STRLEN], to[KP_ADDR_STRLEN + 8];
		unsigned found = 0;

		snprintf(to, sizeof(to), "%s %u", kp_addr_str(&want[i].addr, text), want[i].port);
		for (e.slot = base; e.slot < base + n; e.slot++) {
			const char *v = held(k, &e);

			ck_assert_msg(v != NULL, "slot %u is empty", e.slot);
			found += strcmp(v, to) == 0;
		}
		ck_assert_msg(found == 1, "%s has %u slots", to, found);
	}
	return n;
}

/* What one front end must have in the maps; returns the number of elements. */
static size_t check_frontend(const struct kernel *k, const struct kp_plan_port *p, const struct kp_frontend *fe)
{
	bool external = fe->kind != KP_FE_CLUSTER_IP, drop = !external && p->internal_local && !p->n_local;
	struct dp_elem e = dp_layout_key(p, fe), rec = e;
	const char *verdict = held(k, &e);
	size_t n = 1;

	ck_assert_ptr_nonnull(verdict);
	rec.set = e.set == DP_NP ? DP_AFFRECNP : DP_AFFREC;
	if (!p->has_any) {
		ck_assert_msg(fe->kind == KP_FE_VIP && p->n_ranges ? strncmp(verdict, "fw/", 3) == 0 : strcmp(verdict, "reject-new") == 0,
			      "no endpoints: %s", verdict);
		return n;
	}
	ck_assert_int_eq(strcmp(verdict, "drop") == 0, drop);
	if (drop)
		return n;
	if (!external && p->internal_local)
		n += check_slots(k, e, 0, p->local, p->n_local);
	else
		n += check_slots(k, e, 0, p->cluster, p->n_cluster);
	if (external && p->external_local)
		n += check_slots(k, e, DP_LOCAL_SLOT, p->local, p->n_local);
	verdict = held(k, &rec);	/* no node port of another Service records what goes to an address from outside */
	ck_assert_int_eq(verdict != NULL, p->affinity_seconds || (external && fe->kind != KP_FE_NODE_PORT));
	ck_assert_int_eq(verdict && strncmp(verdict, "rec/", 4) == 0, p->affinity_seconds > 0);
	return n + (verdict != NULL);
}

static void check_all(const struct kernel *k, struct kp_plan *const *plans, size_t n)
{
	static const enum dp_set exact[] = { DP_SVC, DP_NP, DP_EPS, DP_NPEPS };
	uint32_t expected[DP_N_SETS] = { 0 }, of_set[DP_N_SETS] = { 0 };
	size_t expect = 0, counted = 0;

	for (size_t i = 0; i < n; i++)
		if (plans[i])
			dp_family_expect(plans[i], KP_IPV4, expected);
	for (size_t i = 0; i < n; i++)
		for (uint32_t j = 0; plans[i] && j < plans[i]->n_ports; j++)
			for (uint32_t f = 0; f < plans[i]->ports[j].n_frontends; f++)
				if (plans[i]->ports[j].frontends[f].claimed)
					expect += check_frontend(k, &plans[i]->ports[j], &plans[i]->ports[j].frontends[f]);
	for (struct kp_map_it it = { 0 }; kp_map_next(k->elems, &it);) {
		uint8_t set = *(const uint8_t *)it.key;

		of_set[set]++;
		counted += set == DP_SVC || set == DP_NP || set == DP_EPS || set == DP_NPEPS || set == DP_AFFREC || set == DP_AFFRECNP;
	}
	ck_assert_uint_eq(counted, expect);	/* and nothing else */
	for (size_t i = 0; i < KP_N(exact); i++)
		ck_assert_uint_eq(of_set[exact[i]], expected[exact[i]]);
}

static struct kp_backend random_backend(void)
{
	return (struct kp_backend){ .addr = { .b = { 10, 244, (uint8_t)(rand() % 2), (uint8_t)(1 + rand() % 12) } },
				    .port = 8080, .local = rand() % 3 == 0 };
}

static bool has(const struct kp_backend *v, uint32_t n, const struct kp_backend *b)
{
	for (uint32_t i = 0; i < n; i++)
		if (kp_addr_cmp(&v[i].addr, &b->addr) == 0)
			return true;
	return false;
}

/* One Service port of any kind, with any endpoints: what plans can look like. */
static struct kp_plan *random_plan(unsigned service)
{
	struct kp_draft d = { 0 };
	struct kp_plan *plan;
	char key[32];

	snprintf(key, sizeof(key), "default/s%u", service);
	for (unsigned port = 0; port < 1 + (unsigned)rand() % 2; port++) {
		struct kp_plan_port *p = kp_draft_port(&d, key, port ? "b" : "a", IPPROTO_TCP, (uint16_t)(80 + port));
		struct kp_addr ip = { .b = { 10, 96, 0, (uint8_t)service } }, vip = { .b = { 203, 0, 113, (uint8_t)service } };
		struct kp_backend seen[8];
		uint32_t n = 0, want = (uint32_t)rand() % 8;

		p->internal_local = rand() % 4 == 0;
		p->external_local = rand() % 2;
		p->affinity_seconds = rand() % 3 == 0 ? 10 : 0;
		p->has_any = want > 0;
		kp_draft_frontend(&d, (struct kp_frontend){ .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = (uint16_t)(80 + port), .ip = ip });
		if (rand() % 2)
			kp_draft_frontend(&d, (struct kp_frontend){ .kind = KP_FE_VIP, .claimed = rand() % 5 > 0, .port = (uint16_t)(80 + port), .ip = vip });
		if (rand() % 2)
			kp_draft_frontend(&d, (struct kp_frontend){ .kind = KP_FE_NODE_PORT, .claimed = true, .port = (uint16_t)(30000 + 2 * service + port) });
		if (rand() % 3 == 0)
			kp_draft_range(&d, (struct kp_cidr){ .addr = { .b = { 192, 0, 2, 0 } }, .len = 24 });
		for (uint32_t i = 0; i < want; i++) {
			struct kp_backend b = random_backend();

			if (has(seen, n, &b))
				continue;
			seen[n++] = b;
			kp_draft_cluster(&d, b);
			if (b.local)
				kp_draft_local(&d, b);
		}
	}
	plan = kp_draft_freeze(&d, key);
	kp_draft_release(&d);
	return plan;
}

static struct kp_plan_node *random_node(void)
{
	struct kp_plan_node *n = kp_plan_node_new();

	n->enabled[KP_IPV4] = true;
	n->mark = 0x4000;
	n->masquerade_all = rand() % 2;
	n->nodeport_all[KP_IPV4] = rand() % 2;
	return n;
}

#define SERVICES 6
static const uint32_t nothing[DP_N_SETS];

START_TEST(random_walk)
{
	struct kernel *k = kernel_new();
	struct dp_family *fam = dp_family_new(KP_IPV4);
	struct kp_plan *plans[SERVICES] = { NULL };
	struct kp_plan_node *node;

	srand((unsigned)_i);
	node = random_node();
	dp_family_begin(fam, NULL, nothing);
	dp_family_node(fam, &k->w, node);
	for (int round = 0; round < 150; round++) {
		for (int change = 0; change < 1 + rand() % 3; change++) {
			unsigned s = (unsigned)rand() % SERVICES;
			char key[32];

			snprintf(key, sizeof(key), "default/s%u", s);
			kp_plan_unref(plans[s]);
			plans[s] = rand() % 5 ? random_plan(s) : NULL;
			dp_family_service(fam, &k->w, key, plans[s]);
			dp_family_finish(fam, &k->w);
			commit(k);	/* a batch never holds two changes of one Service */
		}
		if (rand() % 20 == 0) {
			kp_plan_node_unref(node);
			node = random_node();
			dp_family_node(fam, &k->w, node);
			dp_family_finish(fam, &k->w);
			commit(k);
		}
		check_all(k, plans, SERVICES);
	}
	for (unsigned s = 0; s < SERVICES; s++)
		kp_plan_unref(plans[s]);
	kp_plan_node_unref(node);
	dp_family_free(fam);
	kernel_free(k);
}
END_TEST

/* Everything goes again: no element, private chain or map is left. */
START_TEST(nothing_is_left)
{
	struct kernel *k = kernel_new();
	struct dp_family *fam = dp_family_new(KP_IPV4);
	struct kp_plan_node *node = random_node();

	srand((unsigned)_i);
	dp_family_begin(fam, NULL, nothing);
	dp_family_node(fam, &k->w, node);
	for (unsigned s = 0; s < SERVICES; s++) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *plan = random_plan(s);

		dp_family_service(fam, &k->w, plan->key, plan);
	}
	dp_family_finish(fam, &k->w);
	commit(k);
	for (unsigned s = 0; s < SERVICES; s++) {
		char key[32];

		snprintf(key, sizeof(key), "default/s%u", s);
		dp_family_service(fam, &k->w, key, NULL);
	}
	dp_family_finish(fam, &k->w);
	commit(k);
	ck_assert_uint_eq(kp_map_len(k->elems), 0);
	ck_assert_uint_eq(kp_map_len(k->sets), DP_N_SETS);
	for (struct kp_map_it it = { 0 }; kp_map_next(k->chains, &it);)
		ck_assert_msg(!strchr(it.key, '/'), "chain %s is left", (const char *)it.key);
	kp_plan_node_unref(node);
	dp_family_free(fam);
	kernel_free(k);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("family");
	TCase *tc = tcase_create("family");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, random_walk, 0, 30);
	tcase_add_loop_test(tc, nothing_is_left, 0, 10);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
