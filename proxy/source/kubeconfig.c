#include "proxy/source/kubeconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define MAX_FILE	(1u << 20)
#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* What a field holds, and with that what becomes of it. */
enum kind { TEXT, SWITCH, PATH, BASE64, SECRET, REFUSED };

struct field {
	const char *key;
	enum kind kind;
	size_t offset;
};

#define AT(member) offsetof(struct kp_kubeconfig, member)

static const struct field cluster_fields[] = {
	{ "server", TEXT, AT(server) },
	{ "tls-server-name", TEXT, AT(tls_server_name) },
	{ "insecure-skip-tls-verify", SWITCH, AT(insecure) },
	{ "certificate-authority", PATH, AT(ca) },
	{ "certificate-authority-data", BASE64, AT(ca) },
	{ "proxy-url", TEXT, AT(proxy_url) },
	{ "disable-compression", SWITCH, AT(no_compression) },
	{ .key = NULL }
};

static const struct field user_fields[] = {
	{ "client-certificate", PATH, AT(cert) },
	{ "client-certificate-data", BASE64, AT(cert) },
	{ "client-key", PATH, AT(key) },
	{ "client-key-data", BASE64, AT(key) },
	{ "token", SECRET, AT(token) },
	{ "tokenFile", PATH, AT(token) },
	{ "username", TEXT, AT(username) },
	{ "password", TEXT, AT(password) },
	{ "exec", REFUSED, 0 },
	{ "auth-provider", REFUSED, 0 },
	{ "as", REFUSED, 0 },
	{ "as-uid", REFUSED, 0 },
	{ "as-groups", REFUSED, 0 },
	{ "as-user-extra", REFUSED, 0 },
	{ .key = NULL }
};

struct kp_kubeconfig *kp_kubeconfig_free(struct kp_kubeconfig *k)
{
	if (!k)
		return NULL;
	struct kp_kube_secret *secrets[] = { &k->ca, &k->cert, &k->key, &k->token };

	for (size_t i = 0; i < KP_N(secrets); i++) {
		free(secrets[i]->file);
		free(secrets[i]->data);
	}
	free(k->server);
	free(k->tls_server_name);
	free(k->proxy_url);
	free(k->username);
	free(k->password);
	free(k);
	return NULL;
}

static bool has(const struct kp_kube_secret *s)
{
	return s->file || s->data;
}

/* --- fields --- */

static int base64_digit(char c)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* RFC 4648 with padding; line breaks do not count. */
static bool base64(const char *text, struct kp_kube_secret *ret)
{
	KP_AUTO(kp_freep) char *out = kp_malloc(strlen(text) / 4 * 3 + 4);
	size_t n = 0, n_digits = 0, n_pads = 0;
	uint32_t bits = 0;

	for (const char *p = text; *p; p++) {
		int digit = base64_digit(*p);

		if (strchr(" \t\r\n", *p))
			continue;
		if (*p == '=') {
			n_pads++;
			continue;
		}
		if (digit < 0 || n_pads)
			return false;
		bits = bits << 6 | (uint32_t)digit;
		if (++n_digits % 4 == 0)
			for (int shift = 16; shift >= 0; shift -= 8)
				out[n++] = (char)(bits >> shift);
	}
	if (n_digits % 4 == 1 || (n_digits + n_pads) % 4 || n_pads > 2)
		return false;
	if (n_digits % 4 == 2)
		out[n++] = (char)(bits >> 4);
	if (n_digits % 4 == 3) {
		out[n++] = (char)(bits >> 10);
		out[n++] = (char)(bits >> 2);
	}
	out[n] = '\0';
	free(ret->data);
	ret->len = n;
	ret->data = kp_steal(&out);
	return true;
}

static char *beside(const char *dir, const char *path)
{
	return *path == '/' ? kp_strdup(path) : kp_asprintf("%s/%s", dir, path);
}

static bool is_unset(const json_t *v)
{
	return !v || json_is_null(v) || (json_is_string(v) && !json_string_length(v)) ||
	       (json_is_array(v) && !json_array_size(v)) || (json_is_object(v) && !json_object_size(v));
}

