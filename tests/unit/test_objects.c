#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "proxy/base/mem.h"
#include "proxy/model/objects.h"

static struct kp_addr addr(const char *s)
{
	struct kp_addr a;

	ck_assert(kp_addr_parse(s, &a));
	return a;
}

static struct kp_service *new_service(void)
{
	struct kp_service *s = kp_calloc(1, sizeof(*s));

	s->ns = kp_strdup("default");
	s->name = kp_strdup("web");
	s->has_ip[KP_IPV4] = true;
	s->cluster_ip[KP_IPV4] = addr("10.0.0.1");
	s->n_ports = 1;
	s->ports = kp_calloc(1, sizeof(*s->ports));
	s->ports[0] = (struct kp_service_port){ kp_strdup("http"), IPPROTO_TCP, 80, 30080 };
	s->n_external_ips = 1;
	s->external_ips = kp_calloc(1, sizeof(*s->external_ips));
	s->external_ips[0] = addr("192.0.2.1");
	s->n_source_ranges = 1;
	s->source_ranges = kp_calloc(1, sizeof(*s->source_ranges));
	ck_assert(kp_cidr_parse("10.0.0.0/8", &s->source_ranges[0]));
	return s;
}

static void rename_service(struct kp_service *s) { free(s->name); s->name = kp_strdup("web2"); }
static void type(struct kp_service *s) { s->type = KP_NODEPORT; }
static void foreign(struct kp_service *s) { s->foreign = true; }
static void headless(struct kp_service *s) { s->headless = true; }
static void lose_ip(struct kp_service *s) { s->has_ip[KP_IPV4] = false; }
static void other_ip(struct kp_service *s) { s->cluster_ip[KP_IPV4] = addr("10.0.0.2"); }
static void second_ip(struct kp_service *s) { s->has_ip[KP_IPV6] = true; }
static void port_name(struct kp_service *s) { s->ports[0].name[0] = 'H'; }
static void port(struct kp_service *s) { s->ports[0].port = 81; }
static void proto(struct kp_service *s) { s->ports[0].proto = IPPROTO_UDP; }
static void node_port(struct kp_service *s) { s->ports[0].node_port = 0; }
static void external(struct kp_service *s) { s->external_ips[0] = addr("192.0.2.2"); }
static void no_external(struct kp_service *s) { s->n_external_ips = 0; }
static void range(struct kp_service *s) { s->source_ranges[0].len = 9; }
static void vip(struct kp_service *s) { s->n_vips = 1; s->vips = kp_calloc(1, sizeof(*s->vips)); }
static void internal(struct kp_service *s) { s->internal_local = true; }
static void external_policy(struct kp_service *s) { s->external_local = true; }
static void affinity(struct kp_service *s) { s->affinity = true; }
static void seconds(struct kp_service *s) { s->affinity_seconds = 1; }
static void health_port(struct kp_service *s) { s->health_check_node_port = 1; }
static void nothing(struct kp_service *s) { (void)s; }
static void unused_ip(struct kp_service *s) { s->cluster_ip[KP_IPV6] = addr("2001:db8::1"); }

static const struct {
	const char *name;
	void (*change)(struct kp_service *s);
	bool equal;
} service_cases[] = {
	{ "nothing", nothing, true },
	{ "address of a family it does not have", unused_ip, true },
	{ "name", rename_service, false },
	{ "type", type, false },
	{ "foreign", foreign, false },
	{ "headless", headless, false },
	{ "clusterIP gone", lose_ip, false },
	{ "clusterIP", other_ip, false },
	{ "second family", second_ip, false },
	{ "port name", port_name, false },
	{ "port", port, false },
	{ "protocol", proto, false },
	{ "nodePort", node_port, false },
	{ "externalIP", external, false },
	{ "externalIP gone", no_external, false },
	{ "source range", range, false },
	{ "vip", vip, false },
	{ "internalTrafficPolicy", internal, false },
	{ "externalTrafficPolicy", external_policy, false },
	{ "affinity", affinity, false },
	{ "affinity seconds", seconds, false },
	{ "healthCheckNodePort", health_port, false },
};

