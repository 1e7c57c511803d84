#include "proxy/config/run_flags.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config_impl.h"

#define AT(member)	.offset = offsetof(struct kp_run_flags, member)
#define STRING(member)	.kind = KP_FLAG_STRING, AT(member)
#define FIELD(path)	.kind = KP_FLAG_FIELD, AT(fields), .field = (path)
#define SWITCH(path)	.kind = KP_FLAG_SWITCH, AT(fields), .field = (path)

static const char *const formats[] = { "text", "json", NULL };
static const char *const modes[] = { "nftables", "iptables", "ipvs", "", NULL };
static const char *const local_modes[] = {
	"ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", "", NULL,
};

const struct kp_flag kp_run_flag_table[] = {
	{ "config", STRING(config), .arg = "FILE", .help = "KubeProxyConfiguration, YAML or JSON" },
	{ "kube-proxy-config", STRING(aks_config), .arg = "FILE",
	  .help = "JSON with enabled, mode and ipvsConfig, as in AKS; on top of --config" },
	{ "objects", .kind = KP_FLAG_STRINGS, AT(objects), .arg = "PATH",
	  .help = "file or folder of Services, EndpointSlices and Nodes, watched; may be repeated" },
	{ "kubeconfig", STRING(kubeconfig), .arg = "FILE", .help = "how to reach the API server; default: the pod's account" },
	{ "master", STRING(master), .arg = "URL", .help = "API server instead of that in the kubeconfig" },
	{ "hostname-override", STRING(hostname_override), .arg = "NAME",
	  .help = "name of this node; default: the host's name" },
	{ "socket", STRING(socket), .arg = "PATH",
	  .help = "where \"proxylet status\" asks; default /run/proxylet/proxylet.sock, \"\" for none" },
	{ "write-config-to", STRING(write_config_to), .arg = "FILE", .help = "write the configuration as YAML and end" },
	{ "cleanup", .kind = KP_FLAG_BOOL, AT(cleanup), .help = "remove our rules and end" },
	{ "init-only", .kind = KP_FLAG_BOOL, AT(init_only), .help = "set the kernel's conntrack limits and end" },
	{ "version", .kind = KP_FLAG_BOOL, AT(version), .help = "print the version and end" },

	{ "bind-address", FIELD("bindAddress"), .arg = "IP", .help = "address of this node, instead of what its Node says" },
	{ "bind-address-hard-fail", SWITCH("bindAddressHardFail"), .help = "end when a port cannot be opened" },
	{ "healthz-bind-address", FIELD("healthzBindAddress"), .arg = "IP:PORT",
	  .help = "health of this node; default 0.0.0.0:10256, \"\" for none" },
	{ "metrics-bind-address", FIELD("metricsBindAddress"), .arg = "IP:PORT",
	  .help = "metrics; default 127.0.0.1:10249, \"\" for none" },
	{ "healthz-port", .kind = KP_FLAG_INT, AT(healthz_port), .arg = "PORT" },
	{ "metrics-port", .kind = KP_FLAG_INT, AT(metrics_port), .arg = "PORT" },

	{ "proxy-mode", FIELD("mode"), .arg = "MODE", .choices = modes,
	  .help = "nftables or iptables; ipvs only with proxylet.fallback; default: what the kernel can do" },
	{ "cluster-cidr", FIELD("clusterCIDR"), .arg = "CIDR[,CIDR]", .help = "pod addresses, one CIDR of each family" },
	{ "detect-local-mode", FIELD("detectLocalMode"), .arg = "MODE", .choices = local_modes,
	  .help = "how to know this node's pods: ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix" },
	{ "pod-bridge-interface", FIELD("detectLocal.bridgeInterface"), .arg = "NAME", .help = "for BridgeInterface" },
	{ "pod-interface-name-prefix", FIELD("detectLocal.interfaceNamePrefix"), .arg = "TEXT",
	  .help = "for InterfaceNamePrefix" },
	{ "nodeport-addresses", FIELD("nodePortAddresses"), .is_list = true, .arg = "CIDR,...",
	  .help = "where node ports are reachable, or \"primary\"" },
	{ "masquerade-all", SWITCH("nftables.masqueradeAll"), .help = "masquerade all traffic to clusterIPs" },
	{ "oom-score-adj", FIELD("oomScoreAdj"), .arg = "N", .help = "-1000 to 1000; default -999" },

	{ "conntrack-max-per-core", FIELD("conntrack.maxPerCore"), .arg = "N",
	  .help = "connections to track for each processor; 0: leave the kernel's limit" },
	{ "conntrack-min", FIELD("conntrack.min"), .arg = "N", .help = "connections to track at least" },
	{ "conntrack-tcp-timeout-established", FIELD("conntrack.tcpEstablishedTimeout"), .arg = "TIME",
	  .help = "default 24h; 0: leave the kernel's, as for the others" },
	{ "conntrack-tcp-timeout-close-wait", FIELD("conntrack.tcpCloseWaitTimeout"), .arg = "TIME", .help = "default 1h" },
	{ "conntrack-tcp-be-liberal", SWITCH("conntrack.tcpBeLiberal"), .help = "track packets outside the TCP window, too" },
	{ "conntrack-udp-timeout", FIELD("conntrack.udpTimeout"), .arg = "TIME", .help = "idle UDP entries" },
	{ "conntrack-udp-timeout-stream", FIELD("conntrack.udpStreamTimeout"), .arg = "TIME", .help = "idle UDP streams" },

	{ "iptables-localhost-nodeports", SWITCH("iptables.localhostNodePorts"), .help = "of mode iptables" },
	{ "iptables-masquerade-bit", FIELD("iptables.masqueradeBit"), .arg = "N", .help = "of mode iptables" },
	{ "iptables-min-sync-period", FIELD("iptables.minSyncPeriod"), .arg = "TIME", .help = "no effect" },
	{ "iptables-sync-period", FIELD("iptables.syncPeriod"), .arg = "TIME", .help = "of mode iptables" },
	{ "ipvs-exclude-cidrs", FIELD("ipvs.excludeCIDRs"), .is_list = true, .arg = "CIDR,...", .help = "of mode ipvs" },
	{ "ipvs-min-sync-period", FIELD("ipvs.minSyncPeriod"), .arg = "TIME", .help = "no effect" },
	{ "ipvs-scheduler", FIELD("ipvs.scheduler"), .arg = "NAME", .help = "of mode ipvs" },
	{ "ipvs-strict-arp", SWITCH("ipvs.strictARP"), .help = "of mode ipvs" },
	{ "ipvs-sync-period", FIELD("ipvs.syncPeriod"), .arg = "TIME", .help = "of mode ipvs" },
	{ "ipvs-tcp-timeout", FIELD("ipvs.tcpTimeout"), .arg = "TIME", .help = "of mode ipvs" },
	{ "ipvs-tcpfin-timeout", FIELD("ipvs.tcpFinTimeout"), .arg = "TIME", .help = "of mode ipvs" },
	{ "ipvs-udp-timeout", FIELD("ipvs.udpTimeout"), .arg = "TIME", .help = "of mode ipvs" },

	{ "v", 'v', FIELD("logging.verbosity"), .beside_file = true, .arg = "N", .help = "log more: 0 to 10" },
	{ "logging-format", FIELD("logging.format"), .beside_file = true, .arg = "FORMAT", .choices = formats,
	  .help = "text or json" },
	{ "vmodule", FIELD("logging.vmodule"), .beside_file = true, .is_list = true, .arg = "FILE=N,...",
	  .help = "no effect: there are no Go files" },
	{ "log-flush-frequency", FIELD("logging.flushFrequency"), .beside_file = true, .arg = "TIME", .help = "no effect" },
	{ "log-json-info-buffer-size", FIELD("logging.options.json.infoBufferSize"), .beside_file = true, .arg = "SIZE",
	  .help = "no effect" },
	{ "log-json-split-stream", SWITCH("logging.options.json.splitStream"), .beside_file = true, .help = "no effect" },
	{ "log-text-info-buffer-size", FIELD("logging.options.text.infoBufferSize"), .beside_file = true, .arg = "SIZE",
	  .help = "no effect" },
	{ "log-text-split-stream", SWITCH("logging.options.text.splitStream"), .beside_file = true, .help = "no effect" },
	{ "feature-gates", FIELD("featureGates"), .is_list = true, .arg = "NAME=BOOL,...", .help = "no effect" },
	{ "config-sync-period", FIELD("configSyncPeriod"), .arg = "TIME", .help = "no effect" },
	{ "kube-api-burst", FIELD("clientConnection.burst"), .arg = "N", .help = "no effect" },
	{ "kube-api-content-type", FIELD("clientConnection.contentType"), .arg = "TYPE", .help = "application/json for JSON instead of protobuf" },
	{ "kube-api-qps", FIELD("clientConnection.qps"), .arg = "N", .help = "no effect" },
	{ "profiling", SWITCH("enableProfiling"), .help = "no effect" },
	{ "show-hidden-metrics-for-version", FIELD("showHiddenMetricsForVersion"), .arg = "VERSION", .help = "no effect" },
	{ "proxy-port-range", FIELD("portRange"), .arg = "RANGE" },
	{ "help", 'h', KP_FLAG_BOOL, AT(help), .help = "this text" },
	{ .name = NULL }
};

