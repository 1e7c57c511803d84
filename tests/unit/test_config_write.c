#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"

/* --- everything there and back --- */

/* Every field with a value that is not its default: those that need their own, and by default. */
static const struct {
	const char *path, *value;
} others[] = {
	{ "mode", "iptables" },
	{ "bindAddress", "::" },
	{ "bindAddressHardFail", "true" },
	{ "clientConnection.acceptContentTypes", "application/json, text/*" },
	{ "clientConnection.burst", "0" },	/* not sayable: comes back as the default */
	{ "clientConnection.contentType", "a\"b\\c\n\td: {e}" },
	{ "clientConnection.kubeconfig", "/etc/k 1.conf" },
	{ "clientConnection.qps", "7.25" },
	{ "clusterCIDR", "10.0.0.0/8,fd00::/8" },
	{ "configSyncPeriod", "1h0m0.5s" },
	{ "conntrack.maxPerCore", "0" },
	{ "conntrack.min", "1" },
	{ "conntrack.tcpBeLiberal", "true" },
	{ "conntrack.tcpCloseWaitTimeout", "0" },
	{ "conntrack.tcpEstablishedTimeout", "90s" },
	{ "conntrack.udpStreamTimeout", "1ms" },
	{ "conntrack.udpTimeout", "3m" },
	{ "detectLocal.bridgeInterface", "true" },
	{ "detectLocal.interfaceNamePrefix", "1e3" },
	{ "detectLocalMode", "NodeCIDR" },
	{ "enableProfiling", "true" },
	{ "featureGates", "B=true,A=false" },
	{ "healthzBindAddress", "[fd00::1]:1" },
	{ "hostnameOverride", "null" },
	{ "iptables.localhostNodePorts", "false" },
	{ "iptables.masqueradeAll", "true" },
	{ "iptables.masqueradeBit", "0" },
	{ "iptables.minSyncPeriod", "2s" },
	{ "iptables.syncPeriod", "3s" },
	{ "ipvs.excludeCIDRs", "10.0.0.0/8,fd00::/8" },
	{ "ipvs.minSyncPeriod", "4s" },
	{ "ipvs.scheduler", "lc" },
	{ "ipvs.strictARP", "true" },
	{ "ipvs.syncPeriod", "5s" },
	{ "ipvs.tcpFinTimeout", "6s" },
	{ "ipvs.tcpTimeout", "7s" },
	{ "ipvs.udpTimeout", "8s" },
	{ "logging.flushFrequency", "9s" },
	{ "logging.format", "json" },
	{ "logging.options.json.infoBufferSize", "64Ki" },
	{ "logging.options.json.splitStream", "true" },
	{ "logging.options.text.infoBufferSize", "128" },
	{ "logging.options.text.splitStream", "true" },
	{ "logging.verbosity", "10" },
	{ "logging.vmodule", "a.go=1,b*=20" },
	{ "metricsBindAddress", "0.0.0.0:2" },
	{ "nftables.masqueradeAll", "true" },
	{ "nftables.masqueradeBit", "31" },
	{ "nftables.minSyncPeriod", "9s" },
	{ "nftables.syncPeriod", "10s" },
	{ "nodePortAddresses", "10.0.0.0/8,fd00::/8" },
	{ "oomScoreAdj", "-1000" },
	{ "portRange", "1-2" },
	{ "proxylet.agent.checks", "[{\"type\":\"exec\",\"name\":\"n\",\"command\":[\"/a b\",\"{c: d}\"]},{\"type\":\"cpuPercentMax\",\"value\":1}]" },
	{ "proxylet.apiServers", "https://192.0.2.1:6443,https://192.0.2.2:6443" },
	{ "proxylet.cleanupDrainSeconds", "600" },
	{ "proxylet.cleanupMaxSeconds", "0" },
	{ "proxylet.drainSeconds", "0" },
	{ "proxylet.fallback", "nftables" },
	{ "proxylet.handover", "never" },
	{ "proxylet.health.allowedSources", "168.63.129.16/32,fd00::/8" },
	{ "proxylet.health.connections", "64" },
	{ "proxylet.health.headerTimeout", "1m" },
	{ "proxylet.health.idleTimeout", "1h" },
	{ "proxylet.health.ineligibleTaints", "example.com/a,b" },
	{ "proxylet.health.proxyProtocol.main", "require" },
	{ "proxylet.health.proxyProtocol.services", "off" },
	{ "proxylet.health.proxyProtocol.shared", "forbid" },
	{ "proxylet.health.proxyProtocolTrustedCIDRs", "192.0.2.0/24,2001:db8::/32" },
	{ "proxylet.health.proxyV1LaxTCP6", "true" },
	{ "proxylet.health.proxyV2MaxLength", "65535" },
	{ "proxylet.health.relayTarget", "[::1]:10256" },
	{ "proxylet.health.requestsPerConnection", "1" },
	{ "proxylet.health.startup", "compat" },
	{ "proxylet.health.writeTimeout", "1s" },
	{ "proxylet.iptablesVariant", "legacy" },
	{ "proxylet.nodeTimeout", "1m0s" },
	{ "proxylet.nftables.ownerPersist", "true" },
	{ "proxylet.seccomp", "log" },
	{ "proxylet.sharedHealthzBindAddress", "[::1]:10357" },
	{ "proxylet.snapshot.health", "healthy" },
	{ "proxylet.snapshot.maxAge", "168h" },
	{ "proxylet.snapshot.path", "" },
	{ "proxylet.snapshot.period", "1ms" },
	{ "proxylet.snapshot.wait", "0s" },
	{ "proxylet.takeover", "never" },
	{ "proxylet.terminationMode", "drain" },
	{ "showHiddenMetricsForVersion", "1.35" },
	{ "windowsRunAsService", "true" },
	{ "winkernel.enableDSR", "true" },
	{ "winkernel.forwardHealthCheckVip", "true" },
	{ "winkernel.networkName", "\xc3\xa4" },
	{ "winkernel.rootHnsEndpointName", " blanks " },
	{ "winkernel.sourceVip", "- x" },
};

