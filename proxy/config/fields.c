#include "proxy/config/config_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/config/nearest.h"

/* How a value is written, and what it becomes in struct kp_config. */
enum kind {
	FIXED,		/* must be the default */
	STRING,		/* char * */
	BOOL,		/* bool */
	INT,		/* int64_t */
	DURATION,	/* int64_t, milliseconds */
	ENDPOINT,	/* char *, "ip:port"; port is added where it is missing */
	NAME,		/* an enum: the index in names */
	EITHER,		/* bool: likewise */
	STRINGS,	/* char **, NULL-terminated */
	FLOAT,		/* the rest is never kept */
	SWITCHES,	/* a mapping of names to booleans */
	SCALAR,
	ARRAY,
};

static const char *const kind_wants[] = {
	[FIXED] = "must be a string",
	[STRING] = "must be a string (in quotes if it looks like something else)",
	[BOOL] = "must be true or false",
	[INT] = "must be a whole number",
	[DURATION] = "must be a duration such as 30s or 1m30s",
	[ENDPOINT] = "must be a string such as 0.0.0.0:10256",
	[NAME] = "must be a string",
	[EITHER] = "must be a string",
	[STRINGS] = "must be a list of strings",
	[FLOAT] = "must be a number",
	[SWITCHES] = "must be a mapping of names to true or false",
	[SCALAR] = "must be a string or a number",
	[ARRAY] = "must be a list",
};

/* Modes in which a range is checked; unset stands for what may be chosen then. */
#define IN(mode)	(1u << KP_MODE_##mode)
#define IPTABLES_OR_UNSET	(IN(UNSET) | IN(IPTABLES))
#define NFTABLES_OR_UNSET	(IN(UNSET) | IN(NFTABLES))
#define IPVS_ONLY		IN(IPVS)
#define ALWAYS		(IN(UNSET) | IN(IPTABLES) | IN(NFTABLES) | IN(IPVS))

struct field {
	const char *path;
	enum kind kind;
	bool is_kept;			/* in struct kp_config, at offset */
	bool zero_is_unset;		/* in a file; Go cannot tell them apart */
	size_t offset;
	const char *def;		/* as text */
	unsigned checked;		/* IN(mode)...: min and max */
	int64_t min, max;
	const char *const *names;	/* NAME, EITHER; an empty one stands first */
	const char *refusal;		/* of another name */
	uint16_t port;			/* ENDPOINT */
	void (*check)(const struct field *f, const json_t *v, const char *text, struct kp_config_report *rep);
};

#define KEPT(member)	.is_kept = true, .offset = offsetof(struct kp_config, member)
#define NO_MAX		INT64_MAX

static const char *const mode_names[] = {
	[KP_MODE_UNSET] = "", [KP_MODE_NFTABLES] = "nftables", [KP_MODE_IPTABLES] = "iptables",
	[KP_MODE_IPVS] = "ipvs", NULL,
};
static const char *const detect_names[] = {
	[KP_DETECT_MODE_UNSET] = "", [KP_DETECT_CLUSTER_CIDR] = "ClusterCIDR", [KP_DETECT_NODE_CIDR] = "NodeCIDR",
	[KP_DETECT_BRIDGE] = "BridgeInterface", [KP_DETECT_PREFIX] = "InterfaceNamePrefix", NULL,
};
static const char *const format_names[] = { [false] = "text", [true] = "json", NULL };

static void check_cidrs(const struct field *f, const json_t *v, const char *text, struct kp_config_report *rep)
{
	const json_t *one;
	size_t i;

	(void)text;
	json_array_foreach(v, i, one) {
		char path[64];
		struct kp_cidr cidr;

		if (kp_cidr_parse(json_string_value(one), &cidr))
			continue;
		snprintf(path, sizeof(path), "%s[%zu]", f->path, i);
		kp_report_error(rep, KP_INVALID, path, json_string_value(one), "must be a valid CIDR");
	}
}