START_TEST(service_case)
{
	struct kp_service *a = new_service(), *b = new_service();

	service_cases[_i].change(b);
	ck_assert_msg(kp_service_equal(a, b) == service_cases[_i].equal, "%s", service_cases[_i].name);
	ck_assert_msg(kp_service_equal(b, a) == service_cases[_i].equal, "%s, other way round", service_cases[_i].name);
	kp_service_free(a);
	kp_service_free(b);
}
END_TEST

START_TEST(slices)
{
	char ns[] = "default", one[] = "web-1", two[] = "web-2";
	struct kp_slice a = { .ns = ns, .name = one, .fingerprint = 1 }, b = a;

	ck_assert(kp_slice_equal(&a, &b));
	b.fingerprint = 2;
	ck_assert(!kp_slice_equal(&a, &b));
	b.fingerprint = 1;
	b.name = two;
	ck_assert(!kp_slice_equal(&a, &b));
}
END_TEST

static char **strv(const char *a, const char *b)
{
	char **v = kp_calloc(3, sizeof(*v));

	v[0] = a ? kp_strdup(a) : NULL;
	v[1] = a && b ? kp_strdup(b) : NULL;
	return v;
}

START_TEST(nodes)
{
	struct kp_node *a = kp_calloc(1, sizeof(*a)), *b = kp_calloc(1, sizeof(*b));

	a->name = kp_strdup("n1");
	b->name = kp_strdup("n1");
	ck_assert(kp_node_equal(a, b));
	a->taint_keys = strv("x", "y");
	ck_assert(!kp_node_equal(a, b));
	b->taint_keys = strv("x", NULL);
	ck_assert(!kp_node_equal(a, b));
	ck_assert(!kp_node_equal(b, a));
	b->taint_keys = kp_strv_free(b->taint_keys);
	b->taint_keys = strv("x", "y");
	ck_assert(kp_node_equal(a, b));
	a->zone = kp_strdup("");		/* an empty label is not the same as none */
	ck_assert(!kp_node_equal(a, b));
	b->zone = kp_strdup("");
	ck_assert(kp_node_equal(a, b));
	b->deleting = true;
	ck_assert(!kp_node_equal(a, b));
	b->deleting = false;
	b->shutting_down = true;
	ck_assert(!kp_node_equal(a, b));
	b->shutting_down = false;
	b->stand_ins = true;
	ck_assert(!kp_node_equal(a, b));
	kp_node_free(a);
	kp_node_free(b);
}
END_TEST

/* Destructors take NULL and half-built objects; a leak or a wild free is for ASan and valgrind to see. */
START_TEST(freeing)
{
	struct kp_slice *s = kp_calloc(1, sizeof(*s));

	ck_assert_ptr_null(kp_service_free(NULL));
	ck_assert_ptr_null(kp_slice_free(NULL));
	ck_assert_ptr_null(kp_node_free(NULL));
	ck_assert_ptr_null(kp_service_cidr_free(NULL));
	ck_assert_ptr_null(kp_strv_free(NULL));
	ck_assert_ptr_null(kp_service_free(kp_calloc(1, sizeof(struct kp_service))));
	ck_assert_ptr_null(kp_node_free(kp_calloc(1, sizeof(struct kp_node))));
	ck_assert_ptr_null(kp_service_cidr_free(kp_calloc(1, sizeof(struct kp_service_cidr))));
	s->endpoints = kp_calloc(2, sizeof(*s->endpoints));
	s->n_endpoints = 2;
	s->node_names = kp_strdup("n1");
	s->endpoints[1].zone_hints = strv("a", "b");
	s->endpoints[1].node_hints = strv(NULL, NULL);
	ck_assert_ptr_null(kp_slice_free(s));
}
END_TEST

START_TEST(protocols)
{
	ck_assert_str_eq(kp_proto_name(IPPROTO_TCP), "tcp");
	ck_assert_str_eq(kp_proto_name(IPPROTO_UDP), "udp");
	ck_assert_str_eq(kp_proto_name(IPPROTO_SCTP), "sctp");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("objects");
	TCase *tc = tcase_create("values");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, service_case, 0, sizeof(service_cases) / sizeof(service_cases[0]));
	tcase_add_test(tc, slices);
	tcase_add_test(tc, nodes);
	tcase_add_test(tc, freeing);
	tcase_add_test(tc, protocols);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
