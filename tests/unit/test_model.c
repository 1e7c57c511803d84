#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/model/model.h"

static struct kp_service *service(const char *name, uint16_t port)
{
	struct kp_service *s = kp_calloc(1, sizeof(*s));

	s->ns = kp_strdup("ns");
	s->name = kp_strdup(name);
	s->ports = kp_calloc(1, sizeof(*s->ports));
	s->ports[0] = (struct kp_service_port){ .name = kp_strdup(""), .proto = IPPROTO_TCP, .port = port };
	s->n_ports = 1;
	return s;
}

static struct kp_slice *slice(const char *name, const char *of, uint64_t fingerprint)
{
	struct kp_slice *s = kp_calloc(1, sizeof(*s));

	s->ns = kp_strdup("ns");
	s->name = kp_strdup(name);
	s->service = kp_strdup(of);
	s->fingerprint = fingerprint;
	return s;
}

static struct kp_node *node(const char *name, const char *zone, const char *ip)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));

	n->name = kp_strdup(name);
	n->zone = zone ? kp_strdup(zone) : NULL;
	n->ips = kp_calloc(1, sizeof(*n->ips));
	n->n_ips = kp_addr_parse(ip, n->ips);
	return n;
}

static struct kp_service_cidr *cidrs(const char *name, const char *a, const char *b)
{
	struct kp_service_cidr *c = kp_calloc(1, sizeof(*c));

	c->name = kp_strdup(name);
	c->cidrs = kp_calloc(2, sizeof(*c->cidrs));
	c->n_cidrs = kp_cidr_parse(a, &c->cidrs[0]);
	if (b)
		c->n_cidrs += kp_cidr_parse(b, &c->cidrs[1]);
	return c;
}

/* All that is dirty, in order: "ns/a ns/b ". */
static const char *popped(struct kp_model *m)
{
	static char all[512];
	char *key;

	all[0] = '\0';
	while ((key = kp_model_pop_dirty(m))) {
		strcat(strcat(all, key), " ");
		free(key);
	}
	return all;
}

static const char *slice_names(const struct kp_model *m, const char *key)
{
	static char all[512];
	const struct kp_slice *const *slices;
	size_t n = kp_model_slices(m, key, &slices);

	all[0] = '\0';
	for (size_t i = 0; i < n; i++)
		strcat(strcat(all, slices[i]->name), " ");
	return all;
}

START_TEST(services_come_change_and_go)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");

	ck_assert(kp_model_put_service(m, service("b", 80)));
	ck_assert(kp_model_put_service(m, service("a", 80)));
	ck_assert_str_eq(popped(m), "ns/b ns/a ");
	ck_assert(!kp_model_put_service(m, service("a", 80)));
	ck_assert_str_eq(popped(m), "");
	ck_assert(kp_model_put_service(m, service("a", 81)));
	ck_assert(kp_model_put_service(m, service("a", 82)));
	ck_assert_str_eq(popped(m), "ns/a ");
	ck_assert_uint_eq(kp_model_n_services(m), 2);
	ck_assert_uint_eq(kp_model_service(m, "ns/a")->ports[0].port, 82);

	ck_assert(kp_model_del_service(m, "ns/a"));
	ck_assert(!kp_model_del_service(m, "ns/a"));
	ck_assert(!kp_model_del_service(m, "ns/never"));
	ck_assert_ptr_null(kp_model_service(m, "ns/a"));
	ck_assert_uint_eq(kp_model_n_services(m), 1);
	ck_assert_str_eq(popped(m), "ns/a ");
	ck_assert_str_eq(popped(m), "");
}
END_TEST

START_TEST(foreign_counts_as_absent)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");
	struct kp_service *s = service("a", 80);
	struct kp_slice *e = slice("a-1", "a", 1);

	kp_model_put_service(m, service("a", 80));
	kp_model_put_slice(m, slice("a-1", "a", 1));
	popped(m);
	s->foreign = e->foreign = true;
	ck_assert(kp_model_put_service(m, s));
	ck_assert(kp_model_put_slice(m, e));
	ck_assert_str_eq(popped(m), "ns/a ");
	ck_assert_ptr_null(kp_model_service(m, "ns/a"));
	ck_assert_str_eq(slice_names(m, "ns/a"), "");

	s = service("new", 80);
	s->foreign = true;
	ck_assert(!kp_model_put_service(m, s));
	ck_assert_str_eq(popped(m), "");
}
END_TEST