/* "80", "2-7" or "10+5"; it has had no effect for years, but was always refused if wrong. */
static void check_port_range(const struct field *f, const json_t *v, const char *text, struct kp_config_report *rep)
{
	unsigned from, to;
	char sign = '-', rest;
	int n = sscanf(text, "%5u%c%5u%c", &from, &sign, &to, &rest);

	(void)v;
	if (!*text)
		return;
	if (n == 1)
		to = from;
	else if (n == 3 && sign == '+')
		to += from;
	if ((n != 1 && n != 3) || text[strspn(text, "0123456789+-")] || !strchr("+-", sign) || from > to || to > 65535)
		kp_report_error(rep, KP_INVALID, f->path, text, "must be a port range such as 2000-3000 or 2000+1000");
}

/* mode comes first, because it decides what else is checked. */
static const struct field fields[] = {
	{ "mode", NAME, KEPT(mode), .def = "", .names = mode_names, .refusal = KP_INVALID },
	{ "apiVersion", FIXED, .def = "kubeproxy.config.k8s.io/v1alpha1" },
	{ "kind", FIXED, .def = "KubeProxyConfiguration" },
	{ "bindAddress", STRING, KEPT(bind_address), .def = "0.0.0.0", .zero_is_unset = true },
	{ "bindAddressHardFail", BOOL, KEPT(bind_address_hard_fail), .def = "false" },
	{ "clientConnection.acceptContentTypes", STRING, .def = "" },
	{ "clientConnection.burst", INT, .def = "10", .zero_is_unset = true, .checked = ALWAYS, .max = NO_MAX },
	{ "clientConnection.contentType", STRING, .def = "application/vnd.kubernetes.protobuf", .zero_is_unset = true },
	{ "clientConnection.kubeconfig", STRING, KEPT(kubeconfig), .def = "" },
	{ "clientConnection.qps", FLOAT, .def = "5", .zero_is_unset = true },
	{ "clusterCIDR", STRING, KEPT(cluster_cidr), .def = "" },
	{ "configSyncPeriod", DURATION, KEPT(config_sync_period_ms), .def = "15m", .zero_is_unset = true,
	  .checked = ALWAYS, .min = 1, .max = NO_MAX },
	{ "conntrack.maxPerCore", INT, .def = "32768", .checked = ALWAYS, .max = NO_MAX },
	{ "conntrack.min", INT, .def = "131072", .checked = ALWAYS, .max = NO_MAX },
	{ "conntrack.tcpBeLiberal", BOOL, .def = "false" },
	{ "conntrack.tcpCloseWaitTimeout", DURATION, .def = "1h", .checked = ALWAYS, .max = NO_MAX },
	{ "conntrack.tcpEstablishedTimeout", DURATION, .def = "24h", .checked = ALWAYS, .max = NO_MAX },
	{ "conntrack.udpStreamTimeout", DURATION, .def = "0s", .checked = ALWAYS, .max = NO_MAX },
	{ "conntrack.udpTimeout", DURATION, .def = "0s", .checked = ALWAYS, .max = NO_MAX },
	{ "detectLocal.bridgeInterface", STRING, KEPT(bridge_interface), .def = "" },
	{ "detectLocal.interfaceNamePrefix", STRING, KEPT(interface_prefix), .def = "" },
	{ "detectLocalMode", NAME, KEPT(detect_mode), .def = "", .names = detect_names, .refusal = KP_UNSUPPORTED },
	{ "enableProfiling", BOOL, .def = "false" },
	{ "featureGates", SWITCHES, .def = "" },
	{ "healthzBindAddress", ENDPOINT, KEPT(healthz_bind_address), .def = "", .zero_is_unset = true, .port = 10256 },
	{ "hostnameOverride", STRING, KEPT(hostname_override), .def = "" },
	{ "iptables.localhostNodePorts", BOOL, KEPT(localhost_nodeports), .def = "true" },
	{ "iptables.masqueradeAll", BOOL, KEPT(iptables.masquerade_all), .def = "false" },
	{ "iptables.masqueradeBit", INT, KEPT(iptables.masquerade_bit), .def = "14", .checked = ALWAYS, .max = 31 },
	{ "iptables.minSyncPeriod", DURATION, KEPT(iptables.min_sync_period_ms), .def = "1s", .zero_is_unset = true,
	  .checked = IPTABLES_OR_UNSET, .max = NO_MAX },
	{ "iptables.syncPeriod", DURATION, KEPT(iptables.sync_period_ms), .def = "30s", .zero_is_unset = true,
	  .checked = IPTABLES_OR_UNSET, .min = 1, .max = NO_MAX },
	{ "ipvs.excludeCIDRs", STRINGS, .def = "", .checked = IPVS_ONLY, .check = check_cidrs },
	{ "ipvs.minSyncPeriod", DURATION, KEPT(ipvs.min_sync_period_ms), .def = "0s", .checked = IPVS_ONLY, .max = NO_MAX },
	{ "ipvs.scheduler", STRING, .def = "" },
	{ "ipvs.strictARP", BOOL, .def = "false" },
	{ "ipvs.syncPeriod", DURATION, KEPT(ipvs.sync_period_ms), .def = "30s", .zero_is_unset = true,
	  .checked = IPVS_ONLY, .min = 1, .max = NO_MAX },
	{ "ipvs.tcpFinTimeout", DURATION, .def = "0s", .checked = IPVS_ONLY, .max = NO_MAX },
	{ "ipvs.tcpTimeout", DURATION, .def = "0s", .checked = IPVS_ONLY, .max = NO_MAX },
	{ "ipvs.udpTimeout", DURATION, .def = "0s", .checked = IPVS_ONLY, .max = NO_MAX },
	{ "logging.flushFrequency", SCALAR, .def = "5s", .zero_is_unset = true },
	{ "logging.format", EITHER, KEPT(log_json), .def = "text", .zero_is_unset = true, .names = format_names,
	  .refusal = KP_INVALID },
	{ "logging.options.json.infoBufferSize", SCALAR, .def = "0" },
	{ "logging.options.json.splitStream", BOOL, .def = "false" },
	{ "logging.options.text.infoBufferSize", SCALAR, .def = "0" },
	{ "logging.options.text.splitStream", BOOL, .def = "false" },
	{ "logging.verbosity", INT, KEPT(log_verbosity), .def = "0", .checked = ALWAYS, .max = UINT32_MAX },
	{ "logging.vmodule", ARRAY, .def = "" },
	{ "metricsBindAddress", ENDPOINT, KEPT(metrics_bind_address), .def = "", .zero_is_unset = true, .port = 10249 },
	{ "nftables.masqueradeAll", BOOL, KEPT(nftables.masquerade_all), .def = "false" },
	{ "nftables.masqueradeBit", INT, KEPT(nftables.masquerade_bit), .def = "14", .checked = NFTABLES_OR_UNSET, .max = 31 },
	{ "nftables.minSyncPeriod", DURATION, KEPT(nftables.min_sync_period_ms), .def = "1s", .zero_is_unset = true,
	  .checked = NFTABLES_OR_UNSET, .max = NO_MAX },
	{ "nftables.syncPeriod", DURATION, KEPT(nftables.sync_period_ms), .def = "30s", .zero_is_unset = true,
	  .checked = NFTABLES_OR_UNSET, .min = 1, .max = NO_MAX },
	{ "nodePortAddresses", STRINGS, KEPT(nodeport_addresses), .def = "" },
	{ "oomScoreAdj", INT, KEPT(oom_score_adj), .def = "-999", .checked = ALWAYS, .min = -1000, .max = 1000 },
	{ "portRange", STRING, .def = "", .checked = ALWAYS, .check = check_port_range },
	{ "proxylet.apiServers", STRINGS, KEPT(api_servers), .def = "" },
	{ "proxylet.sharedHealthzBindAddress", ENDPOINT, KEPT(shared_healthz_bind_address), .def = "0.0.0.0:10356",
	  .port = 10356 },
	{ "showHiddenMetricsForVersion", STRING, .def = "" },
	{ "windowsRunAsService", BOOL, .def = "false" },
	{ "winkernel.enableDSR", BOOL, .def = "false" },
	{ "winkernel.forwardHealthCheckVip", BOOL, .def = "false" },
	{ "winkernel.networkName", STRING, .def = "" },
	{ "winkernel.rootHnsEndpointName", STRING, .def = "" },
	{ "winkernel.sourceVip", STRING, .def = "" },
};

