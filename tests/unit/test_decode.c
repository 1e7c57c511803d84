#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/source/decode.h"

/* JSON with ' for ". */
static json_t *parse(const char *text)
{
	char *copy = strdup(text);
	json_error_t where;
	json_t *v;

	for (char *p = copy; (p = strchr(p, '\'')) != NULL; p++)
		*p = '"';
	v = json_loads(copy, JSON_DECODE_ANY, &where);
	ck_assert_msg(v != NULL, "%s: %s", text, where.text);
	free(copy);
	return v;
}

enum base { SERVICE, SLICE, NODE, CIDR };
static const char *const bases[] = {
	[SERVICE] = "{'apiVersion':'v1','kind':'Service','metadata':{'name':'web','namespace':'shop'},'spec':{"
		"'clusterIP':'10.0.0.1','clusterIPs':['10.0.0.1','2001:db8::1'],'ipFamilies':['IPv4','IPv6'],"
		"'ports':[{'name':'http','port':80,'nodePort':30080,'protocol':'TCP'},"
		"{'name':'dns','port':53,'protocol':'UDP'}],'type':'LoadBalancer'},"
		"'status':{'loadBalancer':{'ingress':[{'ip':'192.0.2.1'}]}}}",
	[SLICE] = "{'apiVersion':'discovery.k8s.io/v1','kind':'EndpointSlice','addressType':'IPv4','metadata':{"
		"'name':'web-x7','namespace':'shop','labels':{'kubernetes.io/service-name':'web'}},"
		"'ports':[{'name':'http','port':8080,'protocol':'TCP'},{'name':'dns','port':5353,'protocol':'UDP'}],"
		"'endpoints':[{'addresses':['10.1.0.1'],'nodeName':'n1','zone':'a'},"
		"{'addresses':['10.1.0.2'],'conditions':{'ready':false},'hints':{'forZones':[{'name':'a'}]}}]}",
	[NODE] = "{'apiVersion':'v1','kind':'Node','metadata':{'name':'n1','labels':{'topology.kubernetes.io/zone':'a'}},"
		"'spec':{'podCIDRs':['10.1.0.0/24']},'status':{'addresses':[{'type':'ExternalIP','address':'192.0.2.9'},"
		"{'type':'Hostname','address':'n1'},{'type':'InternalIP','address':'10.9.0.1'}]}}",
	[CIDR] = ("{'apiVersion':'networking.k8s.io/v1','kind':'ServiceCIDR','metadata':{'name':'kubernetes'},"
		"'spec':{'cidrs':['10.0.0.0/16','2001:db8::/108']}}"),
};

/* Sets (value is JSON) or deletes (NULL) what is at path: "spec.ports[0].port"; '~' is a '.' in a name. */
static void change(json_t *at, const char *path, const char *value)
{
	char name[64];
	size_t n;

	for (;;) {
		char end;
		json_t *next;

		n = strcspn(path, ".[");
		memcpy(name, path, n);
		name[n] = '\0';
		for (char *p = name; (p = strchr(p, '~')) != NULL;)
			*p = '.';
		end = path[n];
		if (!end)
			break;
		next = json_object_get(at, name);
		if (!next) {
			next = end == '[' ? json_array() : json_object();
			json_object_set_new(at, name, next);
		}
		path += n + 1;
		at = next;
		if (end != '[')
			continue;
		n = strtoul(path, (char **)&path, 10);
		if (path[1] == '\0') {
			if (value && n < json_array_size(at))
				json_array_set_new(at, n, parse(value));
			else if (value)
				json_array_append_new(at, parse(value));
			else
				json_array_remove(at, n);
			return;
		}
		at = json_array_get(at, n);
		path += 2;
	}
	if (value)
		json_object_set_new(at, name, parse(value));
	else
		json_object_del(at, name);
}

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DNS_LABEL "must consist of lower case letters, digits and '-', a letter or digit at both ends"
#define DNS_SUBDOMAIN "must consist of lower case letters, digits, '-' and '.', a letter or digit at both ends of each part"

