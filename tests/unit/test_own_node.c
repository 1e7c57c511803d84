#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/intake.h"
#include "proxy/model/model.h"
#include "proxy/own_node.h"

/* "a,b" */
static struct kp_node *node_of(const char *ips, const char *pod_cidrs)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	char text[256], *rest = NULL;
	size_t cap = 0;

	n->name = kp_strdup("node");
	snprintf(text, sizeof(text), "%s", ips);
	for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
		kp_grow(&n->ips, n->n_ips, &cap);
		ck_assert(kp_addr_parse(one, &n->ips[n->n_ips++]));
	}
	snprintf(text, sizeof(text), "%s", pod_cidrs);
	cap = 0;
	for (char *one = strtok_r(text, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
		kp_grow(&n->pod_cidrs, n->n_pod_cidrs, &cap);
		ck_assert(kp_cidr_parse(one, &n->pod_cidrs[n->n_pod_cidrs++]));
	}
	return n;
}

static char *shown(const struct kp_node *n)
{
	struct kp_buf b = { 0 };
	char text[KP_CIDR_STRLEN];

	for (size_t i = 0; i < n->n_ips; i++)
		kp_buf_printf(&b, "%s ", kp_addr_str(&n->ips[i], text));
	kp_buf_printf(&b, "|");
	for (size_t i = 0; i < n->n_pod_cidrs; i++)
		kp_buf_printf(&b, " %s", kp_cidr_str(&n->pod_cidrs[i], text));
	return b.data;
}

static const struct {
	const char *name;
	bool by_node;			/* detectLocalMode NodeCIDR */
	const char *bind;
	const char *ips, *cidrs;	/* first */
	const char *new_ips, *new_cidrs;
	const char *want;		/* after both, and what changed */
} rows[] = {
	{ "first address of each family, primary first", false, "0.0.0.0", "fd00::1,fd00::2,10.0.0.1,10.0.0.2", "",
	  "fd00::1,fd00::2,10.0.0.1,10.0.0.2", "", "fd00::1 10.0.0.1 |" },
	{ "other addresses after the first do not matter", false, "0.0.0.0", "10.0.0.1,10.0.0.2", "", "10.0.0.1,10.0.0.3", "",
	  "10.0.0.1 ::1 |" },
	{ "no address at all", false, "::", "", "", "", "", "127.0.0.1 ::1 |" },
	{ "bindAddress counts, and its family is primary", false, "fd00::9", "10.0.0.1,fd00::1", "", "10.0.0.2,fd00::2", "",
	  "fd00::9 10.0.0.2 | ips" },
	{ "bindAddress alone", false, "10.0.0.9", "", "", "10.0.0.1", "", "10.0.0.9 ::1 |" },
	{ "another address", false, "0.0.0.0", "10.0.0.1", "", "10.0.0.2", "", "10.0.0.2 ::1 | ips" },
	{ "the other family comes", false, "0.0.0.0", "10.0.0.1", "", "10.0.0.1,fd00::1", "", "10.0.0.1 fd00::1 | ips" },
	{ "another order", false, "0.0.0.0", "10.0.0.1,fd00::1", "", "fd00::1,10.0.0.1", "", "fd00::1 10.0.0.1 | ips" },
	{ "addresses disappear", false, "0.0.0.0", "10.0.0.1,fd00::1", "", "", "", "10.0.0.1 fd00::1 |" },
	{ "podCIDRs do not matter by clusterCIDR", false, "0.0.0.0", "10.0.0.1", "10.1.0.0/24", "10.0.0.1", "10.2.0.0/24",
	  "10.0.0.1 ::1 | 10.2.0.0/24" },
	{ "podCIDRs come", true, "0.0.0.0", "10.0.0.1", "", "10.0.0.1", "10.1.0.0/24", "10.0.0.1 ::1 | 10.1.0.0/24 cidrs" },
	{ "podCIDRs change", true, "0.0.0.0", "10.0.0.1", "10.1.0.0/24", "10.0.0.1", "10.2.0.0/24",
	  "10.0.0.1 ::1 | 10.2.0.0/24 cidrs" },
	{ "podCIDRs in another order", true, "0.0.0.0", "10.0.0.1", "10.1.0.0/24,fd00::/64", "10.0.0.1", "fd00::/64,10.1.0.0/24",
	  "10.0.0.1 ::1 | fd00::/64 10.1.0.0/24 cidrs" },
	{ "podCIDRs disappear", true, "0.0.0.0", "10.0.0.1", "10.1.0.0/24", "10.0.0.1", "", "10.0.0.1 ::1 | 10.1.0.0/24" },
	{ "both", true, "0.0.0.0", "10.0.0.1", "10.1.0.0/24", "10.0.0.2", "10.2.0.0/24", "10.0.0.2 ::1 | 10.2.0.0/24 ips cidrs" },
	{ "nothing", true, "0.0.0.0", "10.0.0.1", "10.1.0.0/24", "10.0.0.1", "10.1.0.0/24", "10.0.0.1 ::1 | 10.1.0.0/24" },
};

