#include "proxy/source/decode_impl.h"

#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

/* The API server's limits. */
#define MAX_ENDPOINTS 1000
#define MAX_PORTS 20000
#define MAX_ADDRESSES 100
#define MAX_HINTS 8

#define FQDN KP_N_FAMILIES

static const struct kp_word type_words[] = {
	{ "IPv4", KP_IPV4 }, { "IPv6", KP_IPV6 }, { "FQDN", FQDN }, { NULL, 0 }
};

/* Everything EP-9 compares goes through these in order; absent and empty differ. */
static void print_text(struct kp_slice *s, const char *text)
{
	s->fingerprint = kp_hash(s->fingerprint + !text, text, text ? strlen(text) : 0);
}

static void print_number(struct kp_slice *s, long n)
{
	s->fingerprint = kp_hash(s->fingerprint, &n, sizeof(n));
}

static bool within(struct kp_dec *d, const struct kp_at *at, size_t n, size_t max)
{
	if (d->strict && n > max)
		kp_dec_refuse(d, at, "%zu: must be no more than %zu", n, max);
	return !d->failed;
}

/* False: a port kube-proxy does not use (EP-1). */
static bool read_port(struct kp_dec *d, const struct kp_at *at, json_t *v, struct kp_slice *s,
		      struct kp_slice_port *ret)
{
	const char *name = kp_dec_text(d, at, v, "name");
	int proto = kp_dec_word(d, at, v, "protocol", kp_proto_words, IPPROTO_TCP);
	long port = kp_dec_int(d, at, v, "port", 0, UINT16_MAX, 0);

	if (!name && d->strict)
		name = "";	/* as the API server fills it in */
	if (name && *name)
		kp_dec_check_form(d, KP_AT(at, "name"), name, KP_DNS_LABEL);
	print_text(s, name);
	print_number(s, proto);
	print_number(s, port);
	print_text(s, kp_dec_text(d, at, v, "appProtocol"));
	if (!name || !port)
		kp_dec_note(d, at, "port without name or number: not used");
	if (!name || !port || proto < 0 || d->failed)
		return false;
	ret->proto = (uint8_t)proto;
	ret->port = (uint16_t)port;
	ret->name = kp_strdup(name);
	return true;
}

static int by_name(const void *a, const void *b)
{
	const struct kp_slice_port *const *p = a, *const *q = b;

	return strcmp((*p)->name, (*q)->name);
}

static void check_names_unique(struct kp_dec *d, const struct kp_at *at, const struct kp_slice *s)
{
	const struct kp_slice_port **sorted;
	char shown[KP_QUOTE_LEN];

	if (s->n_ports < 2)
		return;
	sorted = kp_calloc(s->n_ports, sizeof(*sorted));
	for (size_t i = 0; i < s->n_ports; i++)
		sorted[i] = &s->ports[i];
	qsort(sorted, s->n_ports, sizeof(*sorted), by_name);
	for (size_t i = 1; i < s->n_ports; i++)
		if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
			kp_dec_refuse(d, at, "two ports named %s", kp_dec_quote(sorted[i]->name, shown));
	free(sorted);
}

static void read_ports(struct kp_dec *d, json_t *object, struct kp_slice *s)
{
	const struct kp_at *list_at = KP_AT(NULL, "ports");
	json_t *list = kp_dec_list(d, NULL, object, "ports");
	size_t n = json_array_size(list);

	if (!n || !within(d, list_at, n, MAX_PORTS))
		return;
	s->ports = kp_calloc(n, sizeof(*s->ports));
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(list_at, i);
		json_t *v = kp_dec_element(d, at, json_array_get(list, i));

		if (v && read_port(d, at, v, s, &s->ports[s->n_ports]))
			s->n_ports++;
	}
	if (d->strict && !d->failed)
		check_names_unique(d, list_at, s);
}

static bool read_address(struct kp_dec *d, const struct kp_at *at, const char *text, const struct kp_slice *s,
			 struct kp_addr *ret)
{
	char shown[KP_QUOTE_LEN];

	if (!kp_dec_addr(d, at, text, ret))
		return false;
	if (ret->family != s->family) {
		kp_dec_refuse_or_note(d, at, "%s: must be %s, as addressType says", kp_dec_quote(text, shown),
				      kp_family_names[s->family]);
		return false;
	}
	kp_dec_check_ordinary(d, at, text, ret);
	return true;
}

/* Only the first address counts (EP-2); strictly read, the others must be right too. */
static bool read_addresses(struct kp_dec *d, const struct kp_at *up, json_t *v, struct kp_slice *s,
			   struct kp_addr *ret)
{
	const struct kp_at *list_at = KP_AT(up, "addresses");
	json_t *list = kp_dec_list(d, up, v, "addresses");
	size_t n = json_array_size(list);
	bool ok = false;

	if (!n)
		kp_dec_refuse_or_note(d, list_at, "required: at least one address");
	if (!within(d, list_at, n, MAX_ADDRESSES))
		return false;
	print_number(s, (long)n);
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(list_at, i);
		const char *text = kp_dec_element_text(d, at, json_array_get(list, i));
		struct kp_addr other;

		print_text(s, text);
		if (text && i == 0)
			ok = read_address(d, at, text, s, ret);
		else if (text && d->strict)
			(void)read_address(d, at, text, s, &other);
	}
	return ok;
}

