#include "proxy/configz.h"

#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"

static const char *const modes[] = {
	[KP_MODE_UNSET] = "nftables",	/* what it means here */
	[KP_MODE_NFTABLES] = "nftables", [KP_MODE_IPTABLES] = "iptables", [KP_MODE_IPVS] = "ipvs",
};
static const char *const detect_modes[] = {
	[KP_DETECT_MODE_UNSET] = "ClusterCIDR",
	[KP_DETECT_CLUSTER_CIDR] = "ClusterCIDR", [KP_DETECT_NODE_CIDR] = "NodeCIDR",
	[KP_DETECT_BRIDGE] = "BridgeInterface", [KP_DETECT_PREFIX] = "InterfaceNamePrefix",
};

static json_t *duration(int64_t ms)
{
	char text[KP_DURATION_STRLEN];

	return json_string(kp_duration_str(ms, text));
}

static json_t *strings(char *const *list)
{
	json_t *out = json_array();

	for (; list && *list; list++)
		json_array_append_new(out, json_string(*list));
	return out;
}

/* "a,b" */
static json_t *split(const char *text)
{
	KP_AUTO(kp_freep) char *copy = kp_strdup(text);
	json_t *out = json_array();
	char *rest = NULL;

	for (char *one = strtok_r(copy, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest))
		json_array_append_new(out, json_string(one));
	return out;
}

/* kube-proxy's internal form has one of these for all modes: that of the mode which is on. */
static const struct kp_config_backend *active(const struct kp_config *c)
{
	return c->mode == KP_MODE_IPTABLES ? &c->iptables : c->mode == KP_MODE_IPVS ? &c->ipvs : &c->nftables;
}

static json_t *internal(const struct kp_config *c)
{
	const struct kp_config_backend *b = active(c);

	return json_pack("{s:s, s:b, s:{s:s}, s:o, s:{s:s, s:o, s:s}, s:s, s:s, s:s, s:{s:b, s:I}, s:{s:b, s:I},"
			 " s:{s:s, s:I}, s:s, s:o, s:s, s:{s:I}, s:o, s:o}",
			 "BindAddress", c->bind_address,
			 "BindAddressHardFail", c->bind_address_hard_fail,
			 "ClientConnection", "Kubeconfig", c->kubeconfig,
			 "ConfigSyncPeriod", duration(c->config_sync_period_ms),
			 "DetectLocal", "BridgeInterface", c->bridge_interface, "ClusterCIDRs", split(c->cluster_cidr),
			 "InterfaceNamePrefix", c->interface_prefix,
			 "DetectLocalMode", detect_modes[c->detect_mode],
			 "HealthzBindAddress", c->healthz_bind_address,
			 "HostnameOverride", c->hostname_override,
			 "IPTables", "LocalhostNodePorts", c->localhost_nodeports, "MasqueradeBit", (json_int_t)c->iptables.masquerade_bit,
			 "Linux", "MasqueradeAll", b->masquerade_all, "OOMScoreAdj", (json_int_t)c->oom_score_adj,
			 "Logging", "format", c->log_json ? "json" : "text", "verbosity", (json_int_t)c->log_verbosity,
			 "MetricsBindAddress", c->metrics_bind_address,
			 "MinSyncPeriod", duration(b->min_sync_period_ms),
			 "Mode", modes[c->mode],
			 "NFTables", "MasqueradeBit", (json_int_t)c->nftables.masquerade_bit,
			 "NodePortAddresses", strings(c->nodeport_addresses),
			 "SyncPeriod", duration(b->sync_period_ms));
}

json_t *kp_configz(const struct kp_config *c)
{
	return json_pack("{s:o}", "kubeproxy.config.k8s.io", internal(c));
}
