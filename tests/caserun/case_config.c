#include "tests/caserun/caserun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/config/run_flags.h"

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* --- problems --- */

/* kube-proxy names its internal fields, we those of the file; beyond this only capitals differ. */
static const struct {
	const char *theirs, *ours;
} names[] = {
	{ "DetectLocalConfiguration.ClusterCIDRs", "clusterCIDR" },
	{ "DetectLocalConfiguration.InterfaceName", "detectLocal.bridgeInterface" },
	{ "DetectLocalConfiguration.InterfacePrefix", "detectLocal.interfaceNamePrefix" },
	{ "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.", "conntrack." },
	{ "KubeProxyLinuxConfiguration.", "" },
	{ "KubeProxyIPTablesConfiguration.", "iptables." },
	{ "KubeProxyNFTablesConfiguration.", "nftables." },
	{ "KubeProxyIPVSConfiguration.", "ipvs." },
	{ "KubeIPVSConfiguration.", "ipvs." },
	{ "ExcludeCIDRS", "ipvs.excludeCIDRs" },
	{ "Mode.ProxyMode", "mode" },
};

/* Of the mode's section; kube-proxy reads an unset one as iptables. */
static const char *section_of(const char *mode)
{
	return *mode ? mode : "iptables";
}

static char *our_field(const char *theirs, const char *mode)
{
	static const char prefix[] = "KubeProxyConfiguration.";

	if (strncmp(theirs, prefix, strlen(prefix)) == 0)
		theirs += strlen(prefix);
	if (strcmp(theirs, "SyncPeriod") == 0 || strcmp(theirs, "MinSyncPeriod") == 0)
		return kp_asprintf("%s.%s", section_of(mode), theirs);
	for (size_t i = 0; i < KP_N(names); i++)
		if (strncmp(theirs, names[i].theirs, strlen(names[i].theirs)) == 0)
			return kp_asprintf("%s%s", names[i].ours, theirs + strlen(names[i].theirs));
	return kp_strdup(theirs);
}

static char *shown(const json_t *bad_value)
{
	if (json_is_string(bad_value))
		return kp_strdup(json_string_value(bad_value));
	return bad_value ? json_dumps(bad_value, JSON_ENCODE_ANY | JSON_COMPACT) : kp_strdup("");
}

/* The wording counts, unless it names a field. */
static bool same_detail(const char *ours, const char *theirs)
{
	return strstr(theirs, "KubeProxyConfiguration") || strcmp(ours, theirs) == 0;
}

static bool is_reported(const struct kp_config_report *rep, const json_t *want, const char *mode)
{
	KP_AUTO(kp_freep) char *field = our_field(text(want, "field"), mode);
	KP_AUTO(kp_freep) char *value = shown(json_object_get(want, "badValue"));

	for (size_t i = 0; i < rep->n; i++) {
		const struct kp_config_problem *p = &rep->items[i];

		if (p->level == KP_PROBLEM_ERROR && strcmp(p->type, text(want, "type")) == 0 &&
		    strcasecmp(p->field, field) == 0 && strcmp(p->value, value) == 0 &&
		    same_detail(p->detail, text(want, "detail")))
			return true;
	}
	return false;
}

static char *all_errors(const struct kp_config_report *rep)
{
	char *all = kp_strdup("");

	for (size_t i = 0; i < rep->n; i++) {
		KP_AUTO(kp_freep) char *one = kp_config_problem_str(&rep->items[i]);
		char *longer;

		if (rep->items[i].level != KP_PROBLEM_ERROR)
			continue;
		longer = kp_asprintf("%s%s[%s] %s", all, *all ? "; " : "", rep->items[i].type, one);
		free(all);
		all = longer;
	}
	return all;
}

static void compare_errors(struct case_run *r, const struct kp_config_report *rep, const json_t *want, const char *mode)
{
	KP_AUTO(kp_freep) char *all = all_errors(rep);
	const json_t *one;
	size_t i;

	json_array_foreach(want, i, one)
		if (!is_reported(rep, one, mode)) {
			case_fail(r, "not reported: %s; but: %s", text(one, "message"), all);
			return;
		}
	case_check(r, rep->n_errors == json_array_size(want), "want %zu errors, got: %s", json_array_size(want), all);
}

