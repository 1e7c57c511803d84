#include <check.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/hash.h"
#include "proxy/source/pack.h"
#include "tests/support/load.h"

static struct kp_addr ip(const char *text)
{
	struct kp_addr a;

	ck_assert_msg(kp_addr_parse(text, &a), "%s", text);
	return a;
}

static struct kp_cidr net(const char *text)
{
	struct kp_cidr c;

	ck_assert_msg(kp_cidr_parse(text, &c), "%s", text);
	return c;
}

/* No two members of a kind are equal, and none has the value that nothing would leave there. */
static struct kp_service_port service_ports[] = {
	{ (char *)"http", IPPROTO_TCP, 80, 30080 }, { (char *)"", IPPROTO_UDP, 65535, 0 }, { (char *)"s", IPPROTO_SCTP, 1, 65535 },
};
static struct kp_addr external_ips[1], vips[2];
static struct kp_cidr source_ranges[3];

static struct kp_service full_service(void)
{
	external_ips[0] = ip("192.0.2.7");
	vips[0] = ip("203.0.113.1");
	vips[1] = ip("2001:db8::1");
	source_ranges[0] = net("10.0.0.0/9");
	source_ranges[1] = net("::/0");
	source_ranges[2] = net("fd00::1/128");
	return (struct kp_service){
		.ns = (char *)"ns", .name = (char *)"na\xc3\xa4me", .type = KP_EXTERNALNAME, .foreign = true, .headless = true,
		.has_ip = { true, true }, .cluster_ip = { ip("10.96.0.1"), ip("fd00::2") }, .ports = service_ports, .n_ports = 3,
		.external_ips = external_ips, .n_external_ips = 1, .vips = vips, .n_vips = 2, .source_ranges = source_ranges,
		.n_source_ranges = 3, .internal_local = true, .external_local = true, .affinity = true,
		.affinity_seconds = UINT32_MAX, .health_check_node_port = 31000, .created = -5,
	};
}

static struct kp_object again(const struct kp_buf *b)
{
	struct kp_object o;
	size_t at = 0;

	ck_assert_int_eq(kp_unpack(b->data, b->len, &at, &o), 1);
	ck_assert_uint_eq(at, b->len);
	return o;
}

START_TEST(every_member_of_a_service)
{
	struct kp_service s = full_service();
	struct kp_buf b = { 0 };
	struct kp_object o;

	kp_pack(&b, KP_KIND_SERVICE, &s);
	o = again(&b);
	ck_assert_int_eq(o.kind, KP_KIND_SERVICE);
	ck_assert_str_eq(o.key, "ns/na\xc3\xa4me");
	ck_assert(kp_service_equal(&s, o.service));
	kp_object_release(&o);
	kp_buf_release(&b);
}
END_TEST

static char *zones[] = { (char *)"a", (char *)"b", NULL }, *nobody[] = { NULL };

static void same_list(char *const *a, char *const *b)
{
	ck_assert(!a == !b);
	for (; a && *a; a++, b++)
		ck_assert_str_eq(*a, *b);
	ck_assert(!b || !*b);
}

/* Slices compare by their fingerprint, so all of it is looked at here. */
START_TEST(every_member_of_a_slice)
{
	struct kp_slice_port ports[] = { { (char *)"http", IPPROTO_TCP, 8080 }, { (char *)"", IPPROTO_SCTP, 9 } };
	struct kp_endpoint endpoints[] = {
		{ ip("fd00::1"), KP_EP_READY | KP_EP_SERVING | KP_EP_HERE, 0, zones, nobody },
		{ ip("fd00::2"), KP_EP_TERMINATING, 0, NULL, zones },
	};
	struct kp_slice s = {
		.ns = (char *)"ns", .name = (char *)"web-x", .service = (char *)"web", .foreign = true, .family = KP_IPV6,
		.ports = ports, .n_ports = 2, .endpoints = endpoints, .n_endpoints = 2, .trigger_ns = 7, .fingerprint = UINT64_MAX - 1,
	};
	struct kp_buf b = { 0 };
	struct kp_object o;

	kp_pack(&b, KP_KIND_SLICE, &s);
	o = again(&b);
	ck_assert_str_eq(o.key, "ns/web-x");
	ck_assert(kp_slice_equal(&s, o.slice) && o.slice->foreign && o.slice->family == KP_IPV6);
	ck_assert_str_eq(o.slice->service, "web");
	ck_assert_uint_eq(o.slice->trigger_ns, 0);
	ck_assert_uint_eq(o.slice->n_ports, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct kp_slice_port *p = &o.slice->ports[i];
		const struct kp_endpoint *e = &o.slice->endpoints[i];

		ck_assert_str_eq(p->name, ports[i].name);
		ck_assert(p->proto == ports[i].proto && p->port == ports[i].port);
		ck_assert(kp_addr_cmp(&e->addr, &endpoints[i].addr) == 0 && e->flags == endpoints[i].flags);
		same_list(e->zone_hints, endpoints[i].zone_hints);
		same_list(e->node_hints, endpoints[i].node_hints);
	}
	ck_assert_uint_eq(o.slice->n_endpoints, 2);
	kp_object_release(&o);
	kp_buf_release(&b);
}
END_TEST