/* What strict reading refuses, and whether reading as kube-proxy does refuses it too. */
static const struct {
	enum base base;
	enum { STRICT, BOTH } by;
	const char *path, *value, *field, *why;
} refused[] = {
	{ SERVICE, STRICT, "metadata.name", NULL, "metadata.name", "required" },
	{ SERVICE, STRICT, "metadata.name", "''", "metadata.name", "required" },
	{ SERVICE, BOTH, "metadata.name", "7", "metadata.name", "7: must be a string" },
	{ SERVICE, STRICT, "metadata.name", "'Web'", "metadata.name", "\"Web\": " DNS_LABEL },
	{ SERVICE, STRICT, "metadata.name", "'-web'", "metadata.name", "\"-web\": " DNS_LABEL },
	{ SERVICE, STRICT, "metadata.name", "'a.b'", "metadata.name", "\"a.b\": " DNS_LABEL },
	{ SERVICE, STRICT, "metadata.name", "'a/../b'", "metadata.name", "\"a/../b\": " DNS_LABEL },
	{ SERVICE, STRICT, "metadata.name", "'" A63 "a'", "metadata.name", "\"" A63 "a\": must be no more than 63 characters" },
	{ SERVICE, STRICT, "metadata.namespace", "'Shop'", "metadata.namespace", "\"Shop\": " DNS_LABEL },
	{ SERVICE, BOTH, "metadata.namespace", "[]", "metadata.namespace", "a list: must be a string" },
	{ SERVICE, STRICT, "metadata.creationTimestamp", "'today'", "metadata.creationTimestamp",
	  "\"today\": must be a time such as 2026-01-01T00:00:00Z" },
	{ SERVICE, BOTH, "metadata", "'x'", "metadata", "\"x\": must be an object" },
	{ SERVICE, BOTH, "metadata.labels", "[]", "metadata.labels", "a list: must be an object" },
	{ SERVICE, BOTH, "metadata.labels.service~kubernetes~io/service-proxy-name", "true",
	  "metadata.labels[service.kubernetes.io/service-proxy-name]", "true: must be a string" },
	{ SERVICE, BOTH, "kind", NULL, "kind", "required" },
	{ SERVICE, BOTH, "kind", "7", "kind", "7: must be a string" },
	{ SERVICE, STRICT, "apiVersion", NULL, "apiVersion", "required" },
	{ SERVICE, BOTH, "apiVersion", "'v2'", "apiVersion", "\"v2\": version not known for Service; use v1" },
	{ SERVICE, BOTH, "spec", "'x'", "spec", "\"x\": must be an object" },
	{ SERVICE, STRICT, "spec.type", "'clusterip'", "spec.type",
	  "\"clusterip\": must be ClusterIP, NodePort, LoadBalancer or ExternalName" },
	{ SERVICE, STRICT, "spec.clusterIP", "'10.0.0.300'", "spec.clusterIPs[0]", "must be the same as clusterIP" },
	{ SERVICE, STRICT, "spec.clusterIP", NULL, "spec.clusterIPs", "must be empty without clusterIP" },
	{ SERVICE, BOTH, "spec.clusterIP", "10", "spec.clusterIP", "10: must be a string" },
	{ SERVICE, STRICT, "spec.clusterIPs[1]", "'2001:db8::g'", "spec.clusterIPs[1]", "\"2001:db8::g\": must be an IP address" },
	{ SERVICE, STRICT, "spec.clusterIPs[1]", "'10.0.0.2'", "spec.clusterIPs[1]", "\"10.0.0.2\": must be IPv6, as ipFamilies says" },
	{ SERVICE, STRICT, "spec.clusterIPs[1]", "'fe80::1'", "spec.clusterIPs[1]", "\"fe80::1\": must not be a link-local address" },
	{ SERVICE, STRICT, "spec.clusterIPs[2]", "'10.0.0.3'", "spec.clusterIPs", "3: must be no more than 2" },
	{ SERVICE, BOTH, "spec.clusterIPs[1]", "7", "spec.clusterIPs[1]", "7: must be a string" },
	{ SERVICE, STRICT, "spec.ipFamilies[0]", "'IPv6'", "spec.ipFamilies[1]", "IPv6: duplicate" },
	{ SERVICE, STRICT, "spec.ipFamilies[0]", "'ipv4'", "spec.ipFamilies[0]", "\"ipv4\": must be IPv4 or IPv6" },
	{ SERVICE, STRICT, "spec.ipFamilies[2]", "'IPv4'", "spec.ipFamilies", "3: must be no more than 2" },
	{ SERVICE, STRICT, "spec.ports", "[]", "spec.ports", "required: at least one port" },
	{ SERVICE, BOTH, "spec.ports", "{}", "spec.ports", "an object: must be a list" },
	{ SERVICE, BOTH, "spec.ports[1]", "80", "spec.ports[1]", "80: must be an object" },
	{ SERVICE, BOTH, "spec.ports[1]", "null", "spec.ports[1]", "null: must be an object" },
	{ SERVICE, STRICT, "spec.ports[1].port", "70000", "spec.ports[1].port", "70000: must be between 1 and 65535" },
	{ SERVICE, STRICT, "spec.ports[1].port", "65536", "spec.ports[1].port", "65536: must be between 1 and 65535" },
	{ SERVICE, STRICT, "spec.ports[1].port", "0", "spec.ports[1].port", "0: must be between 1 and 65535" },
	{ SERVICE, STRICT, "spec.ports[1].port", "-1", "spec.ports[1].port", "-1: must be between 1 and 65535" },
	{ SERVICE, BOTH, "spec.ports[1].port", "80.5", "spec.ports[1].port", "80.5: must be a whole number" },
	{ SERVICE, BOTH, "spec.ports[1].port", "'80'", "spec.ports[1].port", "\"80\": must be a whole number" },
	{ SERVICE, STRICT, "spec.ports[1].port", NULL, "spec.ports[1].port", "required" },
	{ SERVICE, STRICT, "spec.ports[1].nodePort", "65536", "spec.ports[1].nodePort", "65536: must be between 0 and 65535" },
	{ SERVICE, STRICT, "spec.ports[1].protocol", "'tcp'", "spec.ports[1].protocol", "\"tcp\": must be TCP, UDP or SCTP" },
	{ SERVICE, STRICT, "spec.ports[1].name", NULL, "spec.ports[1].name", "required when there is more than one port" },
	{ SERVICE, STRICT, "spec.ports[1].name", "'http'", "spec.ports[1].name", "\"http\": duplicate" },
	{ SERVICE, STRICT, "spec.ports[1].name", "'HTTP'", "spec.ports[1].name", "\"HTTP\": " DNS_LABEL },
	{ SERVICE, STRICT, "spec.ports[1]", "{'name':'b','port':80}", "spec.ports[1].port", "80: duplicate for this protocol" },
	{ SERVICE, STRICT, "spec.ports[1]", "{'name':'b','port':81,'nodePort':30080}", "spec.ports[1].nodePort",
	  "30080: duplicate for this protocol" },
	{ SERVICE, STRICT, "spec.externalIPs", "['192.0.2.256']", "spec.externalIPs[0]", "\"192.0.2.256\": must be an IP address" },
	{ SERVICE, STRICT, "spec.externalIPs", "[' 192.0.2.1']", "spec.externalIPs[0]", "\" 192.0.2.1\": must be an IP address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['127.0.0.1']", "spec.externalIPs[0]", "\"127.0.0.1\": must not be a loopback address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['::1']", "spec.externalIPs[0]", "\"::1\": must not be a loopback address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['169.254.0.1']", "spec.externalIPs[0]",
	  "\"169.254.0.1\": must not be a link-local address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['224.0.0.1']", "spec.externalIPs[0]", "\"224.0.0.1\": must not be a multicast address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['ff05::1']", "spec.externalIPs[0]", "\"ff05::1\": must not be a multicast address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['0.0.0.0']", "spec.externalIPs[0]", "\"0.0.0.0\": must not be the unspecified address" },
	{ SERVICE, STRICT, "spec.externalIPs", "['::']", "spec.externalIPs[0]", "\"::\": must not be the unspecified address" },
	{ SERVICE, BOTH, "spec.externalIPs", "[1]", "spec.externalIPs[0]", "1: must be a string" },
	{ SERVICE, STRICT, "spec.loadBalancerSourceRanges", "['10.0.0.0']", "spec.loadBalancerSourceRanges[0]",
	  "\"10.0.0.0\": must be an address range such as 10.9.0.0/16 or 2001:db8::/64" },
	{ SERVICE, STRICT, "spec.loadBalancerSourceRanges", "['10.0.0.0/8', '10.0.0.0/33']", "spec.loadBalancerSourceRanges[1]",
	  "\"10.0.0.0/33\": must be an address range such as 10.9.0.0/16 or 2001:db8::/64" },
	{ SERVICE, STRICT, "spec.internalTrafficPolicy", "'local'", "spec.internalTrafficPolicy", "\"local\": must be Cluster or Local" },
	{ SERVICE, BOTH, "spec.externalTrafficPolicy", "true", "spec.externalTrafficPolicy", "true: must be a string" },
	{ SERVICE, STRICT, "spec.externalTrafficPolicy", "'x'", "spec.externalTrafficPolicy", "\"x\": must be Cluster or Local" },
	{ SERVICE, STRICT, "spec.sessionAffinity", "'clientip'", "spec.sessionAffinity", "\"clientip\": must be None or ClientIP" },
	{ SERVICE, STRICT, "spec.healthCheckNodePort", "65536", "spec.healthCheckNodePort", "65536: must be between 0 and 65535" },
	{ SERVICE, STRICT, "status.loadBalancer.ingress[0].ip", "'192.0.2'", "status.loadBalancer.ingress[0].ip",
	  "\"192.0.2\": must be an IP address" },
	{ SERVICE, STRICT, "status.loadBalancer.ingress[0].ipMode", "'vip'", "status.loadBalancer.ingress[0].ipMode",
	  "\"vip\": must be VIP or Proxy" },
	{ SERVICE, BOTH, "status.loadBalancer", "[]", "status.loadBalancer", "a list: must be an object" },
	{ SLICE, BOTH, "apiVersion", "'discovery.k8s.io/v1beta1'", "apiVersion",
	  "\"v1beta1\": version not known for EndpointSlice; use discovery.k8s.io/v1" },
	{ SLICE, STRICT, "addressType", NULL, "addressType", "required" },
	{ SLICE, STRICT, "addressType", "'ipv4'", "addressType", "\"ipv4\": must be IPv4, IPv6 or FQDN" },
	{ SLICE, STRICT, "metadata.name", "'web_x7'", "metadata.name", "\"web_x7\": " DNS_SUBDOMAIN },
	{ SLICE, STRICT, "metadata.name", "'web..x7'", "metadata.name", "\"web..x7\": " DNS_SUBDOMAIN },
	{ SLICE, STRICT, "metadata.labels.kubernetes~io/service-name", "'a b'", "metadata.labels[kubernetes.io/service-name]",
	  "\"a b\": must consist of letters, digits, '-', '_' and '.', a letter or digit at both ends" },
	{ SLICE, STRICT, "endpoints[1].addresses", "[]", "endpoints[1].addresses", "required: at least one address" },
	{ SLICE, STRICT, "endpoints[1].addresses", "['2001:db8::1']", "endpoints[1].addresses[0]",
	  "\"2001:db8::1\": must be IPv4, as addressType says" },
	{ SLICE, STRICT, "endpoints[1].addresses", "['10.1.0.1','2001:db8::1']", "endpoints[1].addresses[1]",
	  "\"2001:db8::1\": must be IPv4, as addressType says" },
	{ SLICE, STRICT, "endpoints[1].addresses", "['web.example']", "endpoints[1].addresses[0]", "\"web.example\": must be an IP address" },
	{ SLICE, STRICT, "endpoints[1].addresses", "['127.1.0.1']", "endpoints[1].addresses[0]",
	  "\"127.1.0.1\": must not be a loopback address" },
	{ SLICE, STRICT, "endpoints[1].addresses", "['169.254.169.254']", "endpoints[1].addresses[0]",
	  "\"169.254.169.254\": must not be a link-local address" },
	{ SLICE, STRICT, "endpoints[1].addresses", "['239.0.0.1']", "endpoints[1].addresses[0]",
	  "\"239.0.0.1\": must not be a multicast address" },
	{ SLICE, BOTH, "endpoints[1].addresses", "'10.1.0.1'", "endpoints[1].addresses", "\"10.1.0.1\": must be a list" },
	{ SLICE, BOTH, "endpoints[1]", "'10.1.0.1'", "endpoints[1]", "\"10.1.0.1\": must be an object" },
	{ SLICE, BOTH, "endpoints[1].conditions.ready", "'yes'", "endpoints[1].conditions.ready", "\"yes\": must be true or false" },
	{ SLICE, BOTH, "endpoints[1].conditions.serving", "1", "endpoints[1].conditions.serving", "1: must be true or false" },
	{ SLICE, STRICT, "endpoints[1].nodeName", "'n_1'", "endpoints[1].nodeName", "\"n_1\": " DNS_SUBDOMAIN },
	{ SLICE, STRICT, "endpoints[1].hints.forZones[0].name", "'a b'", "endpoints[1].hints.forZones[0].name",
	  "\"a b\": must consist of letters, digits, '-', '_' and '.', a letter or digit at both ends" },
	{ SLICE, BOTH, "endpoints[1].hints.forNodes", "[1]", "endpoints[1].hints.forNodes[0]", "1: must be an object" },
	{ SLICE, STRICT, "ports[1].port", "65536", "ports[1].port", "65536: must be between 0 and 65535" },
	{ SLICE, STRICT, "ports[1].protocol", "'ICMP'", "ports[1].protocol", "\"ICMP\": must be TCP, UDP or SCTP" },
	{ SLICE, STRICT, "ports[1].name", "'http'", "ports", "two ports named \"http\"" },
	{ SLICE, STRICT, "ports[1].name", "'h_p'", "ports[1].name", "\"h_p\": " DNS_LABEL },
	{ NODE, STRICT, "metadata.name", "'N1'", "metadata.name", "\"N1\": " DNS_SUBDOMAIN },
	{ NODE, STRICT, "spec.podCIDRs", "['10.1.0.0']", "spec.podCIDRs[0]",
	  "\"10.1.0.0\": must be an address range such as 10.9.0.0/16 or 2001:db8::/64" },
	{ NODE, STRICT, "spec.taints", "[{'value':'x'}]", "spec.taints[0].key", "required" },
	{ NODE, BOTH, "status.addresses", "{}", "status.addresses", "an object: must be a list" },
	{ NODE, BOTH, "status.conditions", "[1]", "status.conditions[0]", "1: must be an object" },
	{ CIDR, STRICT, "spec.cidrs", "[]", "spec.cidrs", "required: at least one address range" },
	{ CIDR, STRICT, "spec.cidrs[1]", "'10.1.0.0/a'", "spec.cidrs[1]",
	  "\"10.1.0.0/a\": must be an address range such as 10.9.0.0/16 or 2001:db8::/64" },
	{ CIDR, BOTH, "apiVersion", "'networking.k8s.io/v1alpha1'", "apiVersion",
	  "\"v1alpha1\": version not known for ServiceCIDR; use networking.k8s.io/v1" },
};

