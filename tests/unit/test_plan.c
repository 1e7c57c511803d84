#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/log.h"
#include "tests/support/load.h"

/* A model of node "n1", a planner for it, and the text of what they make. */
struct lab {
	struct kp_model *m;
	struct kp_planner *p;
	struct kp_buf text;
};

static struct lab lab_new(const struct kp_plan_options *opt)
{
	static const struct kp_plan_options both = { .families = { true, true }, .masquerade_bit = 14 };
	struct lab l = { .m = kp_model_new("n1") };

	l.p = kp_planner_new(l.m, opt ? opt : &both);
	return l;
}

static void lab_release(struct lab *l)
{
	kp_planner_free(l->p);
	kp_model_free(l->m);
	kp_buf_release(&l->text);
}

#define LAB KP_AUTO(lab_release) struct lab

/* The plans of everything that became dirty. */
static const char *plans(struct lab *l)
{
	l->text.len = 0;
	kp_buf_printf(&l->text, "%s", "");
	load_print(l->m, l->p, &l->text);
	return l->text.data;
}

static void put_service(struct lab *l, const char *name, const char *spec)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("{kind: Service, metadata: {namespace: ns, name: %s}, %s}", name, spec);

	load_text(l->m, text);
}

/* Which Services of the table are there, and what the one asked for looks like (parts of its text). */
#define CIP4 "clusterIP: 10.96.0.1, ipFamilies: [IPv4], clusterIPs: [10.96.0.1]"
#define CIP46 "clusterIP: 10.96.0.1, ipFamilies: [IPv4, IPv6], clusterIPs: [10.96.0.1, \"fd96::1\"]"
#define PORT "ports: [{port: 80, protocol: TCP}]"
#define NPORT "ports: [{port: 80, protocol: TCP, nodePort: 30080}]"
#define VIP "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}, {ip: \"2001:db8::1\"}]}}"