static struct kp_config *config_of_others(void)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = kp_config_new();

	for (size_t i = 0; i < KP_N(others); i++)
		ck_assert_msg(kp_config_set(c, others[i].path, others[i].value, &rep), "%s", others[i].path);
	return c;
}

static struct kp_config *again(const struct kp_config *c, struct kp_buf *text, size_t *ret_warnings)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *back = NULL;
	char *first;

	kp_config_write(c, text, &rep);
	*ret_warnings = rep.n;
	kp_config_load_text(text->data, text->len, &back, &rep);
	first = rep.n ? kp_config_problem_str(&rep.items[0]) : NULL;
	ck_assert_msg(rep.n_errors == 0 && back, "%s\n%s", first, text->data);
	free(first);
	kp_config_report_release(&rep);
	return back;
}

START_TEST(table_is_whole)
{
	struct kp_config_field f;
	size_t n = 0;

	for (; kp_config_field(n, &f); n++) {
		bool there = strcmp(f.path, "apiVersion") == 0 || strcmp(f.path, "kind") == 0;

		for (size_t k = 0; k < KP_N(others); k++)
			there |= strcmp(others[k].path, f.path) == 0;
		ck_assert_msg(there, "no value for %s in this test", f.path);
	}
	ck_assert_uint_eq(n, KP_N(others) + 2);
}
END_TEST

/* One at a time: a default in the way of another cannot hide. */
START_TEST(one_field_there_and_back)
{
	const char *path = others[_i].path;
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new(), *def = kp_config_new();
	KP_AUTO(kp_config_freep) struct kp_config *back = NULL;
	struct kp_config_report rep = { 0 };
	struct kp_buf text = { 0 };
	size_t warnings;

	ck_assert_msg(kp_config_set(c, path, others[_i].value, &rep), "%s", path);
	ck_assert_msg(kp_config_compare(c, def) != KP_CONFIG_SAME, "%s: '%s' is the default", path, others[_i].value);
	if (strncmp(path, "detectLocalMode", 15) != 0 && strcmp(path, "clientConnection.burst") != 0) {
		back = again(c, &text, &warnings);
		ck_assert_msg(kp_config_compare(c, back) == KP_CONFIG_SAME, "%s: '%s' does not come back:\n%s", path,
			      others[_i].value, text.data);
		ck_assert_uint_eq(warnings, 0);
	}
	kp_buf_release(&text);
	kp_config_report_release(&rep);
}
END_TEST