START_TEST(refused_case)
{
	json_t *v = parse(bases[refused[_i].base]);
	struct kp_decode_error e;
	struct kp_object o;
	char name[160];

	snprintf(name, sizeof(name), "%s = %.60s", refused[_i].path, refused[_i].value ? refused[_i].value : "(none)");
	ck_assert_msg(kp_decode(v, NULL, true, &o, &e) == 0, "base: %s %s", e.field, e.why);
	kp_object_release(&o);
	change(v, refused[_i].path, refused[_i].value);
	ck_assert_msg(kp_decode(v, NULL, true, &o, &e) == -EINVAL, "%s: not refused", name);
	ck_assert_msg(strcmp(e.field, refused[_i].field) == 0, "%s: field %s", name, e.field);
	ck_assert_msg(strcmp(e.why, refused[_i].why) == 0, "%s: why %s", name, e.why);
	ck_assert_msg(o.kind == KP_KIND_OTHER && !o.value && !*o.key, "%s: the object is not empty", name);
	ck_assert_msg((kp_decode(v, NULL, false, &o, &e) < 0) == (refused[_i].by == BOTH), "%s: not strict: %s", name, e.why);
	kp_object_release(&o);
	json_decref(v);
}
END_TEST

static void add_addrs(struct kp_buf *b, const char *what, const struct kp_addr *a, size_t n)
{
	char text[KP_ADDR_STRLEN];

	for (size_t i = 0; i < n; i++)
		kp_buf_printf(b, " %s=%s", what, kp_addr_str(&a[i], text));
}

