/*
 * A plain loader: sends the recorded transactions of a file (record.c), one after the
 * other, and prints for each the microseconds from sendmsg() until all answers are read.
 *
 *	replay FILE
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/clock.h"

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* The first refusal; 0: none. */
static int read_answers(int fd)
{
	char buf[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	int first = 0, left;

	while ((left = (int)recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		for (struct nlmsghdr *nlh = (void *)buf; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type == NLMSG_ERROR && e->error && !first)
				first = -e->error;
		}
	return first;
}

/* A transaction that named the generation it was made for is good for that one only. */
static char *without_genid(char *batch, uint32_t *len)
{
	const uint32_t bare = MNL_NLMSG_HDRLEN + sizeof(struct nfgenmsg);
	struct nlmsghdr *begin = (void *)batch;
	uint32_t extra = begin->nlmsg_len - bare;

	begin->nlmsg_len = bare;
	memmove(batch + extra, batch, bare);
	*len -= extra;
	return batch + extra;
}

static void send_one(int fd, char *batch, uint32_t len)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int room = (int)len + 65536, code;
	uint64_t began;

	batch = without_genid(batch, &len);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
		die("SO_SNDBUFFORCE");
	began = kp_now_ns();
	if (sendto(fd, batch, len, 0, (void *)&kernel, sizeof(kernel)) < 0)
		die("sendto");
	code = read_answers(fd);
	printf("%llu %u %s\n", (unsigned long long)((kp_now_ns() - began) / 1000), len, code ? strerror(code) : "ok");
}

int main(int argc, char **argv)
{
	struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);
	FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
	int room = 4 << 20;
	uint32_t len;

	if (!f || !nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		die("replay FILE");
	setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	while (fread(&len, sizeof(len), 1, f) == 1) {
		char *batch = malloc(len);

		if (!batch || fread(batch, len, 1, f) != 1)
			die(argv[1]);
		send_one(mnl_socket_get_fd(nl), batch, len);
		free(batch);
	}
	mnl_socket_close(nl);
	fclose(f);
	return 0;
}