START_TEST(every_member_of_a_node_and_a_service_cidr)
{
	struct kp_addr ips[] = { ip("192.0.2.1"), ip("2001:db8::1") };
	struct kp_cidr cidrs[] = { net("10.244.1.0/24"), net("fd00:1::/64") };
	struct kp_node n = { (char *)"node-1", (char *)"zone", ips, 2, true, cidrs, 2, zones, true, true };
	struct kp_service_cidr c = { (char *)"kubernetes", cidrs, 2 };
	struct kp_buf b = { 0 };
	struct kp_object o;

	kp_pack(&b, KP_KIND_NODE, &n);
	o = again(&b);
	ck_assert_str_eq(o.key, "node-1");
	ck_assert(!o.node->shutting_down);	/* left out */
	n.shutting_down = false;
	ck_assert(kp_node_equal(&n, o.node));
	kp_object_release(&o);
	kp_buf_release(&b);
	kp_pack(&b, KP_KIND_SERVICE_CIDR, &c);
	o = again(&b);
	ck_assert_str_eq(o.key, "kubernetes");
	ck_assert(o.cidr->n_cidrs == 2 && memcmp(o.cidr->cidrs, cidrs, sizeof(cidrs)) == 0);
	kp_object_release(&o);
	kp_buf_release(&b);
}
END_TEST

static struct kp_buf some_objects(void)
{
	struct kp_service s = full_service();
	struct kp_endpoint endpoint = { ip("10.0.0.1"), KP_EP_READY, 0, zones, zones };
	struct kp_slice slice = { .ns = (char *)"n", .name = (char *)"s", .service = (char *)"x", .endpoints = &endpoint, .n_endpoints = 1 };
	struct kp_node node = { .name = (char *)"n", .taint_keys = zones, .pod_cidrs = source_ranges, .n_pod_cidrs = 3 };
	struct kp_buf b = { 0 };

	kp_pack(&b, KP_KIND_SERVICE, &s);
	kp_pack(&b, KP_KIND_SLICE, &slice);
	kp_pack(&b, KP_KIND_NODE, &node);
	return b;
}

/* What was written by an earlier version has another number: see VERSION in snapfile.c. */
START_TEST(the_format_is_what_the_version_says)
{
	struct kp_buf b = some_objects();

	ck_assert_msg(b.len == 241 && kp_hash(KP_HASH_INIT, b.data, b.len) == 0x36909a3e7aae35bdu,
		      "%zu bytes, %#llx: the format has changed, raise its version and put these here", b.len,
		      (unsigned long long)kp_hash(KP_HASH_INIT, b.data, b.len));
	kp_buf_release(&b);
}
END_TEST

/* --- what decoders make --- */

static int there_and_back(void *arg, const struct kp_doc_item *item)
{
	struct kp_buf first = { 0 }, second = { 0 };
	struct kp_object o, p;
	struct kp_decode_error why;

	if (kp_decode(item->value, item->list_kind, false, &o, &why) < 0 || !o.value || o.kind == KP_KIND_OTHER)
		return 0;
	kp_pack(&first, o.kind, o.value);
	p = again(&first);
	ck_assert_str_eq(p.key, o.key);
	kp_pack(&second, p.kind, p.value);
	ck_assert_msg(first.len == second.len && memcmp(first.data, second.data, first.len) == 0, "%s", o.key);
	kp_object_release(&o);
	kp_object_release(&p);
	kp_buf_release(&first);
	kp_buf_release(&second);
	++*(size_t *)arg;
	return 0;
}