START_TEST(slices_are_kept_by_name)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");

	kp_model_put_slice(m, slice("a-2", "a", 1));
	kp_model_put_slice(m, slice("a-9", "a", 1));
	kp_model_put_slice(m, slice("a-1", "a", 1));
	kp_model_put_slice(m, slice("a-10", "a", 1));
	ck_assert_str_eq(slice_names(m, "ns/a"), "a-1 a-10 a-2 a-9 ");
	ck_assert_str_eq(popped(m), "ns/a ");
	ck_assert(!kp_model_put_slice(m, slice("a-2", "a", 1)));
	ck_assert_str_eq(popped(m), "");
	ck_assert(kp_model_put_slice(m, slice("a-2", "a", 2)));
	ck_assert_str_eq(popped(m), "ns/a ");
	ck_assert_str_eq(slice_names(m, "ns/a"), "a-1 a-10 a-2 a-9 ");
	ck_assert(kp_model_del_slice(m, "ns/a-10"));
	ck_assert(!kp_model_del_slice(m, "ns/a-10"));
	ck_assert_str_eq(slice_names(m, "ns/a"), "a-1 a-2 a-9 ");
	ck_assert_str_eq(popped(m), "ns/a ");
}
END_TEST

START_TEST(slice_moves_to_another_service)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");

	kp_model_put_service(m, service("a", 80));
	kp_model_put_service(m, service("b", 80));
	kp_model_put_slice(m, slice("x", "a", 1));
	popped(m);
	ck_assert(kp_model_put_slice(m, slice("x", "b", 1)));
	ck_assert_str_eq(popped(m), "ns/a ns/b ");
	ck_assert_str_eq(slice_names(m, "ns/a"), "");
	ck_assert_str_eq(slice_names(m, "ns/b"), "x ");
}
END_TEST

START_TEST(slices_outlive_their_service)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");

	kp_model_put_slice(m, slice("x", "a", 1));
	popped(m);
	kp_model_put_service(m, service("a", 80));
	ck_assert_str_eq(slice_names(m, "ns/a"), "x ");
	kp_model_del_service(m, "ns/a");
	popped(m);
	ck_assert_str_eq(slice_names(m, "ns/a"), "x ");
	kp_model_del_slice(m, "ns/x");
	ck_assert_str_eq(popped(m), "ns/a ");
}
END_TEST

START_TEST(only_the_own_node_counts)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");

	ck_assert(!kp_model_pop_node_dirty(m));
	ck_assert(!kp_model_put_node(m, node("n2", "z", "10.0.0.2")));
	ck_assert_ptr_null(kp_model_node(m));
	ck_assert(!kp_model_pop_node_dirty(m));
	ck_assert(kp_model_put_node(m, node("n1", "z", "10.0.0.1")));
	ck_assert(kp_model_pop_node_dirty(m));
	ck_assert(!kp_model_pop_node_dirty(m));
	ck_assert(!kp_model_put_node(m, node("n1", "z", "10.0.0.1")));
	ck_assert(!kp_model_pop_node_dirty(m));
	ck_assert(kp_model_put_node(m, node("n1", "z", "10.0.0.3")));
	ck_assert(kp_model_pop_node_dirty(m));
	ck_assert_str_eq(kp_model_node_name(m), "n1");
}
END_TEST

static const struct {
	const char *what, *zone, *ip;
	bool deleting, all_dirty;
} node_changes[] = {
	{ "nothing",		"z",	"10.0.0.1",	false,	false },
	{ "being deleted",	"z",	"10.0.0.1",	true,	false },
	{ "zone",		"y",	"10.0.0.1",	false,	true },
	{ "zone gone",		NULL,	"10.0.0.1",	false,	true },
	{ "address",		"z",	"10.0.0.9",	false,	true },
};

START_TEST(node_change_marks_all)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");
	struct kp_node *n = node("n1", node_changes[_i].zone, node_changes[_i].ip);

	kp_model_put_service(m, service("a", 80));
	kp_model_put_slice(m, slice("b-1", "b", 1));	/* a group without a Service */
	kp_model_put_node(m, node("n1", "z", "10.0.0.1"));
	popped(m);
	n->deleting = node_changes[_i].deleting;
	kp_model_put_node(m, n);
	ck_assert_msg(strcmp(popped(m), node_changes[_i].all_dirty ? "ns/a " : "") == 0, "%s", node_changes[_i].what);
}
END_TEST

START_TEST(marks_are_a_set)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");

	kp_model_put_service(m, service("a", 80));
	kp_model_put_service(m, service("b", 80));
	kp_model_mark_dirty(m, "ns/a");
	kp_model_mark_dirty(m, "ns/unknown");
	kp_model_mark_all_dirty(m);
	ck_assert_str_eq(popped(m), "ns/a ns/b ns/unknown ");
	kp_model_mark_dirty(m, "ns/b");
	ck_assert_str_eq(popped(m), "ns/b ");
}
END_TEST

