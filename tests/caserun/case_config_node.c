#include "tests/caserun/caserun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/families.h"
#include "proxy/model/model.h"
#include "proxy/own_node.h"
#include "proxy/plan/build.h"
#include "proxy/setup.h"

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static enum kp_family family_of(const json_t *doc, const char *key)
{
	return strcmp(text(doc, key), "IPv6") == 0 ? KP_IPV6 : KP_IPV4;
}

static size_t addrs_of(const json_t *list, struct kp_addr **ret)
{
	size_t n = json_array_size(list);

	*ret = kp_calloc(n + 1, sizeof(**ret));
	for (size_t i = 0; i < n; i++)
		if (!kp_addr_parse(json_string_value(json_array_get(list, i)), &(*ret)[i]))
			abort();
	return n;
}

static size_t cidrs_of(const json_t *list, struct kp_cidr **ret)
{
	size_t n = json_array_size(list);

	*ret = kp_calloc(n + 1, sizeof(**ret));
	for (size_t i = 0; i < n; i++)
		if (!kp_cidr_parse(json_string_value(json_array_get(list, i)), &(*ret)[i]))
			abort();
	return n;
}

/* A field from a document's value: a string, or a list of them. */
static bool set(struct kp_config *c, const char *path, const json_t *v)
{
	struct kp_config_report rep = { 0 };
	char joined[512] = "";
	size_t n = 0;
	bool ok = true;

	for (size_t i = 0; i < json_array_size(v); i++)
		n += (size_t)snprintf(joined + n, sizeof(joined) - n, "%s%s", i ? "," : "",
				      json_string_value(json_array_get(v, i)));
	if (json_is_string(v) || json_array_size(v))
		ok = kp_config_set(c, path, json_is_string(v) ? json_string_value(v) : joined, &rep);
	kp_config_report_release(&rep);
	return ok;
}

static struct kp_node *node_of(const json_t *ips, const json_t *pod_cidrs)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));

	n->name = kp_strdup("node");
	n->n_ips = addrs_of(ips, &n->ips);
	n->n_pod_cidrs = cidrs_of(pod_cidrs, &n->pod_cidrs);
	return n;
}

/* --- node addresses --- */

static void check_ip(struct case_run *r, const struct kp_addr *is, const char *want)
{
	char shown[KP_ADDR_STRLEN];

	case_check(r, strcmp(kp_addr_str(is, shown), want) == 0, "got %s, want %s", shown, want);
}

static void run_detect(struct case_run *r, json_t *doc)
{
	KP_AUTO(kp_freep) struct kp_addr *raw = NULL;
	size_t n = addrs_of(json_object_get(doc, "rawNodeIPs"), &raw);
	struct kp_node_ips got;

	kp_node_ips_detect(raw, n, text(doc, "bindAddress"), &got);
	case_check(r, got.primary == family_of(doc, "expectedFamily"), "primary family is %s", kp_family_names[got.primary]);
	check_ip(r, &got.ip[KP_IPV4], text(doc, "expectedIPv4"));
	check_ip(r, &got.ip[KP_IPV6], text(doc, "expectedIPv6"));
}

/* kube-proxy's exit is our change in place; it does neither for addresses alone. */
static void run_change(struct case_run *r, json_t *doc)
{
	KP_AUTO(kp_node_freep) struct kp_node *old = node_of(json_object_get(doc, "initialNodeIPs"),
							     json_object_get(doc, "initialPodCIDRs"));
	KP_AUTO(kp_node_freep) struct kp_node *new = node_of(json_object_get(doc, "updatedNodeIPs"),
							     json_object_get(doc, "updatedPodCIDRs"));
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	bool leaves = json_integer_value(json_object_get(doc, "expectedExitCode")) == 1;
	struct kp_node_change change;

	if (json_is_true(json_object_get(doc, "watchPodCIDRs")))
		c->detect_mode = KP_DETECT_NODE_CIDR;
	kp_log_set_level(KP_LOG_ERROR);
	(void)kp_own_node_adapt(old, NULL, c);
	change = kp_own_node_adapt(new, old, c);
	kp_log_set_level(KP_LOG_INFO);
	case_check(r, change.pod_cidrs == leaves, "podCIDRs: %schanged", change.pod_cidrs ? "" : "un");
	case_check(r, change.ips == !json_equal(json_object_get(doc, "initialNodeIPs"), json_object_get(doc, "updatedNodeIPs")),
		   "addresses: %schanged", change.ips ? "" : "un");
}

