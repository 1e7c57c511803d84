#include "proxy/source/decode_impl.h"

#include <string.h>

#include "proxy/base/mem.h"


/* Appends the addresses of one type; what does not parse is left out (IN-32). */
static void read_addresses(struct kp_dec *d, const struct kp_at *list_at, json_t *list, const char *type,
			   struct kp_node *n)
{
	char shown[KP_QUOTE_LEN];

	for (size_t i = 0; i < json_array_size(list) && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(list_at, i);
		json_t *v = kp_dec_element(d, at, json_array_get(list, i));
		const char *is = kp_dec_text(d, at, v, "type"), *text = kp_dec_text(d, at, v, "address");

		if (!is || !text || strcmp(is, type) != 0)
			continue;
		if (kp_addr_parse(text, &n->ips[n->n_ips]))
			n->n_ips++;
		else
			kp_dec_note(d, KP_AT(at, "address"), "%s: not an IP address: left out",
				    kp_dec_quote(text, shown));
	}
}

static void read_ips(struct kp_dec *d, json_t *object, struct kp_node *n)
{
	const struct kp_at *status_at = KP_AT(NULL, "status"), *at = KP_AT(status_at, "addresses");
	json_t *list = kp_dec_list(d, status_at, kp_dec_object(d, NULL, object, "status"), "addresses");

	if (!json_array_size(list))
		return;
	n->ips = kp_calloc(json_array_size(list), sizeof(*n->ips));
	read_addresses(d, at, list, "InternalIP", n);
	read_addresses(d, at, list, "ExternalIP", n);
}

/* podCIDRs; files may name just podCIDR, which the API server copies. */
static void read_pod_cidrs(struct kp_dec *d, const struct kp_at *up, json_t *spec, struct kp_node *n)
{
	const char *single = kp_dec_text(d, up, spec, "podCIDR");
	struct kp_cidr c;

	n->pod_cidrs = kp_dec_cidrs(d, up, spec, "podCIDRs", &n->n_pod_cidrs);
	if (n->pod_cidrs || !single || !*single || !kp_dec_cidr(d, KP_AT(up, "podCIDR"), single, &c))
		return;
	n->pod_cidrs = kp_memdup(&c, sizeof(c));
	n->n_pod_cidrs = 1;
}

static char **read_taint_keys(struct kp_dec *d, const struct kp_at *up, json_t *spec)
{
	json_t *list = kp_dec_list(d, up, spec, "taints");
	size_t n = json_array_size(list), used = 0;
	char **keys = n ? kp_calloc(n + 1, sizeof(*keys)) : NULL;

	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(KP_AT(up, "taints"), i);
		const char *key = kp_dec_text(d, at, kp_dec_element(d, at, json_array_get(list, i)), "key");

		if (key && *key)
			keys[used++] = kp_strdup(key);
		else
			kp_dec_refuse_or_note(d, KP_AT(at, "key"), "required");
	}
	return keys;
}

/*
 * The kubelet's graceful shutdown: it has no condition of its own, but is part of the message why the
 * node is not ready, possibly one of several reasons.
 */
static bool is_shutting_down(struct kp_dec *d, json_t *object)
{
	const struct kp_at *status_at = KP_AT(NULL, "status"), *at = KP_AT(status_at, "conditions");
	json_t *list = kp_dec_list(d, status_at, kp_dec_object(d, NULL, object, "status"), "conditions");
	bool found = false;

	for (size_t i = 0; i < json_array_size(list) && !d->failed; i++) {
		const struct kp_at *each = KP_AT_INDEX(at, i);
		json_t *v = kp_dec_element(d, each, json_array_get(list, i));
		const char *type = kp_dec_text(d, each, v, "type"), *is = kp_dec_text(d, each, v, "status");
		const char *message = kp_dec_text(d, each, v, "message");

		found |= type && is && message && strcmp(type, "Ready") == 0 && strcmp(is, "False") == 0 &&
			 strstr(message, "node is shutting down");
	}
	return found;
}

struct kp_node *kp_dec_node(struct kp_dec *d, json_t *object, const char *name)
{
	struct kp_node *n = kp_calloc(1, sizeof(*n));
	const struct kp_at *meta_at = KP_AT(NULL, "metadata"), *at = KP_AT(NULL, "spec");
	const char *zone = kp_dec_label(d, object, "topology.kubernetes.io/zone");
	json_t *meta = kp_dec_object(d, NULL, object, "metadata"), *spec = kp_dec_object(d, NULL, object, "spec");

	n->name = kp_strdup(name);
	n->zone = zone ? kp_strdup(zone) : NULL;
	n->deleting = kp_dec_text(d, meta_at, meta, "deletionTimestamp") != NULL;
	n->taint_keys = read_taint_keys(d, at, spec);
	read_pod_cidrs(d, at, spec, n);
	read_ips(d, object, n);
	n->shutting_down = is_shutting_down(d, object);
	return n;
}

struct kp_service_cidr *kp_dec_service_cidr(struct kp_dec *d, json_t *object, const char *name)
{
	struct kp_service_cidr *c = kp_calloc(1, sizeof(*c));
	const struct kp_at *up = KP_AT(NULL, "spec"), *at = KP_AT(up, "cidrs");

	c->name = kp_strdup(name);
	c->cidrs = kp_dec_cidrs(d, up, kp_dec_object(d, NULL, object, "spec"), "cidrs", &c->n_cidrs);
	/* The API server allows one of each family; more is unusual, but means what it says. */
	if (!c->n_cidrs)
		kp_dec_refuse_or_note(d, at, "required: at least one address range");
	return c;
}
