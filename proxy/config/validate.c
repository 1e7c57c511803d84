#include "proxy/config/config_impl.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

/*
 * What kube-proxy refuses, in its words: people search for them. Ranges of single
 * numbers are in the table of fields.
 */

static void check_endpoint(const char *path, const char *s, struct kp_config_report *rep)
{
	char host[64];
	const char *port;
	struct kp_addr addr;
	uint16_t number;

	if (!*s)
		return;
	if (!kp_hostport_split(s, host, sizeof(host), &port)) {
		kp_report_error(rep, KP_INVALID, path, s, "must be IP:port");
		return;
	}
	if (!kp_addr_parse(host, &addr))
		kp_report_error(rep, KP_INVALID, path, host, "must be a valid IP");
	if (!kp_port_parse(port, &number))
		kp_report_error(rep, KP_INVALID, path, port, "must be a valid port");
}

static void check_addresses(const struct kp_config *c, struct kp_config_report *rep)
{
	struct kp_addr a;

	if (!kp_addr_parse(c->bind_address, &a))
		kp_report_error(rep, KP_INVALID, "bindAddress", c->bind_address,
				"not a valid textual representation of an IP address");
	check_endpoint("healthzBindAddress", c->healthz_bind_address, rep);
	check_endpoint("metricsBindAddress", c->metrics_bind_address, rep);
	check_endpoint("proxylet.health.relayTarget", c->relay_target, rep);
	check_endpoint("proxylet.sharedHealthzBindAddress", c->shared_healthz_bind_address, rep);
	if (*c->relay_target && !*c->shared_healthz_bind_address)
		kp_report_error(rep, KP_REQUIRED, "proxylet.sharedHealthzBindAddress", "",
				"must be set: proxylet.health.relayTarget makes this agent a relay, which listens there");
}

/* The list as JSON, as kube-proxy shows it. */
static char *cidrs_text(const char *joined)
{
	json_t *array = json_array();
	char *text;

	for (const char *p = joined;; p++) {
		size_t len = strcspn(p, ",");

		json_array_append_new(array, json_stringn(p, len));
		p += len;
		if (!*p)
			break;
	}
	text = json_dumps(array, JSON_COMPACT);
	json_decref(array);
	return text;
}

/* One CIDR, or two of different families. */
static void check_cluster_cidr(const char *joined, struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *copy = kp_strdup(joined), *whole = cidrs_text(joined);
	char *rest = copy, *one;
	struct kp_cidr cidr[2] = { 0 };
	unsigned n = 1, n_good = 0;
	char path[32];

	for (const char *p = joined; *p; p++)
		n += *p == ',';
	for (unsigned i = 0; n <= 2 && (one = strsep(&rest, ",")); i++) {
		if (kp_cidr_parse(one, &cidr[i])) {
			n_good++;
			continue;
		}
		snprintf(path, sizeof(path), "clusterCIDR[%u]", i);
		kp_report_error(rep, KP_INVALID, path, one,
				"must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)");
	}
	if (n > 2 || (n_good == 2 && cidr[0].addr.family == cidr[1].addr.family))
		kp_report_error(rep, KP_INVALID, "clusterCIDR", whole, "must be a either a single CIDR or dual-stack "
				"pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]");
}

/* What the kernel (dev_valid_name) takes for no interface's name would fail every commit of the rules. */
static void check_ifname(const char *path, const char *name, struct kp_config_report *rep)
{
	if (!*name)
		kp_report_error(rep, KP_INVALID, path, "", "must not be empty");
	else if (strlen(name) >= IFNAMSIZ)
		kp_report_error(rep, KP_INVALID, path, name, "must be at most %d characters, as all names of interfaces",
				IFNAMSIZ - 1);
	else if (name[strcspn(name, "/: \t\n\v\f\r")])
		kp_report_error(rep, KP_INVALID, path, name, "must not contain blanks, \"/\" or \":\", as no name of an interface does");
}

/* Each way to tell local traffic needs its own field; unset means by clusterCIDR, if there is one. */
static void check_detect_local(const struct kp_config *c, struct kp_config_report *rep)
{
	switch (c->detect_mode) {
	case KP_DETECT_BRIDGE:
		check_ifname("detectLocal.bridgeInterface", c->bridge_interface, rep);
		break;
	case KP_DETECT_PREFIX:
		check_ifname("detectLocal.interfaceNamePrefix", c->interface_prefix, rep);
		break;
	case KP_DETECT_CLUSTER_CIDR: case KP_DETECT_MODE_UNSET:
		if (*c->cluster_cidr)
			check_cluster_cidr(c->cluster_cidr, rep);
		break;
	case KP_DETECT_NODE_CIDR:
		break;
	}
}

static void check_nodeport_addresses(char *const *list, struct kp_config_report *rep)
{
	for (size_t i = 0; list[i]; i++) {
		bool primary = strcmp(list[i], "primary") == 0, alone = i == 0 && !list[1];
		struct kp_cidr cidr;
		char path[48];

		if (primary ? alone : kp_cidr_parse(list[i], &cidr))
			continue;
		snprintf(path, sizeof(path), "nodePortAddresses[%zu]", i);
		kp_report_error(rep, KP_INVALID, path, list[i], "%s",
				primary ? "can't use both 'primary' and CIDRs" : "must be a valid CIDR");
	}
}

static void check_periods(const char *section, const struct kp_config_backend *b, struct kp_config_report *rep)
{
	char path[32], text[KP_DURATION_STRLEN];

	if (b->min_sync_period_ms <= b->sync_period_ms)
		return;
	snprintf(path, sizeof(path), "%s.syncPeriod", section);
	kp_report_error(rep, KP_INVALID, path, kp_duration_str(b->min_sync_period_ms, text),
			"must be greater than or equal to %s.minSyncPeriod", section);
}

/* A relay, and what removes rules, run in no mode. */
void kp_config_check_mode(const struct kp_config *c, struct kp_config_report *rep)
{
	if (c->mode == KP_MODE_IPVS && c->fallback == KP_MODE_UNSET && !c->disabled && !*c->relay_target)
		kp_report_error(rep, KP_UNSUPPORTED, "mode", "ipvs", "is not built yet, only nftables and iptables are; "
				"with proxylet.fallback one of them takes its place");
}

void kp_config_validate(const struct kp_config *c, struct kp_config_report *rep)
{
	bool unset = c->mode == KP_MODE_UNSET;
	size_t errors = rep->n_errors;

	kp_fields_check(c, rep);
	check_addresses(c, rep);
	check_detect_local(c, rep);
	check_nodeport_addresses(c->nodeport_addresses, rep);
	/* Only the section of the mode; an unset one may become either of these. */
	if (unset || c->mode == KP_MODE_NFTABLES)
		check_periods("nftables", &c->nftables, rep);
	if (unset || c->mode == KP_MODE_IPTABLES)
		check_periods("iptables", &c->iptables, rep);
	if (c->mode == KP_MODE_IPVS)
		check_periods("ipvs", &c->ipvs, rep);
	if (rep->n_errors == errors)
		kp_fields_note(c, rep);
}
