#ifndef DP_SOCKET_H
#define DP_SOCKET_H

struct kp_err;
struct mnl_socket;

/* A netlink socket for nf_tables with room for many answers. */
int dp_socket_open(struct mnl_socket **ret, struct kp_err *err);

#endif
