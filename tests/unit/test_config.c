#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"

#define HEAD "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

/* --- values --- */

static const struct {
	const char *in;
	bool ok;
	int64_t ms;
	const char *shown;
} durations[] = {
	{ "0", true, 0, "0s" },
	{ "0s", true, 0, "0s" },
	{ "30s", true, 30000, "30s" },
	{ "1m30s", true, 90000, "1m30s" },
	{ "15m", true, 900000, "15m0s" },
	{ "24h", true, 86400000, "24h0m0s" },
	{ "1h0m5s", true, 3605000, "1h0m5s" },
	{ "500ms", true, 500, "500ms" },
	{ "1.5s", true, 1500, "1.5s" },
	{ ".5s", true, 500, "500ms" },
	{ "1.s", true, 1000, "1s" },
	{ "61.001s", true, 61001, "1m1.001s" },
	{ "1.002s", true, 1002, "1.002s" },	/* times 10^9 it is a little more in floating point */
	{ "1.5h0.0000000000000000001s", true, 5400000, "1h30m0s" },
	{ "-1m30s", true, -90000, "-1m30s" },
	{ "+5s", true, 5000, "5s" },
	{ "1ns", true, 1, "1ms" },		/* not zero */
	{ "-1us", true, -1, "-1ms" },
	{ "1500\xc2\xb5s", true, 2, "2ms" },
	{ "2562047h", true, 9223369200000, "2562047h0m0s" },
	{ "9223372036854775807ns", true, 9223372036854, "2562047h47m16.854s" },
	{ "2562048h", false, 0, NULL },		/* more than Go can hold */
	{ "18446744073709551617ns", false, 0, NULL },
	{ "", false, 0, NULL },
	{ "-", false, 0, NULL },
	{ "5", false, 0, NULL },
	{ "s", false, 0, NULL },
	{ ".s", false, 0, NULL },
	{ "5x", false, 0, NULL },
	{ "5 s", false, 0, NULL },
	{ "5s ", false, 0, NULL },
	{ "1e3s", false, 0, NULL },
	{ "0x5s", false, 0, NULL },
	{ "--5s", false, 0, NULL },
	{ "1m30", false, 0, NULL },
};

START_TEST(duration_case)
{
	char text[KP_DURATION_STRLEN];
	int64_t ms = 77;
	bool ok = kp_duration_parse(durations[_i].in, &ms);

	ck_assert_msg(ok == durations[_i].ok, "'%s': %d", durations[_i].in, ok);
	ck_assert_int_eq(ms, ok ? durations[_i].ms : 77);
	if (ok)
		ck_assert_str_eq(kp_duration_str(ms, text), durations[_i].shown);
}
END_TEST

static const struct {
	const char *in, *addr;
	uint16_t port;
} hostports[] = {
	{ "0.0.0.0:10256", "0.0.0.0", 10256 },
	{ "[::]:1", "::", 1 },
	{ "[fd00::1]:65535", "fd00::1", 65535 },
	{ "[10.0.0.1]:80", "10.0.0.1", 80 },
	{ "10.0.0.1:0", NULL, 0 },
	{ "10.0.0.1:65536", NULL, 0 },
	{ "10.0.0.1:-1", NULL, 0 },
	{ "10.0.0.1:8a", NULL, 0 },
	{ "10.0.0.1:", NULL, 0 },
	{ "10.0.0.1", NULL, 0 },
	{ ":80", NULL, 0 },
	{ "::1:80", NULL, 0 },
	{ "[::1]", NULL, 0 },
	{ "[::1]80", NULL, 0 },
	{ "[::1", NULL, 0 },
	{ "localhost:80", NULL, 0 },
	{ "", NULL, 0 },
};

START_TEST(hostport_case)
{
	char text[KP_ADDR_STRLEN];
	struct kp_addr a;
	uint16_t port;
	bool ok = kp_hostport_parse(hostports[_i].in, &a, &port);

	ck_assert_msg(ok == (hostports[_i].addr != NULL), "'%s': %d", hostports[_i].in, ok);
	if (!ok)
		return;
	ck_assert_str_eq(kp_addr_str(&a, text), hostports[_i].addr);
	ck_assert_uint_eq(port, hostports[_i].port);
}
END_TEST

/* --- loading --- */

