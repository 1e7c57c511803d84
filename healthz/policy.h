#ifndef HZ_POLICY_H
#define HZ_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "healthz/port.h"
#include "healthz/proxyproto.h"

/* Limits and timers of connections (health-and-probes B.2). 0: the default. */
struct hz_limits {
	unsigned header_timeout_ms;	/* 5 s: accept, or first byte of a later request, to end of head */
	unsigned idle_timeout_ms;	/* 130 s: between requests */
	unsigned write_timeout_ms;	/* 5 s */
	unsigned max_connections;	/* 1024 */
	unsigned max_requests;		/* 1000, per connection */
};

/* What holds for all ports of a server, and can change while they are open. Borrowed lists. */
struct hz_policy {
	struct hz_limits limits;
	struct hz_pp_rules proxy;
	enum hz_proxy_mode service_proxy;	/* on the ports of Services; fixed listeners have one each */
	const struct kp_cidr *trusted;	/* who may send a PROXY header; none: everyone */
	size_t n_trusted;
	const struct kp_cidr *allowed;	/* whom we answer, besides link-local IPv6; none: everyone */
	size_t n_allowed;
};

/* One block; free() releases it. */
struct hz_policy *hz_policy_copy(const struct hz_policy *p);

/* Pure. Link-local neighbours are always let in: Azure probes from such an address. */
bool hz_policy_allows(const struct hz_policy *p, const struct kp_addr *peer);
/* A port's mode, as it counts for this peer: B.7. */
enum hz_proxy_mode hz_policy_mode(const struct hz_policy *p, enum hz_proxy_mode mode, const struct kp_addr *peer);

#endif