START_TEST(all_fields_there_and_back)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = config_of_others(), *back = NULL, *third = NULL;
	struct kp_buf one = { 0 }, two = { 0 };
	size_t warnings;

	back = again(c, &one, &warnings);
	ck_assert_uint_eq(warnings, 1);		/* burst */
	ck_assert_int_eq(back->client.burst, 10);
	c->client.burst = 10;
	ck_assert_int_eq(kp_config_compare(c, back), KP_CONFIG_SAME);
	one.len = 0;
	third = again(back, &one, &warnings);
	ck_assert_uint_eq(warnings, 0);
	kp_config_free(third);
	third = again(back, &two, &warnings);
	ck_assert_str_eq(one.data, two.data);
	kp_buf_release(&one);
	kp_buf_release(&two);
}
END_TEST

START_TEST(changes)
{
	static const struct {
		const char *path, *value;
		enum kp_config_change want;
	} rows[] = {
		{ "clusterCIDR", "", KP_CONFIG_SAME },
		{ "conntrack.tcpEstablishedTimeout", "1440m", KP_CONFIG_SAME },
		{ "clusterCIDR", "10.0.0.0/8", KP_CONFIG_CHANGED },
		{ "nodePortAddresses", "primary", KP_CONFIG_CHANGED },
		{ "healthzBindAddress", "", KP_CONFIG_CHANGED },
		{ "hostnameOverride", "x", KP_CONFIG_IDENTITY },
		{ "bindAddress", "10.0.0.1", KP_CONFIG_IDENTITY },
		{ "clientConnection.kubeconfig", "/x", KP_CONFIG_IDENTITY },
		{ "mode", "nftables", KP_CONFIG_IDENTITY },
		{ "iptables.syncPeriod", "1m", KP_CONFIG_IDENTITY },
		{ "ipvs.syncPeriod", "1m", KP_CONFIG_IDENTITY },
	};

	for (size_t i = 0; i < KP_N(rows); i++) {
		KP_AUTO(kp_config_freep) struct kp_config *a = kp_config_new(), *b = kp_config_new();
		struct kp_config_report rep = { 0 };

		ck_assert(kp_config_set(b, rows[i].path, rows[i].value, &rep));
		ck_assert_msg(kp_config_compare(a, b) == rows[i].want, "%s: %d", rows[i].path, kp_config_compare(a, b));
		kp_config_swap(a, b);
		ck_assert_msg(kp_config_compare(a, b) == rows[i].want, "%s, swapped", rows[i].path);
	}
}
END_TEST

/* CF-1: one set of these for all modes. */
START_TEST(active_section)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = config_of_others();
	struct kp_config_backend b;

	c->mode = KP_MODE_IPTABLES;
	b = kp_config_active(c);
	ck_assert(b.masquerade_all && b.masquerade_bit == 0 && b.sync_period_ms == 3000 && b.min_sync_period_ms == 2000);
	c->mode = KP_MODE_IPVS;
	b = kp_config_active(c);
	ck_assert(b.masquerade_all && b.masquerade_bit == 0 && b.sync_period_ms == 5000 && b.min_sync_period_ms == 4000);
	c->mode = KP_MODE_UNSET;
	b = kp_config_active(c);
	ck_assert(b.masquerade_bit == 31 && b.sync_period_ms == 10000 && b.min_sync_period_ms == 9000);
}
END_TEST

/* --- the manual --- */

static char *read_manual(void)
{
	FILE *f = fopen("proxy/proxylet.conf.5", "r");
	struct kp_buf all = { 0 };
	size_t n;

	ck_assert_msg(f != NULL, "proxy/proxylet.conf.5: %s; tests run from the top of the tree", strerror(errno));
	while ((n = fread(kp_buf_reserve(&all, 4096), 1, 4096, f)) > 0)
		all.len += n;
	fclose(f);
	kp_buf_add(&all, "", 1);
	return all.data;
}

