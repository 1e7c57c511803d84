/*
 * Fills the conntrack table of this network namespace over ctnetlink:
 *
 *	ctfill TOTAL STALE VIP VIPS PORT ENDPOINT
 *
 * STALE UDP flows to PORT of so many addresses from VIP on, in turn, that were translated to ENDPOINT:PORT; the
 * others to addresses beyond 198.18.0.0. Prints how many there are then.
 *
 *	ctfill empty
 *
 * deletes them all: the kernel has one hash table for all namespaces, and each walk is through all of it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH (128 * 1024)
#define ROOM 512	/* of one message */

struct flow {
	uint32_t src, dst, from;	/* host order; from: the reply's source */
	uint16_t sport, dport;
};

/* One of every so many (0: none) goes to one of n_vips addresses, and was answered by endpoint. */
struct stale {
	uint32_t every, vip, n_vips, endpoint;
	uint16_t port;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct nlmsghdr *header(void *at, unsigned type, unsigned flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nfg->nfgen_family = AF_INET;
	return nlh;
}

static void put_tuple(struct nlmsghdr *nlh, uint16_t type, uint32_t src, uint16_t sport, uint32_t dst, uint16_t dport)
{
	struct nlattr *tuple = mnl_attr_nest_start(nlh, type), *nest = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);

	mnl_attr_put_u32(nlh, CTA_IP_V4_SRC, htonl(src));
	mnl_attr_put_u32(nlh, CTA_IP_V4_DST, htonl(dst));
	mnl_attr_nest_end(nlh, nest);
	nest = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(nlh, CTA_PROTO_NUM, IPPROTO_UDP);
	mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(sport));
	mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(dport));
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, tuple);
}

static size_t put_flow(void *at, const struct flow *f)
{
	struct nlmsghdr *nlh = header(at, IPCTNL_MSG_CT_NEW, NLM_F_CREATE);

	put_tuple(nlh, CTA_TUPLE_ORIG, f->src, f->sport, f->dst, f->dport);
	put_tuple(nlh, CTA_TUPLE_REPLY, f->from, f->dport, f->src, f->sport);
	mnl_attr_put_u32(nlh, CTA_TIMEOUT, htonl(3600));
	return nlh->nlmsg_len;
}

/* Only failures are answered. */
static void check_answers(int fd)
{
	char buf[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	int left;

	while ((left = (int)recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		for (struct nlmsghdr *nlh = (void *)buf; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type == NLMSG_ERROR && e->error) {
				errno = -e->error;
				die("make an entry");
			}
		}
}

static uint32_t address_of(const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1)
		die(text);
	return ntohl(a.s_addr);
}

/* The sources are all different: 65,536 of them in each port. Stale ones are spread evenly. */
static struct flow flow_of(uint32_t i, const struct stale *s)
{
	bool stale = s->every && i % s->every == 0;

	return (struct flow){
		.src = 0xac800000 + (i & 0xffff), .sport = (uint16_t)(1024 + (i >> 16)),
		.dst = stale ? s->vip + i / s->every % s->n_vips : 0xc6120000 + (i & 0xffff),
		.from = stale ? s->endpoint : 0xc6130000 + (i & 0xffff),
		.dport = stale ? s->port : 53,
	};
}

static uint32_t number(const char *text)
{
	return (uint32_t)strtoul(text, NULL, 10);
}

static void fill(struct mnl_socket *nl, char **argv)
{
	static char batch[BATCH] __attribute__((aligned(NLMSG_ALIGNTO)));
	uint32_t total = number(argv[0]), n_stale = number(argv[1]);
	const struct stale s = {
		.every = n_stale ? total / n_stale : 0, .vip = address_of(argv[2]), .n_vips = number(argv[3]),
		.port = (uint16_t)number(argv[4]), .endpoint = address_of(argv[5]),
	};
	size_t len = 0;

	for (uint32_t i = 0; i < total; i++) {
		struct flow f = flow_of(i, &s);

		memset(batch + len, 0, ROOM);
		len += put_flow(batch + len, &f);
		if (len + ROOM > BATCH || i == total - 1) {
			if (mnl_socket_sendto(nl, batch, len) < 0)
				die("sendto");
			check_answers(mnl_socket_get_fd(nl));
			len = 0;
		}
	}
	printf("%u\n", total);
}

static void empty(struct mnl_socket *nl)
{
	char buf[128] __attribute__((aligned(NLMSG_ALIGNTO))) = { 0 };
	struct nlmsghdr *nlh = header(buf, IPCTNL_MSG_CT_DELETE, 0);

	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		die("sendto");
	check_answers(mnl_socket_get_fd(nl));
}

int main(int argc, char **argv)
{
	struct mnl_socket *nl = mnl_socket_open(NETLINK_NETFILTER);

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		die("netlink");
	if (argc == 7)
		fill(nl, argv + 1);
	else if (argc == 2 && strcmp(argv[1], "empty") == 0)
		empty(nl);
	else
		return 2;
	mnl_socket_close(nl);
	return 0;
}
