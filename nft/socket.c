#include "nft/socket.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <string.h>

#include "proxy/base/err.h"

#define RECEIVE_BUFFER	(4 << 20)

/* Without the right to more: as much as everybody may have. */
static void set_room(struct mnl_socket *nl, int force, int ask, int room)
{
	int fd = mnl_socket_get_fd(nl);

	if (setsockopt(fd, SOL_SOCKET, force, &room, sizeof(room)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, ask, &room, sizeof(room));
}

void dp_socket_send_room(struct mnl_socket *nl, size_t len)
{
	set_room(nl, SO_SNDBUFFORCE, SO_SNDBUF, (int)len);
}

int dp_socket_open(struct mnl_socket **ret, struct kp_err *err)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int one = 1, r;

	if (!nl)
		return kp_err_set(err, -errno, "open netlink socket: %s", strerror(errno));
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		mnl_socket_close(nl);
		return kp_err_set(err, r, "bind netlink socket: %s", strerror(-r));
	}
	(void)mnl_socket_setsockopt(nl, NETLINK_EXT_ACK, &one, sizeof(one));	/* older kernels: errors without a place */
	(void)mnl_socket_setsockopt(nl, NETLINK_CAP_ACK, &one, sizeof(one));
	set_room(nl, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_BUFFER);
	dp_socket_send_room(nl, DP_SEND_ROOM);
	*ret = nl;
	return 0;
}

int dp_talk(struct mnl_socket *nl, struct nlmsghdr *nlh, mnl_cb_t on_answer, void *arg)
{
	char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	uint32_t seq = nlh->nlmsg_seq;
	int r;

	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t got = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		if (got < 0)
			return -errno;
		r = mnl_cb_run(buf, (size_t)got, seq, 0, on_answer, arg);
	} while (r > MNL_CB_STOP);
	return r < 0 ? -errno : 0;
}
