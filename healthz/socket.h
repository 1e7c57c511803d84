#ifndef HZ_SOCKET_H
#define HZ_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

struct kp_addr;

#define HZ_BACKLOG 1024		/* connections that wait to be accepted */

/* TCP sockets, non-blocking and close-on-exec: the caller's descriptor, or -errno. */

/* IPv6 is IPv6 only. Accepted sockets have TCP_NODELAY. */
int hz_socket_listen(const struct kp_addr *a, uint16_t port);
/* Writable once it is connected, or has failed. */
int hz_socket_connect(const struct kp_addr *a, uint16_t port);

void hz_socket_want_reset(int fd);	/* close() then sends RST */
/* errno of accept(2): there are no descriptors or no memory, and whoever waits still waits. */
bool hz_socket_is_starved(int error);

#endif
