#ifndef TESTS_FUZZ_KERNEL_H
#define TESTS_FUZZ_KERNEL_H

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include "fuzz.h"

/*
 * A kernel that answers what the input says. The functions of libmnl that touch a
 * socket are defined here, so that the code under test runs as it is. The input is a
 * row of answers, each one read: its length (two bytes, little endian), then that many
 * bytes; of length 0, or at the end of the input, the dump is done. Sequence
 * numbers, lengths of messages and errors are made to fit, and padding is zero: nobody
 * but the kernel can write to such a socket, and libmnl believes a length of 2 GiB.
 */
struct mnl_socket {
	const uint8_t *data;
	size_t size;
	struct nlmsghdr asked;	/* the last request */
	void (*told)(const void *buf, size_t len);	/* what it was sent; NULL: nobody looks */
};

static struct mnl_socket fuzz_kernel;

ssize_t mnl_socket_sendto(const struct mnl_socket *nl, const void *buf, size_t len)
{
	FUZZ_CHECK(nl == &fuzz_kernel && len >= sizeof(fuzz_kernel.asked));
	memcpy(&fuzz_kernel.asked, buf, sizeof(fuzz_kernel.asked));
	if (fuzz_kernel.told)
		fuzz_kernel.told(buf, len);
	return (ssize_t)len;
}

static size_t fuzz_done(void *buf)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = NLMSG_DONE;
	nlh->nlmsg_seq = fuzz_kernel.asked.nlmsg_seq;
	*(int *)mnl_nlmsg_put_extra_header(nlh, sizeof(int)) = 0;
	return nlh->nlmsg_len;
}

static size_t fuzz_generation(void *buf)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN;
	nlh->nlmsg_seq = fuzz_kernel.asked.nlmsg_seq;
	memset(mnl_nlmsg_put_extra_header(nlh, sizeof(struct nfgenmsg)), 0, sizeof(struct nfgenmsg));
	mnl_attr_put_u32(nlh, NFTA_GEN_ID, htobe32(7));
	return nlh->nlmsg_len;
}

/* Of NLMSG_ERROR and NLMSG_DONE: 0, or an errno as the kernel has them. */
static void fuzz_fit_error(struct nlmsghdr *nlh)
{
	bool has_one = nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE;
	int *error = mnl_nlmsg_get_payload(nlh);

	if (has_one && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*error))
		*error = -(*error & 0xfff);
}

static void fuzz_fit(void *buf, size_t n)
{
	struct nlmsghdr *nlh = buf;

	memset((char *)buf + n, 0, -n & (MNL_ALIGNTO - 1));
	for (int left = (int)n; left >= (int)sizeof(*nlh); nlh = mnl_nlmsg_next(nlh, &left)) {
		nlh->nlmsg_seq = fuzz_kernel.asked.nlmsg_seq;
		nlh->nlmsg_pid = 0;
		if (nlh->nlmsg_len > (unsigned)left)
			nlh->nlmsg_len = (unsigned)left;
		if (nlh->nlmsg_len < sizeof(*nlh))
			return;
		fuzz_fit_error(nlh);
	}
}

ssize_t mnl_socket_recvfrom(const struct mnl_socket *nl, void *buf, size_t room)
{
	struct mnl_socket *k = &fuzz_kernel;
	size_t n;

	FUZZ_CHECK(nl == k);
	if (k->asked.nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN))
		return (ssize_t)fuzz_generation(buf);
	n = k->size >= 2 ? (size_t)k->data[0] | (size_t)k->data[1] << 8 : 0;
	k->data += k->size < 2 ? k->size : 2;
	k->size -= k->size < 2 ? k->size : 2;
	n = n < k->size ? n : k->size;
	n = n < room ? n : room;
	if (!n)
		return (ssize_t)fuzz_done(buf);
	memcpy(buf, k->data, n);
	fuzz_fit(buf, n);
	k->data += n;
	k->size -= n;
	return (ssize_t)n;
}

int mnl_socket_get_fd(const struct mnl_socket *nl)
{
	static int quiet[2] = { -1, -1 };	/* nothing ever comes out of it */

	FUZZ_CHECK(nl == &fuzz_kernel);
	if (quiet[0] < 0)
		FUZZ_CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, quiet) == 0);
	return quiet[0];
}

static inline struct mnl_socket *fuzz_kernel_says(const uint8_t *data, size_t size)
{
	fuzz_kernel.data = data;
	fuzz_kernel.size = size;
	return &fuzz_kernel;
}

#endif