/* Documents for ipvs alone hold only its section, or one field of it. */
static json_t *ipvs_config(const json_t *doc)
{
	json_t *input = json_object_get(doc, "input");
	const char *validates = text(doc, "validates");

	if (strcmp(validates, "ipvs.excludeCIDRs") == 0)
		return json_pack("{s:s, s:s, s:s, s:{s:O}}", "apiVersion", "kubeproxy.config.k8s.io/v1alpha1", "kind",
				 "KubeProxyConfiguration", "mode", "ipvs", "ipvs", "excludeCIDRs", input);
	if (strcmp(validates, "ipvs") == 0)
		return json_pack("{s:s, s:s, s:s, s:O}", "apiVersion", "kubeproxy.config.k8s.io/v1alpha1", "kind",
				 "KubeProxyConfiguration", "mode", "ipvs", "ipvs", input);
	return NULL;
}

static void run_validation(struct case_run *r, json_t *doc)
{
	json_t *config = json_incref(json_object_get(doc, "fullConfig"));
	json_t *want = json_object_get(doc, config ? "fullConfigLoadedErrors" : "expectedErrors");
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;
	char *flat;

	if (!config)
		config = ipvs_config(doc);
	if (!config) {
		case_skip(r, "a part of the configuration without the whole of it");
		return;
	}
	flat = json_dumps(config, 0);
	kp_config_load_text(flat, strlen(flat), &c, &rep);
	compare_errors(r, &rep, want, text(config, "mode"));
	kp_config_report_release(&rep);
	kp_config_free(c);
	json_decref(config);
	free(flat);
}

/* --- values --- */

enum kind { STRING, BOOL, INT, DURATION, STRINGS, MODE, DETECT };

#define FIELD(path, kind, member) { path, kind, offsetof(struct kp_config, member) }

/* What we keep, by its path in v1alpha1. */
static const struct kept {
	const char *path;
	enum kind kind;
	size_t offset;
} kept[] = {
	FIELD("bindAddress", STRING, bind_address),
	FIELD("bindAddressHardFail", BOOL, bind_address_hard_fail),
	FIELD("clientConnection.kubeconfig", STRING, kubeconfig),
	FIELD("clusterCIDR", STRING, cluster_cidr),
	FIELD("configSyncPeriod", DURATION, config_sync_period_ms),
	FIELD("detectLocal.bridgeInterface", STRING, bridge_interface),
	FIELD("detectLocal.interfaceNamePrefix", STRING, interface_prefix),
	FIELD("detectLocalMode", DETECT, detect_mode),
	FIELD("healthzBindAddress", STRING, healthz_bind_address),
	FIELD("hostnameOverride", STRING, hostname_override),
	FIELD("iptables.localhostNodePorts", BOOL, localhost_nodeports),
	FIELD("iptables.masqueradeAll", BOOL, iptables.masquerade_all),
	FIELD("iptables.masqueradeBit", INT, iptables.masquerade_bit),
	FIELD("iptables.minSyncPeriod", DURATION, iptables.min_sync_period_ms),
	FIELD("iptables.syncPeriod", DURATION, iptables.sync_period_ms),
	FIELD("ipvs.minSyncPeriod", DURATION, ipvs.min_sync_period_ms),
	FIELD("ipvs.syncPeriod", DURATION, ipvs.sync_period_ms),
	FIELD("logging.verbosity", INT, log_verbosity),
	FIELD("metricsBindAddress", STRING, metrics_bind_address),
	FIELD("mode", MODE, mode),
	FIELD("nftables.masqueradeAll", BOOL, nftables.masquerade_all),
	FIELD("nftables.masqueradeBit", INT, nftables.masquerade_bit),
	FIELD("nftables.minSyncPeriod", DURATION, nftables.min_sync_period_ms),
	FIELD("nftables.syncPeriod", DURATION, nftables.sync_period_ms),
	FIELD("nodePortAddresses", STRINGS, nodeport_addresses),
	FIELD("oomScoreAdj", INT, oom_score_adj),
};