START_TEST(adapt_case)
{
	KP_AUTO(kp_node_freep) struct kp_node *old = node_of(rows[_i].ips, rows[_i].cidrs);
	KP_AUTO(kp_node_freep) struct kp_node *new = node_of(rows[_i].new_ips, rows[_i].new_cidrs);
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	KP_AUTO(kp_freep) char *is = NULL, *got = NULL;
	struct kp_config_report rep = { 0 };
	struct kp_node_change change;

	kp_config_set(c, "bindAddress", rows[_i].bind, &rep);
	if (rows[_i].by_node)
		c->detect_mode = KP_DETECT_NODE_CIDR;
	change = kp_own_node_adapt(old, NULL, c);
	ck_assert(!change.ips && !change.pod_cidrs);
	change = kp_own_node_adapt(new, old, c);
	is = shown(new);
	got = kp_asprintf("%s%s%s", is, change.ips ? " ips" : "", change.pod_cidrs ? " cidrs" : "");
	ck_assert_msg(strcmp(got, rows[_i].want) == 0, "%s: got '%s', want '%s'", rows[_i].name, got, rows[_i].want);
}
END_TEST

START_TEST(suffices)
{
	KP_AUTO(kp_node_freep) struct kp_node *without = node_of("10.0.0.1", ""), *with = node_of("10.0.0.1", "10.1.0.0/24");
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();

	ck_assert(kp_own_node_suffices(NULL, c) && kp_own_node_suffices(without, c));
	c->detect_mode = KP_DETECT_NODE_CIDR;
	ck_assert(!kp_own_node_suffices(NULL, c) && !kp_own_node_suffices(without, c) && kp_own_node_suffices(with, c));
}
END_TEST

START_TEST(eligible)
{
	KP_AUTO(kp_node_freep) struct kp_node *n = node_of("10.0.0.1", "");
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	struct kp_config_report rep = { 0 };

	ck_assert(!kp_own_node_eligible(NULL, c) && kp_own_node_eligible(n, c));
	n->taint_keys = kp_calloc(2, sizeof(*n->taint_keys));
	n->taint_keys[0] = kp_strdup("node.kubernetes.io/unschedulable");
	ck_assert(kp_own_node_eligible(n, c));
	free(n->taint_keys[0]);
	n->taint_keys[0] = kp_strdup("ToBeDeletedByClusterAutoscaler");
	ck_assert(!kp_own_node_eligible(n, c));
	kp_config_set(c, "proxylet.health.ineligibleTaints", "a/b,c/d", &rep);
	ck_assert(kp_own_node_eligible(n, c));
	free(n->taint_keys[0]);
	n->taint_keys[0] = kp_strdup("c/d");
	ck_assert(!kp_own_node_eligible(n, c));
	kp_config_set(c, "proxylet.health.startup", "compat", &rep);
	ck_assert(kp_own_node_eligible(NULL, c) && !kp_own_node_eligible(n, c));
	free(n->taint_keys[0]);
	n->taint_keys[0] = NULL;
	n->deleting = true;
	ck_assert(!kp_own_node_eligible(n, c));
}
END_TEST