/* Every problem as "LINE LEVEL FIELD: DETAIL (got 'VALUE')\n". */
static char *all_problems(const struct kp_config_report *rep)
{
	char *all = kp_strdup("");

	for (size_t i = 0; i < rep->n; i++) {
		KP_AUTO(kp_freep) char *one = kp_config_problem_str(&rep->items[i]);
		char *longer = kp_asprintf("%s%u %s %s\n", all, rep->items[i].line,
					   kp_problem_names[rep->items[i].level], one);

		free(all);
		all = longer;
	}
	return all;
}

static const struct {
	const char *name, *in, *want;
} problems[] = {
	{ "fine", HEAD "mode: nftables\n", "" },
	{ "JSON", "{\"kind\":\"KubeProxyConfiguration\",\n\"apiVersion\":\"kubeproxy.config.k8s.io/v1alpha1\",\n\"oomScoreAdj\":2000}",
	  "3 error oomScoreAdj: must be within the range [-1000, 1000] (got '2000')\n" },
	{ "empty", "",
	  "0 error apiVersion: must be \"kubeproxy.config.k8s.io/v1alpha1\"\n0 error kind: must be \"KubeProxyConfiguration\"\n" },
	{ "another kind", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Service\n",
	  "2 error kind: must be \"KubeProxyConfiguration\" (got 'Service')\n" },
	{ "another version", "apiVersion: kubeproxy.config.k8s.io/v1beta1\nkind: KubeProxyConfiguration\n",
	  "1 error apiVersion: must be \"kubeproxy.config.k8s.io/v1alpha1\" (got 'kubeproxy.config.k8s.io/v1beta1')\n" },
	{ "no mapping", "- a\n", "0 error must be a mapping with kind KubeProxyConfiguration\n" },
	{ "unparsable", HEAD "bindAddress: ::\n", "3 error mapping values are not allowed in this context\n" },
	{ "two documents", HEAD "---\n" HEAD, "4 error a second document begins here, but one is expected\n" },
	{ "unknown", HEAD "nodeportAddresses: []\niptables:\n  masqueradBit: 5\nxyzzy: 1\n",
	  "3 warning nodeportAddresses: unknown field, ignored; is 'nodePortAddresses' meant?\n"
	  "5 warning iptables.masqueradBit: unknown field, ignored; is 'iptables.masqueradeBit' meant?\n"
	  "6 warning xyzzy: unknown field, ignored\n" },
	{ "unknown section", HEAD "nftable:\n  masqueradeBit: 5\n",
	  "3 warning nftable: unknown field, ignored; is 'nftables' meant?\n" },
	{ "duplicate", HEAD "mode: nftables\niptables:\n  masqueradeBit: 1\n  masqueradeBit: 2\nmode: ipvs\n",
	  "6 warning iptables.masqueradeBit: is there twice, the last one counts\n"
	  "7 warning mode: is there twice, the last one counts\n" },
	{ "no effect", HEAD "conntrack:\n  min: 0\n  maxPerCore: 32768\nwinkernel:\n  enableDSR: true\nfeatureGates: {A: true}\n",
	  "7 note winkernel.enableDSR: is of Windows\n"
	  "8 note featureGates: has no effect: these are switches in kube-proxy's own code\n" },
	{ "of another mode", HEAD "mode: nftables\niptables: {masqueradeAll: true, minSyncPeriod: 2s}\nnftables: {masqueradeAll: true}\n",
	  "4 note iptables.masqueradeAll: is of the modes iptables and ipvs\n"
	  "4 note iptables.minSyncPeriod: has no effect: changes go to the kernel as they come\n" },
	{ "name too long for an interface", HEAD "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: a234567890123456}\n",
	  "4 error detectLocal.bridgeInterface: must be at most 15 characters, as all names of interfaces (got 'a234567890123456')\n" },
	{ "name with a blank", HEAD "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: 've th'}\n",
	  "4 error detectLocal.interfaceNamePrefix: must not contain blanks, \"/\" or \":\", as no name of an interface does "
	  "(got 've th')\n" },
	{ "name as long as an interface's", HEAD "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: a23456789012345}\n", "" },
	{ "vmodule", HEAD "logging: {vmodule: [{filePattern: a}]}\n",
	  "3 error logging.vmodule: must be a list of filePattern and verbosity (got '[{\"filePattern\":\"a\"}]')\n" },
	{ "seccomp", HEAD "proxylet: {seccomp: strict}\n",
	  "3 error proxylet.seccomp: supported values: \"enforce\", \"log\", \"off\" (got 'strict')\n" },
	{ "checks", HEAD "proxylet:\n  agent:\n    checks:\n    - {type: exec, command: [/x]}\n    - {type: exec}\n",
	  "7 error proxylet.agent.checks[1]: command must be a list of 1 to 64 strings, the first an absolute path\n" },
	{ "checks of another type", HEAD "proxylet: {agent: {checks: [cpu]}}\n",
	  "3 error proxylet.agent.checks: must be a list of mappings (got '[\"cpu\"]')\n" },
	{ "seconds", HEAD "proxylet: {drainSeconds: 601}\n",
	  "3 error proxylet.drainSeconds: must be within the range [0, 600] (got '601')\n" },
	{ "the end", HEAD "proxylet: {terminationMode: slow}\n",
	  "3 error proxylet.terminationMode: supported values: \"fast\", \"drain\" (got 'slow')\n" },
	{ "snapshot", HEAD "proxylet:\n  snapshot: {path: state, period: 0s, maxAge: 0s, wait: -1s, health: maybe}\n",
	  "4 error proxylet.snapshot.health: supported values: \"unhealthy\", \"healthy\" (got 'maybe')\n"
	  "4 error proxylet.snapshot.maxAge: must be greater than 0 (got '0s')\n"
	  "4 error proxylet.snapshot.path: must be an absolute path, or empty for none (got 'state')\n"
	  "4 error proxylet.snapshot.period: must be greater than 0 (got '0s')\n"
	  "4 error proxylet.snapshot.wait: must be greater than or equal to 0 (got '-1s')\n" },
	{ "no snapshot", HEAD "proxylet: {snapshot: {path: \"\"}}\n", "" },
	{ "startup", HEAD "proxylet: {health: {startup: lax}}\n",
	  "3 error proxylet.health.startup: supported values: \"strict\", \"compat\" (got 'lax')\n" },
	{ "relay by name", HEAD "proxylet: {health: {relayTarget: \"localhost:10256\"}}\n",
	  "3 error proxylet.health.relayTarget: must be a valid IP (got 'localhost')\n" },
	{ "relay without port", HEAD "proxylet: {health: {relayTarget: 127.0.0.1}}\n", "" },
	{ "servers", HEAD "proxylet:\n  apiServers: [192.0.2.1, 'HTTPS://[::1]:6443/', 'ftp://x', 'a b', '']\n",
	  "4 error proxylet.apiServers[2]: must be an http or https address (got 'ftp://x')\n"
	  "4 error proxylet.apiServers[3]: must be an http or https address (got 'a b')\n"
	  "4 error proxylet.apiServers[4]: must be an http or https address\n" },
	{ "relay", HEAD "proxylet:\n  sharedHealthzBindAddress: ''\n  health: {relayTarget: 127.0.0.1}\n",
	  "4 error proxylet.sharedHealthzBindAddress: must be set: proxylet.health.relayTarget makes this agent a relay, "
	  "which listens there\n" },
	{ "fallback", HEAD "proxylet: {fallback: ipvs}\n",
	  "3 error proxylet.fallback: supported values: \"nftables\", \"iptables\", \"\" (got 'ipvs')\n" },
	{ "iptablesVariant", HEAD "proxylet: {iptablesVariant: nf_tables}\n",
	  "3 error proxylet.iptablesVariant: must be auto, nft or legacy (got 'nf_tables')\n" },
	{ "AKS form", "{\"mode\": \"nftables\"}", "" },
	{ "AKS form, wrong", "{\"mode\": \"NFTABLES\",\n\"ipvsConfig\": {}}", "2 error C05 ipvsConfig: is for mode IPVS alone\n" },
	{ "defaults spelt differently", HEAD "conntrack:\n  tcpEstablishedTimeout: 1440m\nclientConnection: {qps: 0, burst: 0}\n"
	  "logging: {flushFrequency: 5s}\nwinkernel: null\nfeatureGates: {}\nipvs: {excludeCIDRs: []}\n", "" },
	{ "string for a number", HEAD "oomScoreAdj: '5'\n", "3 error oomScoreAdj: must be a whole number (got '5')\n" },
	{ "fraction", HEAD "oomScoreAdj: 0.5\n", "3 error oomScoreAdj: must be a whole number (got '0.5')\n" },
	{ "number for a string", HEAD "hostnameOverride: 5\n",
	  "3 error hostnameOverride: must be a string (in quotes if it looks like something else) (got '5')\n" },
	{ "string for a bool", HEAD "enableProfiling: 'true'\n", "3 error enableProfiling: must be true or false (got 'true')\n" },
	{ "number for a duration", HEAD "configSyncPeriod: 5\n",
	  "3 error configSyncPeriod: must be a duration such as 30s or 1m30s (got '5')\n" },
	{ "no duration", HEAD "configSyncPeriod: 5 minutes\n",
	  "3 error configSyncPeriod: must be a duration such as 30s or 1m30s (got '5 minutes')\n" },
	{ "string for a list", HEAD "nodePortAddresses: 10.0.0.0/8\n",
	  "3 error nodePortAddresses: must be a list of strings (got '10.0.0.0/8')\n" },
	{ "list of numbers", HEAD "nodePortAddresses: [1]\n", "3 error nodePortAddresses: must be a list of strings (got '[1]')\n" },
	{ "gate no bool", HEAD "featureGates: {A: maybe}\n",
	  "3 error featureGates: must be a mapping of names to true or false (got '{\"A\":\"maybe\"}')\n" },
	{ "section no mapping", HEAD "iptables: 5\n", "3 error iptables: must be a mapping\n" },
	{ "mode", HEAD "mode: userspace\n", "3 error mode: supported values: \"nftables\", \"iptables\", \"ipvs\", \"\" (got 'userspace')\n" },
	{ "log format", HEAD "logging:\n  format: xml\n", "4 error logging.format: supported values: \"text\", \"json\" (got 'xml')\n" },
	{ "verbosity", HEAD "logging: {verbosity: -1}\n", "3 error logging.verbosity: must be within the range [0, 4294967295] (got '-1')\n" },
	{ "port range", HEAD "portRange: 70000-70001\n",
	  "3 error portRange: must be a port range such as 2000-3000 or 2000+1000 (got '70000-70001')\n" },
	{ "port range by count", HEAD "portRange: 2000+1000\n", "3 note portRange: has no effect, as in kube-proxy\n" },
	{ "our own key", HEAD "proxylet:\n  sharedHealthzBindAddress: 1.2.3.4:x\n  nothingOfTheKind: 1\n",
	  "4 error proxylet.sharedHealthzBindAddress: must be a valid port (got 'x')\n"
	  "5 warning proxylet.nothingOfTheKind: unknown field, ignored\n" },
	{ "health, below its ranges", HEAD "proxylet:\n  health:\n    headerTimeout: 2s\n    idleTimeout: 0s\n    writeTimeout: 999ms\n"
	  "    connections: 63\n    requestsPerConnection: 0\n    proxyV2MaxLength: 535\n",
	  "5 error proxylet.health.headerTimeout: must be within the range [3s, 1m0s] (got '2s')\n"
	  "6 error proxylet.health.idleTimeout: must be within the range [1s, 1h0m0s] (got '0s')\n"
	  "7 error proxylet.health.writeTimeout: must be within the range [1s, 1m0s] (got '999ms')\n"
	  "8 error proxylet.health.connections: must be within the range [64, 65536] (got '63')\n"
	  "9 error proxylet.health.requestsPerConnection: must be within the range [1, 2147483647] (got '0')\n"
	  "10 error proxylet.health.proxyV2MaxLength: must be within the range [536, 65535] (got '535')\n" },
	{ "health, above them", HEAD "proxylet:\n  health:\n    headerTimeout: 61s\n    idleTimeout: 3601s\n    writeTimeout: 61s\n"
	  "    connections: 65537\n    proxyV2MaxLength: 65536\n",
	  "5 error proxylet.health.headerTimeout: must be within the range [3s, 1m0s] (got '1m1s')\n"
	  "6 error proxylet.health.idleTimeout: must be within the range [1s, 1h0m0s] (got '1h0m1s')\n"
	  "7 error proxylet.health.writeTimeout: must be within the range [1s, 1m0s] (got '1m1s')\n"
	  "8 error proxylet.health.connections: must be within the range [64, 65536] (got '65537')\n"
	  "9 error proxylet.health.proxyV2MaxLength: must be within the range [536, 65535] (got '65536')\n" },
	{ "health, its words", HEAD "proxylet:\n  health:\n    proxyProtocol: {main: maybe}\n    allowedSources: [10.0.0.0/33]\n"
	  "    proxyProtocolTrustedCIDRs: [10.0.0.0/8, x]\n",
	  "5 error proxylet.health.proxyProtocol.main: supported values: \"optional\", \"require\", \"forbid\", \"off\" (got 'maybe')\n"
	  "6 error proxylet.health.allowedSources[0]: must be a valid CIDR (got '10.0.0.0/33')\n"
	  "7 error proxylet.health.proxyProtocolTrustedCIDRs[1]: must be a valid CIDR (got 'x')\n" },
	{ "odd names", HEAD "a.b: 1\niptables: {'c[0]': 1}\n",
	  "3 warning [a.b]: unknown field, ignored\n4 warning iptables[c[0]]: unknown field, ignored\n" },
};