static const struct {
	const char *name, *service;
	const char *has[4], *lacks[4];
} services[] = {
	{ "plain", "spec: {" CIP4 ", " PORT "}",
	  { "IPv4 ns/s/tcp/80 ns/s no-endpoints\n", "  cluster-ip 10.96.0.1:80\n" }, { "IPv6", "-local" } },
	{ "single stack has nothing in the other family",
	  "spec: {type: NodePort, " CIP4 ", " NPORT ", externalIPs: [\"2001:db8::5\"]}",
	  { "node-port 30080\n" }, { "IPv6", "2001:db8::5" } },
	{ "dual stack, each family its own", "spec: {" CIP46 ", " NPORT "}, " VIP,
	  { "cluster-ip 10.96.0.1:80\n  vip 192.0.2.1:80\n  node-port 30080\nIPv6",
	    "cluster-ip [fd96::1]:80\n  vip [2001:db8::1]:80\n  node-port 30080\n" }, { "" } },
	{ "VIP and external IP is a VIP", "spec: {" CIP4 ", " PORT ", externalIPs: [192.0.2.9, 192.0.2.1]}, " VIP,
	  { "vip 192.0.2.1:80\n  external-ip 192.0.2.9:80\n" }, { "external-ip 192.0.2.1" } },
	{ "clusterIP named again", "spec: {" CIP4 ", " PORT ", externalIPs: [10.96.0.1]}",
	  { "cluster-ip 10.96.0.1:80\n" }, { "external-ip" } },
	{ "a port said twice", "spec: {" CIP4 ", ports: [{name: a, port: 80}, {name: b, port: 80}]}",
	  { "ns/s:a" }, { "ns/s:b" } },
	{ "node port said twice", "spec: {" CIP4 ", ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30080}]}",
	  { "ns/s:b no-endpoints\n  cluster-ip 10.96.0.1:81\n" }, { "unclaimed" } },

	{ "external local", "spec: {type: NodePort, externalTrafficPolicy: Local, " CIP4 ", " NPORT "}",
	  { " external-local\n" }, { "internal-local" } },
	{ "external local without an outside", "spec: {externalTrafficPolicy: Local, " CIP4 ", " PORT "}",
	  { "no-endpoints\n" }, { "external-local" } },
	{ "external local by external IP", "spec: {externalTrafficPolicy: Local, " CIP4 ", " PORT ", externalIPs: [192.0.2.9]}",
	  { " external-local\n" }, { "internal" } },
	{ "internal local", "spec: {internalTrafficPolicy: Local, " CIP4 ", " PORT "}",
	  { " internal-local\n" }, { "external" } },
	{ "affinity", "spec: {sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10}}, " CIP4 ", " PORT "}",
	  { " affinity=10s\n" }, { "" } },
	{ "health port", "spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 32000, " CIP46 ", " PORT "}",
	  { "service ns/s health-port=32000 IPv4-ready-here=0 IPv6-ready-here=0\n" }, { "" } },
	{ "health port of policy Cluster", "spec: {type: LoadBalancer, healthCheckNodePort: 32000, " CIP4 ", " PORT "}",
	  { "service ns/s\n" }, { "health" } },
	{ "health port of another type", "spec: {type: NodePort, externalTrafficPolicy: Local, healthCheckNodePort: 32000, " CIP4 ", " NPORT "}",
	  { "service ns/s\n" }, { "health" } },

	{ "ranges", "spec: {" CIP46 ", " PORT ", loadBalancerSourceRanges: [\" 203.0.113.0/24 \", 10.0.0.0/8]}, " VIP,
	  { "80\n  range 203.0.113.0/24\n  range 10.0.0.0/8\nIPv6", "vip [2001:db8::1]:80\n" }, { "]:80\n  range" } },
	{ "a zero range opens its family", "spec: {" CIP46 ", " PORT ", loadBalancerSourceRanges: [203.0.113.0/24, 0.0.0.0/0, \"fd00::/8\"]}, " VIP,
	  { "range fd00::/8" }, { "range 203", "range 0" } },
	{ "ranges without a VIP", "spec: {" CIP4 ", " NPORT ", externalIPs: [192.0.2.9], loadBalancerSourceRanges: [203.0.113.0/24]}",
	  { "" }, { "range" } },
	{ "ranges that hold the node", "spec: {" CIP46 ", " PORT ", loadBalancerSourceRanges: [172.18.0.0/16, \"fd00::/8\"]}, " VIP,
	  { "range 172.18.0.0/16\n  range 192.0.2.1/32\nIPv6", "range fd00::/8\n" }, { "2001:db8::1/128" } },

	{ "headless", "spec: {clusterIP: None, " PORT "}", { "" }, { "service" } },
	{ "no clusterIP yet", "spec: {clusterIP: \"\", " PORT "}", { "" }, { "service" } },
	{ "ExternalName", "spec: {type: ExternalName, externalName: x, " CIP4 ", " PORT "}", { "" }, { "service" } },
};

START_TEST(service_case)
{
	LAB l = lab_new(NULL);
	const char *text;

	load_text(l.m, "{kind: Node, metadata: {name: n1}, status: {addresses: [{type: InternalIP, address: 172.18.0.2}]}}");
	put_service(&l, "s", services[_i].service);
	text = plans(&l);
	for (size_t i = 0; i < 4 && services[_i].has[i]; i++)
		ck_assert_msg(strstr(text, services[_i].has[i]), "%s: no '%s' in:\n%s", services[_i].name,
			      services[_i].has[i], text);
	for (size_t i = 0; i < 4 && services[_i].lacks[i]; i++)
		ck_assert_msg(!*services[_i].lacks[i] || !strstr(text, services[_i].lacks[i]), "%s: '%s' in:\n%s",
			      services[_i].name, services[_i].lacks[i], text);
}
END_TEST

START_TEST(family_switched_off)
{
	const struct kp_plan_options v6 = { .families = { [KP_IPV6] = true } };
	LAB l = lab_new(&v6);

	put_service(&l, "s", "spec: {" CIP46 ", " PORT "}");
	ck_assert(strstr(plans(&l), "[fd96::1]:80"));
	ck_assert(!strstr(l.text.data, "IPv4"));
	put_service(&l, "s", "spec: {" CIP4 ", " PORT "}");
	ck_assert_str_eq(plans(&l), "");
}
END_TEST

