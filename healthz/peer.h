#ifndef HZ_PEER_H
#define HZ_PEER_H

#include <stdint.h>

#include "proxy/base/addr.h"

struct sockaddr_storage;

/* Who is at the other end, or is said to be. A value; unset: address zero, port 0. */
struct hz_peer {
	struct kp_addr addr;
	uint16_t port;
};

/* From accept(2); unset for other families. IPv4-mapped addresses are IPv4. */
struct hz_peer hz_peer_of(const struct sockaddr_storage *ss);
/* From address bytes in network order. */
struct hz_peer hz_peer_from(enum kp_family family, const void *ip, uint16_t port);

/* "10.1.2.3:51234", "[2001:db8::1]:51234"; returns out. */
#define HZ_PEER_STRLEN (KP_ADDR_STRLEN + 8)
const char *hz_peer_str(const struct hz_peer *p, char *out);

#endif