START_TEST(problem_case)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;
	int r = kp_config_load_text(problems[_i].in, strlen(problems[_i].in), &c, &rep);
	KP_AUTO(kp_freep) char *got = all_problems(&rep);

	ck_assert_msg(strcmp(got, problems[_i].want) == 0, "%s: got\n%swant\n%s", problems[_i].name, got, problems[_i].want);
	ck_assert_int_eq(r, rep.n_errors ? -EINVAL : 0);
	ck_assert_int_eq(c != NULL, r == 0);
	kp_config_report_release(&rep);
	kp_config_free(c);
}
END_TEST

static struct kp_config *load(const char *text)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;

	kp_config_load_text(text, strlen(text), &c, &rep);
	ck_assert_uint_eq(rep.n_errors, 0);
	kp_config_report_release(&rep);
	return c;
}

START_TEST(defaults)
{
	struct kp_config *c = _i ? load(HEAD) : kp_config_new();

	ck_assert_int_eq(c->mode, KP_MODE_UNSET);
	ck_assert_int_eq(c->detect_mode, KP_DETECT_MODE_UNSET);
	ck_assert_str_eq(c->hostname_override, "");
	ck_assert_str_eq(c->bind_address, "0.0.0.0");
	ck_assert_str_eq(c->healthz_bind_address, "0.0.0.0:10256");
	ck_assert_str_eq(c->metrics_bind_address, "127.0.0.1:10249");
	ck_assert_str_eq(c->shared_healthz_bind_address, "0.0.0.0:10356");
	ck_assert_ptr_nonnull(c->nodeport_addresses);
	ck_assert_ptr_null(c->nodeport_addresses[0]);
	ck_assert_int_eq(c->nftables.masquerade_bit, 14);
	ck_assert_int_eq(c->nftables.sync_period_ms, 30000);
	ck_assert_int_eq(c->nftables.min_sync_period_ms, 1000);
	ck_assert_int_eq(c->ipvs.min_sync_period_ms, 0);
	ck_assert(c->localhost_nodeports && !c->nftables.masquerade_all && !c->log_json);
	ck_assert_int_eq(c->config_sync_period_ms, 900000);
	ck_assert_int_eq(c->oom_score_adj, -999);
	kp_config_free(c);
}
END_TEST