/* One value that is set. NULL, or what it must be. */
static const char *set_field(const struct field *f, const json_t *v, const char *dir, struct kp_kubeconfig *k)
{
	void *at = (char *)k + f->offset;
	const char *text = json_string_value(v);

	if (f->kind == REFUSED)
		return "is not supported here; use a token, a tokenFile or a client certificate";
	if (f->kind == SWITCH) {
		*(bool *)at = json_is_true(v);
		return json_is_boolean(v) ? NULL : "must be true or false";
	}
	if (!text || strlen(text) != json_string_length(v))
		return "must be a string";
	switch (f->kind) {
	case TEXT:
		*(char **)at = kp_strdup(text);
		break;
	case PATH:
		((struct kp_kube_secret *)at)->file = beside(dir, text);
		break;
	case SECRET:
		((struct kp_kube_secret *)at)->data = kp_strdup(text);
		((struct kp_kube_secret *)at)->len = strlen(text);
		break;
	case BASE64:
		return base64(text, at) ? NULL : "must be base64";
	case SWITCH: case REFUSED:
		break;
	}
	return NULL;
}

static int set_fields(const struct field *f, const json_t *from, const char *dir, const char *what,
		      struct kp_kubeconfig *k, struct kp_err *err)
{
	for (; f->key; f++) {
		const json_t *v = json_object_get(from, f->key);
		const char *wrong = is_unset(v) ? NULL : set_field(f, v, dir, k);

		if (wrong)
			return kp_err_set(err, -EINVAL, "%s: %s %s", what, f->key, wrong);
	}
	return 0;
}

/* --- contexts --- */

/* list[name].key, where list is "clusters", "users" or "contexts". The first of a name counts. */
static int named(const json_t *doc, const char *list, const char *name, const char *key, const json_t **ret,
		 struct kp_err *err)
{
	const json_t *all = json_object_get(doc, list), *one;
	size_t i;

	json_array_foreach(all, i, one) {
		const char *its = json_string_value(json_object_get(one, "name"));

		if (!its || strcmp(its, name) != 0)
			continue;
		*ret = json_object_get(one, key);
		if (json_is_object(*ret) || is_unset(*ret))
			return 0;
		return kp_err_set(err, -EINVAL, "%s \"%s\": %s must be a mapping", list, name, key);
	}
	return kp_err_set(err, -EINVAL, "there is no \"%s\" in %s", name, list);
}

static const char *text_of(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "";
}

static int read_context(const json_t *doc, const char *dir, struct kp_kubeconfig *k, struct kp_err *err)
{
	const char *current = text_of(doc, "current-context"), *cluster, *user;
	const json_t *context = NULL, *from = NULL;
	char what[128];
	int r;

	if (!*current)
		return 0;
	r = named(doc, "contexts", current, "context", &context, err);
	if (r < 0)
		return r;
	cluster = text_of(context, "cluster");
	user = text_of(context, "user");
	if (*cluster) {
		snprintf(what, sizeof(what), "cluster \"%s\"", cluster);
		r = named(doc, "clusters", cluster, "cluster", &from, err);
		if (r == 0)
			r = set_fields(cluster_fields, from, dir, what, k, err);
	}
	if (r == 0 && *user) {
		snprintf(what, sizeof(what), "user \"%s\"", user);
		r = named(doc, "users", user, "user", &from, err);
		if (r == 0)
			r = set_fields(user_fields, from, dir, what, k, err);
	}
	return r;
}

/* The newer form of the same thing wins: bytes over files, but a token's file over the token. */
static void resolve(struct kp_kubeconfig *k)
{
	struct kp_kube_secret *pems[] = { &k->ca, &k->cert, &k->key };

	for (size_t i = 0; i < KP_N(pems); i++)
		if (pems[i]->data) {
			free(pems[i]->file);
			pems[i]->file = NULL;
		}
	if (k->token.file) {
		free(k->token.data);
		k->token.data = NULL;
		k->token.len = 0;
	}
}

static int check(const struct kp_kubeconfig *k, struct kp_err *err)
{
	if (k->insecure && has(&k->ca))
		return kp_err_set(err, -EINVAL, "insecure-skip-tls-verify and a certificate authority exclude each other");
	if (has(&k->cert) != has(&k->key))
		return kp_err_set(err, -EINVAL, "client certificate and client key come together or not at all");
	if (k->username && has(&k->token))
		return kp_err_set(err, -EINVAL, "a token and a username exclude each other");
	return 0;
}