static void add_cidrs(struct kp_buf *b, const char *what, const struct kp_cidr *c, size_t n)
{
	char text[KP_CIDR_STRLEN];

	for (size_t i = 0; i < n; i++)
		kp_buf_printf(b, " %s=%s", what, kp_cidr_str(&c[i], text));
}

static void print_service(struct kp_buf *b, const struct kp_service *s)
{
	static const char *const types[] = { "ClusterIP", "NodePort", "LoadBalancer", "ExternalName" };

	kp_buf_printf(b, "%s/%s %s%s%s", s->ns, s->name, types[s->type], s->foreign ? " foreign" : "",
		      s->headless ? " headless" : "");
	for (int f = 0; f < KP_N_FAMILIES; f++)
		add_addrs(b, "ip", &s->cluster_ip[f], s->has_ip[f]);
	for (size_t i = 0; i < s->n_ports; i++)
		kp_buf_printf(b, " port=%s:%s:%u:%u", s->ports[i].name, kp_proto_name(s->ports[i].proto),
			      s->ports[i].port, s->ports[i].node_port);
	add_addrs(b, "ext", s->external_ips, s->n_external_ips);
	add_addrs(b, "vip", s->vips, s->n_vips);
	add_cidrs(b, "from", s->source_ranges, s->n_source_ranges);
	kp_buf_printf(b, "%s%s", s->internal_local ? " internal-local" : "", s->external_local ? " external-local" : "");
	if (s->affinity)
		kp_buf_printf(b, " sticky=%u", s->affinity_seconds);
	if (s->health_check_node_port)
		kp_buf_printf(b, " health=%u", s->health_check_node_port);
	if (s->created)
		kp_buf_printf(b, " created=%lld", (long long)s->created);
}

static void add_hints(struct kp_buf *b, const char *what, char *const *v)
{
	for (; v && *v; v++)
		kp_buf_printf(b, ",%s=%s", what, *v);
}