START_TEST(values)
{
	struct kp_config *c = load(HEAD "mode: ipvs\nbindAddress: '::1'\nhealthzBindAddress: fd00::1\nmetricsBindAddress: 10.0.0.1\n"
		"detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: br0, interfaceNamePrefix: veth}\n"
		"nodePortAddresses: [10.0.0.0/8, 'fd00::/8']\nclientConnection: {kubeconfig: /k}\noomScoreAdj: 0\n"
		"nftables: {masqueradeAll: true, masqueradeBit: 0, syncPeriod: 0s, minSyncPeriod: 2s}\n"
		"iptables: {localhostNodePorts: false}\nlogging: {format: json, verbosity: 4}\n"
		"proxylet: {sharedHealthzBindAddress: ''}\n");

	ck_assert_int_eq(c->mode, KP_MODE_IPVS);
	ck_assert_int_eq(c->detect_mode, KP_DETECT_BRIDGE);
	ck_assert_str_eq(c->bridge_interface, "br0");
	ck_assert_str_eq(c->interface_prefix, "veth");
	ck_assert_str_eq(c->healthz_bind_address, "[fd00::1]:10256");
	ck_assert_str_eq(c->metrics_bind_address, "10.0.0.1:10249");
	ck_assert_str_eq(c->shared_healthz_bind_address, "");
	ck_assert_str_eq(c->nodeport_addresses[1], "fd00::/8");
	ck_assert_ptr_null(c->nodeport_addresses[2]);
	ck_assert_str_eq(c->kubeconfig, "/k");
	ck_assert_int_eq(c->oom_score_adj, 0);
	ck_assert_int_eq(c->nftables.masquerade_bit, 0);
	ck_assert_int_eq(c->nftables.sync_period_ms, 30000);	/* 0 in a file is the default */
	ck_assert_int_eq(c->nftables.min_sync_period_ms, 2000);
	ck_assert(c->nftables.masquerade_all && !c->iptables.masquerade_all && !c->localhost_nodeports && c->log_json);
	ck_assert_int_eq(c->log_verbosity, 4);
	kp_config_free(c);
}
END_TEST

