#include "nft/ipvs.h"

#include <arpa/inet.h>		/* before the kernel's own definitions of the same */
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipsets.h"
#include "nft/socket.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

/* What names a virtual server to the kernel. */
struct server {
	uint16_t family, protocol, port;	/* port: network order */
	uint8_t addr[16];
	bool complete;
};

struct servers {
	struct server *items;
	size_t n, cap;
};

static struct nlmsghdr *put_header(char *buf, uint16_t type, uint16_t flags, uint8_t cmd, uint8_t version)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = 1;
	g->cmd = cmd;
	g->version = version;
	return nlh;
}

static int on_family(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID)
			*(uint16_t *)arg = mnl_attr_get_u16(a);
	return MNL_CB_OK;
}

/* 0 as the id: this kernel has no IPVS. */
static int find_family(struct mnl_socket *nl, uint16_t *ret)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "";
	struct nlmsghdr *nlh = put_header(buf, GENL_ID_CTRL, NLM_F_ACK, CTRL_CMD_GETFAMILY, 1);
	int r;

	*ret = 0;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME);
	r = dp_talk(nl, nlh, on_family, ret);
	return r == -ENOENT ? 0 : r;
}

static int on_service_attr(const struct nlattr *a, void *arg)
{
	struct server *s = arg;
	size_t len = mnl_attr_get_payload_len(a);

	switch (mnl_attr_get_type(a)) {
	case IPVS_SVC_ATTR_AF:
		s->family = mnl_attr_get_u16(a);
		break;
	case IPVS_SVC_ATTR_PROTOCOL:
		s->protocol = mnl_attr_get_u16(a);
		break;
	case IPVS_SVC_ATTR_PORT:
		s->port = mnl_attr_get_u16(a);
		break;
	case IPVS_SVC_ATTR_ADDR:
		memcpy(s->addr, mnl_attr_get_payload(a), len < sizeof(s->addr) ? len : sizeof(s->addr));
		s->complete = true;	/* one by firewall mark has no address, and is not kube-proxy's */
		break;
	}
	return MNL_CB_OK;
}

static int on_service(const struct nlmsghdr *nlh, void *arg)
{
	struct servers *all = arg;
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct genlmsghdr)) {
		struct server s = { 0 };

		if (mnl_attr_get_type(a) != IPVS_CMD_ATTR_SERVICE)
			continue;
		mnl_attr_parse_nested(a, on_service_attr, &s);
		if (!s.complete)
			continue;
		kp_grow(&all->items, all->n, &all->cap);
		all->items[all->n++] = s;
	}
	return MNL_CB_OK;
}

/* link: NULL: any. */
static bool is_on(const struct ifaddrs *addrs, const char *link, const struct server *s)
{
	for (const struct ifaddrs *i = addrs; i; i = i->ifa_next) {
		const void *addr = NULL;

		if (!i->ifa_addr || i->ifa_addr->sa_family != s->family || (link && strcmp(i->ifa_name, link) != 0))
			continue;
		addr = s->family == AF_INET ? (const void *)&((const struct sockaddr_in *)i->ifa_addr)->sin_addr :
					      (const void *)&((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
		if (memcmp(addr, s->addr, s->family == AF_INET ? 4 : 16) == 0)
			return true;
	}
	return false;
}

static int delete_server(struct mnl_socket *nl, uint16_t family, const struct server *s)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "";
	struct nlmsghdr *nlh = put_header(buf, family, NLM_F_ACK, IPVS_CMD_DEL_SERVICE, IPVS_GENL_VERSION);
	struct nlattr *nest = mnl_attr_nest_start(nlh, IPVS_CMD_ATTR_SERVICE);

	mnl_attr_put_u16(nlh, IPVS_SVC_ATTR_AF, s->family);
	mnl_attr_put_u16(nlh, IPVS_SVC_ATTR_PROTOCOL, s->protocol);
	mnl_attr_put(nlh, IPVS_SVC_ATTR_ADDR, sizeof(s->addr), s->addr);
	mnl_attr_put_u16(nlh, IPVS_SVC_ATTR_PORT, s->port);
	mnl_attr_nest_end(nlh, nest);
	return dp_talk(nl, nlh, NULL, NULL);
}

static int list_servers(struct mnl_socket *nl, uint16_t family, struct servers *all)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "";

	return dp_talk(nl, put_header(buf, family, NLM_F_DUMP, IPVS_CMD_GET_SERVICE, IPVS_GENL_VERSION), on_service, all);
}

/* Node ports are on the node's own addresses (IV-7), and an address that was there before is not put on the link (IV-6). */
static bool is_kubes(struct mnl_socket *sets, const char *link, const struct ifaddrs *addrs, const struct server *s)
{
	return is_on(addrs, link, s) ||
	       dp_ipsets_have(sets, s->family, s->addr, is_on(addrs, NULL, s), (uint8_t)s->protocol, s->port);
}

static int clear(struct mnl_socket *nl, struct mnl_socket *sets, const char *link, const struct ifaddrs *addrs, uint32_t *ret_n)
{
	struct servers all = { 0 };
	uint16_t family;
	int r = find_family(nl, &family);

	if (r == 0 && family)
		r = list_servers(nl, family, &all);
	for (size_t i = 0; i < all.n && r == 0; i++) {
		if (!is_kubes(sets, link, addrs, &all.items[i]))
			continue;
		r = delete_server(nl, family, &all.items[i]);
		*ret_n += r == 0;
	}
	free(all.items);
	return r;
}

static struct mnl_socket *open_socket(int bus)
{
	struct mnl_socket *nl = mnl_socket_open2(bus, SOCK_CLOEXEC);

	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(nl);
		return NULL;
	}
	return nl;
}

int dp_ipvs_clear(const char *link, uint32_t *ret_n, struct kp_err *err)
{
	struct mnl_socket *nl = open_socket(NETLINK_GENERIC), *sets = open_socket(NETLINK_NETFILTER);
	struct ifaddrs *addrs = NULL;
	int r = nl && sets && getifaddrs(&addrs) == 0 ? 0 : -errno;

	*ret_n = 0;
	if (r == 0)
		r = clear(nl, sets, link, addrs, ret_n);
	if (nl)
		mnl_socket_close(nl);
	if (sets)
		mnl_socket_close(sets);
	if (addrs)
		freeifaddrs(addrs);
	return r < 0 ? kp_err_set(err, r, "delete virtual servers of IPVS: %s", strerror(-r)) : 0;
}

uint32_t dp_ipvs_connections(void)
{
	FILE *f = fopen("/proc/net/ip_vs_conn", "re");
	char line[256];
	unsigned from_port;
	uint32_t n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strncmp(line, "Pro ", 4) != 0 &&	/* the heading */
		     sscanf(line, "%*s %*s %x", &from_port) == 1 && from_port;	/* 0: a template of affinity */
	if (f)
		(void)fclose(f);
	return n;
}

int dp_link_delete(const char *link, struct kp_err *err)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "";
	struct mnl_socket *nl = open_socket(NETLINK_ROUTE);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *info = mnl_nlmsg_put_extra_header(nlh, sizeof(*info));
	int r;

	nlh->nlmsg_type = RTM_DELLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	info->ifi_family = AF_UNSPEC;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, link);
	r = nl ? dp_talk(nl, nlh, NULL, NULL) : -errno;
	if (nl)
		mnl_socket_close(nl);
	return r < 0 && r != -ENODEV ? kp_err_set(err, r, "delete interface %s: %s", link, strerror(-r)) : 0;
}
