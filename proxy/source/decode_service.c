#include "proxy/source/decode_impl.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define AFFINITY_DEFAULT_S 10800
#define AFFINITY_MAX_S 86400
#define MAX_CLUSTER_IPS 2

static const struct kp_word type_words[] = {
	{ "ClusterIP", KP_CLUSTERIP }, { "NodePort", KP_NODEPORT }, { "LoadBalancer", KP_LOADBALANCER },
	{ "ExternalName", KP_EXTERNALNAME }, { NULL, 0 }
};
static const struct kp_word affinity_words[] = { { "None", false }, { "ClientIP", true }, { NULL, 0 } };
static const struct kp_word mode_words[] = { { "VIP", true }, { "Proxy", false }, { NULL, 0 } };

/* False: kube-proxy would skip the port (only when not strict). */
static bool read_port(struct kp_dec *d, const struct kp_at *at, json_t *v, struct kp_service_port *ret)
{
	const char *name = kp_dec_text(d, at, v, "name");
	int proto = kp_dec_word(d, at, v, "protocol", kp_proto_words, IPPROTO_TCP);
	long port = kp_dec_int(d, at, v, "port", d->strict ? 1 : 0, UINT16_MAX, -1);

	if (port < 0 && d->strict)
		kp_dec_refuse(d, KP_AT(at, "port"), "required");
	if (name && *name)
		kp_dec_check_form(d, KP_AT(at, "name"), name, KP_DNS_LABEL);
	ret->node_port = (uint16_t)kp_dec_int(d, at, v, "nodePort", 0, UINT16_MAX, 0);
	if (proto < 0 || port < 0 || d->failed)
		return false;
	ret->proto = (uint8_t)proto;
	ret->port = (uint16_t)port;
	ret->name = kp_strdup(name ? name : "");
	return true;
}

/* Was the value seen before under this tag? Remembers it. */
static bool seen_before(struct kp_map *seen, char tag, const void *value, size_t len)
{
	static char there;
	char key[64 + 1];	/* a port name of the right form has no more than 63 bytes */

	key[0] = tag;
	memcpy(key + 1, value, len);
	if (kp_map_get(seen, key, len + 1))
		return true;
	kp_map_put(seen, key, len + 1, &there);
	return false;
}

static void check_port_unique(struct kp_dec *d, const struct kp_at *at, struct kp_map *seen,
			      const struct kp_service_port *p)
{
	const struct { uint16_t port, proto; } number = { p->port, p->proto }, node = { p->node_port, p->proto };
	char shown[KP_QUOTE_LEN];

	if (!*p->name)
		kp_dec_refuse(d, KP_AT(at, "name"), "required when there is more than one port");
	else if (seen_before(seen, 'n', p->name, strlen(p->name)))
		kp_dec_refuse(d, KP_AT(at, "name"), "%s: duplicate", kp_dec_quote(p->name, shown));
	if (seen_before(seen, 'p', &number, sizeof(number)))
		kp_dec_refuse(d, KP_AT(at, "port"), "%u: duplicate for this protocol", p->port);
	if (p->node_port && seen_before(seen, 'o', &node, sizeof(node)))
		kp_dec_refuse(d, KP_AT(at, "nodePort"), "%u: duplicate for this protocol", p->node_port);
}

static void check_ports(struct kp_dec *d, const struct kp_at *at, const struct kp_service *s)
{
	struct kp_map *seen;

	if (!s->n_ports && !s->headless && s->type != KP_EXTERNALNAME)
		kp_dec_refuse(d, at, "required: at least one port");
	if (s->n_ports < 2)
		return;
	seen = kp_map_new(NULL);
	for (size_t i = 0; i < s->n_ports && !d->failed; i++)
		check_port_unique(d, KP_AT_INDEX(at, i), seen, &s->ports[i]);
	kp_map_free(seen);
}

static void read_ports(struct kp_dec *d, const struct kp_at *up, json_t *spec, struct kp_service *s)
{
	const struct kp_at *list_at = KP_AT(up, "ports");
	json_t *list = kp_dec_list(d, up, spec, "ports");
	size_t n = json_array_size(list);

	if (n)
		s->ports = kp_calloc(n, sizeof(*s->ports));
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(list_at, i);
		json_t *v = kp_dec_element(d, at, json_array_get(list, i));

		if (v && read_port(d, at, v, &s->ports[s->n_ports]))
			s->n_ports++;
	}
	if (d->strict && !d->failed)
		check_ports(d, list_at, s);
}

/* One of clusterIPs: it goes to its family; position i of ipFamilies must not say otherwise. */
static void read_cluster_ip(struct kp_dec *d, const struct kp_at *at, const char *text, int want_family,
			    struct kp_service *s)
{
	char shown[KP_QUOTE_LEN];
	struct kp_addr a;