START_TEST(addresses_follow_the_family)
{
	struct kp_config *c = load(HEAD "bindAddress: '::'\n");

	ck_assert_str_eq(c->healthz_bind_address, "[::]:10256");
	ck_assert_str_eq(c->metrics_bind_address, "[::1]:10249");
	kp_config_free(c);
}
END_TEST

START_TEST(set_from_text)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = kp_config_new();

	ck_assert(kp_config_set(c, "healthzBindAddress", "", &rep));	/* off, not the default */
	ck_assert(kp_config_set(c, "nodePortAddresses", "10.0.0.0/8,fd00::/8", &rep));
	ck_assert(kp_config_set(c, "iptables.minSyncPeriod", "0", &rep));
	ck_assert(!kp_config_set(c, "mode", "userspace", &rep));
	ck_assert(!kp_config_set(c, "oomScoreAdj", "many", &rep));
	ck_assert(!kp_config_set(c, "clientConnection.contentType", "\xff", &rep));	/* no file can say it */
	ck_assert_uint_eq(rep.n_errors, 3);
	ck_assert_str_eq(c->healthz_bind_address, "");
	ck_assert_str_eq(c->nodeport_addresses[1], "fd00::/8");
	ck_assert_int_eq(c->iptables.min_sync_period_ms, 0);
	ck_assert_int_eq(c->mode, KP_MODE_UNSET);
	ck_assert_int_eq(c->oom_score_adj, -999);
	ck_assert(kp_config_set(c, "oomScoreAdj", "1001", &rep));	/* judged by validate */
	kp_config_validate(c, &rep);
	ck_assert_uint_eq(rep.n_errors, 4);
	kp_config_report_release(&rep);
	kp_config_free(c);
}
END_TEST

