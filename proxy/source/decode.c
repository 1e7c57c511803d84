#include "proxy/source/decode.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/source/decode_impl.h"

const char *const kp_decode_unread[] = { "\"managedFields\"", "\"ownerReferences\"", "\"targetRef\"", NULL };

/* Longest names kept, strict or not: two of them fit kp_object.key. */
#define NAME_MAX_LEN 253

static const struct kind {
	const char *group, *name;
	const char *versions[3];
	enum kp_kind kind;
	bool namespaced;
	enum kp_form name_form;
} kinds[] = {
	{ "", "Service", { "v1" }, KP_KIND_SERVICE, true, KP_DNS_LABEL },
	{ "", "Node", { "v1" }, KP_KIND_NODE, false, KP_DNS_SUBDOMAIN },
	{ "discovery.k8s.io", "EndpointSlice", { "v1" }, KP_KIND_SLICE, true, KP_DNS_SUBDOMAIN },
	{ "networking.k8s.io", "ServiceCIDR", { "v1", "v1beta1" }, KP_KIND_SERVICE_CIDR, false, KP_DNS_SUBDOMAIN },
};

const struct kp_word kp_proto_words[] = {
	{ "TCP", IPPROTO_TCP }, { "UDP", IPPROTO_UDP }, { "SCTP", IPPROTO_SCTP }, { NULL, 0 }
};
const struct kp_word kp_family_words[] = { { "IPv4", KP_IPV4 }, { "IPv6", KP_IPV6 }, { NULL, 0 } };
const struct kp_word kp_policy_words[] = { { "Cluster", false }, { "Local", true }, { NULL, 0 } };

const char *kp_kind_name(enum kp_kind kind)
{
	for (const struct kind *k = kinds; k < kinds + KP_N(kinds); k++)
		if (k->kind == kind)
			return k->name;
	return "object";
}

void kp_object_release(struct kp_object *o)
{
	switch (o->kind) {
	case KP_KIND_SERVICE:
		o->service = kp_service_free(o->service);
		break;
	case KP_KIND_SLICE:
		o->slice = kp_slice_free(o->slice);
		break;
	case KP_KIND_NODE:
		o->node = kp_node_free(o->node);
		break;
	case KP_KIND_SERVICE_CIDR:
		o->cidr = kp_service_cidr_free(o->cidr);
		break;
	case KP_KIND_OTHER:
		break;
	}
}

static const char *map_text(struct kp_dec *d, json_t *object, const char *map, const char *key)
{
	const struct kp_at *meta = KP_AT(NULL, "metadata");
	json_t *all = kp_dec_object(d, meta, kp_dec_object(d, NULL, object, "metadata"), map);
	json_t *v = json_object_get(all, key);

	if (!v)
		return NULL;
	return json_is_null(v) ? "" : kp_dec_element_text(d, KP_AT(KP_AT(meta, map), key), v);
}

const char *kp_dec_label(struct kp_dec *d, json_t *object, const char *label)
{
	return map_text(d, object, "labels", label);
}

const char *kp_dec_annotation(struct kp_dec *d, json_t *object, const char *annotation)
{
	return map_text(d, object, "annotations", annotation);
}

/* The kind as far as it can be told: from the object, else from the list around it. */
static void find_kind_name(struct kp_dec *d, json_t *object, const char *list_kind, char *out, size_t room)
{
	const char *own = kp_dec_text(d, NULL, object, "kind");
	size_t len;

	if (own || !list_kind) {
		snprintf(out, room, "%s", own ? own : "");
		return;
	}
	len = strlen(list_kind);
	if (len > 4 && strcmp(list_kind + len - 4, "List") == 0)
		len -= 4;
	snprintf(out, room, "%.*s", (int)len, list_kind);
}

/* "discovery.k8s.io/v1": is it of this group, and which version? */
static bool group_matches(const char *api, const struct kind *k, const char **ret_version)
{
	const char *slash = strchr(api, '/');
	size_t len = slash ? (size_t)(slash - api) : 0;

	*ret_version = slash ? slash + 1 : api;
	return strlen(k->group) == len && memcmp(api, k->group, len) == 0;
}

static bool check_version(struct kp_dec *d, const struct kind *k, const char *version)
{
	char shown[KP_QUOTE_LEN];

	for (size_t i = 0; i < KP_N(k->versions) && k->versions[i]; i++)
		if (strcmp(version, k->versions[i]) == 0)
			return true;
	kp_dec_refuse(d, KP_AT(NULL, "apiVersion"), "%s: version not known for %s; use %s%sv1",
		      kp_dec_quote(version, shown), k->name, k->group, *k->group ? "/" : "");
	return false;
}

