#include <check.h>
#include <math.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipt_write.h"
#include "proxy/base/buf.h"
#include "proxy/base/mem.h"

static struct kp_addr ip(const char *text)
{
	struct kp_addr a;

	ck_assert(kp_addr_parse(text, &a));
	return a;
}

/* One port at address with n endpoints. */
static void build(const char *address, uint32_t n, const char *label, uint32_t affinity, struct dp_ipt_rules *ret)
{
	struct kp_plan_node *node = kp_plan_node_new();
	struct kp_frontend fe = { .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = 80, .ip = ip(address) };
	struct kp_backend *set = kp_calloc(n, sizeof(*set));
	struct kp_plan_port port = {
		.name = (char *)"", .label = (char *)label, .id = (char *)label, .family = fe.ip.family, .proto = IPPROTO_TCP,
		.has_any = n > 0, .affinity_seconds = affinity, .frontends = &fe, .n_frontends = 1, .cluster = set, .n_cluster = n,
	};
	struct kp_plan plan = { .ports = &port, .n_ports = 1 };
	struct dp_ipt_env env = { .f = (enum kp_family)fe.ip.family, .node = node };

	for (uint32_t i = 0; i < n; i++)
		set[i] = (struct kp_backend){ .addr = fe.ip, .port = (uint16_t)(i + 1) };
	node->mark = 0x4000;
	dp_ipt_service(&env, &plan, ret);
	free(set);
	kp_plan_node_unref(node);
}

/* xt_statistic: a draw of 31 bits below the probability times 2^31, rounded by the program. */
static double kernel_probability(const char *rule)
{
	const char *at = strstr(rule, "--probability ");
	const char *end = strchr(rule, '\n');

	return at && at < end ? (double)lround(0x80000000 * strtod(at + 14, NULL)) / 0x80000000 : 1;
}

static const uint32_t sizes[] = { 1, 2, 3, 7, 10, 100, 999, 1000 };

START_TEST(every_endpoint_alike)
{
	struct dp_ipt_rules r;
	uint32_t n = sizes[_i], i = 0;
	double left = 1;

	build("10.96.0.10", n, "ns/s", 0, &r);
	ck_assert_uint_eq(r.n_chains, 1);
	for (const char *at = r.chains[0].rules; *at; at = strchr(at, '\n') + 1, i++) {
		double share = left * kernel_probability(at);

		ck_assert_msg(fabs(share * n - 1) < 1e-5, "endpoint %u of %u: %.9f", i, n, share * n);
		left -= share;
	}
	ck_assert_uint_eq(i, n);
	ck_assert_msg(fabs(left) < 1e-12, "%g is lost", left);
	dp_ipt_rules_release(&r);
}
END_TEST

START_TEST(affinity_is_two_rules)
{
	struct dp_ipt_rules r;
	unsigned n = 0;

	build("10.96.0.10", 3, "ns/s", 60, &r);
	for (const char *at = r.chains[0].rules; *at; at = strchr(at, '\n') + 1, n++)
		ck_assert_msg((strstr(at, "--update --seconds 60 --reap") != NULL) == (n < 3), "rule %u: %s", n, at);
	ck_assert_uint_eq(n, 6);
	dp_ipt_rules_release(&r);
}
END_TEST

static const struct {
	const char *address, *piece, *guard;
} pieces[] = {
	{ "10.96.0.10", "PXL-SERVICES-10.96.0", "5-d 10.96.0.0/24 -j PXL-SERVICES-10.96.0" },
	{ "255.255.255.255", "PXL-SERVICES-255.255.255", "5-d 255.255.255.0/24 -j PXL-SERVICES-255.255.255" },
	{ "fd00:10:96::1234", NULL, "5-d fd00:10:96::1200/120 -j PXL-SERVICES-" },
};

START_TEST(piece)
{
	struct dp_ipt_rules r;

	build(pieces[_i].address, 1, "ns/s", 0, &r);
	ck_assert_uint_eq(r.n_lines, 2);
	ck_assert_str_eq(r.lines[0].chain, "PXL-SERVICES");
	ck_assert_msg(strncmp(r.lines[0].rule, pieces[_i].guard, strlen(pieces[_i].guard)) == 0, "%s", r.lines[0].rule);
	ck_assert_msg(strlen(r.lines[1].chain) <= 28, "%s", r.lines[1].chain);
	if (pieces[_i].piece)
		ck_assert_str_eq(r.lines[1].chain, pieces[_i].piece);
	dp_ipt_rules_release(&r);
}
END_TEST

/* A name out of a file is no way to write rules. */
static const char *const labels[] = { "ns/\"\nCOMMIT\n*nat", "ns/a\" -j ACCEPT #", "ns/\\\"", "ns/\xff\x01" };

START_TEST(hostile_label)
{
	struct dp_ipt_rules r;

	build("10.96.0.10", 0, labels[_i], 0, &r);
	for (size_t i = 0; i < r.n_lines; i++) {
		unsigned quotes = 0;

		for (const char *at = r.lines[i].rule; *at; at++) {
			quotes += *at == '"';
			ck_assert_msg(*at >= ' ' && *at < 127 && *at != '\\', "%s", r.lines[i].rule);
		}
		ck_assert_msg(quotes == 0 || quotes == 2, "%s", r.lines[i].rule);
	}
	dp_ipt_rules_release(&r);
}
END_TEST

/* iptables takes 15 characters, the "+" included: longer ones have no room for it, nor need they. */
START_TEST(prefix)
{
	static const struct { const char *prefix, *want; } all[] = {
		{ "veth", "-i veth+" }, { "a2345678901234", "-i a2345678901234+" }, { "a23456789012345", "-i a23456789012345" },
	};
	struct kp_plan_node *node = kp_plan_node_new();
	struct dp_ipt_env env = { .f = KP_IPV4, .node = node };
	struct kp_buf text = { 0 };

	node->detector[KP_IPV4].kind = KP_DETECT_IFPREFIX;
	snprintf(node->detector[KP_IPV4].ifname, sizeof(node->detector[KP_IPV4].ifname), "%s", all[_i].prefix);
	dp_ipt_from_pods(&env, false, &text);
	ck_assert_str_eq(text.data, all[_i].want);
	kp_buf_release(&text);
	kp_plan_node_unref(node);
}
END_TEST

START_TEST(names)
{
	char a[DP_IPT_NAME], b[DP_IPT_NAME];

	dp_ipt_hashed("PXL-SVC-", "ns/s/tcp/80", a);
	dp_ipt_hashed("PXL-SVC-", "ns/s/udp/80", b);
	ck_assert_uint_eq(strlen(a), 24);
	ck_assert_str_ne(a, b);
	ck_assert_uint_eq(strspn(a + 8, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), 16);
	dp_ipt_hashed("PXL-", "abc", a);	/* sha256: ba7816bf 8f01cfea 4141... in base32 (RFC 4648) */
	ck_assert_str_eq(a, "PXL-XJ4BNP4PAHH6UQKB");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ipt_rules");
	TCase *tc = tcase_create("ipt_rules");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, every_endpoint_alike, 0, KP_N(sizes));
	tcase_add_test(tc, affinity_is_two_rules);
	tcase_add_loop_test(tc, piece, 0, KP_N(pieces));
	tcase_add_loop_test(tc, hostile_label, 0, KP_N(labels));
	tcase_add_loop_test(tc, prefix, 0, 3);
	tcase_add_test(tc, names);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