static void print_slice(struct kp_buf *b, const struct kp_slice *s)
{
	kp_buf_printf(b, "%s/%s of %s %s%s", s->ns, s->name, s->service, kp_family_names[s->family],
		      s->foreign ? " foreign" : "");
	for (size_t i = 0; i < s->n_ports; i++)
		kp_buf_printf(b, " port=%s:%s:%u", s->ports[i].name, kp_proto_name(s->ports[i].proto), s->ports[i].port);
	for (size_t i = 0; i < s->n_endpoints; i++) {
		const struct kp_endpoint *e = &s->endpoints[i];

		add_addrs(b, "ep", &e->addr, 1);
		kp_buf_printf(b, ",%s%s%s", e->flags & KP_EP_READY ? "r" : "", e->flags & KP_EP_SERVING ? "s" : "",
			      e->flags & KP_EP_TERMINATING ? "t" : "");
		if (e->node)
			kp_buf_printf(b, ",on=%s", s->node_names + e->node);
		add_hints(b, "zone", e->zone_hints);
		add_hints(b, "node", e->node_hints);
	}
	if (s->trigger_ns)
		kp_buf_printf(b, " trigger=%llu", (unsigned long long)s->trigger_ns);
}

static void print_node(struct kp_buf *b, const struct kp_node *n)
{
	kp_buf_printf(b, "%s zone=%s%s", n->name, n->zone ? n->zone : "(none)", n->deleting ? " deleting" : "");
	add_addrs(b, "ip", n->ips, n->n_ips);
	add_cidrs(b, "pods", n->pod_cidrs, n->n_pod_cidrs);
	if (n->shutting_down)
		kp_buf_puts(b, " shutting-down");
	for (char **t = n->taint_keys; t && *t; t++)
		kp_buf_printf(b, " taint=%s", *t);
}

static void print_object(struct kp_buf *b, const struct kp_object *o)
{
	if (!o->value)
		kp_buf_printf(b, "nothing: %s", o->note);
	else if (o->kind == KP_KIND_SERVICE)
		print_service(b, o->service);
	else if (o->kind == KP_KIND_SLICE)
		print_slice(b, o->slice);
	else if (o->kind == KP_KIND_NODE)
		print_node(b, o->node);
	else
		add_cidrs(b, o->cidr->name, o->cidr->cidrs, o->cidr->n_cidrs);
}

#define SVC_REST " port=http:tcp:80:30080 port=dns:udp:53:0 vip=192.0.2.1"
#define SVC "shop/web LoadBalancer ip=10.0.0.1 ip=2001:db8::1" SVC_REST
#define SVC_PORTS_OF(x) "shop/web LoadBalancer ip=10.0.0.1 ip=2001:db8::1" x " vip=192.0.2.1"
#define SLICE_HEAD "shop/web-x7 of web IPv4 port=http:tcp:8080 port=dns:udp:5353"
#define SLICE_EPS " ep=10.1.0.1,rs,on=n1 ep=10.1.0.2,s,zone=a"