int kp_run_flags_parse(struct kp_run_flags *f, int argc, char *const *argv, struct kp_err *err)
{
	*f = (struct kp_run_flags){ .healthz_port = -1, .metrics_port = -1 };
	return kp_flags_parse(kp_run_flag_table, argc, argv, f, NULL, err);
}

void kp_run_flags_release(struct kp_run_flags *f)
{
	kp_flag_list_release(&f->objects);
	kp_flag_list_release(&f->fields);
}

static void warn_ignored(const char *flag, struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *name = kp_asprintf("--%s", flag);

	kp_report_warning(rep, name, "ignored, because --config is given");
}

/* Patterns of the flag stand before those of the file: the first that fits counts. */
static char *prepended(const char *value, const struct kp_config *c)
{
	struct kp_buf all = { 0 };

	kp_buf_puts(&all, value);
	for (char **p = c->log_vmodule; *p; p++)
		kp_buf_printf(&all, ",%s", *p);
	return all.data;
}

static void apply_field(const struct kp_run_flags *f, const struct kp_flag *flag, struct kp_config *c,
			struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *value = kp_flag_given(flag, &f->fields), *all = NULL;

	if (!value)
		return;
	if (f->config && !flag->beside_file) {
		warn_ignored(flag->name, rep);
		return;
	}
	if (strcmp(flag->field, "logging.vmodule") == 0)
		all = prepended(value, c);
	kp_config_set(c, flag->field, all ? all : value, rep);
}