/* Paths that are mappings. */
static const char *const sections[] = {
	"clientConnection", "conntrack", "detectLocal", "iptables", "ipvs", "logging", "logging.options",
	"logging.options.json", "logging.options.text", "nftables", "proxylet", "winkernel",
};

static const struct field *field_by_path(const char *path)
{
	for (size_t i = 0; i < KP_N(fields); i++)
		if (strcmp(fields[i].path, path) == 0)
			return &fields[i];
	return NULL;
}

static void free_strings(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

/* --- from text --- */

static bool parse_number(const char *text, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoll(text, &end, 10);
	return end != text && !*end && !errno;
}

static char **split(const char *text)
{
	char **list = NULL;
	size_t n = 0, cap = 0;

	while (*text) {
		size_t len = strcspn(text, ",");

		kp_grow(&list, n, &cap);
		list[n++] = kp_strndup(text, len);
		text += len + (text[len] == ',');
	}
	kp_grow(&list, n, &cap);
	list[n] = NULL;
	return list;
}

static char *with_port(const char *text, uint16_t port)
{
	struct kp_addr a;

	if (!kp_addr_parse(text, &a))
		return kp_strdup(text);
	return kp_asprintf(strchr(text, ':') ? "[%s]:%u" : "%s:%u", text, port);
}

static int name_index(const struct field *f, const char *text)
{
	for (int i = 0; f->names[i]; i++)
		if (strcmp(f->names[i], text) == 0)
			return i;
	return -1;
}

static void refuse_name(const struct field *f, const char *text, struct kp_config_report *rep)
{
	char list[256];
	int n = 0;

	for (int i = !*f->names[0]; f->names[i]; i++)
		n += snprintf(list + n, sizeof(list) - (size_t)n, "%s\"%s\"", n ? ", " : "", f->names[i]);
	kp_report_error(rep, f->refusal, f->path, text, "supported values: %s%s", list, *f->names[0] ? "" : ", \"\"");
}

/* A value between text and struct kp_config. */
union value {
	char *string;
	char **strings;
	bool yes;
	int64_t number;
	enum kp_mode name;
};

static const size_t kind_size[ARRAY + 1] = {
	[STRING] = sizeof(char *), [ENDPOINT] = sizeof(char *), [STRINGS] = sizeof(char **), [BOOL] = sizeof(bool),
	[EITHER] = sizeof(bool), [INT] = sizeof(int64_t), [DURATION] = sizeof(int64_t), [NAME] = sizeof(enum kp_mode),
};

static void discard(const struct field *f, union value *v)
{
	if (f->kind == STRING || f->kind == ENDPOINT)
		free(v->string);
	else if (f->kind == STRINGS)
		free_strings(v->strings);
}

/* Takes what v owns. */
static void store(const struct field *f, struct kp_config *c, const union value *v)
{
	char *member = (char *)c + f->offset;
	union value old = { 0 };

	memcpy(&old, member, kind_size[f->kind]);
	discard(f, &old);
	memcpy(member, v, kind_size[f->kind]);
}

/* False: text is nothing for this kind, and *ret owns nothing. */
static bool parse(const struct field *f, const char *text, union value *ret)
{
	int index;

	switch (f->kind) {
	case STRING:
		ret->string = kp_strdup(text);
		return true;
	case ENDPOINT:
		ret->string = with_port(text, f->port);
		return true;
	case STRINGS:
		ret->strings = split(text);
		return true;
	case BOOL:
		ret->yes = strcmp(text, "true") == 0;
		return ret->yes || strcmp(text, "false") == 0;
	case INT:
		return parse_number(text, &ret->number);
	case DURATION:
		return kp_duration_parse(text, &ret->number);
	case NAME:
		index = name_index(f, text);
		ret->name = (enum kp_mode)index;
		return index >= 0;
	case EITHER:
		index = name_index(f, text);
		ret->yes = index == 1;
		return index >= 0;
	default:	/* judged by its JSON type alone */
		return true;
	}
}

static bool parse_or_report(const struct field *f, const char *text, union value *ret, struct kp_config_report *rep)
{
	if (parse(f, text, ret))
		return true;
	if (f->names)
		refuse_name(f, text, rep);
	else
		kp_report_error(rep, KP_INVALID, f->path, text, "%s", kind_wants[f->kind]);
	return false;
}

static void check_range(const struct field *f, int64_t n, enum kp_mode mode, struct kp_config_report *rep)
{
	char text[KP_DURATION_STRLEN];

	if ((f->kind != INT && f->kind != DURATION) || !(f->checked & 1u << mode) || (n >= f->min && n <= f->max))
		return;
	if (f->kind == DURATION)
		kp_duration_str(n, text);
	else
		snprintf(text, sizeof(text), "%lld", (long long)n);
	if (f->max == NO_MAX)
		kp_report_error(rep, KP_INVALID, f->path, text, "must be greater than %s0", f->min ? "" : "or equal to ");
	else
		kp_report_error(rep, KP_INVALID, f->path, text, "must be within the range [%lld, %lld]",
				(long long)f->min, (long long)f->max);
}

void kp_fields_check(const struct kp_config *c, struct kp_config_report *rep)
{
	for (size_t i = 0; i < KP_N(fields); i++) {
		int64_t n;

		if (!fields[i].is_kept || (fields[i].kind != INT && fields[i].kind != DURATION))
			continue;
		memcpy(&n, (const char *)c + fields[i].offset, sizeof(n));
		check_range(&fields[i], n, c->mode, rep);
	}
}

bool kp_config_set(struct kp_config *c, const char *path, const char *value, struct kp_config_report *rep)
{
	const struct field *f = field_by_path(path);
	union value v;

	assert(f && f->is_kept);
	if (!parse_or_report(f, value, &v, rep))
		return false;
	store(f, c, &v);
	return true;
}

void kp_fields_init(struct kp_config *c)
{
	for (size_t i = 0; i < KP_N(fields); i++) {
		union value v;

		if (!fields[i].is_kept)
			continue;
		if (!parse(&fields[i], fields[i].def, &v))
			abort();	/* a default of ours that does not parse */
		store(&fields[i], c, &v);
	}
}

void kp_fields_release(struct kp_config *c)
{
	static const union value none;

	for (size_t i = 0; i < KP_N(fields); i++)
		if (fields[i].is_kept)
			store(&fields[i], c, &none);
}

/* --- from a document --- */

static bool is_string_list(const json_t *v)
{
	const json_t *one;
	size_t i;

	json_array_foreach(v, i, one)
		if (!json_is_string(one))
			return false;
	return json_is_array(v);
}

static bool is_switches(const json_t *v)
{
	const char *key;
	json_t *one;

	json_object_foreach((json_t *)v, key, one)
		if (!json_is_boolean(one))
			return false;
	return json_is_object(v);
}

static bool has_type(const struct field *f, const json_t *v)
{
	switch (f->kind) {
	case BOOL:	return json_is_boolean(v);
	case INT:	return json_is_integer(v);
	case FLOAT:	return json_is_number(v);
	case SCALAR:	return json_is_string(v) || json_is_number(v);
	case STRINGS:	return is_string_list(v);
	case SWITCHES:	return is_switches(v);
	case ARRAY:	return json_is_array(v);
	default:	return json_is_string(v);
	}
}

static char *text_of(const json_t *v)
{
	if (json_is_string(v))
		return kp_strdup(json_string_value(v));
	return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

static bool is_zero(const struct field *f, const json_t *v, const char *text)
{
	int64_t ms;

	if (f->kind == DURATION)
		return kp_duration_parse(text, &ms) && ms == 0;
	return json_is_number(v) ? json_number_value(v) == 0 : *text == '\0';
}

static bool is_default(const struct field *f, const json_t *v, const char *text, const union value *parsed)
{
	union value def;

	if (json_is_array(v) || json_is_object(v))
		return json_array_size(v) + json_object_size(v) == 0;
	if (f->kind == DURATION)
		return parse(f, f->def, &def) && def.number == parsed->number;
	return strcmp(text, f->def) == 0;
}

static char **list_of(const json_t *array)
{
	char **list = kp_calloc(json_array_size(array) + 1, sizeof(*list));
	const json_t *one;
	size_t i;

	json_array_foreach(array, i, one)
		list[i] = kp_strdup(json_string_value(one));
	return list;
}

/* A field without effect is judged here and now; the kept ones together, in kp_config_validate. */
static void judge(const struct field *f, const json_t *v, const char *text, const union value *parsed,
		  enum kp_mode mode, struct kp_config_report *rep)
{
	size_t errors;

	if (f->kind == FIXED) {
		if (strcmp(text, f->def) != 0)
			kp_report_error(rep, KP_UNSUPPORTED, f->path, text, "must be \"%s\"", f->def);
		return;
	}
	errors = rep->n_errors;
	check_range(f, parsed->number, mode, rep);
	if (f->check && f->checked & 1u << mode)
		f->check(f, v, text, rep);
	if (rep->n_errors == errors && !is_default(f, v, text, parsed))
		kp_report_note(rep, f->path, "has no effect in this version");
}

static void read_field(const struct field *f, struct kp_config *c, const json_t *v, struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *text = text_of(v);
	union value parsed = { 0 };

	if (!has_type(f, v)) {
		kp_report_error(rep, KP_WRONG_TYPE, f->path, text, "%s", kind_wants[f->kind]);
		return;
	}
	if ((f->zero_is_unset && is_zero(f, v, text)) || !parse_or_report(f, text, &parsed, rep))
		return;
	if (f->kind == STRINGS) {	/* an entry may contain a comma, to be refused */
		free_strings(parsed.strings);
		parsed.strings = list_of(v);
	}
	if (f->is_kept) {
		store(f, c, &parsed);
		return;
	}
	judge(f, v, text, &parsed, c->mode, rep);
	discard(f, &parsed);
}

/* Down the path; NULL: not there, or null, which says the same. */
static const json_t *look_up(const json_t *doc, const char *path)
{
	for (;;) {
		size_t len = strcspn(path, ".");
		char key[64];

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		doc = json_object_get(doc, key);
		if (!doc || json_is_null(doc))
			return NULL;
		if (!path[len])
			return doc;
		path += len + 1;
	}
}

static bool is_section(const char *path)
{
	for (size_t i = 0; i < KP_N(sections); i++)
		if (strcmp(sections[i], path) == 0)
			return true;
	return false;
}

static void warn_unknown(const char *path, struct kp_config_report *rep)
{
	struct kp_nearest near = { 0 };

	for (size_t i = 0; i < KP_N(fields); i++)
		kp_nearest_offer(&near, path, fields[i].path);
	for (size_t i = 0; i < KP_N(sections); i++)
		kp_nearest_offer(&near, path, sections[i]);
	if (near.best)
		kp_report_warning(rep, path, "unknown field, ignored; is '%s' meant?", near.best);
	else
		kp_report_warning(rep, path, "unknown field, ignored");
}

static void find_unknown(const json_t *object, const char *prefix, struct kp_config_report *rep)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)object, key, v) {
		bool odd = strpbrk(key, ".[") != NULL;
		const char *sign = odd ? "[" : *prefix ? "." : "";
		KP_AUTO(kp_freep) char *path = kp_asprintf("%s%s%s%s", prefix, sign, key, odd ? "]" : "");

		if (!is_section(path)) {
			if (!field_by_path(path))
				warn_unknown(path, rep);
		} else if (json_is_object(v)) {
			find_unknown(v, path, rep);
		} else if (!json_is_null(v)) {
			kp_report_error(rep, KP_WRONG_TYPE, path, "", "must be a mapping");
		}
	}
}

void kp_fields_read(struct kp_config *c, const json_t *doc, struct kp_config_report *rep)
{
	for (size_t i = 0; i < KP_N(fields); i++) {
		const json_t *v = look_up(doc, fields[i].path);

		if (v)
			read_field(&fields[i], c, v, rep);
		else if (fields[i].kind == FIXED)
			kp_report_error(rep, KP_REQUIRED, fields[i].path, "", "must be \"%s\"", fields[i].def);
	}
	find_unknown(doc, "", rep);
}