START_TEST(files)
{
	char path[] = "/tmp/test-config-XXXXXX";
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;
	struct kp_err err = { 0 };
	int fd = mkstemp(path);

	ck_assert_int_eq(kp_config_load_file("/does/not/exist", &c, &rep, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "open '/does/not/exist': No such file or directory");
	ck_assert_int_eq(kp_config_load_file("/", &c, &rep, &err), -EISDIR);
	ck_assert_uint_eq(rep.n, 0);
	ck_assert_int_eq(kp_config_load_file("/dev/zero", &c, &rep, &err), -EFBIG);
	ck_assert_int_eq(kp_config_load_file(path, &c, &rep, &err), -EINVAL);	/* empty: no kind */
	ck_assert_uint_eq(rep.n_errors, 2);
	kp_config_report_release(&rep);
	ck_assert_int_eq(write(fd, HEAD, strlen(HEAD)), (ssize_t)strlen(HEAD));
	ck_assert_int_eq(kp_config_load_file(path, &c, &rep, &err), 0);
	close(fd);
	unlink(path);
	kp_config_report_release(&rep);
	kp_config_free(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, duration_case, 0, KP_N(durations));
	tcase_add_loop_test(tc, hostport_case, 0, KP_N(hostports));
	tcase_add_loop_test(tc, problem_case, 0, KP_N(problems));
	tcase_add_loop_test(tc, defaults, 0, 2);
	tcase_add_test(tc, values);
	tcase_add_test(tc, addresses_follow_the_family);
	tcase_add_test(tc, set_from_text);
	tcase_add_test(tc, files);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
