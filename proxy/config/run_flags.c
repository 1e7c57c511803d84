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
#define NOT_YET(flag)	{ flag, .kind = KP_FLAG_NOT_YET }

static const char *const formats[] = { "text", "json", NULL };
static const char *const modes[] = { "nftables", "iptables", "ipvs", "", NULL };

const struct kp_flag kp_run_flag_table[] = {
	{ "config", .kind = KP_FLAG_STRING, AT(config), .arg = "FILE", .help = "KubeProxyConfiguration, YAML or JSON" },
	{ "objects", .kind = KP_FLAG_STRINGS, AT(objects), .arg = "PATH",
	  .help = "file or folder of Services, EndpointSlices and Nodes, watched; may be repeated" },
	{ "kubeconfig", .kind = KP_FLAG_STRING, AT(kubeconfig), .arg = "FILE",
	  .help = "how to reach the API server; default: the service account of the pod" },
	{ "master", .kind = KP_FLAG_STRING, AT(master), .arg = "URL", .help = "the API server, instead of the kubeconfig's" },
	{ "hostname-override", .kind = KP_FLAG_STRING, AT(hostname_override), .arg = "NAME",
	  .help = "name of this node; default: the host's name" },
	{ "socket", .kind = KP_FLAG_STRING, AT(socket), .arg = "PATH",
	  .help = "where \"proxylet status\" asks; default /run/proxylet/proxylet.sock, \"\" for none" },
	{ "healthz-bind-address", .kind = KP_FLAG_STRING, AT(healthz_bind_address), .arg = "IP:PORT",
	  .help = "health of this node; default 0.0.0.0:10256, \"\" for none" },
	{ "proxy-mode", .kind = KP_FLAG_STRING, AT(proxy_mode), .arg = "MODE", .choices = modes,
	  .help = "nftables, iptables or ipvs; default: what the kernel can do" },
	{ "cluster-cidr", .kind = KP_FLAG_STRING, AT(cluster_cidr), .arg = "CIDR[,CIDR]",
	  .help = "pod addresses, one CIDR of each family" },
	{ "nodeport-addresses", .kind = KP_FLAG_STRINGS, AT(nodeport_addresses), .arg = "CIDR,...",
	  .help = "where node ports are reachable, or \"primary\"" },
	{ "v", 'v', KP_FLAG_INT, AT(verbosity), .arg = "N", .help = "log more: 0 to 10" },
	{ "logging-format", .kind = KP_FLAG_STRING, AT(logging_format), .arg = "FORMAT", .choices = formats,
	  .help = "text or json" },
	{ "help", 'h', KP_FLAG_BOOL, AT(help), .help = "this text" },
	NOT_YET("bind-address"), NOT_YET("bind-address-hard-fail"), NOT_YET("cleanup"),
	NOT_YET("config-sync-period"), NOT_YET("conntrack-max-per-core"), NOT_YET("conntrack-min"),
	NOT_YET("conntrack-tcp-be-liberal"), NOT_YET("conntrack-tcp-timeout-close-wait"),
	NOT_YET("conntrack-tcp-timeout-established"), NOT_YET("conntrack-udp-timeout"),
	NOT_YET("conntrack-udp-timeout-stream"), NOT_YET("detect-local-mode"),
	NOT_YET("feature-gates"), NOT_YET("healthz-port"), NOT_YET("init-only"),
	NOT_YET("iptables-localhost-nodeports"), NOT_YET("iptables-masquerade-bit"),
	NOT_YET("iptables-min-sync-period"), NOT_YET("iptables-sync-period"),
	NOT_YET("ipvs-exclude-cidrs"), NOT_YET("ipvs-min-sync-period"), NOT_YET("ipvs-scheduler"),
	NOT_YET("ipvs-strict-arp"), NOT_YET("ipvs-sync-period"), NOT_YET("ipvs-tcp-timeout"),
	NOT_YET("ipvs-tcpfin-timeout"), NOT_YET("ipvs-udp-timeout"), NOT_YET("kube-api-burst"),
	NOT_YET("kube-api-content-type"), NOT_YET("kube-api-qps"),
	NOT_YET("log-flush-frequency"), NOT_YET("log-text-info-buffer-size"),
	NOT_YET("log-text-split-stream"), NOT_YET("masquerade-all"),
	NOT_YET("metrics-bind-address"), NOT_YET("metrics-port"), NOT_YET("oom-score-adj"),
	NOT_YET("pod-bridge-interface"), NOT_YET("pod-interface-name-prefix"), NOT_YET("profiling"),
	NOT_YET("proxy-port-range"), NOT_YET("show-hidden-metrics-for-version"), NOT_YET("version"),
	NOT_YET("vmodule"), NOT_YET("write-config-to"),
	{ .name = NULL }
};

