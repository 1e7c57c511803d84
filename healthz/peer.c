#include "healthz/peer.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

struct hz_peer hz_peer_from(enum kp_family family, const void *ip, uint16_t port)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct hz_peer p = { .addr = { .family = (uint8_t)family }, .port = port };

	memcpy(p.addr.b, ip, kp_addr_len(p.addr.family));
	if (family == KP_IPV6 && memcmp(ip, mapped, sizeof(mapped)) == 0)
		return hz_peer_from(KP_IPV4, (const uint8_t *)ip + sizeof(mapped), port);
	return p;
}

struct hz_peer hz_peer_of(const struct sockaddr_storage *ss)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

	if (ss->ss_family == AF_INET)
		return hz_peer_from(KP_IPV4, &v4->sin_addr, ntohs(v4->sin_port));
	if (ss->ss_family == AF_INET6)
		return hz_peer_from(KP_IPV6, &v6->sin6_addr, ntohs(v6->sin6_port));
	return (struct hz_peer){ 0 };
}

const char *hz_peer_str(const struct hz_peer *p, char *out)
{
	char addr[KP_ADDR_STRLEN];

	snprintf(out, HZ_PEER_STRLEN, p->addr.family == KP_IPV4 ? "%s:%u" : "[%s]:%u", kp_addr_str(&p->addr, addr), p->port);
	return out;
}