/*
 * Every field has a paragraph, with its default and, if it has no effect, the reason the log gives; they are in
 * the order of the fields, of which only the mode comes first for a reason of the code's.
 */
START_TEST(manual_has_every_field)
{
	KP_AUTO(kp_freep) char *manual = read_manual();
	const char *before = manual;
	struct kp_config_field f;

	for (size_t i = 0; kp_config_field(i, &f); i++) {
		KP_AUTO(kp_freep) char *head = kp_asprintf("\n.It Cm %s\n", f.path), *part = NULL;
		KP_AUTO(kp_freep) char *def = kp_asprintf("\nDefault: %s.\n", f.def);
		KP_AUTO(kp_freep) char *idle = kp_asprintf("\nIt %s.\n", f.idle ? f.idle : "");
		const char *from = strstr(manual, head), *to;

		ck_assert_msg(from != NULL, "%s is not in the manual", f.path);
		ck_assert_msg(from > before, "%s is in another place of the manual", f.path);
		before = i ? from : before;
		from += strlen(head) - 1;
		to = strstr(from, "\n.It ");
		if (!to)
			to = strstr(from, "\n.El");
		part = kp_strndup(from, (size_t)(to - from) + 1);
		ck_assert_msg(!*f.def || strstr(part, def), "%s: the manual has another default than '%s'", f.path, f.def);
		ck_assert_msg(!f.idle || strstr(part, idle), "%s: the manual does not say '%s'", f.path, f.idle);
	}
}
END_TEST

