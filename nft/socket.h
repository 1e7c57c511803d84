#ifndef DP_SOCKET_H
#define DP_SOCKET_H

#include <libmnl/libmnl.h>

struct kp_err;

/* A netlink socket for nf_tables with room for many answers. */
int dp_socket_open(struct mnl_socket **ret, struct kp_err *err);

/*
 * One question of any bus, and all of its answer. 0, or what the kernel says. After a failure
 * the socket may hold the rest of an answer.
 */
int dp_talk(struct mnl_socket *nl, struct nlmsghdr *nlh, mnl_cb_t on_answer, void *arg);

#endif
