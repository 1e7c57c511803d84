#ifndef KP_PLAN_ENDPOINTS_H
#define KP_PLAN_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct kp_slice;
struct kp_endpoint;

/* An endpoint of one service port, with what selection asks about it. */
struct kp_candidate {
	struct kp_addr addr;
	uint16_t port;
	uint8_t flags;			/* enum kp_endpoint_flags */
	bool local;			/* on this node (EP-4) */
	bool in_cluster, in_local;	/* set by kp_topology_select() */
	const struct kp_endpoint *from;	/* hints, node: borrowed from the slice */
	char text[KP_ADDR_STRLEN + 8];	/* "10.0.0.1:80", "[fd00::1]:80": identity and order (EP-6, EP-8) */
	uint32_t seen;			/* place in the order of reading, settles duplicates */
};

/* Memory kept between merges; zero-initialise, free(items) in the end. */
struct kp_candidates {
	struct kp_candidate *items;
	size_t n, cap;
};

/* What a slice port feeds (SP-3). */
struct kp_port_key {
	const char *name;
	uint8_t proto;
};

/*
 * The endpoints of one service port and family, out of all slices of its Service: sorted
 * by text, one of each (EP-7: a later one wins unless it is terminating). Replaces *ret.
 */
void kp_endpoints_merge(const struct kp_slice *const *slices, size_t n, enum kp_family family,
			struct kp_port_key port, struct kp_candidates *ret);

/*
 * Distinct addresses of local ready endpoints, sorted, over all slice ports, whether the
 * Service has such a port or not (HC-35). scratch as in merge. Returns the count; caller
 * frees the array.
 */
size_t kp_endpoints_local_ready(const struct kp_slice *const *slices, size_t n, enum kp_family family,
				struct kp_candidates *scratch, struct kp_addr **ret);
/* Likewise those that are terminating and still serve: they get connections when no ready one is left (KEP-1669). */
size_t kp_endpoints_local_terminating(const struct kp_slice *const *slices, size_t n, enum kp_family family,
				      struct kp_candidates *scratch, struct kp_addr **ret);

#endif
