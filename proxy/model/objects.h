#ifndef KP_MODEL_OBJECTS_H
#define KP_MODEL_OBJECTS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

/*
 * What the proxy keeps of the API objects: plain values, made by a source's
 * decoder, owned by the model once put there. Everything a rule does not depend
 * on is dropped while decoding. Section numbers: kube-proxy-behaviour.
 */

enum kp_service_type { KP_CLUSTERIP, KP_NODEPORT, KP_LOADBALANCER, KP_EXTERNALNAME };

struct kp_service_port {
	char *name;		/* "" when the port has none */
	uint8_t proto;		/* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	uint16_t port;
	uint16_t node_port;	/* 0: none */
};

struct kp_service {
	char *ns, *name;
	enum kp_service_type type;
	bool foreign;		/* has the label service.kubernetes.io/service-proxy-name, with any value (IN-6, 0.4 item 12) */
	bool headless;		/* clusterIP "" or "None" (IN-20) */
	bool has_ip[KP_N_FAMILIES];
	struct kp_addr cluster_ip[KP_N_FAMILIES];	/* IN-23 */
	struct kp_service_port *ports;
	size_t n_ports;
	struct kp_addr *external_ips;	/* both families, in order, duplicates removed */
	size_t n_external_ips;
	struct kp_addr *vips;		/* ingress with ip, ipMode nil or VIP; as external_ips */
	size_t n_vips;
	struct kp_cidr *source_ranges;	/* both families; a list holding a /0 keeps it: see plan */
	size_t n_source_ranges;
	bool internal_local, external_local;	/* the policy fields as written; the plan derives what they mean */
	bool affinity;			/* ClientIP */
	uint32_t affinity_seconds;
	uint16_t health_check_node_port;
	int64_t created;		/* creationTimestamp, seconds since 1970; 0: unknown */
};

/* Conditions after defaulting (EP-3). HERE: on this node; the model says so. */
enum kp_endpoint_flags { KP_EP_READY = 1, KP_EP_SERVING = 2, KP_EP_TERMINATING = 4, KP_EP_HERE = 8 };

struct kp_endpoint {
	struct kp_addr addr;	/* addresses[0] */
	uint8_t flags;		/* enum kp_endpoint_flags */
	uint32_t node;		/* where its nodeName begins in the slice's node_names; 0: none, and in the model */
	char **zone_hints;	/* NULL-terminated, or NULL: none */
	char **node_hints;
};

struct kp_slice_port {
	char *name;		/* never NULL: ports without a name or number are dropped (EP-1) */
	uint8_t proto;
	uint16_t port;
};

struct kp_slice {
	char *ns, *name;
	char *service;		/* label kubernetes.io/service-name */
	bool foreign;		/* has the label service.kubernetes.io/headless, with any value (0.4 item 12) */
	uint8_t family;		/* enum kp_family; slices of type FQDN never get here */
	struct kp_slice_port *ports;
	size_t n_ports;
	struct kp_endpoint *endpoints;
	size_t n_endpoints;
	char *node_names;	/* "", then those of the endpoints, each with its NUL; NULL in the model */
	uint64_t trigger_ns;	/* endpoints.kubernetes.io/last-change-trigger-time since 1970; 0: none */
	/* Hash over everything EP-9 compares, also what is not kept (zone, all addresses). */
	uint64_t fingerprint;
};

struct kp_node {
	char *name;
	char *zone;			/* label topology.kubernetes.io/zone or NULL */
	struct kp_addr *ips;		/* usable status.addresses, InternalIP first, then ExternalIP (IN-32) */
	size_t n_ips;
	bool stand_ins;			/* those are not its own: it has none so far */
	struct kp_cidr *pod_cidrs;
	size_t n_pod_cidrs;
	char **taint_keys;		/* NULL-terminated or NULL */
	bool deleting;			/* has a deletionTimestamp */
	bool shutting_down;		/* the kubelet says so, not being Ready */
};

struct kp_service_cidr {
	char *name;
	struct kp_cidr *cidrs;
	size_t n_cidrs;
};

/* All take NULL and half-built objects and return NULL. */
struct kp_service *kp_service_free(struct kp_service *s);
struct kp_slice *kp_slice_free(struct kp_slice *s);
struct kp_node *kp_node_free(struct kp_node *n);
struct kp_service_cidr *kp_service_cidr_free(struct kp_service_cidr *c);
char **kp_strv_free(char **v);
void kp_endpoint_release(struct kp_endpoint *e);	/* what it points to; e is empty then */
KP_DEFINE_AUTO(struct kp_service *, kp_service_free)
KP_DEFINE_AUTO(struct kp_slice *, kp_slice_free)
KP_DEFINE_AUTO(struct kp_node *, kp_node_free)
KP_DEFINE_AUTO(struct kp_service_cidr *, kp_service_cidr_free)

/* Same for every purpose of the proxy (SP-31, EP-9). */
bool kp_service_equal(const struct kp_service *a, const struct kp_service *b);
bool kp_slice_equal(const struct kp_slice *a, const struct kp_slice *b);	/* by fingerprint */
bool kp_node_equal(const struct kp_node *a, const struct kp_node *b);

const char *kp_proto_name(uint8_t proto);	/* "tcp", "udp", "sctp" */

#endif