/* What is read. Empty path: the base as it is. lax: the text when not strict, if it differs. */
static const struct {
	enum base base;
	const char *path, *value, *strict, *lax;
} accepted[] = {
	{ SERVICE, "", NULL, SVC, NULL },
	{ SERVICE, "metadata.namespace", NULL, "default/web LoadBalancer ip=10.0.0.1 ip=2001:db8::1" SVC_REST,
	  "/web LoadBalancer ip=10.0.0.1 ip=2001:db8::1" SVC_REST },
	{ SERVICE, "metadata.name", "'" A63 "'", "shop/" A63 " LoadBalancer ip=10.0.0.1 ip=2001:db8::1" SVC_REST, NULL },
	{ SERVICE, "metadata.labels.service~kubernetes~io/service-proxy-name", "''",
	  "shop/web LoadBalancer foreign ip=10.0.0.1 ip=2001:db8::1" SVC_REST, NULL },
	{ SERVICE, "metadata.labels.service~kubernetes~io/service-proxy-name", "null",
	  "shop/web LoadBalancer foreign ip=10.0.0.1 ip=2001:db8::1" SVC_REST, NULL },
	{ SERVICE, "metadata.labels", "null", SVC, NULL },
	{ SERVICE, "metadata.creationTimestamp", "'2026-01-01T00:00:00Z'", SVC " created=1767225600", NULL },
	{ SERVICE, "metadata.creationTimestamp", "null", SVC, NULL },
	{ SERVICE, "spec.type", NULL, "shop/web ClusterIP ip=10.0.0.1 ip=2001:db8::1" SVC_REST, NULL },
	{ SERVICE, "spec.type", "'Other'", NULL, "shop/web ClusterIP ip=10.0.0.1 ip=2001:db8::1" SVC_REST },
	{ SERVICE, "spec.clusterIPs", NULL, "shop/web LoadBalancer ip=10.0.0.1" SVC_REST,
	  "shop/web LoadBalancer" SVC_REST },
	{ SERVICE, "spec.ipFamilies", NULL, SVC, "shop/web LoadBalancer ip=10.0.0.1" SVC_REST },
	{ SERVICE, "spec.ipFamilies", "['IPv4']", SVC, "shop/web LoadBalancer ip=10.0.0.1" SVC_REST },
	{ SERVICE, "spec", "{'clusterIP':'None','clusterIPs':['None']}", "shop/web ClusterIP headless vip=192.0.2.1", NULL },
	{ SERVICE, "spec", "{'type':'ExternalName','externalName':'a.b'}",
	  "shop/web ExternalName headless vip=192.0.2.1", NULL },
	{ SERVICE, "spec", "{'clusterIP':'10.0.0.010','ports':[{'port':80}]}",
	  "shop/web ClusterIP ip=10.0.0.10 port=:tcp:80:0 vip=192.0.2.1", NULL },
	{ SERVICE, "spec", "{'clusterIP':'2001:db8::5','ports':[{'port':80,'name':null,'protocol':null}]}",
	  "shop/web ClusterIP ip=2001:db8::5 port=:tcp:80:0 vip=192.0.2.1", NULL },
	{ SERVICE, "spec.ports[1].protocol", "'SCTP'", SVC_PORTS_OF(" port=http:tcp:80:30080 port=dns:sctp:53:0"), NULL },
	{ SERVICE, "spec.ports[1].protocol", "'ICMP'", NULL, SVC_PORTS_OF(" port=http:tcp:80:30080") },
	{ SERVICE, "spec.ports[1].port", "70000", NULL, SVC_PORTS_OF(" port=http:tcp:80:30080") },
	{ SERVICE, "spec.ports[1].port", "80", SVC_PORTS_OF(" port=http:tcp:80:30080 port=dns:udp:80:0"), NULL },
	{ SERVICE, "spec.ports[1].nodePort", "30080", SVC_PORTS_OF(" port=http:tcp:80:30080 port=dns:udp:53:30080"), NULL },
	{ SERVICE, "spec.ports[1].name", "'longer-than-fifteen-characters'",
	  SVC_PORTS_OF(" port=http:tcp:80:30080 port=longer-than-fifteen-characters:udp:53:0"), NULL },
	{ SERVICE, "spec.externalIPs", "['192.0.2.7','2001:db8::7','192.0.2.07']",
	  SVC_PORTS_OF(" port=http:tcp:80:30080 port=dns:udp:53:0 ext=192.0.2.7 ext=2001:db8::7"), NULL },
	{ SERVICE, "spec.externalIPs", "['','x','192.0.2.7']", NULL,
	  SVC_PORTS_OF(" port=http:tcp:80:30080 port=dns:udp:53:0 ext=192.0.2.7") },
	{ SERVICE, "spec.loadBalancerSourceRanges", "[' 10.0.0.0/8 ','2001:db8::/32','0.0.0.0/0','010.1.1.1/16']",
	  SVC " from=10.0.0.0/8 from=2001:db8::/32 from=0.0.0.0/0 from=10.1.0.0/16", NULL },
	{ SERVICE, "spec.loadBalancerSourceRanges", "['x','10.0.0.0/8']", NULL, SVC " from=10.0.0.0/8" },
	{ SERVICE, "spec.internalTrafficPolicy", "'Local'", SVC " internal-local", NULL },
	{ SERVICE, "spec.externalTrafficPolicy", "'Local'", SVC " external-local", NULL },
	{ SERVICE, "spec.externalTrafficPolicy", "''", SVC, NULL },
	{ SERVICE, "spec.sessionAffinity", "'ClientIP'", SVC " sticky=10800", NULL },
	{ SERVICE, "spec.sessionAffinity", "'None'", SVC, NULL },
	{ SERVICE, "spec.healthCheckNodePort", "31000", SVC " health=31000", NULL },
	{ SERVICE, "status.loadBalancer.ingress",
	  "[{'hostname':'a.b'},{'ip':'192.0.2.2','ipMode':'Proxy'},{'ip':'192.0.2.3','ipMode':'VIP'},{'ip':'192.0.2.3'}]",
	  "shop/web LoadBalancer ip=10.0.0.1 ip=2001:db8::1 port=http:tcp:80:30080 port=dns:udp:53:0 vip=192.0.2.3", NULL },
	{ SERVICE, "status", NULL, "shop/web LoadBalancer ip=10.0.0.1 ip=2001:db8::1 port=http:tcp:80:30080 port=dns:udp:53:0",
	  NULL },
	{ SLICE, "", NULL, SLICE_HEAD SLICE_EPS, NULL },
	{ SLICE, "endpoints", "null", SLICE_HEAD, NULL },
	{ SLICE, "ports", "null", "shop/web-x7 of web IPv4" SLICE_EPS, NULL },
	{ SLICE, "metadata.labels.kubernetes~io/service-name", NULL,
	  "nothing: metadata.labels[kubernetes.io/service-name]: belongs to no Service: slice not used", NULL },
	{ SLICE, "metadata.labels.kubernetes~io/service-name", "''",
	  "nothing: metadata.labels[kubernetes.io/service-name]: belongs to no Service: slice not used", NULL },
	{ SLICE, "metadata.name", NULL, NULL, "nothing: metadata.name: required" },
	{ SLICE, "addressType", "'FQDN'", "nothing: addressType: FQDN: slice not used", NULL },
	{ SLICE, "addressType", NULL, NULL, "nothing: addressType: required" },
	{ SLICE, "metadata.labels.service~kubernetes~io/headless", "''",
	  "shop/web-x7 of web IPv4 foreign port=http:tcp:8080 port=dns:udp:5353" SLICE_EPS, NULL },
	{ SLICE, "metadata.labels.service~kubernetes~io/service-proxy-name", "'x'", SLICE_HEAD SLICE_EPS, NULL },
	{ SLICE, "metadata.annotations.endpoints~kubernetes~io/last-change-trigger-time", "'2026-01-01T02:00:00.123456789+02:00'",
	  SLICE_HEAD SLICE_EPS " trigger=1767225600123456789", NULL },
	{ SLICE, "metadata.annotations.endpoints~kubernetes~io/last-change-trigger-time", "'soon'", SLICE_HEAD SLICE_EPS, NULL },
	{ SLICE, "ports[0].name", NULL, "shop/web-x7 of web IPv4 port=:tcp:8080 port=dns:udp:5353" SLICE_EPS,
	  "shop/web-x7 of web IPv4 port=dns:udp:5353" SLICE_EPS },
	{ SLICE, "ports[0].port", NULL, "shop/web-x7 of web IPv4 port=dns:udp:5353" SLICE_EPS, NULL },
	{ SLICE, "ports[0].port", "0", "shop/web-x7 of web IPv4 port=dns:udp:5353" SLICE_EPS, NULL },
	{ SLICE, "ports[0].protocol", NULL, SLICE_HEAD SLICE_EPS, NULL },
	{ SLICE, "endpoints[0].conditions", "{'ready':null,'serving':false,'terminating':true}",
	  SLICE_HEAD " ep=10.1.0.1,rt,on=n1 ep=10.1.0.2,s,zone=a", NULL },
	{ SLICE, "endpoints[0].addresses", "['10.1.0.01','10.1.0.9']", SLICE_HEAD SLICE_EPS, NULL },
	{ SLICE, "endpoints[0].addresses", "[]", NULL, SLICE_HEAD " ep=10.1.0.2,s,zone=a" },
	{ SLICE, "endpoints[0].addresses", "['2001:db8::1']", NULL, SLICE_HEAD " ep=10.1.0.2,s,zone=a" },
	{ SLICE, "endpoints[0].hints", "{'forNodes':[{'name':'n1'},{'name':'n2'}],'forZones':[]}",
	  SLICE_HEAD " ep=10.1.0.1,rs,on=n1,node=n1,node=n2 ep=10.1.0.2,s,zone=a", NULL },
	{ NODE, "", NULL, "n1 zone=a ip=10.9.0.1 ip=192.0.2.9 pods=10.1.0.0/24", NULL },
	{ NODE, "metadata.labels", NULL, "n1 zone=(none) ip=10.9.0.1 ip=192.0.2.9 pods=10.1.0.0/24", NULL },
	{ NODE, "metadata.deletionTimestamp", "'2026-01-01T00:00:00Z'",
	  "n1 zone=a deleting ip=10.9.0.1 ip=192.0.2.9 pods=10.1.0.0/24", NULL },
	{ NODE, "spec", "{'podCIDR':'10.2.0.0/24','taints':[{'key':'a','effect':'NoSchedule'},{'key':'b'}]}",
	  "n1 zone=a ip=10.9.0.1 ip=192.0.2.9 pods=10.2.0.0/24 taint=a taint=b", NULL },
	{ NODE, "status.conditions", "[{'type':'Ready','status':'False','message':'[PLEG is not healthy, node is shutting down]'}]",
	  "n1 zone=a ip=10.9.0.1 ip=192.0.2.9 pods=10.1.0.0/24 shutting-down", NULL },
	{ NODE, "status.conditions", "[{'type':'Ready','status':'True','message':'node is shutting down'},"
	  "{'type':'Ready','status':'Unknown','message':'node is shutting down'},"
	  "{'type':'Other','status':'False','message':'node is shutting down'},{'type':'Ready','status':'False'},{}]",
	  "n1 zone=a ip=10.9.0.1 ip=192.0.2.9 pods=10.1.0.0/24", NULL },
	{ NODE, "status.addresses[2].address", "'nonsense'", "n1 zone=a ip=192.0.2.9 pods=10.1.0.0/24", NULL },
	{ CIDR, "", NULL, " kubernetes=10.0.0.0/16 kubernetes=2001:db8::/108", NULL },
	{ CIDR, "apiVersion", "'networking.k8s.io/v1beta1'", " kubernetes=10.0.0.0/16 kubernetes=2001:db8::/108", NULL },
};