	if (!kp_dec_addr(d, at, text, &a))
		return;
	kp_dec_check_ordinary(d, at, text, &a);
	kp_dec_quote(text, shown);
	if (want_family >= 0 && want_family != a.family) {
		kp_dec_refuse_or_note(d, at, "%s: must be %s, as ipFamilies says", shown,
				      kp_family_names[want_family]);
	} else if (s->has_ip[a.family]) {
		kp_dec_refuse_or_note(d, at, "%s: second address of family %s", shown, kp_family_names[a.family]);
	} else {
		s->has_ip[a.family] = true;
		s->cluster_ip[a.family] = a;
	}
}

/* ipFamilies, -1 where there is none. Returns how many there are. */
static size_t read_families(struct kp_dec *d, const struct kp_at *up, json_t *spec, int ret[MAX_CLUSTER_IPS])
{
	json_t *list = kp_dec_list(d, up, spec, "ipFamilies");
	size_t n = json_array_size(list);
	const struct kp_at *at = KP_AT(up, "ipFamilies");
	char shown[KP_QUOTE_LEN];

	for (size_t i = 0; i < MAX_CLUSTER_IPS; i++)
		ret[i] = -1;
	if (n > MAX_CLUSTER_IPS)
		kp_dec_refuse_or_note(d, at, "%zu: must be no more than %d", n, MAX_CLUSTER_IPS);
	for (size_t i = 0; i < n && i < MAX_CLUSTER_IPS && !d->failed; i++) {
		const char *s = kp_dec_element_text(d, KP_AT_INDEX(at, i), json_array_get(list, i));

		for (const struct kp_word *w = kp_family_words; s && w->word; w++)
			if (strcmp(s, w->word) == 0)
				ret[i] = w->value;
		if (s && ret[i] < 0)
			kp_dec_refuse_or_note(d, KP_AT_INDEX(at, i), "%s: must be IPv4 or IPv6",
					      kp_dec_quote(s, shown));
	}
	if (n > 1 && ret[0] >= 0 && ret[0] == ret[1])
		kp_dec_refuse_or_note(d, KP_AT_INDEX(at, 1), "%s: duplicate", kp_family_names[ret[1]]);
	return n;
}

static bool is_headless(const char *cluster_ip)
{
	return !cluster_ip || !*cluster_ip || strcmp(cluster_ip, "None") == 0;
}

static void check_cluster_ips(struct kp_dec *d, const struct kp_at *at, json_t *list, const char *cluster_ip)
{
	const char *first = json_string_value(json_array_get(list, 0));
	size_t n = json_array_size(list);

	if (n > MAX_CLUSTER_IPS)
		kp_dec_refuse(d, at, "%zu: must be no more than %d", n, MAX_CLUSTER_IPS);
	else if (n && (!cluster_ip || !*cluster_ip))
		kp_dec_refuse(d, at, "must be empty without clusterIP");
	else if (n && first && strcmp(first, cluster_ip) != 0)
		kp_dec_refuse(d, KP_AT_INDEX(at, 0), "must be the same as clusterIP");
}

/*
 * IN-23. Files may leave out clusterIPs and ipFamilies; the API server fills in both
 * (from clusterIP and from the addresses), so strict reading does the same.
 */
static void read_cluster_ips(struct kp_dec *d, const struct kp_at *up, json_t *spec, struct kp_service *s)
{
	const char *cluster_ip = kp_dec_text(d, up, spec, "clusterIP");
	json_t *list = kp_dec_list(d, up, spec, "clusterIPs");
	const struct kp_at *at = KP_AT(up, "clusterIPs");
	int family[MAX_CLUSTER_IPS];
	size_t n_families = read_families(d, up, spec, family), n = json_array_size(list);

	if (d->strict)
		check_cluster_ips(d, at, list, cluster_ip);
	s->headless = is_headless(cluster_ip);
	if (s->headless) {
		kp_dec_note(d, KP_AT(up, "clusterIP"), "none: not proxied");
		return;
	}
	if (d->strict ? !n : !n_families) {
		read_cluster_ip(d, KP_AT(up, "clusterIP"), cluster_ip, family[0], s);
		return;
	}
	for (size_t i = 0; i < n && i < MAX_CLUSTER_IPS && !d->failed; i++) {
		const char *text = kp_dec_element_text(d, KP_AT_INDEX(at, i), json_array_get(list, i));

		if (text && (d->strict || family[i] >= 0))
			read_cluster_ip(d, KP_AT_INDEX(at, i), text, family[i], s);
	}
}

/* Keeps the first of equal addresses, in order. */
static size_t unique(struct kp_addr *a, size_t n)
{
	struct kp_map *seen;
	size_t used = 0;

	if (n < 2)
		return n;
	seen = kp_map_new(NULL);
	for (size_t i = 0; i < n; i++)
		if (!seen_before(seen, 'a', &a[i], sizeof(a[i])))
			a[used++] = a[i];
	kp_map_free(seen);
	return used;
}

