#include "proxy/config/config_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

/*
 * AKS' JSON for kube-proxy, word for word as health-and-probes A.6 has it: unlike
 * KubeProxyConfiguration it is strict, and its errors have codes.
 */

#define MAX_FILE (64u << 10)
#define MAX_SECONDS 2147483	/* the kernel's limit, in ticks of 1/1000 s */

/* What the text says, before any of it is applied. */
struct form {
	bool enabled;
	enum kp_mode mode;
	const char *scheduler;	/* NULL: not given */
	int64_t tcp_ms, tcp_fin_ms, udp_ms;
	bool has_ipvs;
};

struct key {
	const char *name;
	void (*read)(const char *path, const json_t *v, void *to, struct kp_config_report *rep);
	size_t offset;
};

static void read_object(const struct key *keys, const char *prefix, const json_t *object, struct form *to,
			struct kp_config_report *rep)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)object, name, v) {
		KP_AUTO(kp_freep) char *path = kp_asprintf("%s%s", prefix, name);
		const struct key *k = keys;

		while (k->name && strcmp(k->name, name) != 0)
			k++;
		if (!k->name)
			kp_report_error(rep, "C03", path, "", "unknown key");
		else if (!json_is_null(v))
			k->read(path, v, (char *)to + k->offset, rep);
	}
}

static void read_enabled(const char *path, const json_t *v, void *to, struct kp_config_report *rep)
{
	if (json_is_boolean(v))
		*(bool *)to = json_is_true(v);
	else
		kp_report_error(rep, "C08", path, "", "must be true or false");
}

/* The index of the word in names; -1, reported: none of them. */
static int read_word(const char *path, const json_t *v, const char *const *names, const char *code,
		     struct kp_config_report *rep)
{
	const char *word = json_string_value(v);

	if (!word) {
		kp_report_error(rep, "C08", path, "", "must be a string");
		return -1;
	}
	for (int i = 0; names[i]; i++)
		if (strcasecmp(names[i], word) == 0)
			return i;
	kp_report_error(rep, code, path, word, "must be %s%s%s%s%s", names[0], names[2] ? ", " : " or ", names[1],
			names[2] ? " or " : "", names[2] ? names[2] : "");
	return -1;
}

static void read_mode(const char *path, const json_t *v, void *to, struct kp_config_report *rep)
{
	static const char *const names[] = { "IPTABLES", "IPVS", "NFTABLES", NULL };
	static const enum kp_mode modes[] = { KP_MODE_IPTABLES, KP_MODE_IPVS, KP_MODE_NFTABLES };
	int i = read_word(path, v, names, "C04", rep);

	if (i >= 0)
		*(enum kp_mode *)to = modes[i];
}

static void read_scheduler(const char *path, const json_t *v, void *to, struct kp_config_report *rep)
{
	static const char *const names[] = { "LeastConnection", "RoundRobin", NULL };
	static const char *const kernel[] = { "lc", "rr" };
	int i = read_word(path, v, names, "C06", rep);

	if (i >= 0)
		*(const char **)to = kernel[i];
}

static void read_seconds(const char *path, const json_t *v, void *to, struct kp_config_report *rep)
{
	json_int_t n = json_integer_value(v);

	if (json_is_integer(v) && n >= 1 && n <= MAX_SECONDS)
		*(int64_t *)to = n * 1000;
	else
		kp_report_error(rep, "C07", path, "", "must be a whole number from 1 to %d", MAX_SECONDS);
}

static void read_ipvs(const char *path, const json_t *v, void *to, struct kp_config_report *rep)
{
	static const struct key keys[] = {
		{ "scheduler", read_scheduler, offsetof(struct form, scheduler) },
		{ "tcpTimeoutSeconds", read_seconds, offsetof(struct form, tcp_ms) },
		{ "tcpFinTimeoutSeconds", read_seconds, offsetof(struct form, tcp_fin_ms) },
		{ "udpTimeoutSeconds", read_seconds, offsetof(struct form, udp_ms) },
		{ NULL, NULL, 0 },
	};
	struct form *f = to;

	f->has_ipvs = true;
	if (json_is_object(v))
		read_object(keys, "ipvsConfig.", v, f, rep);
	else
		kp_report_error(rep, "C08", path, "", "must be an object");
}

static const struct key top_keys[] = {
	{ "enabled", read_enabled, offsetof(struct form, enabled) },
	{ "mode", read_mode, offsetof(struct form, mode) },
	{ "ipvsConfig", read_ipvs, 0 },
	{ NULL, NULL, 0 },
};

static void read_document(const json_t *doc, struct form *f, struct kp_config_report *rep)
{
	size_t errors = rep->n_errors;

	if (!json_is_object(doc)) {
		kp_report_error(rep, "C02", "$", "", "must be a JSON object");
		return;
	}
	read_object(top_keys, "", doc, f, rep);
	if (rep->n_errors == errors && f->has_ipvs && f->mode != KP_MODE_IPVS)
		kp_report_error(rep, "C05", "ipvsConfig", "", "is for mode IPVS alone");
}

static void apply(const struct form *f, struct kp_config *c, struct kp_config_report *rep)
{
	c->disabled = !f->enabled;
	c->mode = f->mode;
	if (f->mode != KP_MODE_IPVS)
		return;
	kp_config_set(c, "ipvs.scheduler", f->scheduler ? f->scheduler : "rr", rep);
	c->ipvs_only.tcp_ms = f->tcp_ms;
	c->ipvs_only.tcp_fin_ms = f->tcp_fin_ms;
	c->ipvs_only.udp_ms = f->udp_ms;
}

static const char *syntax_code(const json_error_t *e)
{
	switch (json_error_code(e)) {
	case json_error_duplicate_key:
		return "C03";
	case json_error_numeric_overflow:
		return "C07";
	default:
		return "C01";
	}
}

int kp_config_read_aks(const char *text, size_t len, struct kp_config *c, struct kp_config_report *rep)
{
	bool bom = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
	struct form f = { .enabled = true, .mode = KP_MODE_IPTABLES };
	size_t errors = rep->n_errors;
	json_error_t e;
	json_t *doc = json_loadb(text + bom * 3, len - bom * 3u, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);

	if (doc) {
		read_document(doc, &f, rep);
	} else {
		kp_report_error(rep, syntax_code(&e), "$", "", "%s", e.text);
		rep->items[rep->n - 1].line = e.line > 0 ? (unsigned)e.line : 0;
	}
	json_decref(doc);
	if (rep->n_errors > errors)
		return -EINVAL;
	apply(&f, c, rep);
	return 0;
}

int kp_config_load_aks(const char *path, struct kp_config *c, struct kp_config_report *rep, struct kp_err *err)
{
	struct kp_buf text = { 0 };
	int r = kp_config_read_whole(path, &text, err);

	if (r == 0 && text.len > MAX_FILE)
		r = kp_err_set(err, -EFBIG, "read '%s': more than %u bytes", path, MAX_FILE);
	if (r < 0)
		kp_report_error(rep, "C09", "$", "", "%s", err->msg);
	else
		r = kp_config_read_aks(text.data ? text.data : "", text.len, c, rep);
	kp_buf_release(&text);
	return r < 0 ? kp_err_set(err, r, "'%s' is not a valid configuration", path) : 0;
}

bool kp_is_aks(const json_t *doc)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)doc, name, v) {
		const struct key *k = top_keys;

		while (k->name && strcmp(k->name, name) != 0)
			k++;
		if (!k->name)
			return false;
	}
	return json_object_size(doc) > 0;
}
