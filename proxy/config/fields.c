#include "proxy/config/config_impl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy/base/err.h"
#include "proxy/base/utf8.h"
#include "proxy/config/checks.h"

/* Bits for modes; unset stands for what may be chosen then. */
#define IN(mode)	(1u << KP_MODE_##mode)
#define IPTABLES_OR_UNSET	(IN(UNSET) | IN(IPTABLES))
#define NFTABLES_OR_UNSET	(IN(UNSET) | IN(NFTABLES))
#define ALWAYS		(IN(UNSET) | IN(IPTABLES) | IN(NFTABLES) | IN(IPVS))

/* Where the member is, and a compiler's error if it is not of that type. */
#define IS(type, member)	\
	__builtin_types_compatible_p(type, __typeof__(((struct kp_config *)0)->member))
#define AT(type, member)	\
	.offset = offsetof(struct kp_config, member) + 0 * sizeof(char[IS(type, member) ? 1 : -1])
#define STRING(member)		.kind = KP_VALUE_STRING, AT(char *, member)
#define BOOL(member)		.kind = KP_VALUE_BOOL, AT(bool, member)
#define INT(member)		.kind = KP_VALUE_INT, AT(int64_t, member)
#define FLOAT(member)		.kind = KP_VALUE_FLOAT, AT(double, member)
#define DURATION(member)	.kind = KP_VALUE_DURATION, AT(int64_t, member)
#define ENDPOINT(member, number) .kind = KP_VALUE_ENDPOINT, AT(char *, member), .port = (number)
#define SCALAR(member)		.kind = KP_VALUE_SCALAR, AT(char *, member)
#define NAME(type, member, list) .kind = KP_VALUE_NAME, AT(type, member), .names = (list)
#define EITHER(member, list)	.kind = KP_VALUE_EITHER, AT(bool, member), .names = (list)
#define STRINGS(member)		.kind = KP_VALUE_STRINGS, AT(char **, member)
#define SWITCHES(member)	.kind = KP_VALUE_SWITCHES, AT(char **, member)
#define PATTERNS(member)	.kind = KP_VALUE_PATTERNS, AT(char **, member)
#define MAPPINGS(member)	.kind = KP_VALUE_MAPPINGS, AT(char **, member)
#define FROM(least)		.checked = ALWAYS, .min = (least), .max = NO_MAX
#define IN_MODE(modes, least)	.checked = (modes), .min = (least), .max = NO_MAX
#define UP_TO(most)		.checked = ALWAYS, .min = 0, .max = (most)
#define NO_MAX			INT64_MAX
#define BETWEEN(least, most)	.checked = ALWAYS, .min = (least), .max = (most)

/* Reasons for having no effect. */
#define IPTABLES_MODE		.idle = "is of mode iptables", .active = IN(IPTABLES)
#define IPTABLES_IPVS_MODE	.idle = "is of the modes iptables and ipvs", .active = IN(IPTABLES) | IN(IPVS)
#define IPVS_MODE		.idle = "is of mode ipvs", .active = IN(IPVS)
#define NFTABLES_MODE		.idle = "is of mode nftables", .active = NFTABLES_OR_UNSET
#define NO_WAITING		.idle = "has no effect: changes go to the kernel as they come"
#define FEW_REQUESTS		.idle = "has no effect: a list and a watch of each kind is all we ask for"
#define NO_BUFFER		.idle = "has no effect: every line is written at once"
#define WINDOWS			.idle = "is of Windows"

