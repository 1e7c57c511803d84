#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/report.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/config/config.h"
#include "proxy/configz.h"
#include "proxy/plan/dataplane.h"
#include "proxy/status.h"

#define S 1000000000ull
#define WALL 1772359205000000000ull	/* 2026-03-01T10:00:05Z */

static struct kp_source_row row = { .name = (char *)"/objects", .n_objects = 12, .live = true };

static struct hz_listener_report ports[] = {
	{ .name = (char *)"main", .port = 10256, .n_open = 2, .stats.last_probe_wall_ns = WALL },
	{ .name = (char *)"shared", .port = 10356, .problem = (char *)"cannot listen" },
	{ .name = (char *)"svc/ns/fine", .is_service = true, .port = 30000 },
	{ .name = (char *)"svc/ns/lost", .is_service = true, .port = 30000, .problem = (char *)"taken" },
};
static const struct hz_report health = { .listeners = ports, .n_listeners = KP_N(ports) };

static struct kp_status good(const struct kp_commits *commits)
{
	return (struct kp_status){
		.node_name = "node-1", .mode = "nftables", .began_wall_ns = WALL - 60 * S, .now_wall_ns = WALL, .now_ns = 100 * S,
		.started = true, .synced = true, .healthy = true, .ready = true, .node_eligible = true,
		.families = { true, false }, .n_services = 3, .commits = commits,
		.sources = { .rows = &row, .n = 1 },
		.listeners = { { "status", "/run/x.sock", NULL } }, .n_listeners = 1,
		.health = &health,
	};
}

static char *text_of(const struct kp_status *s)
{
	struct kp_buf out = { 0 };
	json_t *json = kp_status_json(s);

	ck_assert_ptr_nonnull(json);
	kp_status_text(json, &out);
	json_decref(json);
	return out.data;
}

static void expect_line(const struct kp_status *s, const char *line)
{
	KP_AUTO(kp_freep) char *text = text_of(s);

	ck_assert_msg(strstr(text, line) != NULL, "no '%s' in\n%s", line, text);
}

static struct kp_commits one_commit(void)
{
	struct dp_refusal refused = { (char *)"ns/bad", KP_IPV4, -17, (char *)"File exists", false };
	struct dp_result res = { .family = { { .tried = true, .wrote = true, .elements_added = 5, .elements_deleted = 2, .took_ns = S / 400 } },
				 .refused = &refused, .n_refused = 1 };
	struct kp_commits c = { 0 };

	kp_commits_note(&c, &res, WALL);
	return c;
}

START_TEST(test_text)
{
	struct kp_commits commits = one_commit();
	struct kp_status s = good(&commits);
	KP_AUTO(kp_freep) char *text = NULL;

	row.problem = NULL;
	text = text_of(&s);
	ck_assert_msg(strncmp(text, "state         ready\nnode          node-1, mode nftables\n", 55) == 0, "%s", text);
	ck_assert_ptr_null(strstr(text, "IPv6"));
	s.state = "Busy";
	expect_line(&s, "\nnode          node-1, Busy, mode nftables\n");
	expect_line(&s, "\nservices      3, 0 changes pending\n");
	expect_line(&s, "\nIPv4          last commit 2026-03-01T10:00:05Z in 2.5 ms, 5 elements added, 2 deleted\n");
	expect_line(&s, "\nsources       /objects: 12 objects\n");
	expect_line(&s, "\nlistening     status at /run/x.sock\n");
	expect_line(&s, "\nhealth ports  main, port 10256: open, 2 connections, last probe 2026-03-01T10:00:05Z\n"
		    "              shared, port 10356: not open: cannot listen, 0 connections\n"
		    "              svc/ns/lost, port 30000: not open: taken, 0 connections\n"
		    "              2 of Services\n");
	expect_line(&s, "\nrefused       ns/bad, IPv4: File exists\n");
	kp_commits_release(&commits);
}
END_TEST