/* Kubernetes node names have neither blanks around them nor capitals. */
static void apply_node_name(const char *given, struct kp_config *c, struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *name = NULL;
	size_t len;

	if (!given || !*given)
		return;
	given += strspn(given, " \t\r\n");
	for (len = strlen(given); len && isspace((unsigned char)given[len - 1]); len--)
		;
	if (!len)
		kp_report_error(rep, KP_INVALID, "--hostname-override", "", "must not be blank");
	name = kp_strndup(given, len);
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	kp_config_set(c, "hostnameOverride", name, rep);
}

static void complete(char **address, int64_t port, int64_t default_port)
{
	char *old = *address;

	*address = kp_hostport_complete(old, port < 0 ? default_port : port);
	free(old);
}

/*
 * What a file does not have: one switch for all modes, and ports apart from their
 * addresses (CF-22, CF-23).
 */
static void apply_flags_alone(const struct kp_run_flags *f, struct kp_config *c, struct kp_config_report *rep)
{
	if (f->kubeconfig)
		kp_config_set(c, "clientConnection.kubeconfig", f->kubeconfig, rep);
	c->iptables.masquerade_all = c->nftables.masquerade_all;
	complete(&c->healthz_bind_address, f->healthz_port, 10256);
	complete(&c->metrics_bind_address, f->metrics_port, 10249);
}

static void apply_flags(const struct kp_run_flags *f, struct kp_config *c, struct kp_config_report *rep)
{
	for (const struct kp_flag *flag = kp_run_flag_table; flag->name; flag++)
		if (flag->field)
			apply_field(f, flag, c, rep);
	apply_node_name(f->hostname_override, c, rep);
	if (!f->config)
		apply_flags_alone(f, c, rep);
	else if (f->kubeconfig)
		warn_ignored("kubeconfig", rep);
	if (f->config && (f->healthz_port >= 0 || f->metrics_port >= 0))
		warn_ignored(f->healthz_port >= 0 ? "healthz-port" : "metrics-port", rep);
}

/* With what was put on top of it. Its notes are in the report already. */
static void check_file_again(const struct kp_config *c, struct kp_config_report *rep)
{
	struct kp_config_report all = { 0 };

	kp_config_validate(c, &all);
	for (size_t i = 0; i < all.n; i++)
		if (all.items[i].level == KP_PROBLEM_ERROR)
			kp_report_error(rep, all.items[i].type, all.items[i].field, all.items[i].value, "%s", all.items[i].detail);
	kp_config_report_release(&all);
}

int kp_run_config(const struct kp_run_flags *f, struct kp_config **ret, struct kp_config_report *rep,
		  struct kp_err *err)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = NULL;
	size_t errors_before = rep->n_errors;
	int r = 0;

	if (f->config)
		r = kp_config_load_file(f->config, &c, rep, err);
	else
		c = kp_config_new();
	if (r < 0)
		return r;
	apply_flags(f, c, rep);
	if (f->aks_config)
		r = kp_config_load_aks(f->aks_config, c, rep, err);
	if (r < 0)
		return r;
	if (f->config)
		check_file_again(c, rep);
	else
		kp_config_validate(c, rep);
	if (rep->n_errors > errors_before)
		return kp_err_set(err, -EINVAL, "the flags do not make a valid configuration");
	*ret = kp_steal(&c);
	return 0;
}