int kp_run_flags_parse(struct kp_run_flags *f, int argc, char *const *argv, struct kp_err *err)
{
	*f = (struct kp_run_flags){ .verbosity = -1 };
	return kp_flags_parse(kp_run_flag_table, argc, argv, f, NULL, err);
}

void kp_run_flags_release(struct kp_run_flags *f)
{
	kp_flag_list_release(&f->objects);
	kp_flag_list_release(&f->nodeport_addresses);
}

/* A flag that is a field of the file, in the form kp_config_set takes. */
struct setting {
	const char *flag, *field;
	const char *value;	/* NULL: not given */
	bool overrides;		/* also next to --config */
};

static void apply(struct kp_config *c, const struct setting *s, bool has_file, struct kp_config_report *rep)
{
	if (!s->value)
		return;
	if (has_file && !s->overrides)
		kp_report_warning(rep, s->flag, "ignored, because --config is given");
	else
		kp_config_set(c, s->field, s->value, rep);
}

/* Kubernetes node names have neither blanks around them nor capitals. */
static char *node_name(const char *given, struct kp_config_report *rep)
{
	size_t len;
	char *name;

	if (!given || !*given)
		return NULL;
	given += strspn(given, " \t\r\n");
	for (len = strlen(given); len && isspace((unsigned char)given[len - 1]); len--)
		;
	if (!len)
		kp_report_error(rep, KP_INVALID, "--hostname-override", "", "must not be blank");
	name = kp_strndup(given, len);
	for (char *p = name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return name;
}

static char *joined(const struct kp_flag_list *l)
{
	struct kp_buf b = { 0 };

	for (size_t i = 0; i < l->n; i++)
		kp_buf_printf(&b, "%s%s", i ? "," : "", l->items[i]);
	return b.data;
}

static void apply_all(const struct kp_run_flags *f, struct kp_config *c, struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *node = node_name(f->hostname_override, rep);
	KP_AUTO(kp_freep) char *addresses = joined(&f->nodeport_addresses);
	char verbosity[24];
	const struct setting settings[] = {
		{ "--hostname-override", "hostnameOverride", node, true },
		{ "--v", "logging.verbosity", f->verbosity < 0 ? NULL : verbosity, true },
		{ "--logging-format", "logging.format", f->logging_format, true },
		{ "--kubeconfig", "clientConnection.kubeconfig", f->kubeconfig, false },
		{ "--healthz-bind-address", "healthzBindAddress", f->healthz_bind_address, false },
		{ "--proxy-mode", "mode", f->proxy_mode, false },
		{ "--cluster-cidr", "clusterCIDR", f->cluster_cidr, false },
		{ "--nodeport-addresses", "nodePortAddresses", addresses, false },
	};

	snprintf(verbosity, sizeof(verbosity), "%lld", (long long)f->verbosity);
	for (size_t i = 0; i < KP_N(settings); i++)
		apply(c, &settings[i], f->config, rep);
}

int kp_run_config(const struct kp_run_flags *f, struct kp_config **ret, struct kp_config_report *rep,
		  struct kp_err *err)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = NULL;
	size_t errors_before = rep->n_errors;
	int r;

	if (f->config) {
		r = kp_config_load_file(f->config, &c, rep, err);
		if (r < 0)
			return r;
	} else {
		c = kp_config_new();
	}
	apply_all(f, c, rep);
	if (!f->config)
		kp_config_validate(c, rep);
	if (rep->n_errors > errors_before)
		return kp_err_set(err, -EINVAL, "the flags do not make a valid configuration");
	*ret = kp_steal(&c);
	return 0;
}