static const struct kind *find_kind(struct kp_dec *d, json_t *object, const char *list_kind)
{
	const char *api = kp_dec_text(d, NULL, object, "apiVersion"), *version;
	char name[128], shown[KP_QUOTE_LEN];
	const struct kind *k;

	find_kind_name(d, object, list_kind, name, sizeof(name));
	if (!*name)
		kp_dec_refuse(d, KP_AT(NULL, "kind"), "required");
	for (k = kinds; k < kinds + KP_N(kinds); k++) {
		if (strcmp(k->name, name) != 0)
			continue;
		snprintf(d->err->object, sizeof(d->err->object), "%s", name);
		if (api && !group_matches(api, k, &version))
			continue;
		if (!api && d->strict && !list_kind)
			kp_dec_refuse(d, KP_AT(NULL, "apiVersion"), "required");
		return !api || check_version(d, k, version) ? k : NULL;
	}
	/* A list whose items are no list comes here as a whole. */
	if (json_object_get(object, "items"))
		(void)kp_dec_list(d, NULL, object, "items");
	kp_dec_note(d, KP_AT(NULL, "kind"), "%s: not used", kp_dec_quote(name, shown));
	return NULL;
}

static const char *read_name(struct kp_dec *d, json_t *meta, const char *key, enum kp_form form,
			     const char *fallback)
{
	const struct kp_at *up = KP_AT(NULL, "metadata"), *at = KP_AT(up, key);
	const char *s = kp_dec_text(d, up, meta, key);

	if (!s || !*s) {
		if (!fallback)
			kp_dec_refuse_or_note(d, at, "required");
		return fallback ? fallback : "";
	}
	kp_dec_check_form(d, at, s, form);
	if (strlen(s) > NAME_MAX_LEN)
		kp_dec_refuse(d, at, "must be no more than %d characters", NAME_MAX_LEN);
	return s;
}

/* For messages, before anything about the names is known to be right. */
static void name_object(struct kp_dec *d, const struct kind *k, json_t *meta)
{
	const char *ns = json_string_value(json_object_get(meta, "namespace"));
	const char *name = json_string_value(json_object_get(meta, "name"));
	char *out = d->err->object;
	size_t room = sizeof(d->err->object);

	if (!name || !*name)
		snprintf(out, room, "%s", k->name);
	else if (k->namespaced)
		snprintf(out, room, "%s %.*s/%.*s", k->name, NAME_MAX_LEN, ns && *ns ? ns : "default",
			 NAME_MAX_LEN, name);
	else
		snprintf(out, room, "%s %.*s", k->name, NAME_MAX_LEN, name);
}

static void read_value(struct kp_dec *d, const struct kind *k, json_t *object)
{
	json_t *meta = kp_dec_object(d, NULL, object, "metadata");
	struct kp_object *o = d->obj;
	const char *ns, *name;

	name_object(d, k, meta);
	/* A file without a namespace means the one kubectl would take. */
	ns = k->namespaced ? read_name(d, meta, "namespace", KP_DNS_LABEL, d->strict ? "default" : "") : "";
	name = read_name(d, meta, "name", k->name_form, NULL);
	if (d->failed)
		return;
	snprintf(o->key, sizeof(o->key), "%s%s%s", ns, k->namespaced ? "/" : "", name);
	memcpy(d->err->key, o->key, sizeof(o->key));
	o->kind = d->err->kind = k->kind;
	switch (k->kind) {
	case KP_KIND_SERVICE:
		o->service = kp_dec_service(d, object, ns, name);
		break;
	case KP_KIND_SLICE:
		o->slice = kp_dec_slice(d, object, ns, name);
		break;
	case KP_KIND_NODE:
		o->node = kp_dec_node(d, object, name);
		break;
	case KP_KIND_SERVICE_CIDR:
		o->cidr = kp_dec_service_cidr(d, object, name);
		break;
	case KP_KIND_OTHER:
		break;
	}
}

int kp_decode(json_t *object, const char *list_kind, bool strict, struct kp_object *ret,
	      struct kp_decode_error *err)
{
	struct kp_dec d = { .strict = strict, .obj = ret, .err = err };
	const struct kind *k = NULL;

	*ret = (struct kp_object){ .kind = KP_KIND_OTHER };
	*err = (struct kp_decode_error){ .object = "object", .kind = KP_KIND_OTHER };
	if (json_is_object(object))
		k = find_kind(&d, object, list_kind);
	else if (json_is_null(object))
		kp_dec_note(&d, NULL, "empty document");
	else
		kp_dec_refuse(&d, NULL, "must be an object with kind and metadata");
	if (k && !d.failed)
		read_value(&d, k, object);
	if (!d.failed)
		return 0;
	kp_object_release(ret);
	*ret = (struct kp_object){ .kind = KP_KIND_OTHER };
	return -EINVAL;
}