/* --- its way in --- */

static int put(struct kp_intake *in, const char *ips, const char *pod_cidrs)
{
	struct kp_object o = { .kind = KP_KIND_NODE, .node = node_of(ips, pod_cidrs) };
	struct kp_err err = { 0 };
	bool changed;

	return kp_intake_upsert(in, &o, &changed, &err);
}

static const struct {
	const char *bind, *ips;
	bool dual;
	int want;
} late[] = {
	{ "0.0.0.0", "fd00::1", true, 0 },
	{ "0.0.0.0", "fd00::1", false, -EINVAL },	/* no IPv6 here */
	{ "0.0.0.0", "10.0.0.1", true, -EINVAL },
	{ "10.0.0.9", "10.0.0.1", true, -EINVAL },	/* which looks as before */
};

/* Stand-ins for what is waited for are nothing that podCIDRs could contradict, nor addresses (IN-31). */
START_TEST(addresses_come_late)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	struct kp_intake in = { .model = kp_model_new("node"), .cfg = c, .node_name = "node", .needs_node = true };
	struct kp_config_report rep = { 0 };
	struct kp_err err = { 0 };

	kp_config_set(c, "bindAddress", late[_i].bind, &rep);
	c->detect_mode = KP_DETECT_NODE_CIDR;
	in.host.dual_stack = late[_i].dual;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(put(&in, "", "fd00:1::/64"), 0);
		ck_assert_int_eq(kp_intake_fits(&in, c, &err), 0);
		ck_assert_str_eq(kp_intake_lacks(&in), "has no address");
	}
	ck_assert_int_eq(put(&in, late[_i].ips, "fd00:1::/64"), late[_i].want);
	ck_assert_int_eq(kp_intake_fits(&in, c, &err), late[_i].want);
	ck_assert_ptr_null(kp_intake_lacks(&in));
	ck_assert_int_eq(put(&in, "", "fd00:1::/64"), 0);	/* the last ones count, and nothing is new */
	ck_assert_ptr_null(kp_intake_lacks(&in));
	kp_model_free(in.model);
}
END_TEST

/* A file of objects need not say everything. */
START_TEST(addresses_are_not_needed)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	struct kp_intake in = { .model = kp_model_new("node"), .cfg = c, .node_name = "node" };

	c->detect_mode = KP_DETECT_NODE_CIDR;
	ck_assert_int_eq(put(&in, "", "fd00:1::/64"), -EINVAL);
	ck_assert_ptr_null(kp_intake_lacks(&in));
	kp_model_free(in.model);
}
END_TEST

/* --- configuration against node --- */

