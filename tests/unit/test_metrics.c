#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/metrics.h"
#include "proxy/nolocal.h"
#include "proxy/plan/dataplane.h"
#include "proxy/source/status.h"

#define S 1000000000ull
#define START (1763724000 * S)	/* some wall clock */

static struct kp_metrics *m;
static const char *mode;

static void set_up(void)
{
	const bool both[KP_N_FAMILIES] = { true, true };

	m = kp_metrics_new(both);
	mode = "nftables";
}

static void tear_down(void)
{
	kp_metrics_free(m);
}

/* The value of one sample, as text; "" if it is not there. Static: one at a time. */
static const char *sample(const char *name)
{
	static struct kp_metrics_now now = { .pending_ns = { 0, 3 * S / 2 }, .n_services = 7,
		.snapshot = { .in_use = true, .age_ns = 5 * S / 2, .n_failed = 9 },
						   .health = { 1, 2, 3, 4 }, .process = { .resident_bytes = 4096 } };
	static char value[64];
	struct kp_buf page = { 0 };
	char *rest = NULL;

	now.mode = mode;
	value[0] = '\0';
	kp_metrics_write(m, &now, &page);
	for (char *line = strtok_r(page.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ' ')
			snprintf(value, sizeof(value), "%s", line + strlen(name) + 1);
	kp_buf_release(&page);
	return value;
}

static void expect(const char *name, const char *want, int line)
{
	const char *have = sample(name);

	ck_assert_msg(strcmp(have, want) == 0, "line %d: %s is '%s', not '%s'", line, name, have, want);
}

#define KUBE(name, family)	"kubeproxy_" name "{ip_family=\"" family "\"}"
#define SYNC(name, family)	KUBE("sync_proxy_rules_" name, family)
#define EXPECT(name, want)	expect(name, want, __LINE__)

/* Both families did the same; code < 0: IPv6 failed. */
static bool full;

static void result(uint64_t generation, int code, uint64_t wall_ns)
{
	struct dp_result res = { .family = {
		{ .tried = true, .full = full, .wrote = true, .elements_added = 3, .elements_deleted = 1, .took_ns = S / 100 },
		{ .tried = true, .full = full, .code = code, .took_ns = S / 50 },
	} };

	kp_metrics_result(m, generation, &res, wall_ns);
}

START_TEST(test_mode_iptables)
{
	struct dp_result res = { .family = {
		{ .tried = true, .rules = { { 30, 70 }, { 3, 7 } } }, { .tried = true, .code = -5, .partial_failed = true },
	} };

	mode = "iptables";
	kp_metrics_submitted(m, 1, START);
	kp_metrics_result(m, 1, &res, START);
	EXPECT("kubeproxy_sync_proxy_rules_iptables_total{table=\"filter\",ip_family=\"IPv4\"}", "30");
	EXPECT("kubeproxy_sync_proxy_rules_iptables_total{table=\"nat\",ip_family=\"IPv4\"}", "70");
	EXPECT("kubeproxy_sync_proxy_rules_iptables_last{table=\"filter\",ip_family=\"IPv4\"}", "3");
	EXPECT("kubeproxy_sync_proxy_rules_iptables_last{table=\"nat\",ip_family=\"IPv4\"}", "7");
	EXPECT(SYNC("iptables_restore_failures_total", "IPv4"), "0");
	EXPECT(SYNC("iptables_restore_failures_total", "IPv6"), "2");
	EXPECT(SYNC("iptables_partial_restore_failures_total", "IPv6"), "1");
	EXPECT(SYNC("nftables_sync_failures_total", "IPv6"), "");
	mode = "nftables";
	EXPECT(SYNC("iptables_restore_failures_total", "IPv6"), "");
	EXPECT(SYNC("nftables_sync_failures_total", "IPv6"), "1");
}
END_TEST

START_TEST(test_looked_up)
{
	EXPECT("kubeproxy_proxy_healthz_total{code=\"200\"}", "1");
	EXPECT("kubeproxy_proxy_healthz_total{code=\"503\"}", "2");
	EXPECT("kubeproxy_proxy_livez_total{code=\"200\"}", "3");
	EXPECT("kubeproxy_proxy_livez_total{code=\"503\"}", "4");
	EXPECT("proxylet_pending_age_seconds{ip_family=\"IPv4\"}", "0");
	EXPECT("proxylet_pending_age_seconds{ip_family=\"IPv6\"}", "1.5");
	EXPECT("proxylet_services", "7");
	EXPECT("proxylet_snapshot_in_use", "1");
	EXPECT("proxylet_snapshot_age_seconds", "2.5");
	EXPECT("proxylet_snapshot_write_failures_total", "9");
	EXPECT("process_resident_memory_bytes", "4096");
	EXPECT("proxylet_build_info{version=\"" KP_VERSION "\"}", "1");
}
END_TEST

/* A time that is not there yet is left out: 0 would be 1970, and alarming. */
START_TEST(test_times)
{
	EXPECT(SYNC("last_queued_timestamp_seconds", "IPv4"), "");
	EXPECT(SYNC("last_timestamp_seconds", "IPv4"), "");
	kp_metrics_submitted(m, 1, START);
	EXPECT(SYNC("last_queued_timestamp_seconds", "IPv4"), "1763724000");
	result(1, -5, START + S);
	EXPECT(SYNC("last_timestamp_seconds", "IPv4"), "1763724001");
	EXPECT(SYNC("last_timestamp_seconds", "IPv6"), "");
}
END_TEST

START_TEST(test_commits)
{
	kp_metrics_submitted(m, 1, START);
	full = true;
	result(1, -5, START);
	result(1, 0, START);	/* again, after the failure */
	kp_metrics_submitted(m, 2, START);
	full = false;
	result(2, 0, START);
	EXPECT(SYNC("duration_seconds_count", "IPv6"), "3");
	EXPECT("kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.016\"}", "0");
	EXPECT("kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv6\",le=\"0.032\"}", "3");
	EXPECT(KUBE("sync_full_proxy_rules_duration_seconds_count", "IPv6"), "2");
	EXPECT(KUBE("sync_partial_proxy_rules_duration_seconds_count", "IPv6"), "1");
	EXPECT(SYNC("nftables_sync_failures_total", "IPv6"), "1");
	EXPECT(SYNC("nftables_sync_failures_total", "IPv4"), "0");
	EXPECT("proxylet_last_commit_duration_seconds{ip_family=\"IPv4\"}", "0.01");
	EXPECT("proxylet_last_commit_elements{change=\"added\",ip_family=\"IPv4\"}", "3");
	EXPECT("proxylet_last_commit_elements{change=\"deleted\",ip_family=\"IPv4\"}", "1");
}
END_TEST

/* A look for stale flows is no commit. */
START_TEST(test_conntrack)
{
	struct dp_result res = { .conntrack = { [KP_IPV6] = { true, 3, S / 50 } } };

	kp_metrics_submitted(m, 1, START);
	result(1, 0, START);
	kp_metrics_result(m, 1, &res, START);
	kp_metrics_result(m, 1, &res, START);
	EXPECT(KUBE("conntrack_reconciler_deleted_entries_total", "IPv6"), "6");
	EXPECT(KUBE("conntrack_reconciler_deleted_entries_total", "IPv4"), "0");
	EXPECT(KUBE("conntrack_reconciler_sync_duration_seconds_count", "IPv6"), "2");
	EXPECT(KUBE("conntrack_reconciler_sync_duration_seconds_count", "IPv4"), "0");
	EXPECT(SYNC("duration_seconds_count", "IPv6"), "1");
}
END_TEST

START_TEST(test_cleanup_that_fails)
{
	struct dp_result res = { .family = { { .tried = true, .full = true, .cleanup_failed = true } } };

	kp_metrics_result(m, 1, &res, START);
	EXPECT(SYNC("nftables_cleanup_failures_total", "IPv4"), "1");
	EXPECT(SYNC("nftables_sync_failures_total", "IPv4"), "0");
	EXPECT(SYNC("nftables_cleanup_failures_total", "IPv6"), "0");
}
END_TEST

/* The first event of a hand-over counts, once, and only where something was written. */
START_TEST(test_change_duration)
{
	const struct dp_result v4 = { .family = { { .tried = true, .wrote = true }, { .tried = true } } };

	kp_metrics_seen(m, START - S);
	kp_metrics_not_submitted(m);
	kp_metrics_seen(m, START);
	kp_metrics_seen(m, START + S);
	kp_metrics_submitted(m, 1, START + S);
	kp_metrics_submitted(m, 2, START + S);	/* from a timer: no event */
	kp_metrics_result(m, 1, &v4, START + 3 * S / 2);
	kp_metrics_result(m, 2, &v4, START + 4 * S);
	EXPECT("proxylet_change_duration_seconds_sum{ip_family=\"IPv4\"}", "1.5");
	EXPECT("proxylet_change_duration_seconds_count{ip_family=\"IPv4\"}", "1");
	EXPECT("proxylet_change_duration_seconds_count{ip_family=\"IPv6\"}", "0");
}
END_TEST

START_TEST(test_families_not_tried)
{
	const struct dp_result res = { .family = { { .tried = true } } };

	kp_metrics_submitted(m, 1, START);
	kp_metrics_result(m, 1, &res, START);
	EXPECT(SYNC("duration_seconds_count", "IPv4"), "1");
	EXPECT(SYNC("duration_seconds_count", "IPv6"), "0");
}
END_TEST

/* Waiting until every family has it, whatever becomes of the hand-over. */
START_TEST(test_events)
{
	kp_metrics_service_event(m, true);
	kp_metrics_service_event(m, false);
	kp_metrics_slice_event(m, true);
	kp_metrics_slice_event(m, true);
	EXPECT("kubeproxy_sync_proxy_rules_service_changes_total", "4");	/* each family counts */
	EXPECT("kubeproxy_sync_proxy_rules_endpoint_changes_total", "2");
	EXPECT("kubeproxy_sync_proxy_rules_service_changes_pending", "1");
	EXPECT("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "2");
	kp_metrics_submitted(m, 1, START);
	kp_metrics_slice_event(m, true);
	result(1, -5, START);
	ck_assert_uint_eq(kp_metrics_pending(m), 4);
	result(1, 0, START);
	EXPECT("kubeproxy_sync_proxy_rules_service_changes_pending", "0");
	EXPECT("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "1");
}
END_TEST

static struct kp_plan plan_of(bool v4, bool v6)
{
	return (struct kp_plan){ .has_family = { v4, v6 } };
}

START_TEST(test_latency)
{
	const uint64_t times[] = { START, START, START + 2 * S, START + 60 * S };
	struct kp_plan v4 = plan_of(true, false), dual = plan_of(true, true);

	kp_metrics_want(m, "ns/a", &v4, times, 1);
	kp_metrics_want(m, "ns/b", &dual, times, 3);		/* one time twice: a slice of each family */
	kp_metrics_want(m, "ns/gone", NULL, times, 4);
	kp_metrics_submitted(m, 1, START);
	kp_metrics_want(m, "ns/a", &v4, times + 3, 1);		/* a clock that is ahead of ours */
	kp_metrics_submitted(m, 2, START);
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv4"), "0");
	result(1, -5, START + 4 * S);
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv4"), "3");
	EXPECT(KUBE("network_programming_duration_seconds_sum", "IPv4"), "10");
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv6"), "0");
	result(2, 0, START + 5 * S);
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv4"), "4");
	EXPECT(KUBE("network_programming_duration_seconds_sum", "IPv4"), "10");
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv6"), "2");
	EXPECT(KUBE("network_programming_duration_seconds_sum", "IPv6"), "8");
	result(2, 0, START + 9 * S);
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv4"), "4");
}
END_TEST

/* A family that fails for hours costs no memory without end, and loses none of the times. */
START_TEST(test_long_failure)
{
	struct kp_plan dual = plan_of(true, true);
	uint64_t time = START;

	for (uint64_t g = 1; g <= 1000; g++) {
		kp_metrics_slice_event(m, true);
		kp_metrics_want(m, "ns/a", &dual, &time, 1);
		kp_metrics_submitted(m, g, START);
		result(g, -5, START + S);
	}
	ck_assert_uint_eq(kp_metrics_pending(m), 1000);
	result(1000, 0, START + 2 * S);
	ck_assert_uint_eq(kp_metrics_pending(m), 0);
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv6"), "1000");
	EXPECT(KUBE("network_programming_duration_seconds_count", "IPv4"), "1000");
}
END_TEST

START_TEST(test_refused)
{
	const struct dp_result res = { .family = { { .tried = true } }, .n_refused = 2 };

	EXPECT("proxylet_refused_services", "0");
	kp_metrics_result(m, 1, &res, START);
	EXPECT("proxylet_refused_services", "2");
}
END_TEST

/* Told three times: noticed, not repaired, repaired. */
START_TEST(test_drift)
{
	struct dp_drift d = { .kind = DP_DRIFT_RULES, .noticed_ns = 5 * S, .wait_ns = 6 * S };
	const struct dp_result res = { .family = { { .drift = &d } } };

	EXPECT("proxylet_drift_total{kind=\"rules\",ip_family=\"IPv4\"}", "0");
	kp_metrics_result(m, 0, &res, START);
	kp_metrics_result(m, 0, &res, START);
	EXPECT("proxylet_drift_unrepaired{ip_family=\"IPv4\"}", "1");
	d.repaired_ns = 5 * S + S / 8;
	kp_metrics_result(m, 0, &res, START);
	EXPECT("proxylet_drift_total{kind=\"rules\",ip_family=\"IPv4\"}", "1");
	EXPECT("proxylet_drift_total{kind=\"table\",ip_family=\"IPv4\"}", "0");
	EXPECT("proxylet_drift_unrepaired{ip_family=\"IPv4\"}", "0");
	EXPECT("proxylet_drift_repairs_put_off_total{ip_family=\"IPv4\"}", "1");
	EXPECT("proxylet_drift_repair_seconds_sum{ip_family=\"IPv4\"}", "0.125");
	EXPECT("proxylet_drift_total{kind=\"rules\",ip_family=\"IPv6\"}", "0");
}
END_TEST

/* One port of a plan, and whether it counts. */
static const struct {
	const char *name;
	bool internal_local, external_local, has_any;
	uint32_t n_local, internal, external;
} ports[] = {
	{ "both, none here",		true,  true,  true,  0, 1, 1 },
	{ "both, one here",		true,  true,  true,  1, 0, 0 },
	{ "both, none anywhere",	true,  true,  false, 0, 0, 0 },
	{ "internal, none here",	true,  false, true,  0, 1, 0 },
	{ "external, none here",	false, true,  true,  0, 0, 1 },
	{ "cluster, none here",		false, false, true,  0, 0, 0 },
};

START_TEST(test_nolocal)
{
	struct kp_plan_port port = { .family = KP_IPV6, .internal_local = ports[_i].internal_local,
				     .external_local = ports[_i].external_local, .has_any = ports[_i].has_any,
				     .n_local = ports[_i].n_local };
	struct kp_plan_port two[] = { port, port };
	struct kp_plan one_port = { .ports = two, .n_ports = 1 }, both_ports = { .ports = two, .n_ports = 2 };
	struct kp_nolocal *l = kp_nolocal_new();
	struct kp_nolocal_counts c;

	kp_nolocal_put(l, "ns/a", &one_port);
	kp_nolocal_put(l, "ns/b", &both_ports);
	kp_nolocal_put(l, "ns/b", &both_ports);
	kp_nolocal_put(l, "ns/c", &one_port);
	kp_nolocal_put(l, "ns/c", NULL);
	kp_nolocal_put(l, "ns/never", NULL);
	c = kp_nolocal_get(l);
	ck_assert_msg(c.n[KP_IPV6][KP_POLICY_INTERNAL] == 3 * ports[_i].internal &&
		      c.n[KP_IPV6][KP_POLICY_EXTERNAL] == 3 * ports[_i].external && !c.n[KP_IPV4][KP_POLICY_INTERNAL],
		      "%s: %u and %u", ports[_i].name, c.n[KP_IPV6][KP_POLICY_INTERNAL], c.n[KP_IPV6][KP_POLICY_EXTERNAL]);
	kp_nolocal_free(l);
}
END_TEST

/* The gauge is what the kernel has, not what is on its way there. */
START_TEST(test_nolocal_after_commit)
{
	struct kp_plan_port port = { .family = KP_IPV4, .internal_local = true, .has_any = true };
	struct kp_plan plan = { .ports = &port, .n_ports = 1, .has_family = { true } };
	const char *gauge = "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"internal\",ip_family=\"IPv4\"}";

	kp_metrics_want(m, "ns/a", &plan, NULL, 0);
	kp_metrics_submitted(m, 1, START);
	kp_metrics_want(m, "ns/a", NULL, NULL, 0);
	kp_metrics_submitted(m, 2, START);
	EXPECT(gauge, "0");
	result(1, 0, START);
	EXPECT(gauge, "1");
	result(2, 0, START);
	EXPECT(gauge, "0");
}
END_TEST

/* What the server does not have is not missed, and what is read from files is not silent. */
START_TEST(test_sources)
{
	struct kp_source_row rows[] = {
		{ .name = (char[]){ "services" }, .live = true, .heard_ns = 10 * S },
		{ .name = (char[]){ "nodes" }, .heard_ns = 2 * S },
		{ .name = (char[]){ "servicecidrs" }, .absent = true },
		{ .name = (char[]){ "/a\"b" }, .live = true },
	};
	const struct kp_source_status sources = { .rows = rows, .n = KP_N(rows) };
	KP_AUTO(kp_freep) char *samples = strdup("");
	struct kp_buf page = { 0 };
	char *rest = NULL;

	kp_metrics_sources(&sources, 5 * S, &page);
	for (char *line = strtok_r(page.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (*line != '#') {
			samples = realloc(samples, strlen(samples) + strlen(line) + 2);
			strcat(strcat(samples, line), "\n");
		}
	ck_assert_str_eq(samples,
			 "proxylet_source_live{source=\"services\"} 1\n"
			 "proxylet_source_live{source=\"nodes\"} 0\n"
			 "proxylet_source_live{source=\"/a\\\"b\"} 1\n"
			 "proxylet_source_silent_seconds{source=\"services\"} 0\n"
			 "proxylet_source_silent_seconds{source=\"nodes\"} 3\n");
	kp_buf_release(&page);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("metrics");
	TCase *t = tcase_create("counting"), *n = tcase_create("nolocal");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_mode_iptables);
	tcase_add_test(t, test_looked_up);
	tcase_add_test(t, test_times);
	tcase_add_test(t, test_commits);
	tcase_add_test(t, test_conntrack);
	tcase_add_test(t, test_cleanup_that_fails);
	tcase_add_test(t, test_change_duration);
	tcase_add_test(t, test_families_not_tried);
	tcase_add_test(t, test_events);
	tcase_add_test(t, test_latency);
	tcase_add_test(t, test_long_failure);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_drift);
	tcase_add_test(t, test_sources);
	tcase_add_test(t, test_nolocal_after_commit);
	suite_add_tcase(s, t);
	tcase_add_loop_test(n, test_nolocal, 0, KP_N(ports));
	suite_add_tcase(s, n);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