static const char *const mode_names[] = {
	[KP_MODE_UNSET] = "", [KP_MODE_NFTABLES] = "nftables", [KP_MODE_IPTABLES] = "iptables",
	[KP_MODE_IPVS] = "ipvs", NULL,
};
static const char *const fallback_names[] = {
	[KP_MODE_UNSET] = "", [KP_MODE_NFTABLES] = "nftables", [KP_MODE_IPTABLES] = "iptables", NULL,
};
static const char *const handover_names[] = { [KP_HANDOVER_AUTO] = "auto", [KP_HANDOVER_NEVER] = "never", NULL };
static const char *const seccomp_names[] = {
	[KP_SECCOMP_ENFORCE] = "enforce", [KP_SECCOMP_LOG] = "log", [KP_SECCOMP_OFF] = "off", NULL,
};
static const char *const takeover_names[] = {
	[KP_TAKEOVER_AUTO] = "auto", [KP_TAKEOVER_NEVER] = "never", [KP_TAKEOVER_ALWAYS] = "always", NULL,
};
static const char *const detect_names[] = {
	[KP_DETECT_MODE_UNSET] = "", [KP_DETECT_CLUSTER_CIDR] = "ClusterCIDR", [KP_DETECT_NODE_CIDR] = "NodeCIDR",
	[KP_DETECT_BRIDGE] = "BridgeInterface", [KP_DETECT_PREFIX] = "InterfaceNamePrefix", NULL,
};
static const char *const startup_names[] = { [false] = "strict", [true] = "compat", NULL };
static const char *const termination_names[] = { [false] = "fast", [true] = "drain", NULL };
static const char *const proxy_names[] = {
	[KP_PROXY_OPTIONAL] = "optional", [KP_PROXY_REQUIRE] = "require", [KP_PROXY_FORBID] = "forbid", [KP_PROXY_OFF] = "off", NULL,
};
static const char *const snapshot_health_names[] = { [false] = "unhealthy", [true] = "healthy", NULL };
static const char *const format_names[] = { [false] = "text", [true] = "json", NULL };

static void check_cidrs(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	char *const *list = *(char *const *const *)member;

	for (size_t i = 0; list[i]; i++) {
		char path[64];
		struct kp_cidr cidr;

		if (kp_cidr_parse(list[i], &cidr))
			continue;
		snprintf(path, sizeof(path), "%s[%zu]", f->path, i);
		kp_report_error(rep, KP_INVALID, path, list[i], "must be a valid CIDR");
	}
}

/* As proxy/source/kubeconfig.c takes it: without a scheme the credentials decide that. */
static bool is_server(const char *s)
{
	return s[strspn(s, "/")] && !strpbrk(s, " \t\r\n\"<>?#") &&
	       (!strstr(s, "://") || strncasecmp(s, "http://", 7) == 0 || strncasecmp(s, "https://", 8) == 0);
}

static void check_servers(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	char *const *list = *(char *const *const *)member;

	for (size_t i = 0; list[i]; i++) {
		char path[64];

		if (is_server(list[i]))
			continue;
		snprintf(path, sizeof(path), "%s[%zu]", f->path, i);
		kp_report_error(rep, KP_INVALID, path, list[i], "must be an http or https address");
	}
}

static void check_variant(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	const char *text = *(const char *const *)member;

	if (strcmp(text, "auto") != 0 && strcmp(text, "nft") != 0 && strcmp(text, "legacy") != 0)
		kp_report_error(rep, KP_UNSUPPORTED, f->path, text, "must be auto, nft or legacy");
}

/* "80", "2-7" or "10+5"; it has had no effect for years, but was always refused if wrong. */
static void check_port_range(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	const char *text = *(const char *const *)member;
	unsigned from, to;
	char sign = '-', rest;
	int n = sscanf(text, "%5u%c%5u%c", &from, &sign, &to, &rest);

	if (!*text)
		return;
	if (n == 1)
		to = from;
	else if (n == 3 && sign == '+')
		to += from;
	if ((n != 1 && n != 3) || text[strspn(text, "0123456789+-")] || !strchr("+-", sign) || from > to || to > 65535)
		kp_report_error(rep, KP_INVALID, f->path, text, "must be a port range such as 2000-3000 or 2000+1000");
}