static const char *const mode_names[] = { "", "nftables", "iptables", "ipvs" };
static const char *const detect_names[] = { "", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix" };

static json_t *strings(char *const *list)
{
	json_t *array = json_array();

	for (; *list; list++)
		json_array_append_new(array, json_string(*list));
	return array;
}

static json_t *ours(const struct kp_config *c, const struct kept *k)
{
	const void *member = (const char *)c + k->offset;

	switch (k->kind) {
	case STRING:	return json_string(*(char *const *)member);
	case BOOL:	return json_boolean(*(const bool *)member);
	case INT:
	case DURATION:	return json_integer(*(const int64_t *)member);
	case MODE:	return json_string(mode_names[*(const enum kp_mode *)member]);
	case DETECT:	return json_string(detect_names[*(const enum kp_detect_mode *)member]);
	case STRINGS:	return strings(*(char **const *)member);
	}
	return NULL;
}

static json_t *theirs(const json_t *config, const struct kept *k)
{
	char path[64], *rest = path, *step;
	int64_t ms;

	strcpy(path, k->path);
	while ((step = strsep(&rest, ".")))
		config = json_object_get(config, step);
	if (k->kind == DURATION)
		return kp_duration_parse(json_string_value(config), &ms) ? json_integer(ms) : NULL;
	if (k->kind == STRINGS && json_is_null(config))
		return json_array();
	return json_incref((json_t *)config);
}

/* kube-proxy writes back periods and masqueradeAll only in the section of the mode. */
static bool is_written(const char *path, const char *mode)
{
	static const char *const sections[] = { "nftables", "iptables", "ipvs" };
	const char *dot = strchr(path, '.');

	for (size_t i = 0; dot && i < KP_N(sections); i++)
		if (strncmp(path, sections[i], strlen(sections[i])) == 0 && strcmp(sections[i], mode) != 0)
			return !strstr(dot, "yncPeriod") && !strstr(dot, "masqueradeAll");
	return true;
}

/* mode: the section that counts; NULL: all. */
static void compare_values(struct case_run *r, const struct kp_config *c, const json_t *want, const char *mode)
{
	for (size_t i = 0; i < KP_N(kept); i++) {
		json_t *is, *should;
		bool same;

		if (mode && !is_written(kept[i].path, mode))
			continue;
		is = ours(c, &kept[i]);
		should = theirs(want, &kept[i]);
		same = json_equal(is, should);
		if (!same) {
			KP_AUTO(kp_freep) char *a = shown(is), *b = shown(should);

			case_fail(r, "%s: got %s, want %s", kept[i].path, a, b);
		}
		json_decref(is);
		json_decref(should);
		if (!same)
			return;
	}
	case_pass(r);
}

static void load_and_compare(struct case_run *r, const char *yaml, const json_t *want, bool only_mode)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;

	if (kp_config_load_text(yaml, strlen(yaml), &c, &rep) == 0) {
		compare_values(r, c, want, only_mode ? section_of(text(want, "mode")) : NULL);
	} else if (rep.n_errors == 1 && strcmp(rep.items[0].field, "bindAddress") == 0 && rep.items[0].value[0] == '[') {
		case_skip(r, "kube-proxy loads it and then refuses it, here that is one step");
	} else {
		KP_AUTO(kp_freep) char *all = all_errors(&rep);

		case_fail(r, "refused: %s", all);
	}
	kp_config_report_release(&rep);
	kp_config_free(c);
}

static void run_load(struct case_run *r, json_t *doc)
{
	load_and_compare(r, text(doc, "yaml"), json_object_get(json_object_get(doc, "expected"), "v1alpha1"), true);
}

static void run_load_failure(struct case_run *r, json_t *doc)
{
	const char *yaml = text(doc, "yaml");
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;

	case_check(r, kp_config_load_text(yaml, strlen(yaml), &c, &rep) < 0 && rep.n_errors, "accepted");
	kp_config_report_release(&rep);
	kp_config_free(c);
}

static void run_defaults(struct case_run *r, json_t *doc)
{
	json_t *config = json_object_get(doc, "original");
	char *flat;

	json_object_set_new(config, "apiVersion", json_string("kubeproxy.config.k8s.io/v1alpha1"));
	json_object_set_new(config, "kind", json_string("KubeProxyConfiguration"));
	flat = json_dumps(config, 0);
	load_and_compare(r, flat, json_object_get(doc, "expected"), false);
	free(flat);
}

static void run_scheme_defaulting(struct case_run *r, json_t *doc)
{
	const char *yaml = text(doc, "expectedDefaultedYAML");
	struct kp_err err;
	json_t *want;

	if (kp_doc_load(yaml, strlen(yaml), NULL, NULL, &want, &err) < 0) {
		case_fail(r, "expectedDefaultedYAML: %s", err.msg);
		return;
	}
	load_and_compare(r, text(doc, "inputYAML"), want, true);
	load_and_compare(r, text(doc, "roundTripYAML"), want, true);
	json_decref(want);
}

/* --- flags --- */