/* The loser is built again when the owner goes, although nobody touched it. */
START_TEST(heir_is_built_again)
{
	LAB l = lab_new(NULL);

	put_service(&l, "b", "spec: {clusterIP: 10.96.0.2, " PORT ", externalIPs: [192.0.2.9]}");
	ck_assert(strstr(plans(&l), "external-ip 192.0.2.9:80\n"));
	put_service(&l, "a", "spec: {clusterIP: 10.96.0.1, " PORT ", externalIPs: [192.0.2.9]}");
	plans(&l);
	ck_assert_msg(strstr(l.text.data, "service ns/b") && strstr(l.text.data, "192.0.2.9:80 unclaimed\n"), "%s", l.text.data);
	kp_model_del_service(l.m, "ns/a");
	plans(&l);
	ck_assert_msg(strstr(l.text.data, "service ns/b") && !strstr(l.text.data, "unclaimed"), "%s", l.text.data);
}
END_TEST

/* Naming another Service's clusterIP does not take it, whatever the names. */
START_TEST(cluster_ip_is_not_for_the_taking)
{
	LAB l = lab_new(NULL);

	put_service(&l, "victim", "spec: {clusterIP: 10.96.0.2, " PORT "}");
	put_service(&l, "a", "spec: {clusterIP: 10.96.0.1, " PORT ", externalIPs: [10.96.0.2]}");
	plans(&l);
	ck_assert_msg(strstr(l.text.data, "external-ip 10.96.0.2:80 unclaimed\n"), "%s", l.text.data);
	ck_assert_msg(strstr(l.text.data, "cluster-ip 10.96.0.2:80\n"), "%s", l.text.data);
}
END_TEST

/* What cannot be told from a plan is not built into it: order of arrival. */
START_TEST(order_of_arrival_leaves_no_trace)
{
	static const char *const parts[] = {
		"{kind: Service, metadata: {namespace: ns, name: a}, spec: {clusterIP: 10.96.0.1, " NPORT "}}",
		"{kind: Service, metadata: {namespace: ns, name: b}, spec: {clusterIP: 10.96.0.2, " NPORT "}}",
		"{kind: EndpointSlice, addressType: IPv4, metadata: {namespace: ns, name: a-1, labels: {kubernetes.io/service-name: a}},"
		" ports: [{name: \"\", port: 80}], endpoints: [{addresses: [10.0.0.9]}, {addresses: [10.0.0.10]}]}",
		"{kind: EndpointSlice, addressType: IPv4, metadata: {namespace: ns, name: a-2, labels: {kubernetes.io/service-name: a}},"
		" ports: [{name: \"\", port: 80}], endpoints: [{addresses: [10.0.0.9], nodeName: n1}]}",
	};
	LAB forth = lab_new(NULL), back = lab_new(NULL);

	for (size_t i = 0; i < KP_N(parts); i++) {
		load_text(forth.m, parts[i]);
		load_text(back.m, parts[KP_N(parts) - 1 - i]);
	}
	plans(&forth);
	plans(&back);
	ck_assert_str_eq(forth.text.data, back.text.data);
	ck_assert_msg(strstr(forth.text.data, "  cluster 10.0.0.10:80\n  cluster 10.0.0.9:80 here\n"), "%s", forth.text.data);
}
END_TEST

static void *let_go(void *plan)
{
	for (int i = 0; i < 100000; i++)
		kp_plan_unref(kp_plan_ref(plan));
	return kp_plan_unref(plan);
}

START_TEST(plan_is_shared_by_threads)
{
	LAB l = lab_new(NULL);
	struct kp_plan *p;
	pthread_t t;

	put_service(&l, "s", "spec: {" CIP4 ", " PORT "}");
	p = kp_planner_build(l.p, "ns/s");
	ck_assert_int_eq(pthread_create(&t, NULL, let_go, kp_plan_ref(p)), 0);
	let_go(kp_plan_ref(p));
	pthread_join(t, NULL);
	ck_assert_int_eq(p->refs, 1);
	ck_assert_str_eq(p->ports[0].id, "ns/s/tcp/80");
	ck_assert_ptr_null(kp_plan_unref(p));
	ck_assert_ptr_null(kp_plan_unref(NULL));
}
END_TEST

/* The node's part */

static const struct kp_cidr eth0_net = { { KP_IPV4, { 172, 18 } }, 16 };