static const struct {
	const char *name;
	const char *flags[8];		/* field, value, ... */
	enum kp_family primary;
	bool dual;
	const char *pod_cidrs;
	const char *want;		/* fields with a problem, "!" for an error */
} checks[] = {
	{ "all unset", { NULL }, KP_IPV4, false, "", "" },
	{ "fits", { "clusterCIDR", "10.0.0.0/8", "nodePortAddresses", "10.0.0.0/8" }, KP_IPV4, true, "10.1.0.0/24", "" },
	{ "a mixed list fits", { "clusterCIDR", "fd00::/8,10.0.0.0/8", "nodePortAddresses", "fd00::/8,10.0.0.0/8" }, KP_IPV4, false,
	  "fd00::/64,10.1.0.0/24", "" },
	{ "clusterCIDR, both families there", { "clusterCIDR", "fd00::/8" }, KP_IPV4, true, "", "clusterCIDR" },
	{ "clusterCIDR, one family there", { "clusterCIDR", "fd00::/8" }, KP_IPV4, false, "", "!clusterCIDR" },
	{ "clusterCIDR that is not used", { "clusterCIDR", "fd00::/8", "detectLocalMode", "NodeCIDR" }, KP_IPV4, false, "",
	  "clusterCIDR" },
	{ "podCIDRs that are not used", { NULL }, KP_IPV6, true, "10.1.0.0/24", "podCIDRs of the Node" },
	{ "podCIDRs", { "detectLocalMode", "NodeCIDR" }, KP_IPV6, true, "10.1.0.0/24", "!podCIDRs of the Node" },
	{ "node ports", { "nodePortAddresses", "fd00::/8" }, KP_IPV4, true, "", "nodePortAddresses nodePortAddresses" },
	{ "node ports of one family in a cluster of two", { "nodePortAddresses", "10.0.0.0/8", "clusterCIDR", "10.0.0.0/8,fd00::/8" },
	  KP_IPV4, true, "", "nodePortAddresses" },
	{ "the same by podCIDRs", { "nodePortAddresses", "10.0.0.0/8" }, KP_IPV4, true, "10.1.0.0/24,fd00::/64", "nodePortAddresses" },
	{ "primary is always fine", { "nodePortAddresses", "primary" }, KP_IPV6, true, "10.1.0.0/24,fd00::/64", "" },
	{ "unset is all addresses in the other modes", { "mode", "iptables" }, KP_IPV4, true, "", "nodePortAddresses" },
	{ "ports, one family there", { "healthzBindAddress", "[fd00::1]:1", "metricsBindAddress", "[::]:2" }, KP_IPV4, false, "",
	  "healthzBindAddress" },
	{ "ports, both there", { "healthzBindAddress", "[fd00::1]:1", "metricsBindAddress", "[::1]:2" }, KP_IPV4, true, "", "" },
	{ "excluded CIDRs", { "ipvs.excludeCIDRs", "10.0.0.0/8" }, KP_IPV6, false, "", "ipvs.excludeCIDRs metricsBindAddress" },
};

START_TEST(check_case)
{
	KP_AUTO(kp_node_freep) struct kp_node *n = node_of("", checks[_i].pod_cidrs);
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	struct kp_node_facts facts = { checks[_i].primary, checks[_i].dual, n->pod_cidrs, n->n_pod_cidrs, KP_MODE_UNSET };
	struct kp_config_report rep = { 0 };
	struct kp_buf got = { 0 };

	for (size_t i = 0; i < 8 && checks[_i].flags[i]; i += 2)
		ck_assert(kp_config_set(c, checks[_i].flags[i], checks[_i].flags[i + 1], &rep));
	kp_config_check_node_ports(c, &facts, &rep);
	kp_config_check_families(c, &facts, &rep);
	kp_buf_puts(&got, "");
	for (size_t i = 0; i < rep.n; i++)
		kp_buf_printf(&got, "%s%s%s", i ? " " : "", rep.items[i].level == KP_PROBLEM_ERROR ? "!" : "", rep.items[i].field);
	ck_assert_msg(strcmp(got.data ? got.data : "", checks[_i].want) == 0, "%s: got '%s', want '%s'", checks[_i].name,
		      got.data, checks[_i].want);
	kp_buf_release(&got);
	kp_config_report_release(&rep);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("own-node");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	kp_log_set_level(KP_LOG_ERROR);
	tcase_add_loop_test(tc, adapt_case, 0, KP_N(rows));
	tcase_add_loop_test(tc, addresses_come_late, 0, KP_N(late));
	tcase_add_test(tc, addresses_are_not_needed);
	tcase_add_test(tc, suffices);
	tcase_add_test(tc, eligible);
	tcase_add_loop_test(tc, check_case, 0, KP_N(checks));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