/* EP-3: ready and serving are true when absent. */
static uint8_t read_conditions(struct kp_dec *d, const struct kp_at *up, json_t *v)
{
	static const struct {
		const char *name;
		uint8_t flag;
		bool fallback;
	} all[] = {
		{ "ready", KP_EP_READY, true },
		{ "serving", KP_EP_SERVING, true },
		{ "terminating", KP_EP_TERMINATING, false },
	};
	json_t *conditions = kp_dec_object(d, up, v, "conditions");
	uint8_t flags = 0;

	for (size_t i = 0; i < KP_N(all); i++)
		if (kp_dec_bool(d, KP_AT(up, "conditions"), conditions, all[i].name, all[i].fallback))
			flags |= all[i].flag;
	return flags;
}

static char **read_hint_names(struct kp_dec *d, const struct kp_at *up, json_t *hints, const char *key,
			      struct kp_slice *s)
{
	json_t *list = kp_dec_list(d, up, hints, key);
	size_t n = json_array_size(list);
	char **names;

	print_number(s, (long)n);
	if (!n || !within(d, KP_AT(up, key), n, MAX_HINTS))
		return NULL;
	names = kp_calloc(n + 1, sizeof(*names));
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(KP_AT(up, key), i);
		json_t *v = kp_dec_element(d, at, json_array_get(list, i));
		const char *name = kp_dec_text(d, at, v, "name");

		kp_dec_check_form(d, KP_AT(at, "name"), name ? name : "", KP_LABEL_VALUE);
		print_text(s, name);
		names[i] = kp_strdup(name ? name : "");
	}
	return names;
}

/* False: an endpoint kube-proxy does not use; the rest of *ret is filled all the same. */
static bool read_endpoint(struct kp_dec *d, const struct kp_at *at, json_t *v, struct kp_slice *s,
			  struct kp_buf *names, struct kp_endpoint *ret)
{
	const struct kp_at *hints_at = KP_AT(at, "hints");
	const char *node = kp_dec_text(d, at, v, "nodeName"), *zone = kp_dec_text(d, at, v, "zone");
	json_t *hints = kp_dec_object(d, at, v, "hints");
	bool ok = read_addresses(d, at, v, s, &ret->addr);

	ret->flags = read_conditions(d, at, v);
	print_number(s, ret->flags);
	print_text(s, node);
	print_text(s, zone);
	if (node) {
		kp_dec_check_form(d, KP_AT(at, "nodeName"), node, KP_DNS_SUBDOMAIN);
		ret->node = (uint32_t)names->len;
		kp_buf_add(names, node, strlen(node) + 1);
	}
	if (hints) {
		ret->zone_hints = read_hint_names(d, hints_at, hints, "forZones", s);
		ret->node_hints = read_hint_names(d, hints_at, hints, "forNodes", s);
	}
	return ok;
}

static void read_endpoints(struct kp_dec *d, json_t *object, struct kp_slice *s)
{
	const struct kp_at *list_at = KP_AT(NULL, "endpoints");
	json_t *list = kp_dec_list(d, NULL, object, "endpoints");
	size_t n = json_array_size(list);
	struct kp_buf names = { 0 };

	if (!n || !within(d, list_at, n, MAX_ENDPOINTS))
		return;
	s->endpoints = kp_calloc(n, sizeof(*s->endpoints));
	kp_buf_add(&names, "", 1);
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(list_at, i);
		json_t *v = kp_dec_element(d, at, json_array_get(list, i));
		struct kp_endpoint *e = &s->endpoints[s->n_endpoints];

		if (v && read_endpoint(d, at, v, s, &names, e))
			s->n_endpoints++;
		else
			kp_endpoint_release(e);
	}
	s->node_names = names.data;
}

/* The family, or -1: the slice is not for a proxy (IN-11). */
static int read_address_type(struct kp_dec *d, json_t *object)
{
	const struct kp_at *at = KP_AT(NULL, "addressType");
	int type = kp_dec_word(d, NULL, object, "addressType", type_words, -1);

	if (type == FQDN)
		kp_dec_note(d, at, "FQDN: slice not used");
	else if (type < 0)
		kp_dec_refuse_or_note(d, at, "required");
	return type == FQDN ? -1 : type;
}

/* EP-11; what does not parse does not count. */
static uint64_t read_trigger(struct kp_dec *d, json_t *object)
{
	const char *s = kp_dec_annotation(d, object, "endpoints.kubernetes.io/last-change-trigger-time");
	uint64_t ns;

	return s && kp_dec_parse_time(s, &ns) ? ns : 0;
}

struct kp_slice *kp_dec_slice(struct kp_dec *d, json_t *object, const char *ns, const char *name)
{
	static const char label[] = "kubernetes.io/service-name";
	const struct kp_at *labels = KP_AT(KP_AT(NULL, "metadata"), "labels");
	const char *service = kp_dec_label(d, object, label);
	int family = read_address_type(d, object);
	struct kp_slice *s;

	if (!service || !*service || !*ns || !*name)
		kp_dec_note(d, KP_AT(labels, label), "belongs to no Service: slice not used");	/* IN-10 */
	if (!service || !*service || !*ns || !*name || family < 0)
		return NULL;
	kp_dec_check_form(d, KP_AT(labels, label), service, KP_LABEL_VALUE);
	s = kp_calloc(1, sizeof(*s));
	s->fingerprint = KP_HASH_INIT;
	s->ns = kp_strdup(ns);
	s->name = kp_strdup(name);
	s->service = kp_strdup(service);
	s->family = (uint8_t)family;
	s->foreign = kp_dec_label(d, object, "service.kubernetes.io/headless") != NULL;
	s->trigger_ns = read_trigger(d, object);
	print_text(s, service);
	print_number(s, family);
	print_number(s, s->foreign);
	read_ports(d, object, s);
	read_endpoints(d, object, s);
	return s;
}