START_TEST(objects_of_the_golden_folders)
{
	static const struct kp_doc_sink sink = { .item = there_and_back };
	size_t n = 0;
	glob_t found;

	ck_assert_int_eq(glob("tests/golden/*/objects.yaml", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char *text = NULL;
		size_t len = 0;
		FILE *f = fopen(found.gl_pathv[i], "r");
		struct kp_err err = { 0 };

		ck_assert_ptr_nonnull(f);
		ck_assert(getdelim(&text, &len, '\0', f) > 0);
		ck_assert_msg(kp_doc_walk(text, strlen(text), &sink, &n, &err) == 0, "%s", err.msg);
		free(text);
		fclose(f);
	}
	globfree(&found);
	ck_assert_uint_gt(n, 50);
}
END_TEST

/* --- what nobody wrote --- */

/* What is read is sound: it can be packed, and read again. */
static int read_all(const char *p, size_t len)
{
	char *copy = kp_memdup(p, len);	/* of this size, so that a sanitizer sees what is read beyond it */
	struct kp_object o;
	size_t at = 0;
	int r;

	while ((r = kp_unpack(copy, len, &at, &o)) > 0) {
		struct kp_buf b = { 0 };
		struct kp_object same;

		kp_pack(&b, o.kind, o.value);
		same = again(&b);
		ck_assert_str_eq(same.key, o.key);
		kp_object_release(&same);
		kp_object_release(&o);
		kp_buf_release(&b);
	}
	free(copy);
	return r;
}

START_TEST(cut_off_anywhere)
{
	struct kp_buf b = some_objects();
	size_t whole = 0;

	for (size_t len = 0; len <= b.len; len++)
		whole += read_all(b.data, len) == 0;
	ck_assert_uint_eq(whole, 4);	/* nothing, and after each of the three */
	kp_buf_release(&b);
}
END_TEST

START_TEST(any_bit_is_another)
{
	struct kp_buf b = some_objects();

	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] ^= (char)(1 << bit % 8);
		(void)read_all(b.data, b.len);
		b.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	ck_assert_int_eq(read_all(b.data, b.len), 0);
	kp_buf_release(&b);
}
END_TEST

static const struct {
	const char *name, *bytes;
	size_t len;
	bool good;	/* what the others next to it would be */
} cases[] = {
#define BYTES(text) text, sizeof(text) - 1
	{ "CIDR", BYTES("\3\1c\1\0\x0a\0\0\0\x18"), true },
	{ "slice", BYTES("\1\1n\1s\1x\0\1\0\1\1\x0a\0\0\1aaaabbbbcccc\1\0\0\1"), true },
	{ "slice with a port", BYTES("\1\1n\1s\1x\0\0\1\1p\6\x50\0\1"), true },
	{ "taints", BYTES("\2\1n\0\0\0\0\1\0"), true },
	{ "kind", BYTES("\4\1n\1"), false },
	{ "number without an end", BYTES("\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), false },
	{ "number of 65 bits", BYTES("\3\1c\xff\xff\xff\xff\xff\xff\xff\xff\xff\2"), false },
	{ "text longer than all", BYTES("\3\5ab"), false },
	{ "NUL in a text", BYTES("\3\2a\0\0"), false },
	{ "no name", BYTES("\3\0\0"), false },
	{ "family", BYTES("\3\1c\1\2aaaa\x18"), false },
	{ "prefix length", BYTES("\3\1c\1\0\x0a\0\0\0\x21"), false },
	{ "host bits", BYTES("\3\1c\1\0\x0a\0\0\1\x18"), false },
	{ "more items than there are", BYTES("\3\1c\xff\xff\xff\xff\x0f\0\x0a\0\0\0\x18"), false },
	{ "boolean", BYTES("\2\1n\0\0\0\0\2\0"), false },
	{ "protocol", BYTES("\1\1n\1s\1x\0\0\1\1p\7\x50\0\1"), false },
	{ "endpoint of another family", BYTES("\1\1n\1s\1x\0\1\0\1\0\x0a\0\0\1\1\0\0\1"), false },
};

START_TEST(bytes_case)
{
	ck_assert_msg(read_all(cases[_i].bytes, cases[_i].len) == (cases[_i].good ? 0 : -EBADMSG), "%s", cases[_i].name);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pack");
	TCase *tc = tcase_create("core");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, every_member_of_a_service);
	tcase_add_test(tc, every_member_of_a_slice);
	tcase_add_test(tc, every_member_of_a_node_and_a_service_cidr);
	tcase_add_test(tc, the_format_is_what_the_version_says);
	tcase_add_test(tc, objects_of_the_golden_folders);
	tcase_add_test(tc, cut_off_anywhere);
	tcase_add_test(tc, any_bit_is_another);
	tcase_add_loop_test(tc, bytes_case, 0, KP_N(cases));
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