START_TEST(test_problems)
{
	struct kp_commits commits = one_commit();
	const struct dp_result failed = { .family = { { .tried = true, .code = -5, .message = "no way" } } };
	struct kp_status s = good(&commits);

	kp_commits_note(&commits, &failed, WALL + S);
	ck_assert_uint_eq(commits.n_refused, 0);
	s.pending_ns[KP_IPV4] = 3 * S / 2;
	s.listeners[0].problem = "in use";
	row = (struct kp_source_row){ .name = (char *)"services", .n_objects = 1, .heard_ns = 98 * S, .problem = (char *)"401" };
	expect_line(&s, "\nIPv4          last commit 2026-03-01T10:00:05Z");	/* the last good one */
	expect_line(&s, "\n              oldest change waits for 1.5 s\n");
	expect_line(&s, "\n              failed: no way\n");
	expect_line(&s, "\nsources       services: 1 objects, not watched, heard of 2.0 s ago; 401\n");
	expect_line(&s, "\nlistening     status at /run/x.sock: in use\n");
	kp_commits_release(&commits);
}
END_TEST

START_TEST(test_drift)
{
	struct dp_drift d = { .kind = DP_DRIFT_TABLE, .what = (char *)"table deleted", .noticed_ns = S, .wait_ns = 3 * S, .in_a_row = 7 };
	const struct dp_result res = { .family = { { .drift = &d } } };
	struct kp_commits commits = one_commit();
	struct kp_status s = good(&commits);

	kp_commits_note(&commits, &res, WALL);
	expect_line(&s, "\n              changed by somebody else at 2026-03-01T10:00:05Z: table deleted\n"
		    "              not put right yet, as repairs are undone again and again; 1 times in all, 7 in a row\n");
	s.ready = s.healthy = false;
	expect_line(&s, "not ready: somebody else changed the rules, and they are not put right\n");
	d.who = (char *)"nft (pid 12)";
	d.repaired_ns = S + S / 4;
	kp_commits_note(&commits, &res, WALL + S);
	expect_line(&s, "\n              changed by nft (pid 12) at 2026-03-01T10:00:05Z: table deleted\n"
		    "              put right after 250 ms; 1 times in all, 7 in a row\n");
	kp_commits_release(&commits);
}
END_TEST

static const struct {
	bool synced, started, healthy, eligible;
	const char *why;
} verdicts[] = {
	{ false, false, true, true,	"not everything is read yet" },
	{ true, false, true, true,	"the first rules are not in the kernel yet" },
	{ true, true, false, true,	"a change waits for too long" },
	{ true, true, true, false,	"the node is not eligible" },
};

START_TEST(test_snapshot)
{
	struct kp_commits commits = one_commit();
	struct kp_status s = good(&commits);
	KP_AUTO(kp_freep) char *text = text_of(&s);

	ck_assert_ptr_null(strstr(text, "snapshot"));
	s.snapshot = (struct kp_snapshot_status){ .folder = "/lib" };
	expect_line(&s, "\nsnapshot      none in /lib\n");
	s.snapshot.problem = "no place";
	s.snapshot.wall_ns = WALL;
	expect_line(&s, "\nsnapshot      written 2026-03-01T10:00:05Z in /lib; no place\n");
	s.snapshot.in_use = true;
	s.snapshot.age_ns = 5 * S / 2;
	expect_line(&s, "\nsnapshot      in use: of 2026-03-01T10:00:05Z, 2.5 s old\n");
	expect_line(&s, "ready, with the Services of the snapshot\n");
	s.ready = s.started = s.synced = false;
	expect_line(&s, "not ready: the Services are those of the snapshot until an API server answers\n");
	kp_commits_release(&commits);
}
END_TEST

START_TEST(test_verdict)
{
	struct kp_commits commits = { 0 };
	struct kp_status s = good(&commits);

	s.ready = false;
	s.synced = verdicts[_i].synced;
	s.started = verdicts[_i].started;
	s.healthy = verdicts[_i].healthy;
	s.node_eligible = verdicts[_i].eligible;
	expect_line(&s, verdicts[_i].why);
	expect_line(&s, "\nIPv4          no commit yet\n");
}
END_TEST

