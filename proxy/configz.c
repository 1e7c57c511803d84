#include "proxy/configz.h"

#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/jsonpath.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"

/*
 * kube-proxy shows its internal form, under the names of its Go code, and some of that is
 * arranged in another way than in a file. "*": of the section of the mode that is on.
 */
static const struct {
	const char *internal, *path;
} rows[] = {
	{ "BindAddress", "bindAddress" },
	{ "BindAddressHardFail", "bindAddressHardFail" },
	{ "ClientConnection.AcceptContentTypes", "clientConnection.acceptContentTypes" },
	{ "ClientConnection.Burst", "clientConnection.burst" },
	{ "ClientConnection.ContentType", "clientConnection.contentType" },
	{ "ClientConnection.Kubeconfig", "clientConnection.kubeconfig" },
	{ "ClientConnection.QPS", "clientConnection.qps" },
	{ "ConfigSyncPeriod", "configSyncPeriod" },
	{ "DetectLocal.BridgeInterface", "detectLocal.bridgeInterface" },
	{ "DetectLocal.InterfaceNamePrefix", "detectLocal.interfaceNamePrefix" },
	{ "DetectLocalMode", "detectLocalMode" },
	{ "EnableProfiling", "enableProfiling" },
	{ "FeatureGates", "featureGates" },
	{ "HealthzBindAddress", "healthzBindAddress" },
	{ "HostnameOverride", "hostnameOverride" },
	{ "IPTables.LocalhostNodePorts", "iptables.localhostNodePorts" },
	{ "IPTables.MasqueradeBit", "iptables.masqueradeBit" },
	{ "IPVS.ExcludeCIDRs", "ipvs.excludeCIDRs" },
	{ "IPVS.Scheduler", "ipvs.scheduler" },
	{ "IPVS.StrictARP", "ipvs.strictARP" },
	{ "IPVS.TCPFinTimeout", "ipvs.tcpFinTimeout" },
	{ "IPVS.TCPTimeout", "ipvs.tcpTimeout" },
	{ "IPVS.UDPTimeout", "ipvs.udpTimeout" },
	{ "Linux.Conntrack.MaxPerCore", "conntrack.maxPerCore" },
	{ "Linux.Conntrack.Min", "conntrack.min" },
	{ "Linux.Conntrack.TCPBeLiberal", "conntrack.tcpBeLiberal" },
	{ "Linux.Conntrack.TCPCloseWaitTimeout", "conntrack.tcpCloseWaitTimeout" },
	{ "Linux.Conntrack.TCPEstablishedTimeout", "conntrack.tcpEstablishedTimeout" },
	{ "Linux.Conntrack.UDPStreamTimeout", "conntrack.udpStreamTimeout" },
	{ "Linux.Conntrack.UDPTimeout", "conntrack.udpTimeout" },
	{ "Linux.MasqueradeAll", "*.masqueradeAll" },
	{ "Linux.OOMScoreAdj", "oomScoreAdj" },
	{ "Logging.flushFrequency", "logging.flushFrequency" },
	{ "Logging.format", "logging.format" },
	{ "Logging.options.json.infoBufferSize", "logging.options.json.infoBufferSize" },
	{ "Logging.options.text.infoBufferSize", "logging.options.text.infoBufferSize" },
	{ "Logging.verbosity", "logging.verbosity" },
	{ "MetricsBindAddress", "metricsBindAddress" },
	{ "MinSyncPeriod", "*.minSyncPeriod" },
	{ "Mode", "mode" },
	{ "NFTables.MasqueradeBit", "nftables.masqueradeBit" },
	{ "NodePortAddresses", "nodePortAddresses" },
	{ "ShowHiddenMetricsForVersion", "showHiddenMetricsForVersion" },
	{ "SyncPeriod", "*.syncPeriod" },
	{ "Windows.RunAsService", "windowsRunAsService" },
	{ "Winkernel.EnableDSR", "winkernel.enableDSR" },
	{ "Winkernel.ForwardHealthCheckVip", "winkernel.forwardHealthCheckVip" },
	{ "Winkernel.NetworkName", "winkernel.networkName" },
	{ "Winkernel.RootHnsEndpointName", "winkernel.rootHnsEndpointName" },
	{ "Winkernel.SourceVip", "winkernel.sourceVip" },
};

/* A list without elements is null in Go, unless somebody made it. */
static void put(json_t *into, const char *path, json_t *taken)
{
	bool is_empty = json_is_array(taken) && !json_array_size(taken);

	kp_json_put(into, path, is_empty ? json_null() : taken);
	if (is_empty)
		json_decref(taken);
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

/* What is empty in a file means something. */
static void put_default(json_t *doc, const char *path, const char *meaning)
{
	if (!*json_string_value(kp_json_at(doc, path)))
		put(doc, path, json_string(meaning));
}

static void copy_row(json_t *out, json_t *doc, const char *internal, const char *path, const char *mode)
{
	KP_AUTO(kp_freep) char *full = *path == '*' ? kp_asprintf("%s%s", mode, path + 1) : kp_strdup(path);

	json_t *value = kp_json_at(doc, full);

	if (!value)	/* ipvs shares the masquerading of iptables */
		value = kp_json_at(doc, "iptables.masqueradeAll");
	put(out, internal, json_incref(value));
}

/* Left out where they are not set. */
static void copy_rest_of_logging(json_t *out, json_t *doc)
{
	static const char *const streams[] = { "options.json.splitStream", "options.text.splitStream" };
	json_t *to = json_object_get(out, "Logging"), *from = json_object_get(doc, "logging");

	for (size_t i = 0; i < KP_N(streams); i++)
		if (json_is_true(kp_json_at(from, streams[i])))
			put(to, streams[i], json_true());
	if (json_array_size(json_object_get(from, "vmodule")))
		put(to, "vmodule", json_incref(json_object_get(from, "vmodule")));
}

static json_t *internal_form(json_t *doc, const char *unset)
{
	json_t *out = json_pack("{s:{}, s:{}}", "TypeMeta", "FeatureGates");
	const char *mode = json_string_value(json_object_get(doc, "mode"));

	for (size_t i = 0; i < KP_N(rows); i++)
		copy_row(out, doc, rows[i].internal, rows[i].path, *mode ? mode : unset);
	put(out, "DetectLocal.ClusterCIDRs", split(json_string_value(json_object_get(doc, "clusterCIDR"))));
	put_default(out, "DetectLocalMode", "ClusterCIDR");
	put_default(out, "Mode", unset);
	copy_rest_of_logging(out, doc);
	return out;
}

json_t *kp_configz(const struct kp_config *c, const char *mode)
{
	json_t *doc = kp_config_json(c);
	json_t *page = json_pack("{s:o, s:O}", "kubeproxy.config.k8s.io", internal_form(doc, mode),
				 "proxylet", json_object_get(doc, "proxylet"));

	json_decref(doc);
	return page;
}