static size_t cidrs_of(const struct kp_model *m, enum kp_family f, char *out)
{
	KP_AUTO(kp_freep) struct kp_cidr *all = NULL;
	size_t n = kp_model_service_cidrs(m, f, &all);
	char text[KP_CIDR_STRLEN];

	out[0] = '\0';
	for (size_t i = 0; i < n; i++)
		strcat(strcat(out, kp_cidr_str(&all[i], text)), " ");
	return n;
}

START_TEST(service_cidrs_are_gathered)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");
	char text[256];

	ck_assert_uint_eq(cidrs_of(m, KP_IPV4, text), 0);
	ck_assert(kp_model_put_service_cidr(m, cidrs("x", "10.97.0.0/16", "fd00::/108")));
	ck_assert(kp_model_put_service_cidr(m, cidrs("y", "10.96.0.0/16", "10.97.0.0/16")));
	ck_assert(kp_model_pop_node_dirty(m));
	ck_assert(!kp_model_put_service_cidr(m, cidrs("x", "10.97.0.0/16", "fd00::/108")));
	ck_assert(!kp_model_pop_node_dirty(m));
	cidrs_of(m, KP_IPV4, text);
	ck_assert_str_eq(text, "10.96.0.0/16 10.97.0.0/16 ");
	cidrs_of(m, KP_IPV6, text);
	ck_assert_str_eq(text, "fd00::/108 ");
	ck_assert(kp_model_put_service_cidr(m, cidrs("x", "10.98.0.0/16", NULL)));
	ck_assert(kp_model_del_service_cidr(m, "y"));
	ck_assert(!kp_model_del_service_cidr(m, "y"));
	ck_assert(kp_model_pop_node_dirty(m));
	cidrs_of(m, KP_IPV4, text);
	ck_assert_str_eq(text, "10.98.0.0/16 ");
	ck_assert_uint_eq(cidrs_of(m, KP_IPV6, text), 0);
}
END_TEST

static void put_triggered(struct kp_model *m, const char *name, uint64_t fingerprint, uint64_t ns)
{
	struct kp_slice *s = slice(name, "a", fingerprint);

	s->trigger_ns = ns;
	kp_model_put_slice(m, s);
}

START_TEST(triggers_wait_until_taken)
{
	KP_AUTO(kp_model_freep) struct kp_model *m = kp_model_new("n1");
	KP_AUTO(kp_freep) uint64_t *t = NULL;

	put_triggered(m, "x", 1, 500);	/* nobody asked yet */
	kp_model_track_triggers(m, 100);
	put_triggered(m, "x", 2, 99);
	put_triggered(m, "x", 3, 100);
	put_triggered(m, "x", 3, 101);	/* no change, no time */
	put_triggered(m, "y", 1, 102);
	put_triggered(m, "y", 2, 0);
	ck_assert_uint_eq(kp_model_take_triggers(m, "ns/a", &t), 2);
	ck_assert_uint_eq(t[0], 100);
	ck_assert_uint_eq(t[1], 102);
	free(kp_steal(&t));
	ck_assert_uint_eq(kp_model_take_triggers(m, "ns/a", &t), 0);
	ck_assert_uint_eq(kp_model_take_triggers(m, "ns/none", &t), 0);
	put_triggered(m, "x", 4, 103);
	kp_model_del_slice(m, "ns/y");
	ck_assert_uint_eq(kp_model_take_triggers(m, "ns/a", &t), 0);
	for (uint64_t i = 0; i < 5000; i++)	/* and nobody takes them */
		put_triggered(m, "x", i, 200 + i);
	ck_assert_uint_eq(kp_model_take_triggers(m, "ns/a", &t), 1024);
	ck_assert_uint_eq(t[0], 200);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("model");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, services_come_change_and_go);
	tcase_add_test(tc, foreign_counts_as_absent);
	tcase_add_test(tc, slices_are_kept_by_name);
	tcase_add_test(tc, slice_moves_to_another_service);
	tcase_add_test(tc, slices_outlive_their_service);
	tcase_add_test(tc, only_the_own_node_counts);
	tcase_add_loop_test(tc, node_change_marks_all, 0, KP_N(node_changes));
	tcase_add_test(tc, marks_are_a_set);
	tcase_add_test(tc, service_cidrs_are_gathered);
	tcase_add_test(tc, triggers_wait_until_taken);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
