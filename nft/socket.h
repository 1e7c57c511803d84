#ifndef DP_SOCKET_H
#define DP_SOCKET_H

#include <libmnl/libmnl.h>

struct kp_err;

/*
 * A netlink socket for nf_tables with room for many answers. Who looks at the kernel again and again
 * keeps it: closing one of this bus (ctnetlink's, too) waits for the removal of what commits deleted, an
 * RCU grace period of 10 to 30 ms, and holds off all commits meanwhile (nft_rcv_nl_event in Linux 6.18).
 */
#define DP_SEND_ROOM	(1u << 20)	/* bytes of one transaction, all that belongs to it included; more has to be asked for */
int dp_socket_open(struct mnl_socket **ret, struct kp_err *err);
/* Lets transactions have so many bytes; where that is refused, EMSGSIZE will say so. */
void dp_socket_send_room(struct mnl_socket *nl, size_t len);

/*
 * One question of any bus, and all of its answer. 0, or what the kernel says. After a failure
 * the socket may hold the rest of an answer.
 */
int dp_talk(struct mnl_socket *nl, struct nlmsghdr *nlh, mnl_cb_t on_answer, void *arg);

#endif