char *kp_kubeconfig_server(const struct kp_kubeconfig *k, const char *address)
{
	size_t len = strlen(address);
	bool tls = has(&k->ca) || has(&k->cert) || k->insecure;

	while (len && address[len - 1] == '/')
		len--;
	if (!len || strpbrk(address, " \t\r\n\"<>?#"))
		return NULL;
	if (!strstr(address, "://"))
		return kp_asprintf("%s://%.*s", tls ? "https" : "http", (int)len, address);
	if (strncasecmp(address, "http://", 7) != 0 && strncasecmp(address, "https://", 8) != 0)
		return NULL;
	return kp_strndup(address, len);
}

static int set_server(struct kp_kubeconfig *k, const char *master, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *given = *master ? kp_strdup(master) : kp_steal(&k->server);

	if (!given)
		return kp_err_set(err, -EINVAL, "no server: the current context names none, and --master is not given");
	free(k->server);
	k->server = kp_kubeconfig_server(k, given);
	return k->server ? 0 : kp_err_set(err, -EINVAL, "server \"%s\" is not an http or https address", given);
}

int kp_kubeconfig_parse(const char *text, size_t len, const char *dir, const char *master,
			struct kp_kubeconfig **ret, struct kp_err *err)
{
	KP_AUTO(kp_kubeconfig_freep) struct kp_kubeconfig *k = kp_calloc(1, sizeof(*k));
	json_auto_t *doc = NULL;
	int r = kp_doc_load(text, len, NULL, NULL, &doc, err);

	if (r == 0 && !json_is_object(doc))
		r = kp_err_set(err, -EINVAL, "not a kubeconfig: no mapping");
	if (r == 0)
		r = read_context(doc, dir, k, err);
	if (r == 0) {
		resolve(k);
		r = check(k, err);
	}
	if (r == 0)
		r = set_server(k, master, err);
	if (r == 0)
		*ret = kp_steal(&k);
	return r;
}

/* --- where it comes from --- */

int kp_kubeconfig_read_file(const char *path, struct kp_buf *ret, struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return kp_err_set(err, -errno, "%s: %s", path, strerror(errno));
	ret->len = 0;
	do {
		n = read(fd, kp_buf_reserve(ret, 4096), 4096);
		if (n < 0)
			return kp_err_set(err, -errno, "%s: %s", path, strerror(errno));
		ret->len += (size_t)n;
		if (ret->len > MAX_FILE)
			return kp_err_set(err, -EFBIG, "%s: more than %u bytes", path, MAX_FILE);
	} while (n > 0);
	kp_buf_reserve(ret, 1)[0] = '\0';
	return 0;
}

int kp_kubeconfig_in_cluster(const char *dir, struct kp_kubeconfig **ret, struct kp_err *err)
{
	KP_AUTO(kp_kubeconfig_freep) struct kp_kubeconfig *k = NULL;
	const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
	bool is_v6 = host && strchr(host, ':');

	if (!host || !*host || !port || !*port)
		return kp_err_set(err, -ENOENT, "no kubeconfig is given, and this is no pod with a service account: "
				  "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
	k = kp_calloc(1, sizeof(*k));
	k->server = kp_asprintf(is_v6 ? "https://[%s]:%s" : "https://%s:%s", host, port);
	k->token.file = beside(dir, "token");
	k->ca.file = beside(dir, "ca.crt");
	if (access(k->ca.file, F_OK) < 0) {	/* as client-go: then the system's authorities */
		free(k->ca.file);
		k->ca.file = NULL;
	}
	*ret = kp_steal(&k);
	return 0;
}

static int load_file(const char *path, const char *master, struct kp_kubeconfig **ret, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *dir = kp_strdup(path);
	char *slash = strrchr(dir, '/');
	struct kp_buf text = { 0 };
	int r = kp_kubeconfig_read_file(path, &text, err);

	if (slash)
		*(slash == dir ? slash + 1 : slash) = '\0';
	if (r == 0)
		r = kp_kubeconfig_parse(text.data, text.len, slash ? dir : ".", master, ret, err);
	kp_buf_release(&text);
	return r < 0 ? kp_err_wrap(err, r, "kubeconfig %s", path) : 0;
}

int kp_kubeconfig_load(const char *path, const char *master, struct kp_kubeconfig **ret, struct kp_err *err)
{
	KP_AUTO(kp_kubeconfig_freep) struct kp_kubeconfig *k = NULL;
	int r;

	if (*path)
		return load_file(path, master, ret, err);
	if (!*master)
		return kp_kubeconfig_in_cluster(SERVICE_ACCOUNT, ret, err);
	k = kp_calloc(1, sizeof(*k));
	r = set_server(k, master, err);
	if (r == 0)
		*ret = kp_steal(&k);
	return r;
}
