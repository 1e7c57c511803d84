#include "tests/caserun/caserun.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/config/run_flags.h"
#include "proxy/configz.h"

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

/* A document as the writer has it, with everything in it; NULL: it does not read its own YAML. */
static json_t *written(const struct kp_config *c)
{
	struct kp_config_report rep = { 0 };
	struct kp_buf yaml = { 0 };
	struct kp_err err;
	json_t *doc = NULL;

	kp_config_write(c, &yaml, &rep);
	if (kp_doc_load(yaml.data, yaml.len, NULL, NULL, &doc, &err) < 0)
		doc = NULL;
	kp_buf_release(&yaml);
	kp_config_report_release(&rep);
	return doc;
}

static const json_t *at(const json_t *doc, const char *path)
{
	char copy[64], *rest = copy, *step;

	strcpy(copy, path);
	while ((step = strsep(&rest, ".")))
		doc = json_object_get(doc, step);
	return doc;
}

/* kube-proxy leaves out what is empty, or writes null. */
static bool says_nothing(const json_t *v)
{
	return !v || json_is_null(v) || json_is_false(v) || (json_is_string(v) && !*json_string_value(v)) ||
	       ((json_is_array(v) || json_is_object(v)) && !json_array_size(v) && !json_object_size(v));
}

/* kube-proxy writes back periods and masqueradeAll only in the section of the mode, and portRange never. */
static bool is_written(const char *path, const char *mode)
{
	static const char *const sections[] = { "nftables", "iptables", "ipvs" };
	const char *dot = strchr(path, '.');

	if (strncmp(path, "proxylet.", 9) == 0 || strcmp(path, "portRange") == 0)
		return false;
	for (size_t i = 0; mode && dot && i < KP_N(sections); i++)
		if (strncmp(path, sections[i], strlen(sections[i])) == 0 && strcmp(sections[i], mode) != 0)
			return !strstr(dot, "yncPeriod") && !strstr(dot, "masqueradeAll");
	return true;
}

/* mode: the section that counts; NULL: all. */
static void compare_values(struct case_run *r, const struct kp_config *c, const json_t *want, const char *mode)
{
	json_t *doc = written(c);
	struct kp_config_field f;

	for (size_t i = 0; kp_config_field(i, &f); i++) {
		const json_t *is = at(doc, f.path), *should = at(want, f.path);

		if (!is_written(f.path, mode) || json_equal(is, should) || (says_nothing(is) && says_nothing(should)) ||
		    (strcmp(f.path, "apiVersion") == 0 && !should) || (strcmp(f.path, "kind") == 0 && !should))
			continue;
		KP_AUTO(kp_freep) char *a = shown(is), *b = shown(should);

		case_fail(r, "%s: got %s, want %s", f.path, a, b);
		json_decref(doc);
		return;
	}
	json_decref(doc);
	case_pass(r);
}

/* /configz against kube-proxy's internal form; NULL: that is not in the document. */
static void compare_page(struct case_run *r, const struct kp_config *c, json_t *want)
{
	json_t *page = kp_configz(c, "nftables"), *have = json_object_get(page, "kubeproxy.config.k8s.io"), *should;
	bool same = !want || json_object_size(have) == json_object_size(want);
	const char *key;

	json_object_foreach(want, key, should)
		if (!json_equal(json_object_get(have, key), should)) {
			KP_AUTO(kp_freep) char *a = shown(json_object_get(have, key)), *b = shown(should);

			case_fail(r, "/configz: %s: got %s, want %s", key, a, b);
			json_decref(page);
			return;
		}
	case_check(r, same, "/configz: there are more fields in it");
	json_decref(page);
}

static void load_and_compare(struct case_run *r, const char *yaml, const json_t *want, json_t *internal, bool only_mode)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;

	if (kp_config_load_text(yaml, strlen(yaml), &c, &rep) == 0) {
		compare_values(r, c, want, only_mode ? section_of(text(want, "mode")) : NULL);
		compare_page(r, c, internal);
	} else if (rep.n_errors == 1 && strcmp(rep.items[0].field, "bindAddress") == 0 && rep.items[0].value[0] == '[') {
		case_pass(r);	/* kube-proxy loads it and refuses it then: here that is one step */
	} else {
		KP_AUTO(kp_freep) char *all = all_errors(&rep);

		case_fail(r, "refused: %s", all);
	}
	kp_config_report_release(&rep);
	kp_config_free(c);
}