/* And no paragraph is about a field that is not there any more. */
START_TEST(manual_has_no_other_field)
{
	KP_AUTO(kp_freep) char *manual = read_manual();
	char *end = strstr(manual, "\n.Sh CHANGES"), *rest = NULL, *from = strstr(manual, "\n.Sh FIELDS");
	struct kp_config_field f;

	ck_assert(from != NULL && end != NULL);
	*end = '\0';
	for (char *line = strtok_r(from, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		bool found = strncmp(line, ".It Cm ", 7) != 0;

		for (size_t i = 0; !found && kp_config_field(i, &f); i++)
			found = strcmp(line + 7, f.path) == 0;
		ck_assert_msg(found, "there is no field '%s'", line + 7);
	}
}
END_TEST

/* --- AKS' JSON: rows C-01 to C-09 of health-and-probes F.5, and what else A.6 says --- */

static const struct {
	const char *in, *want;	/* "mode enabled scheduler tcp fin udp", or the codes with their paths */
} aks[] = {
	{ "{}", "iptables 1 - 0 0 0" },
	{ "\xef\xbb\xbf{}\n", "iptables 1 - 0 0 0" },
	{ "{\"mode\":\"nftables\"}", "nftables 1 - 0 0 0" },
	{ "{\"mode\":null,\"enabled\":false}", "iptables 0 - 0 0 0" },
	{ "{\"mode\":\"IpVs\"}", "ipvs 1 rr 0 0 0" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{}}", "ipvs 1 rr 0 0 0" },
	{ "{\"mode\":\"NFTABLES\",\"ipvsConfig\":null}", "nftables 1 - 0 0 0" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"scheduler\":\"leastconnection\",\"tcpTimeoutSeconds\":900,"
	  "\"tcpFinTimeoutSeconds\":120,\"udpTimeoutSeconds\":2147483}}", "ipvs 1 lc 900000 120000 2147483000" },
	{ "{\"mode\":\"EBPF\"}", "C04 mode" },
	{ "{\"mode\":7}", "C08 mode" },
	{ "{\"mode\":\"NFTABLES\",\"ipvsConfig\":{}}", "C05 ipvsConfig" },
	{ "{\"ipvsConfig\":{}}", "C05 ipvsConfig" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"scheduler\":\"wlc\"}}", "C06 ipvsConfig.scheduler" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"scheduler\":1}}", "C08 ipvsConfig.scheduler" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":[]}", "C08 ipvsConfig" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"tcpTimeoutSeconds\":0,\"tcpFinTimeoutSeconds\":-1,\"udpTimeoutSeconds\":1.5}}",
	  "C07 ipvsConfig.tcpTimeoutSeconds C07 ipvsConfig.tcpFinTimeoutSeconds C07 ipvsConfig.udpTimeoutSeconds" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"tcpTimeoutSeconds\":9e2,\"tcpFinTimeoutSeconds\":\"900\",\"udpTimeoutSeconds\":2147484}}",
	  "C07 ipvsConfig.tcpTimeoutSeconds C07 ipvsConfig.tcpFinTimeoutSeconds C07 ipvsConfig.udpTimeoutSeconds" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"udpTimeoutSeconds\":99999999999999999999}}", "C07 $" },
	{ "{\"modes\":\"IPVS\"}", "C03 modes" },
	{ "{\"mode\":\"IPVS\",\"ipvsConfig\":{\"x\":1}}", "C03 ipvsConfig.x" },
	{ "{\"mode\":\"IPVS\",\"mode\":\"IPVS\"}", "C03 $" },
	{ "{", "C01 $" },
	{ "{} x", "C01 $" },
	{ "", "C01 $" },
	{ "mode: IPVS", "C01 $" },
	{ "[]", "C02 $" },
	{ "7", "C02 $" },
	{ "{\"enabled\":\"true\"}", "C08 enabled" },
};

static void show_aks(const struct kp_config *c, struct kp_buf *out)
{
	static const char *const modes[] = {
		[KP_MODE_UNSET] = "-", [KP_MODE_NFTABLES] = "nftables", [KP_MODE_IPTABLES] = "iptables", [KP_MODE_IPVS] = "ipvs",
	};

	kp_buf_printf(out, "%s %d %s %lld %lld %lld", modes[c->mode], !c->disabled,
		      *c->ipvs_only.scheduler ? c->ipvs_only.scheduler : "-", (long long)c->ipvs_only.tcp_ms,
		      (long long)c->ipvs_only.tcp_fin_ms, (long long)c->ipvs_only.udp_ms);
}

START_TEST(aks_case)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new(), *def = kp_config_new();
	struct kp_config_report rep = { 0 };
	struct kp_buf got = { 0 };
	int r = kp_config_read_aks(aks[_i].in, strlen(aks[_i].in), c, &rep);

	if (r == 0)
		show_aks(c, &got);
	for (size_t i = 0; i < rep.n; i++)
		kp_buf_printf(&got, "%s%s %s", i ? " " : "", rep.items[i].type, rep.items[i].field);
	ck_assert_msg(strcmp(got.data, aks[_i].want) == 0, "%s: got '%s', want '%s'", aks[_i].in, got.data, aks[_i].want);
	ck_assert_int_eq(r, rep.n ? -EINVAL : 0);
	ck_assert(r == 0 || kp_config_compare(c, def) == KP_CONFIG_SAME);
	kp_buf_release(&got);
	kp_config_report_release(&rep);
}
END_TEST

START_TEST(aks_files)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	struct kp_config_report rep = { 0 };
	char path[] = "/tmp/test-aks-XXXXXX";
	struct kp_err err = { 0 };
	int fd = mkstemp(path);

	ck_assert_int_lt(kp_config_load_aks("/does/not/exist", c, &rep, &err), 0);
	ck_assert_str_eq(rep.items[0].type, "C09");
	ck_assert_int_eq(ftruncate(fd, (64 << 10) + 1), 0);
	ck_assert_int_lt(kp_config_load_aks(path, c, &rep, &err), 0);
	ck_assert_str_eq(rep.items[1].type, "C09");
	close(fd);
	unlink(path);
	kp_config_report_release(&rep);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config-write");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, table_is_whole);
	tcase_add_loop_test(tc, one_field_there_and_back, 0, KP_N(others));
	tcase_add_test(tc, all_fields_there_and_back);
	tcase_add_test(tc, changes);
	tcase_add_test(tc, active_section);
	tcase_add_test(tc, manual_has_every_field);
	tcase_add_test(tc, manual_has_no_other_field);
	tcase_add_loop_test(tc, aks_case, 0, KP_N(aks));
	tcase_add_test(tc, aks_files);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