static void check_checks(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	char *const *list = *(char *const *const *)member;

	for (size_t i = 0; list[i]; i++) {
		KP_AUTO(kp_check_freep) struct kp_check *c = NULL;
		struct kp_err err = { 0 };
		char path[64];

		snprintf(path, sizeof(path), "%s[%zu]", f->path, i);
		if (i == KP_MAX_CHECKS)
			kp_report_error(rep, KP_INVALID, f->path, "", "must have at most %d entries", KP_MAX_CHECKS);
		if (kp_check_parse(list[i], &c, &err) < 0)
			kp_report_error(rep, KP_INVALID, path, "", "%s", err.msg);
	}
}

/* The working folder is nobody's choice. */
static void check_folder(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	const char *path = *(const char *const *)member;

	if (*path && *path != '/')
		kp_report_error(rep, KP_INVALID, f->path, path, "must be an absolute path, or empty for none");
}

/* proxylet.conf.5 has a paragraph for each of them. mode comes first, because it decides what else is checked. */
const struct kp_field kp_fields[] = {
	{ "mode", NAME(enum kp_mode, mode, mode_names), .def = "", .refusal = KP_INVALID, .identity = true },
	{ "apiVersion", .def = "kubeproxy.config.k8s.io/v1alpha1" },
	{ "kind", .def = "KubeProxyConfiguration" },
	{ "bindAddress", STRING(bind_address), .def = "0.0.0.0", .zero_is_unset = true, .identity = true },
	{ "bindAddressHardFail", BOOL(bind_address_hard_fail), .def = "false" },
	{ "clientConnection.acceptContentTypes", STRING(client.accept_content_types), .def = "", .identity = true },
	{ "clientConnection.burst", INT(client.burst), .def = "10", .zero_is_unset = true, FROM(0), FEW_REQUESTS },
	{ "clientConnection.contentType", STRING(client.content_type), .def = "application/vnd.kubernetes.protobuf",
	  .zero_is_unset = true, .identity = true },
	{ "clientConnection.kubeconfig", STRING(kubeconfig), .def = "", .identity = true },
	{ "clientConnection.qps", FLOAT(client.qps), .def = "5", .zero_is_unset = true, FEW_REQUESTS },
	{ "clusterCIDR", STRING(cluster_cidr), .def = "" },
	{ "configSyncPeriod", DURATION(config_sync_period_ms), .def = "15m", .zero_is_unset = true, FROM(1),
	  .idle = "has no effect: nothing is handed out twice" },
	{ "conntrack.maxPerCore", INT(conntrack.max_per_core), .def = "32768", FROM(0) },
	{ "conntrack.min", INT(conntrack.min), .def = "131072", FROM(0) },
	{ "conntrack.tcpBeLiberal", BOOL(conntrack.tcp_be_liberal), .def = "false" },
	{ "conntrack.tcpCloseWaitTimeout", DURATION(conntrack.tcp_close_wait_ms), .def = "1h", FROM(0) },
	{ "conntrack.tcpEstablishedTimeout", DURATION(conntrack.tcp_established_ms), .def = "24h", FROM(0) },
	{ "conntrack.udpStreamTimeout", DURATION(conntrack.udp_stream_ms), .def = "0s", FROM(0) },
	{ "conntrack.udpTimeout", DURATION(conntrack.udp_ms), .def = "0s", FROM(0) },
	{ "detectLocal.bridgeInterface", STRING(bridge_interface), .def = "" },
	{ "detectLocal.interfaceNamePrefix", STRING(interface_prefix), .def = "" },
	{ "detectLocalMode", NAME(enum kp_detect_mode, detect_mode, detect_names), .def = "", .refusal = KP_UNSUPPORTED },
	{ "enableProfiling", BOOL(profiling), .def = "false", .idle = "has no effect: there is no Go program to profile" },
	{ "featureGates", SWITCHES(feature_gates), .def = "",
	  .idle = "has no effect: these are switches in kube-proxy's own code" },
	{ "healthzBindAddress", ENDPOINT(healthz_bind_address, 10256), .def = "", .zero_is_unset = true },
	{ "hostnameOverride", STRING(hostname_override), .def = "", .identity = true },
	{ "iptables.localhostNodePorts", BOOL(localhost_nodeports), .def = "true", IPTABLES_MODE },
	{ "iptables.masqueradeAll", BOOL(iptables.masquerade_all), .def = "false", IPTABLES_IPVS_MODE },
	{ "iptables.masqueradeBit", INT(iptables.masquerade_bit), .def = "14", .checked = ALWAYS, .max = 31,
	  IPTABLES_IPVS_MODE },
	{ "iptables.minSyncPeriod", DURATION(iptables.min_sync_period_ms), .def = "1s", .zero_is_unset = true,
	  IN_MODE(IPTABLES_OR_UNSET, 0), NO_WAITING },
	{ "iptables.syncPeriod", DURATION(iptables.sync_period_ms), .def = "30s", .zero_is_unset = true, .identity = true,
	  IN_MODE(IPTABLES_OR_UNSET, 1), IPTABLES_MODE },
	{ "ipvs.excludeCIDRs", STRINGS(ipvs_only.exclude_cidrs), .def = "", .checked = IN(IPVS), .check = check_cidrs, IPVS_MODE },
	{ "ipvs.minSyncPeriod", DURATION(ipvs.min_sync_period_ms), .def = "0s", IN_MODE(IN(IPVS), 0), NO_WAITING },
	{ "ipvs.scheduler", STRING(ipvs_only.scheduler), .def = "", IPVS_MODE },
	{ "ipvs.strictARP", BOOL(ipvs_only.strict_arp), .def = "false", IPVS_MODE },
	{ "ipvs.syncPeriod", DURATION(ipvs.sync_period_ms), .def = "30s", .zero_is_unset = true, .identity = true,
	  IN_MODE(IN(IPVS), 1), IPVS_MODE },
	{ "ipvs.tcpFinTimeout", DURATION(ipvs_only.tcp_fin_ms), .def = "0s", IN_MODE(IN(IPVS), 0), IPVS_MODE },
	{ "ipvs.tcpTimeout", DURATION(ipvs_only.tcp_ms), .def = "0s", IN_MODE(IN(IPVS), 0), IPVS_MODE },
	{ "ipvs.udpTimeout", DURATION(ipvs_only.udp_ms), .def = "0s", IN_MODE(IN(IPVS), 0), IPVS_MODE },
	{ "logging.flushFrequency", SCALAR(log_flush), .def = "5s", .zero_is_unset = true, NO_BUFFER },
	{ "logging.format", EITHER(log_json, format_names), .def = "text", .zero_is_unset = true, .refusal = KP_INVALID },
	{ "logging.options.json.infoBufferSize", SCALAR(log_json_stream.info_buffer_size), .def = "0", NO_BUFFER },
	{ "logging.options.json.splitStream", BOOL(log_json_stream.split_stream), .def = "false", NO_BUFFER },
	{ "logging.options.text.infoBufferSize", SCALAR(log_text_stream.info_buffer_size), .def = "0", NO_BUFFER },
	{ "logging.options.text.splitStream", BOOL(log_text_stream.split_stream), .def = "false", NO_BUFFER },
	{ "logging.verbosity", INT(log_verbosity), .def = "0", .checked = ALWAYS, .max = UINT32_MAX },
	{ "logging.vmodule", PATTERNS(log_vmodule), .def = "",
	  .idle = "has no effect: there are no Go files, logging.verbosity is for all of it" },
	{ "metricsBindAddress", ENDPOINT(metrics_bind_address, 10249), .def = "", .zero_is_unset = true },
	{ "nftables.masqueradeAll", BOOL(nftables.masquerade_all), .def = "false", NFTABLES_MODE },
	{ "nftables.masqueradeBit", INT(nftables.masquerade_bit), .def = "14", .checked = NFTABLES_OR_UNSET, .max = 31,
	  NFTABLES_MODE },
	{ "nftables.minSyncPeriod", DURATION(nftables.min_sync_period_ms), .def = "1s", .zero_is_unset = true,
	  IN_MODE(NFTABLES_OR_UNSET, 0), NO_WAITING },
	{ "nftables.syncPeriod", DURATION(nftables.sync_period_ms), .def = "30s", .zero_is_unset = true,
	  IN_MODE(NFTABLES_OR_UNSET, 1), NFTABLES_MODE },
	{ "nodePortAddresses", STRINGS(nodeport_addresses), .def = "" },
	{ "oomScoreAdj", INT(oom_score_adj), .def = "-999", .checked = ALWAYS, .min = -1000, .max = 1000 },
	{ "portRange", STRING(port_range), .def = "", .checked = ALWAYS, .check = check_port_range,
	  .idle = "has no effect, as in kube-proxy" },
	{ "proxylet.agent.checks", MAPPINGS(checks), .def = "", .checked = ALWAYS, .check = check_checks },
	{ "proxylet.apiServers", STRINGS(api_servers), .def = "", .identity = true, .checked = ALWAYS, .check = check_servers },
	{ "proxylet.cleanupDrainSeconds", INT(cleanup_drain_s), .def = "0", UP_TO(600) },
	{ "proxylet.cleanupMaxSeconds", INT(cleanup_max_s), .def = "3600", UP_TO(86400) },
	{ "proxylet.drainSeconds", INT(drain_s), .def = "15", UP_TO(600) },
	{ "proxylet.fallback", NAME(enum kp_mode, fallback, fallback_names), .def = "", .refusal = KP_UNSUPPORTED, .identity = true },
	{ "proxylet.handover", NAME(enum kp_handover, handover, handover_names), .def = "auto", .zero_is_unset = true,
	  .refusal = KP_UNSUPPORTED },
	{ "proxylet.health.allowedSources", STRINGS(health.allowed_sources), .def = "", .checked = ALWAYS, .check = check_cidrs },
	{ "proxylet.health.connections", INT(health.max_connections), .def = "1024", BETWEEN(64, 65536) },
	{ "proxylet.health.headerTimeout", DURATION(health.header_timeout_ms), .def = "5s", BETWEEN(3000, 60000) },
	{ "proxylet.health.idleTimeout", DURATION(health.idle_timeout_ms), .def = "2m10s", BETWEEN(1000, 3600000) },
	{ "proxylet.health.ineligibleTaints", STRINGS(ineligible_taints), .def = "ToBeDeletedByClusterAutoscaler" },
	{ "proxylet.health.proxyProtocol.main", NAME(enum kp_proxy_protocol, health.main, proxy_names), .def = "optional",
	  .refusal = KP_UNSUPPORTED },
	{ "proxylet.health.proxyProtocol.services", NAME(enum kp_proxy_protocol, health.services, proxy_names), .def = "optional",
	  .refusal = KP_UNSUPPORTED },
	{ "proxylet.health.proxyProtocol.shared", NAME(enum kp_proxy_protocol, health.shared, proxy_names), .def = "optional",
	  .refusal = KP_UNSUPPORTED },
	{ "proxylet.health.proxyProtocolTrustedCIDRs", STRINGS(health.trusted_cidrs), .def = "", .checked = ALWAYS,
	  .check = check_cidrs },
	{ "proxylet.health.proxyV1LaxTCP6", BOOL(health.v1_lax_tcp6), .def = "false" },
	{ "proxylet.health.proxyV2MaxLength", INT(health.v2_max_length), .def = "4096", BETWEEN(536, 65535) },
	{ "proxylet.health.relayTarget", ENDPOINT(relay_target, 10256), .def = "" },
	{ "proxylet.health.requestsPerConnection", INT(health.max_requests), .def = "1000", BETWEEN(1, INT32_MAX) },
	{ "proxylet.health.startup", EITHER(startup_compat, startup_names), .def = "strict", .refusal = KP_UNSUPPORTED },
	{ "proxylet.health.writeTimeout", DURATION(health.write_timeout_ms), .def = "5s", BETWEEN(1000, 60000) },
	{ "proxylet.iptablesVariant", STRING(iptables_variant), .def = "auto", .zero_is_unset = true, .identity = true,
	  .checked = ALWAYS, .check = check_variant },
	{ "proxylet.nodeTimeout", DURATION(node_timeout_ms), .def = "5m", FROM(0) },
	{ "proxylet.nftables.ownerPersist", BOOL(owner_persist), .def = "false", .identity = true, NFTABLES_MODE },
	{ "proxylet.seccomp", NAME(enum kp_seccomp, seccomp, seccomp_names), .def = "enforce", .refusal = KP_UNSUPPORTED },
	{ "proxylet.sharedHealthzBindAddress", ENDPOINT(shared_healthz_bind_address, 10356), .def = "0.0.0.0:10356" },
	{ "proxylet.snapshot.health", EITHER(snapshot.healthy, snapshot_health_names), .def = "unhealthy", .refusal = KP_UNSUPPORTED },
	{ "proxylet.snapshot.maxAge", DURATION(snapshot.max_age_ms), .def = "24h", FROM(1) },
	{ "proxylet.snapshot.path", STRING(snapshot.path), .def = "/var/lib/proxylet", .checked = ALWAYS, .check = check_folder },
	{ "proxylet.snapshot.period", DURATION(snapshot.period_ms), .def = "1m", FROM(1) },
	{ "proxylet.snapshot.wait", DURATION(snapshot.wait_ms), .def = "10s", FROM(0) },
	{ "proxylet.takeover", NAME(enum kp_takeover_mode, takeover, takeover_names), .def = "auto", .zero_is_unset = true,
	  .refusal = KP_UNSUPPORTED, .identity = true },
	{ "proxylet.terminationMode", EITHER(terminate_drain, termination_names), .def = "fast", .refusal = KP_UNSUPPORTED },
	{ "showHiddenMetricsForVersion", STRING(show_hidden_metrics), .def = "", .idle = "has no effect: no metric is hidden" },
	{ "windowsRunAsService", BOOL(windows_service), .def = "false", WINDOWS },
	{ "winkernel.enableDSR", BOOL(winkernel.dsr), .def = "false", WINDOWS },
	{ "winkernel.forwardHealthCheckVip", BOOL(winkernel.forward_health_vip), .def = "false", WINDOWS },
	{ "winkernel.networkName", STRING(winkernel.network), .def = "", WINDOWS },
	{ "winkernel.rootHnsEndpointName", STRING(winkernel.endpoint), .def = "", WINDOWS },
	{ "winkernel.sourceVip", STRING(winkernel.source_vip), .def = "", WINDOWS },
	{ .path = NULL }
};