static void run_load(struct case_run *r, json_t *doc)
{
	json_t *want = json_object_get(doc, "expected");

	load_and_compare(r, text(doc, "yaml"), json_object_get(want, "v1alpha1"), json_object_get(want, "internal"), true);
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
	load_and_compare(r, flat, json_object_get(doc, "expected"), NULL, false);
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
	load_and_compare(r, text(doc, "inputYAML"), want, NULL, true);
	load_and_compare(r, text(doc, "roundTripYAML"), want, NULL, true);
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
	struct kp_config_backend b;
	char want[256] = "";
	int64_t sync, min;
	int rc;

	if (strcmp(text(doc, "mode"), "kernelspace") == 0) {
		case_skip(r, "of Windows");
		return;
	}
	rc = run_config(json_object_get(doc, "flags"), &c, &err);
	if (!case_check(r, rc == 0 && c, "%s", err.msg))
		return;
	for (size_t i = 0; i < json_array_size(cidrs); i++) {
		strcat(want, i ? "," : "");
		strcat(want, json_string_value(json_array_get(cidrs, i)));
	}
	case_check(r, strcmp(c->cluster_cidr, want) == 0, "clusterCIDR '%s'", c->cluster_cidr);
	kp_duration_parse(text(doc, "syncPeriod"), &sync);
	kp_duration_parse(text(doc, "minSyncPeriod"), &min);
	b = kp_config_active(c);
	case_check(r, b.sync_period_ms == sync && b.min_sync_period_ms == min, "periods %lld ms, %lld ms",
		   (long long)b.sync_period_ms, (long long)b.min_sync_period_ms);
	kp_config_free(c);
}

/* The file's text, as a file; path is overwritten. */
static void write_file(char *path, const char *yaml)
{
	int fd = mkstemp(path);

	dprintf(fd, "%s", yaml);
	close(fd);
}

static void run_options_complete(struct case_run *r, json_t *doc)
{
	/* kube-proxy has put in what these two are on Linux; here they stay unset. */
	static const char *const late[] = { "mode", "detectLocalMode" };
	json_t *want = json_object_get(json_object_get(doc, "expected"), "v1alpha1");
	json_t *flags = json_copy(json_object_get(doc, "flags"));
	const char *file = text(doc, "configFile");
	char path[] = "/tmp/caserun-config-XXXXXX";
	struct kp_config *c = NULL;
	struct kp_err err = { 0 };

	for (size_t i = 0; i < KP_N(late); i++)
		if (!strstr(file, late[i]))
			json_object_set_new(want, late[i], json_string(""));
	if (!flags)
		flags = json_array();
	if (*file) {
		write_file(path, file);
		json_array_append_new(flags, json_string("--config"));
		json_array_append_new(flags, json_string(path));
	}
	if (case_check(r, run_config(flags, &c, &err) == 0, "%s", err.msg))
		compare_values(r, c, want, section_of(text(want, "mode")));
	if (*file)
		unlink(path);
	json_decref(flags);
	kp_config_free(c);
}

static void run_deprecated_address(struct case_run *r, json_t *doc)
{
	static const char *const keys[2][3] = {
		{ "healthzBindAddress", "healthzPort", "expHealthz" }, { "metricsBindAddress", "metricsPort", "expMetrics" },
	};

	for (size_t i = 0; i < KP_N(keys); i++) {
		KP_AUTO(kp_freep) char *is = kp_hostport_complete(
			text(doc, keys[i][0]), json_integer_value(json_object_get(doc, keys[i][1])));

		case_check(r, strcmp(is, text(doc, keys[i][2])) == 0, "%s: got '%s'", keys[i][2], is);
	}
}

/* flags.json: every flag is there, and takes a value or none as kube-proxy's does. */
static void run_flag_list(struct case_run *r, json_t *doc)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(doc, "flags"), i, one) {
		const struct kp_flag *f = kp_run_flag_table;
		bool is_switch;

		while (f->name && strcmp(f->name, text(one, "name")) != 0)
			f++;
		is_switch = f->kind == KP_FLAG_BOOL || f->kind == KP_FLAG_SWITCH;
		case_check(r, f->name && is_switch == (strcmp(text(one, "noOptDefVal"), "true") == 0) &&
			   (!*text(one, "shorthand") || text(one, "shorthand")[0] == f->shorthand), "--%s: %s",
			   text(one, "name"), f->name ? "another kind of value" : "is missing");
	}
}

static void run_hostname(struct case_run *r, json_t *doc)
{
	char path[] = "/tmp/caserun-config-XXXXXX";
	bool fails = json_is_true(json_object_get(doc, "expectError"));
	struct kp_config *c = NULL;
	struct kp_err err = { 0 };
	KP_AUTO(kp_freep) char *yaml = kp_asprintf("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
						   "hostnameOverride: '%s'\n", text(doc, "configHostnameOverride"));
	json_t *flags;
	int rc;

	write_file(path, yaml);
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
} parts[] = {
	{ "validation", run_validation },
	{ "load", run_load },
	{ "load-failure", run_load_failure },
	{ "defaults", run_defaults },
	{ "scheme-defaulting", run_scheme_defaulting },
	{ "options-complete", run_options_complete },
	{ "v1alpha1-flags", run_v1alpha1_flags },
	{ "hostname-override", run_hostname },
	{ "address-from-deprecated-flags", run_deprecated_address },
	{ "platform-defaults", case_config_node },
	{ "detect-node-ips", case_config_node },
	{ "local-detectors", case_config_node },
	{ "check-bad-config", case_config_node },
	{ "check-bad-ip-config", case_config_node },
	{ "node-change", case_config_node },
	{ "", run_flag_list },
};

void case_config(struct case_run *r, json_t *doc)
{
	for (size_t i = 0; i < KP_N(parts); i++)
		if (strcmp(parts[i].sub, r->sub) == 0) {
			parts[i].run(r, doc);
			return;
		}
	case_fail(r, "folder '%s' is none of ours", r->sub);
}