static void check_reading(json_t *v, bool strict, const char *want, const char *name)
{
	struct kp_decode_error e;
	struct kp_buf b = { 0 };
	struct kp_object o;

	ck_assert_msg(kp_decode(v, NULL, strict, &o, &e) == 0, "%s: %s: %s", name, e.field, e.why);
	print_object(&b, &o);
	ck_assert_msg(strcmp(b.data, want) == 0, "%s%s:\n got %s\nwant %s", name, strict ? "" : ", not strict", b.data, want);
	kp_buf_release(&b);
	kp_object_release(&o);
}

START_TEST(accepted_case)
{
	json_t *v = parse(bases[accepted[_i].base]);
	const char *lax = accepted[_i].lax ? accepted[_i].lax : accepted[_i].strict;
	char name[160];

	snprintf(name, sizeof(name), "%s = %.60s", accepted[_i].path, accepted[_i].value ? accepted[_i].value : "(none)");
	if (*accepted[_i].path)
		change(v, accepted[_i].path, accepted[_i].value);
	if (accepted[_i].strict)
		check_reading(v, true, accepted[_i].strict, name);
	check_reading(v, false, lax, name);
	json_decref(v);
}
END_TEST

/* EP-9: which changes of a slice are changes. */
static const struct {
	const char *path, *value;
	bool differs;
} prints[] = {
	{ "metadata.annotations.x", "'y'", false },
	{ "metadata.labels.x", "'y'", false },
	{ "metadata.resourceVersion", "'7'", false },
	{ "endpoints[0].hostname", "'x'", false },
	{ "endpoints[0].conditions", "{'ready':true,'serving':true,'terminating':false}", false },
	{ "metadata.labels.kubernetes~io/service-name", "'web2'", true },
	{ "metadata.labels.service~kubernetes~io/headless", "''", true },
	{ "endpoints[0].addresses", "['10.1.0.9']", true },
	{ "endpoints[0].addresses", "['10.1.0.1','10.1.0.9']", true },
	{ "endpoints[0].nodeName", "'n2'", true },
	{ "endpoints[0].nodeName", NULL, true },
	{ "endpoints[0].zone", "'b'", true },
	{ "endpoints[0].zone", NULL, true },
	{ "endpoints[0].conditions.ready", "false", true },
	{ "endpoints[0].conditions.terminating", "true", true },
	{ "endpoints[1].hints.forZones[0].name", "'b'", true },
	{ "endpoints[1].hints", NULL, true },
	{ "endpoints[0]", NULL, true },
	{ "ports[0].name", "'https'", true },
	{ "ports[0].port", "8081", true },
	{ "ports[0].protocol", "'UDP'", true },
	{ "ports[0].appProtocol", "'h2c'", true },
	{ "ports[1]", NULL, true },
};

START_TEST(print_case)
{
	json_t *v = parse(bases[SLICE]);
	struct kp_decode_error e;
	struct kp_object a, b;

	ck_assert_int_eq(kp_decode(v, NULL, true, &a, &e), 0);
	change(v, prints[_i].path, prints[_i].value);
	ck_assert_int_eq(kp_decode(v, NULL, true, &b, &e), 0);
	ck_assert_msg(kp_slice_equal(a.slice, b.slice) != prints[_i].differs, "%s", prints[_i].path);
	kp_object_release(&a);
	kp_object_release(&b);
	json_decref(v);
}
END_TEST