const char *const kp_sections[] = {
	"clientConnection", "conntrack", "detectLocal", "iptables", "ipvs", "logging", "logging.options",
	"logging.options.json", "logging.options.text", "nftables", "proxylet", "proxylet.agent", "proxylet.health",
	"proxylet.health.proxyProtocol", "proxylet.nftables", "proxylet.snapshot", "winkernel", NULL,
};

const struct kp_field *kp_field_by_path(const char *path)
{
	for (const struct kp_field *f = kp_fields; f->path; f++)
		if (strcmp(f->path, path) == 0)
			return f;
	return NULL;
}

bool kp_config_field(size_t i, struct kp_config_field *ret)
{
	if (i >= sizeof(kp_fields) / sizeof(kp_fields[0]) - 1)
		return false;
	*ret = (struct kp_config_field){ kp_fields[i].path, kp_fields[i].def, kp_fields[i].idle };
	return true;
}

void kp_fields_init(struct kp_config *c)
{
	struct kp_config_report none = { 0 };

	for (const struct kp_field *f = kp_fields; f->path; f++) {
		union kp_value v = { 0 };

		if (!kp_value_parse(f, f->def, &v, &none))
			abort();	/* a default of ours that does not parse */
		kp_value_store(f, c, &v);
	}
}

void kp_fields_release(struct kp_config *c)
{
	for (const struct kp_field *f = kp_fields; f->path; f++) {
		union kp_value none = { 0 };

		kp_value_store(f, c, &none);
	}
}

