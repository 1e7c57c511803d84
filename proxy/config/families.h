#ifndef KP_CONFIG_FAMILIES_H
#define KP_CONFIG_FAMILIES_H

#include "proxy/config/config.h"

/* What this node is, as far as the configuration can fit it or not (kube-proxy-behaviour 1.3, 1.6). */
struct kp_node_ips {
	enum kp_family primary;
	struct kp_addr ip[KP_N_FAMILIES];	/* loopback where none is known */
};

/*
 * The node's addresses: the first of each family in raw (status.addresses in kube-proxy's
 * order, IN-32), and instead of that bindAddress, where it is an address of one machine
 * (IN-33). The family of the first, or of bindAddress, is the primary one.
 */
void kp_node_ips_detect(const struct kp_addr *raw, size_t n, const char *bind_address, struct kp_node_ips *ret);

struct kp_node_facts {
	enum kp_family primary;
	bool dual_stack;		/* this host can do both families */
	const struct kp_cidr *pod_cidrs;
	size_t n_pod_cidrs;
	enum kp_mode mode;		/* that it runs in; KP_MODE_UNSET: as configured */
};

/*
 * What looks wrong between the two, as warnings; errors are what nothing good can come
 * of (IN-63). Neither looks at the objects of the cluster.
 */
void kp_config_check_node_ports(const struct kp_config *c, const struct kp_node_facts *node, struct kp_config_report *rep);
void kp_config_check_families(const struct kp_config *c, const struct kp_node_facts *node, struct kp_config_report *rep);

#endif