static int run_config(json_t *flags, struct kp_config **ret, struct kp_err *err)
{
	size_t n = json_array_size(flags);
	char **argv = kp_calloc(n + 2, sizeof(*argv));
	struct kp_config_report rep = { 0 };
	struct kp_run_flags f;
	int r;

	argv[0] = kp_strdup("run");
	for (size_t i = 0; i < n; i++)
		argv[i + 1] = kp_strdup(json_string_value(json_array_get(flags, i)));
	r = kp_run_flags_parse(&f, (int)n + 1, argv, err);
	if (r == 0)
		r = kp_run_config(&f, ret, &rep, err);
	kp_run_flags_release(&f);
	kp_config_report_release(&rep);
	for (size_t i = 0; i <= n; i++)
		free(argv[i]);
	free(argv);
	return r;
}

static void run_v1alpha1_flags(struct case_run *r, json_t *doc)
{
	json_t *cidrs = json_object_get(doc, "clusterCIDRs");
	struct kp_config *c = NULL;
	struct kp_err err = { 0 };
	char want[256] = "";
	int rc = run_config(json_object_get(doc, "flags"), &c, &err);

	for (size_t i = 0; i < json_array_size(cidrs); i++) {
		strcat(want, i ? "," : "");
		strcat(want, json_string_value(json_array_get(cidrs, i)));
	}
	if (rc < 0 && strstr(err.msg, "does not support yet"))
		case_skip(r, "the other flags of kube-proxy are not supported yet");
	else
		case_check(r, rc == 0 && strcmp(c->cluster_cidr, want) == 0, "%s, clusterCIDR '%s'", err.msg,
			   c ? c->cluster_cidr : "");
	kp_config_free(c);
}

static void run_options_complete(struct case_run *r, json_t *doc)
{
	/* kube-proxy has put in what these two are on Linux; here they stay unset. */
	static const char *const late[] = { "mode", "detectLocalMode" };
	json_t *want = json_object_get(json_object_get(doc, "expected"), "v1alpha1");
	const char *file = text(doc, "configFile");

	for (size_t i = 0; i < KP_N(late); i++)
		if (!strstr(file, late[i]))
			json_object_set_new(want, late[i], json_string(""));
	if (json_array_size(json_object_get(doc, "flags")))
		case_skip(r, "the other flags of kube-proxy are not supported yet");
	else
		load_and_compare(r, file, want, true);
}

static void run_hostname(struct case_run *r, json_t *doc)
{
	char path[] = "/tmp/caserun-config-XXXXXX";
	bool fails = json_is_true(json_object_get(doc, "expectError"));
	struct kp_config *c = NULL;
	struct kp_err err = { 0 };
	int fd = mkstemp(path), rc;
	json_t *flags;

	dprintf(fd, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nhostnameOverride: '%s'\n",
		text(doc, "configHostnameOverride"));
	close(fd);
	flags = json_pack("[s, s, s, s]", "--config", path, "--hostname-override", text(doc, "flag"));
	rc = run_config(flags, &c, &err);
	unlink(path);
	if (fails)
		case_check(r, rc < 0, "accepted");
	else
		case_check(r, rc == 0 && strcmp(c->hostname_override, text(doc, "expectedHostname")) == 0, "%s, got '%s'",
			   err.msg, c ? c->hostname_override : "");
	json_decref(flags);
	kp_config_free(c);
}

/* --- all of them --- */

static const struct {
	const char *sub;
	case_fn *run;
	const char *skip;
} parts[] = {
	{ "validation", run_validation, NULL },
	{ "load", run_load, NULL },
	{ "load-failure", run_load_failure, NULL },
	{ "defaults", run_defaults, NULL },
	{ "scheme-defaulting", run_scheme_defaulting, NULL },
	{ "options-complete", run_options_complete, NULL },
	{ "v1alpha1-flags", run_v1alpha1_flags, NULL },
	{ "hostname-override", run_hostname, NULL },
	{ "address-from-deprecated-flags", NULL, "the other flags of kube-proxy are not supported yet" },
	{ "platform-defaults", NULL, "what is unset stays unset, the kernel decides later" },
	{ "detect-node-ips", NULL, "node addresses come with the API server source" },
	{ "local-detectors", NULL, "podCIDRs come with the API server source" },
	{ "check-bad-config", NULL, "checks against the node come with the API server source" },
	{ "check-bad-ip-config", NULL, "checks against the node come with the API server source" },
	{ "node-change", NULL, "changes of the node come with the API server source" },
};

void case_config(struct case_run *r, json_t *doc)
{
	for (size_t i = 0; i < KP_N(parts); i++) {
		if (strcmp(parts[i].sub, r->sub) != 0)
			continue;
		if (parts[i].run)
			parts[i].run(r, doc);
		else
			case_skip(r, parts[i].skip);
		return;
	}
	case_skip(r, "not a document of a known part");	/* flags.json is a list */
}