/* --- configuration against node --- */

static void fill_facts(const json_t *doc, bool dual_stack, struct kp_cidr *cidrs, size_t n, struct kp_node_facts *ret)
{
	*ret = (struct kp_node_facts){ family_of(doc, "primaryIPFamily"), dual_stack, cidrs, n, KP_MODE_UNSET };
}

/*
 * The documents hold kube-proxy's configuration before its platform's defaults. So an unset
 * detectLocalMode is not clusterCIDR yet, which only its fatal errors depend on, and an unset
 * mode is not nftables, as it would be here.
 */
static struct kp_config *bare_config(const json_t *from)
{
	struct kp_config *c = kp_config_new();
	const json_t *mode = json_object_get(from, "detectLocalMode");

	c->mode = KP_MODE_IPTABLES;
	c->detect_mode = KP_DETECT_PREFIX;
	if (*text(from, "detectLocalMode"))
		set(c, "detectLocalMode", mode);
	set(c, "clusterCIDR", json_object_get(from, "clusterCIDRs"));
	set(c, "nodePortAddresses", json_object_get(from, "nodePortAddresses"));
	set(c, "ipvs.excludeCIDRs", json_object_get(from, "ipvsExcludeCIDRs"));
	set(c, "healthzBindAddress", json_object_get(from, "healthzBindAddress"));
	set(c, "metricsBindAddress", json_object_get(from, "metricsBindAddress"));
	return c;
}

static void run_bad_config(struct case_run *r, json_t *doc)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = bare_config(doc);
	bool want = json_is_true(json_object_get(doc, "expectError"));
	struct kp_config_report rep = { 0 };
	struct kp_node_facts facts;

	fill_facts(doc, true, NULL, 0, &facts);
	kp_config_check_node_ports(c, &facts, &rep);
	case_check(r, (rep.n == 1) == want, "%zu problems", rep.n);
	if (rep.n && *c->nodeport_addresses)
		case_check(r, strcmp(rep.items[0].detail, text(doc, "actualError")) == 0, "%s", rep.items[0].detail);
	kp_config_report_release(&rep);
}

static void check_families(struct case_run *r, json_t *doc, bool dual_stack)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = bare_config(json_object_get(doc, "config"));
	const char *stack = dual_stack ? "dual" : "single";
	KP_AUTO(kp_freep) char *error = kp_asprintf("%sStackError", stack), *fatal = kp_asprintf("%sStackFatal", stack);
	KP_AUTO(kp_freep) struct kp_cidr *cidrs = NULL;
	size_t n = cidrs_of(json_object_get(doc, "podCIDRs"), &cidrs);
	struct kp_config_report rep = { 0 };
	struct kp_node_facts facts;

	fill_facts(doc, dual_stack, cidrs, n, &facts);
	kp_config_check_families(c, &facts, &rep);
	case_check(r, (rep.n > 0) == json_is_true(json_object_get(doc, error)), "%s: %zu problems", error, rep.n);
	case_check(r, (rep.n_errors > 0) == json_is_true(json_object_get(doc, fatal)), "%s: %zu errors", fatal, rep.n_errors);
	kp_config_report_release(&rep);
}

static void run_bad_ip_config(struct case_run *r, json_t *doc)
{
	check_families(r, doc, false);
	check_families(r, doc, true);
}

/* --- what the planner is told --- */

/* In the words of nft's conditions: "ip saddr 10.0.0.0/8", "" for none. */
static char *shown_detector(const struct kp_detector *d, enum kp_family f)
{
	char cidr[KP_CIDR_STRLEN];

	switch (d->kind) {
	case KP_DETECT_CIDR:
		return kp_asprintf("%s saddr %s", f == KP_IPV4 ? "ip" : "ip6", kp_cidr_str(&d->cidr, cidr));
	case KP_DETECT_IFNAME:
		return kp_asprintf("iifname %s", d->ifname);
	case KP_DETECT_IFPREFIX:
		return kp_asprintf("iifname %s*", d->ifname);
	default:
		return kp_strdup("");
	}
}

static void check_detector(struct case_run *r, const json_t *expected, const struct kp_detector *d, enum kp_family f)
{
	const json_t *words = json_object_get(json_object_get(expected, kp_family_names[f]), "ifLocalNFT");
	KP_AUTO(kp_freep) char *is = shown_detector(d, f);
	char want[256] = "";
	size_t n = 0;

	for (size_t i = 0; i < json_array_size(words); i++)
		n += (size_t)snprintf(want + n, sizeof(want) - n, "%s%s", i ? " " : "",
				      json_string_value(json_array_get(words, i)));
	case_check(r, strcmp(is, want) == 0, "%s: got '%s', want '%s'", kp_family_names[f], is, want);
}