bool kp_config_set(struct kp_config *c, const char *path, const char *value, struct kp_config_report *rep)
{
	const struct kp_field *f = kp_field_by_path(path);
	union kp_value v = { 0 };

	assert(f && f->kind != KP_VALUE_FIXED);
	if (!kp_utf8_is(value)) {	/* as in a file */
		kp_report_error(rep, KP_INVALID, path, value, "must be UTF-8");
		return false;
	}
	if (!kp_value_parse(f, value, &v, rep))
		return false;
	kp_value_store(f, c, &v);
	return true;
}

/* As it is written in the file; returns out. */
static const char *number_text(const struct kp_field *f, int64_t n, char *out)
{
	if (f->kind == KP_VALUE_DURATION)
		return kp_duration_str(n, out);
	snprintf(out, KP_DURATION_STRLEN, "%lld", (long long)n);
	return out;
}

static void check_range(const struct kp_field *f, const void *member, struct kp_config_report *rep)
{
	char text[KP_DURATION_STRLEN], min[KP_DURATION_STRLEN], max[KP_DURATION_STRLEN];
	int64_t n;

	memcpy(&n, member, sizeof(n));
	if (n >= f->min && n <= f->max)
		return;
	number_text(f, n, text);
	if (f->max == NO_MAX)
		kp_report_error(rep, KP_INVALID, f->path, text, "must be greater than %s0", f->min ? "" : "or equal to ");
	else
		kp_report_error(rep, KP_INVALID, f->path, text, "must be within the range [%s, %s]",
				number_text(f, f->min, min), number_text(f, f->max, max));
}