/* Bytes that are no UTF-8 in a path cost the path, not the answer. And what is no status is no crash. */
START_TEST(test_odd_input)
{
	struct kp_commits commits = { 0 };
	struct kp_status s = good(&commits);
	struct kp_buf out = { 0 };
	json_t *other = json_pack("{s:s, s:[i], s:{s:i}}", "state", "x", "sources", 1, "families", "IPv4", 3);

	row = (struct kp_source_row){ .name = (char *)"/\xff" };
	expect_line(&s, "\nsources       /\xef\xbf\xbd: 0 objects, not watched\n");
	kp_status_text(other, &out);
	ck_assert(out.len > 0);
	kp_buf_release(&out);
	json_decref(other);
}
END_TEST

START_TEST(test_configz)
{
	static const char text[] = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
				   "mode: nftables\nclusterCIDR: 10.0.0.0/8,fd00::/8\nnodePortAddresses: [primary]\n"
				   "iptables: {masqueradeBit: 3, masqueradeAll: true, syncPeriod: 7s}\nnftables: {syncPeriod: 90s}\n";
	struct kp_config_report rep = { 0 };
	struct kp_config *cfg = NULL;
	json_t *all, *c, *want, *value;
	const char *key;

	ck_assert_int_eq(kp_config_load_text(text, strlen(text), &cfg, &rep), 0);
	all = kp_configz(cfg, "iptables");
	ck_assert_uint_eq(json_object_size(all), 2);
	c = json_object_get(all, "kubeproxy.config.k8s.io");
	want = json_pack("{s:s, s:s, s:s, s:[s], s:{s:b, s:i}, s:s, s:{s:s, s:[ss], s:s}}",
			 "Mode", "nftables", "SyncPeriod", "1m30s", "MinSyncPeriod", "1s", "NodePortAddresses", "primary",
			 "IPTables", "LocalhostNodePorts", 1, "MasqueradeBit", 3,
			 "MetricsBindAddress", "127.0.0.1:10249",
			 "DetectLocal", "BridgeInterface", "", "ClusterCIDRs", "10.0.0.0/8", "fd00::/8", "InterfaceNamePrefix", "");
	json_object_foreach(want, key, value)
		ck_assert_msg(json_equal(json_object_get(c, key), value), "%s", key);
	ck_assert(json_is_false(json_object_get(json_object_get(c, "Linux"), "MasqueradeAll")));	/* of the mode that is on */
	json_decref(all);
	cfg->mode = KP_MODE_UNSET;
	all = kp_configz(cfg, "iptables");
	c = json_object_get(all, "kubeproxy.config.k8s.io");
	ck_assert_str_eq(json_string_value(json_object_get(c, "Mode")), "iptables");
	ck_assert_str_eq(json_string_value(json_object_get(c, "SyncPeriod")), "7s");
	json_decref(want);
	json_decref(all);
	kp_config_free(cfg);
	kp_config_report_release(&rep);
}
END_TEST

START_TEST(test_other_proxy)
{
	struct kp_commits commits = { 0 };
	struct kp_status s = good(&commits);
	KP_AUTO(kp_freep) char *without = text_of(&s);

	ck_assert_ptr_null(strstr(without, "other proxy"));
	s.ready = s.started = false;
	s.blocked = "kube-proxy is running here: process 7 runs";
	s.other = (struct kp_other_view){ KP_OTHER_ALIVE, KP_OTHER_WAIT, "nftables table kube-proxy (IPv4)", "process 7 runs", NULL };
	expect_line(&s, "state         not ready: nothing is programmed\n");
	expect_line(&s, "blocked       kube-proxy is running here: process 7 runs\n");
	expect_line(&s, "other proxy   running (process 7 runs): nftables table kube-proxy (IPv4)\n");
	s.other.problem = "cannot";
	expect_line(&s, "\n              cannot\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("status");
	TCase *t = tcase_create("status");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(t, test_text);
	tcase_add_test(t, test_problems);
	tcase_add_test(t, test_drift);
	tcase_add_test(t, test_snapshot);
	tcase_add_loop_test(t, test_verdict, 0, KP_N(verdicts));
	tcase_add_test(t, test_odd_input);
	tcase_add_test(t, test_configz);
	tcase_add_test(t, test_other_proxy);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
