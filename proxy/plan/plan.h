#ifndef KP_PLAN_PLAN_H
#define KP_PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

/*
 * What shall be in the kernel, in terms of packets and not of objects. A plan
 * belongs to one Service; it is immutable once built, counted, and shared between
 * the main and the dataplane thread. Everything Kubernetes decides (policies,
 * conditions, hints, families, conflicting claims) is decided here; a backend
 * only writes it down. Endpoints are in order of their "ip:port" text (EP-8).
 */

struct kp_backend {
	struct kp_addr addr;
	bool local;		/* on this node: hairpin is possible (0.4, 6) */
	uint16_t port;
};

enum kp_frontend_kind { KP_FE_CLUSTER_IP, KP_FE_EXTERNAL_IP, KP_FE_VIP, KP_FE_NODE_PORT };

/* One (address, protocol, port) or (protocol, node port) that this service port answers at. */
struct kp_frontend {
	uint8_t kind;		/* enum kp_frontend_kind */
	bool claimed;		/* false: an older claim of another Service wins; write nothing */
	uint16_t port;
	struct kp_addr ip;	/* KP_FE_NODE_PORT: zero, but for the family */
};

/* One port of the Service, in one family. */
struct kp_plan_port {
	char *name;		/* port name, may be "" */
	char *label;		/* "ns/name:port" or "ns/name" (SP-2): for comments and messages */
	char *id;		/* "ns/name/proto/port": unique within the family, for chain names */
	uint8_t family;		/* enum kp_family */
	uint8_t proto;		/* IPPROTO_* */
	bool has_any;		/* some endpoint somewhere: no REJECT (3.1) */
	bool internal_local;	/* clusterIP traffic goes to the local set */
	bool external_local;	/* external traffic from outside goes to the local set */
	uint32_t affinity_seconds;	/* 0: none */
	struct kp_frontend *frontends;	/* clusterIP first; no key twice */
	struct kp_backend *cluster, *local;
	struct kp_cidr *ranges;	/* source ranges guarding the VIPs; empty: open (SP-11, NF-80 applied) */
	struct kp_backend *serving;	/* UDP only: serving endpoints (CT-3), local unset, sorted by kp_backend_cmp */
	uint32_t n_frontends, n_cluster, n_local, n_ranges, n_serving;
};

struct kp_plan {
	int refs;		/* atomic; use the functions */
	char *key;		/* "ns/name" */
	struct kp_plan_port *ports;	/* IPv4 ports first, then IPv6, each as in the Service */
	uint32_t n_ports;
	/* For health: meaningful when health_port != 0 (HC-30, B.4). */
	uint16_t health_port;
	bool has_family[KP_N_FAMILIES];
	uint32_t local_ready[KP_N_FAMILIES];	/* distinct addresses of local ready endpoints (HC-35) */
	struct kp_addr *ready;	/* those, sorted: IPv4 first */
	uint32_t local_terminating[KP_N_FAMILIES];	/* of those that end and still serve; shown, decides nothing */
	int64_t created;	/* for two Services announcing one health port: the older wins */
};

/* They answer at the same address and port, given the same protocol. */
bool kp_frontend_same_place(const struct kp_frontend *a, const struct kp_frontend *b);
/* By address and port alone. */
int kp_backend_cmp(const struct kp_backend *a, const struct kp_backend *b);

struct kp_plan *kp_plan_ref(struct kp_plan *p);
struct kp_plan *kp_plan_unref(struct kp_plan *p);	/* NULL is fine; returns NULL */
KP_DEFINE_AUTO(struct kp_plan *, kp_plan_unref)
const void *kp_plan_key(const void *plan, size_t *ret_len);	/* for kp_map_new_keyed() */

/* The same front ends, treated the same way; only which endpoints serve them, and how many, may differ. */
bool kp_plan_same_but_endpoints(const struct kp_plan *a, const struct kp_plan *b);

/* How traffic from this node's (or the cluster's) pods is recognised (4.10). */
enum kp_detect { KP_DETECT_NONE, KP_DETECT_CIDR, KP_DETECT_IFNAME, KP_DETECT_IFPREFIX };

struct kp_detector {
	uint8_t kind;		/* enum kp_detect */
	struct kp_cidr cidr;	/* KP_DETECT_CIDR */
	char ifname[16];	/* KP_DETECT_IFNAME; KP_DETECT_IFPREFIX without the star */
};

/* What is the same for all Services on this node. Immutable and counted as well. */
struct kp_plan_node {
	int refs;
	bool enabled[KP_N_FAMILIES];
	struct kp_detector detector[KP_N_FAMILIES];
	bool masquerade_all;
	uint32_t mark;		/* 1 << masqueradeBit */
	bool nodeport_all[KP_N_FAMILIES];	/* every local address but loopback */
	bool nodeport_localhost;	/* mode iptables, IPv4: on loopback addresses as well (IT-65) */
	struct kp_addr *nodeport_ips[KP_N_FAMILIES];	/* else these, sorted; loopback is for health ports only (HC-31, NF-50) */
	uint32_t n_nodeport_ips[KP_N_FAMILIES];
	struct kp_addr *node_ips[KP_N_FAMILIES];	/* all interface addresses, sorted, no loopback */
	uint32_t n_node_ips[KP_N_FAMILIES];
	struct kp_cidr *service_cidrs[KP_N_FAMILIES];
	uint32_t n_service_cidrs[KP_N_FAMILIES];
};

struct kp_plan_node *kp_plan_node_new(void);	/* zeroed, one reference */
struct kp_plan_node *kp_plan_node_ref(struct kp_plan_node *n);
struct kp_plan_node *kp_plan_node_unref(struct kp_plan_node *n);
KP_DEFINE_AUTO(struct kp_plan_node *, kp_plan_node_unref)
bool kp_plan_node_equal(const struct kp_plan_node *a, const struct kp_plan_node *b);

/* Readable, sorted, stable: what golden files compare. Appends to out. */
struct kp_buf;
void kp_plan_print(const struct kp_plan *p, struct kp_buf *out);
void kp_plan_node_print(const struct kp_plan_node *n, struct kp_buf *out);

#endif