static const struct {
	const char *name;
	struct kp_plan_options opt;
	const char *objects, *text;
} nodes[] = {
	{ "cluster CIDR", { .families = { true, true }, .masquerade_bit = 14, .has_cluster_cidr = { true },
			    .cluster_cidr = { { { KP_IPV4, { 10, 244 } }, 16 } } }, "",
	  "node mark=0x004000\n"
	  "IPv4\n  pods from 10.244.0.0/16\n  node-ports at all\n  node-ip 172.18.0.2\n  node-ip 192.0.2.2\n"
	  "IPv6\n  pods unknown\n  node-ports at all\n  node-ip fd18::2\n  node-ip fe80::2\n" },
	{ "node CIDR", { .families = { true, true }, .masquerade_bit = 31, .masquerade_all = true, .local_mode = KP_LOCAL_NODE_CIDR,
			 .nodeport_cidrs = &eth0_net, .n_nodeport_cidrs = 1 },
	  "{kind: Node, metadata: {name: n1}, spec: {podCIDRs: [10.244.1.0/24, \"fd24:0:0:1::/64\"]}}",
	  "node mark=0x80000000 masquerade-all\n"
	  "IPv4\n  pods from 10.244.1.0/24\n  node-ports at 172.18.0.2\n  node-ip 172.18.0.2\n  node-ip 192.0.2.2\n"
	  "IPv6\n  pods from fd24:0:0:1::/64\n  node-ports at all\n  node-ip fd18::2\n  node-ip fe80::2\n" },
	{ "primary", { .families = { true, true }, .masquerade_bit = 14, .local_mode = KP_LOCAL_BRIDGE, .ifname = "cni0",
		       .nodeport_primary = true },
	  "{kind: Node, metadata: {name: n1}, status: {addresses: [{type: ExternalIP, address: 192.0.2.2},"
	  " {type: InternalIP, address: 172.18.0.2}, {type: Hostname, address: n1}]}}\n"
	  "---\n{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: k}, spec: {cidrs: [10.96.0.0/16, \"fd96::/108\"]}}",
	  "node mark=0x004000\n"
	  "IPv4\n  pods through cni0\n  node-ports at 172.18.0.2\n  node-ip 172.18.0.2\n  node-ip 192.0.2.2\n  service-cidr 10.96.0.0/16\n"
	  "IPv6\n  pods through cni0\n  node-ports at all\n  node-ip fd18::2\n  node-ip fe80::2\n  service-cidr fd96::/108\n" },
	{ "primary, no Node", { .families = { true }, .masquerade_bit = 14, .local_mode = KP_LOCAL_PREFIX, .ifname = "veth",
				.nodeport_primary = true }, "",
	  "node mark=0x004000\nIPv4\n  pods through veth*\n  node-ports at all\n  node-ip 172.18.0.2\n  node-ip 192.0.2.2\n" },
};

static size_t interfaces(struct kp_addr ret[8])
{
	static const char *const all[] = { "192.0.2.2", "127.0.0.1", "172.18.0.2", "::1", "fe80::2", "fd18::2", "172.18.0.2" };

	for (size_t i = 0; i < KP_N(all); i++)
		ck_assert(kp_addr_parse(all[i], &ret[i]));
	return KP_N(all);
}

START_TEST(node_case)
{
	LAB l = lab_new(&nodes[_i].opt);
	struct kp_addr addrs[8];
	size_t n = interfaces(addrs);
	struct kp_plan_node *node, *again;

	load_text(l.m, nodes[_i].objects);
	node = kp_planner_build_node(l.p, addrs, n);
	again = kp_planner_build_node(l.p, addrs, n);
	kp_plan_node_print(node, &l.text);
	ck_assert_msg(strcmp(l.text.data, nodes[_i].text) == 0, "%s:\n%s", nodes[_i].name, l.text.data);
	ck_assert(kp_plan_node_equal(node, again));
	kp_plan_node_unref(again);
	again = kp_planner_build_node(l.p, addrs, n - 3);	/* an address less */
	ck_assert(!kp_plan_node_equal(node, again) || !nodes[_i].opt.families[KP_IPV6]);
	kp_plan_node_unref(again);
	kp_plan_node_unref(node);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("plan");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	kp_log_set_level(KP_LOG_ERROR);
	tcase_add_loop_test(tc, service_case, 0, KP_N(services));
	tcase_add_test(tc, family_switched_off);
	tcase_add_test(tc, heir_is_built_again);
	tcase_add_test(tc, cluster_ip_is_not_for_the_taking);
	tcase_add_test(tc, order_of_arrival_leaves_no_trace);
	tcase_add_test(tc, plan_is_shared_by_threads);
	tcase_add_loop_test(tc, node_case, 0, KP_N(nodes));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