static void read_external_ips(struct kp_dec *d, const struct kp_at *up, json_t *spec, struct kp_service *s)
{
	json_t *list = kp_dec_list(d, up, spec, "externalIPs");
	size_t n = json_array_size(list), used = 0;

	if (n)
		s->external_ips = kp_calloc(n, sizeof(*s->external_ips));
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(KP_AT(up, "externalIPs"), i);
		const char *text = kp_dec_element_text(d, at, json_array_get(list, i));

		if (!text || !kp_dec_addr(d, at, text, &s->external_ips[used]))
			continue;
		kp_dec_check_ordinary(d, at, text, &s->external_ips[used]);
		used++;
	}
	s->n_external_ips = unique(s->external_ips, used);
}

/* An ingress point that is an address of ours: mode VIP, which is also the default. */
static bool read_vip(struct kp_dec *d, const struct kp_at *at, json_t *v, struct kp_addr *ret)
{
	const char *ip = kp_dec_text(d, at, v, "ip");
	int is_vip = kp_dec_word(d, at, v, "ipMode", mode_words, true);

	return ip && *ip && kp_dec_addr(d, KP_AT(at, "ip"), ip, ret) && is_vip == true;
}

static void read_vips(struct kp_dec *d, json_t *object, struct kp_service *s)
{
	const struct kp_at *status = KP_AT(NULL, "status"), *lb = KP_AT(status, "loadBalancer");
	json_t *balancer = kp_dec_object(d, status, kp_dec_object(d, NULL, object, "status"), "loadBalancer");
	json_t *list = kp_dec_list(d, lb, balancer, "ingress");
	size_t n = json_array_size(list), used = 0;

	if (n)
		s->vips = kp_calloc(n, sizeof(*s->vips));
	for (size_t i = 0; i < n && !d->failed; i++) {
		const struct kp_at *at = KP_AT_INDEX(KP_AT(lb, "ingress"), i);
		json_t *v = kp_dec_element(d, at, json_array_get(list, i));

		if (v && read_vip(d, at, v, &s->vips[used]))
			used++;
	}
	s->n_vips = unique(s->vips, used);
}

static void read_affinity(struct kp_dec *d, const struct kp_at *up, json_t *spec, struct kp_service *s)
{
	const struct kp_at *config_at = KP_AT(up, "sessionAffinityConfig");
	json_t *config = kp_dec_object(d, up, spec, "sessionAffinityConfig");
	json_t *client_ip = kp_dec_object(d, config_at, config, "clientIP");

	s->affinity = kp_dec_word(d, up, spec, "sessionAffinity", affinity_words, false) == true;
	if (s->affinity)
		s->affinity_seconds = (uint32_t)kp_dec_int(d, KP_AT(config_at, "clientIP"), client_ip,
							   "timeoutSeconds", 1, AFFINITY_MAX_S, AFFINITY_DEFAULT_S);
}

static int64_t read_created(struct kp_dec *d, json_t *object)
{
	const struct kp_at *up = KP_AT(NULL, "metadata");
	const char *s = kp_dec_text(d, up, kp_dec_object(d, NULL, object, "metadata"), "creationTimestamp");
	char shown[KP_QUOTE_LEN];
	uint64_t ns;

	if (!s)
		return 0;
	if (kp_dec_parse_time(s, &ns))
		return (int64_t)(ns / 1000000000u);
	kp_dec_refuse_or_note(d, KP_AT(up, "creationTimestamp"), "%s: must be a time such as 2026-01-01T00:00:00Z",
			      kp_dec_quote(s, shown));
	return 0;
}

struct kp_service *kp_dec_service(struct kp_dec *d, json_t *object, const char *ns, const char *name)
{
	struct kp_service *s = kp_calloc(1, sizeof(*s));
	const struct kp_at *at = KP_AT(NULL, "spec");
	json_t *spec = kp_dec_object(d, NULL, object, "spec");
	int type = kp_dec_word(d, at, spec, "type", type_words, KP_CLUSTERIP);

	s->ns = kp_strdup(ns);
	s->name = kp_strdup(name);
	s->type = type < 0 ? KP_CLUSTERIP : (enum kp_service_type)type;
	s->foreign = kp_dec_label(d, object, "service.kubernetes.io/service-proxy-name") != NULL;
	s->created = read_created(d, object);
	read_cluster_ips(d, at, spec, s);
	read_ports(d, at, spec, s);
	read_external_ips(d, at, spec, s);
	read_vips(d, object, s);
	s->source_ranges = kp_dec_cidrs(d, at, spec, "loadBalancerSourceRanges", &s->n_source_ranges);
	s->internal_local = kp_dec_word(d, at, spec, "internalTrafficPolicy", kp_policy_words, false) == true;
	s->external_local = kp_dec_word(d, at, spec, "externalTrafficPolicy", kp_policy_words, false) == true;
	read_affinity(d, at, spec, s);
	s->health_check_node_port = (uint16_t)kp_dec_int(d, at, spec, "healthCheckNodePort", 0, UINT16_MAX, 0);
	return s;
}