static void check_plan(struct case_run *r, json_t *doc, const struct kp_config *c)
{
	struct kp_model *m = kp_model_new("node");
	struct kp_planner *p;
	struct kp_setup_plan setup;
	struct kp_plan_node *node;

	kp_setup_plan(c, KP_MODE_NFTABLES, (const bool[KP_N_FAMILIES]){ true, true }, &setup);
	p = kp_planner_new(m, &setup.opt);
	kp_model_put_node(m, node_of(NULL, json_object_get(doc, "nodePodCIDRs")));
	kp_log_set_level(KP_LOG_ERROR);
	node = kp_planner_build_node(p, NULL, 0);
	kp_log_set_level(KP_LOG_INFO);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		check_detector(r, json_object_get(doc, "expected"), &node->detector[f], f);
	kp_plan_node_unref(node);
	kp_planner_free(p);
	kp_model_free(m);
	kp_setup_plan_release(&setup);
}

/*
 * Modes that kube-proxy's code meets with no detector, and names of interfaces that cannot
 * be, do not get that far here: the configuration is refused.
 */
static void run_detectors(struct case_run *r, json_t *doc)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	const json_t *local = json_object_get(doc, "detectLocal");
	const char *bridge = text(local, "bridgeInterface"), *prefix = text(local, "interfaceNamePrefix");
	struct kp_config_report rep = { 0 };

	if (!set(c, "detectLocalMode", json_object_get(doc, "detectLocalMode"))) {
		case_pass(r);
		return;
	}
	set(c, "clusterCIDR", json_object_get(local, "clusterCIDRs"));
	set(c, "detectLocal.bridgeInterface", json_object_get(local, "bridgeInterface"));
	set(c, "detectLocal.interfaceNamePrefix", json_object_get(local, "interfaceNamePrefix"));
	kp_config_validate(c, &rep);
	if (strlen(bridge) > 15 || strlen(prefix) > 15)
		case_check(r, rep.n_errors == 1, "the name is accepted");
	else
		check_plan(r, doc, c);
	kp_config_report_release(&rep);
}

/* An unset mode is iptables for kube-proxy 1.36, and nftables here: that is what it is for. */
static void run_platform_defaults(struct case_run *r, json_t *doc)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = kp_config_new();
	static const int local[] = {
		[KP_DETECT_CLUSTER_CIDR] = KP_LOCAL_CLUSTER_CIDR, [KP_DETECT_NODE_CIDR] = KP_LOCAL_NODE_CIDR,
		[KP_DETECT_BRIDGE] = KP_LOCAL_BRIDGE, [KP_DETECT_PREFIX] = KP_LOCAL_PREFIX,
	};
	enum kp_mode given, runs = KP_MODE_NFTABLES;
	struct kp_setup_plan setup;
	struct kp_err err;
	int rc;

	set(c, "mode", json_object_get(doc, "mode"));
	set(c, "detectLocalMode", json_object_get(doc, "detectLocal"));
	given = c->mode;
	rc = kp_setup_mode(c, &runs, &err);
	kp_setup_plan(c, runs, (const bool[KP_N_FAMILIES]){ true, true }, &setup);
	set(c, "mode", json_object_get(doc, "expectedMode"));
	set(c, "detectLocalMode", json_object_get(doc, "expectedDetectLocal"));
	if (given == KP_MODE_UNSET)
		case_check(r, rc == 0 && runs == KP_MODE_NFTABLES, "unset is not nftables");
	else
		case_check(r, given == c->mode, "another mode");
	case_check(r, (int)setup.opt.local_mode == local[c->detect_mode], "detects by %d", (int)setup.opt.local_mode);
	kp_setup_plan_release(&setup);
}

static const struct {
	const char *sub;
	case_fn *run;
} parts[] = {
	{ "platform-defaults", run_platform_defaults },
	{ "detect-node-ips", run_detect },
	{ "local-detectors", run_detectors },
	{ "check-bad-config", run_bad_config },
	{ "check-bad-ip-config", run_bad_ip_config },
	{ "node-change", run_change },
};

void case_config_node(struct case_run *r, json_t *doc)
{
	for (size_t i = 0; i < KP_N(parts); i++)
		if (strcmp(parts[i].sub, r->sub) == 0)
			parts[i].run(r, doc);
}