/* Kinds, lists and what is not an object at all. */
static const struct {
	const char *json, *list_kind;
	int want;
	enum kp_kind kind;
	const char *object;	/* key, or the object in the error */
} kinds[] = {
	{ "{'metadata':{'name':'a','namespace':'b'},'spec':{'clusterIP':'None'}}", "ServiceList", 0, KP_KIND_SERVICE, "b/a" },
	{ "{'kind':'Service','metadata':{'name':'a','namespace':'b'},'spec':{'clusterIP':'None'}}", "List", 0,
	  KP_KIND_SERVICE, "b/a" },	/* apiVersion of an item may be left out */
	{ "{'metadata':{'name':'n'}}", "NodeList", 0, KP_KIND_NODE, "n" },
	{ "{'metadata':{'name':'a','namespace':'b'}}", "List", 0, KP_KIND_OTHER, "" },
	{ "{'kind':'ConfigMap','apiVersion':'v1','metadata':{'name':'a'}}", NULL, 0, KP_KIND_OTHER, "" },
	{ "{'kind':'Service','apiVersion':'serving.knative.dev/v1','metadata':{'name':'a'}}", NULL, 0, KP_KIND_OTHER, "" },
	{ "{'kind':'ServiceList','apiVersion':'v1','items':{}}", NULL, -EINVAL, KP_KIND_OTHER, "object" },
	{ "{'kind':'Service','apiVersion':'v1','metadata':{'name':'a','namespace':'b'},'spec':7}", NULL, -EINVAL,
	  KP_KIND_OTHER, "Service b/a" },
	{ "{'kind':'Service','apiVersion':'v1','metadata':{'name':'A'}}", NULL, -EINVAL, KP_KIND_OTHER, "Service default/A" },
	{ "{'kind':'Node','apiVersion':'v1'}", NULL, -EINVAL, KP_KIND_OTHER, "Node" },
	{ "{}", NULL, -EINVAL, KP_KIND_OTHER, "object" },
	{ "null", NULL, 0, KP_KIND_OTHER, "" },
	{ "'text'", NULL, -EINVAL, KP_KIND_OTHER, "object" },
	{ "[]", NULL, -EINVAL, KP_KIND_OTHER, "object" },
};

START_TEST(kind_case)
{
	json_t *v = parse(kinds[_i].json);
	struct kp_decode_error e;
	struct kp_object o;
	int r = kp_decode(v, kinds[_i].list_kind, true, &o, &e);

	ck_assert_msg(r == kinds[_i].want, "%s: %d", kinds[_i].json, r);
	ck_assert_msg(o.kind == kinds[_i].kind, "%s: kind %d", kinds[_i].json, o.kind);
	ck_assert_str_eq(r < 0 ? e.object : o.key, kinds[_i].object);
	kp_object_release(&o);
	json_decref(v);
}
END_TEST

/* A refused object is still told by its key, if its names are sound. */
START_TEST(refused_key)
{
	json_t *v = parse(bases[SERVICE]);
	struct kp_decode_error e;
	struct kp_object o;

	change(v, "spec.ports[0].port", "0");
	ck_assert_int_eq(kp_decode(v, NULL, true, &o, &e), -EINVAL);
	ck_assert_int_eq(e.kind, KP_KIND_SERVICE);
	ck_assert_str_eq(e.key, "shop/web");
	change(v, "metadata.name", "'Web'");
	ck_assert_int_eq(kp_decode(v, NULL, true, &o, &e), -EINVAL);
	ck_assert_int_eq(e.kind, KP_KIND_OTHER);
	ck_assert_str_eq(e.key, "");
	json_decref(v);
}
END_TEST

START_TEST(long_values)
{
	json_t *v = parse(bases[SERVICE]);
	struct kp_decode_error e;
	struct kp_object o;
	char *text = malloc(70001);

	memset(text, 'a', 70000);
	text[70000] = '\0';
	json_object_set_new(json_object_get(v, "spec"), "type", json_string(text));
	ck_assert_int_eq(kp_decode(v, NULL, true, &o, &e), -EINVAL);
	ck_assert_uint_lt(strlen(e.why), 200);
	ck_assert_ptr_nonnull(strstr(e.why, "\"...: must be ClusterIP"));
	json_object_set_new(json_object_get(v, "metadata"), "name", json_string(text));
	for (int strict = 0; strict < 2; strict++) {
		ck_assert_int_eq(kp_decode(v, NULL, strict, &o, &e), -EINVAL);
		ck_assert_str_eq(e.field, "metadata.name");
	}
	/* Cut between characters of UTF-8, not inside one. */
	for (int i = 0; i < 35000; i++)
		memcpy(text + 2 * i, "\xc3\xa4", 2);
	for (int shift = 0; shift < 2; shift++) {
		json_t *name = json_string(text + 2 - shift * 2);

		ck_assert_ptr_nonnull(name);
		json_object_set_new(json_object_get(v, "metadata"), "name", name);
		text[0] = text[1] = 'x';
		ck_assert_int_eq(kp_decode(v, NULL, true, &o, &e), -EINVAL);
		name = json_string(e.why);	/* refuses invalid UTF-8 */
		ck_assert_ptr_nonnull(name);
		json_decref(name);
	}
	free(text);
	json_decref(v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("decode");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, refused_case, 0, KP_N(refused));
	tcase_add_loop_test(tc, accepted_case, 0, KP_N(accepted));
	tcase_add_loop_test(tc, print_case, 0, KP_N(prints));
	tcase_add_loop_test(tc, kind_case, 0, KP_N(kinds));
	tcase_add_test(tc, refused_key);
	tcase_add_test(tc, long_values);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