void kp_fields_check(const struct kp_config *c, struct kp_config_report *rep)
{
	for (const struct kp_field *f = kp_fields; f->path; f++) {
		if (!(f->checked & 1u << c->mode))
			continue;
		if (f->check)
			f->check(f, kp_field_in(f, c), rep);
		else
			check_range(f, kp_field_in(f, c), rep);
	}
}

void kp_fields_note(const struct kp_config *c, struct kp_config_report *rep)
{
	for (const struct kp_field *f = kp_fields; f->path; f++)
		if (f->idle && !(f->active & 1u << c->mode) && !kp_value_is_default(f, c))
			kp_report_note(rep, f->path, "%s", f->idle);
}

enum kp_config_change kp_config_compare(const struct kp_config *a, const struct kp_config *b)
{
	enum kp_config_change change = a->disabled == b->disabled ? KP_CONFIG_SAME : KP_CONFIG_IDENTITY;

	for (const struct kp_field *f = kp_fields; f->path; f++) {
		json_t *was = kp_value_json(f, a), *is = kp_value_json(f, b);

		if (!json_equal(was, is) && change != KP_CONFIG_IDENTITY)
			change = f->identity ? KP_CONFIG_IDENTITY : KP_CONFIG_CHANGED;
		json_decref(was);
		json_decref(is);
	}
	return change;
}

struct kp_config_backend kp_config_active(const struct kp_config *c)
{
	struct kp_config_backend b = c->nftables;

	if (c->mode == KP_MODE_IPTABLES || c->mode == KP_MODE_IPVS)
		b = c->iptables;
	if (c->mode == KP_MODE_IPVS) {
		b.sync_period_ms = c->ipvs.sync_period_ms;
		b.min_sync_period_ms = c->ipvs.min_sync_period_ms;
	}
	return b;
}
