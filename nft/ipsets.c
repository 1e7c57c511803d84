#include "nft/ipsets.h"

#include <arpa/inet.h>		/* before the kernel's own definitions of the same */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "nft/socket.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

/* After "KUBE-" or "KUBE-6-", cut as the kernel's limit asks. */
static const char *const names[] = {
	"LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "LOAD-BALANCER", "LOAD-BALANCER-LOCAL",
	"LOAD-BALANCER-FW", "LOAD-BALANCER-SOURCE-IP", "LOAD-BALANCER-SOURCE-CIDR", "NODE-PORT-TCP",
	"NODE-PORT-LOCAL-TCP", "NODE-PORT-UDP", "NODE-PORT-LOCAL-UDP", "HEALTH-CHECK-NODE-PORT", "NODE-PORT-SCTP-HASH",
	"NODE-PORT-LOCAL-SCTP-HASH", "IPVS-IPS",
};
static const char *const prefixes[] = { "KUBE-", "KUBE-6-" };

#define BUSY_MS		2000
#define BUSY_PAUSE_MS	10

static struct nlmsghdr *put_command(char *buf, uint8_t cmd, const char *name)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_IPSET << 8 | cmd);
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	g->nfgen_family = AF_INET;
	mnl_attr_put_u8(nlh, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
	mnl_attr_put_strz(nlh, IPSET_ATTR_SETNAME, name);
	return nlh;
}

static int send_command(struct mnl_socket *nl, uint8_t cmd, const char *name)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "";

	return dp_talk(nl, put_command(buf, cmd, name), NULL, NULL);
}

/* A rule that was deleted a moment ago may be freed only now. */
static int destroy(struct mnl_socket *nl, const char *name, uint64_t until_ms)
{
	int r;

	while ((r = send_command(nl, IPSET_CMD_DESTROY, name)) == -IPSET_ERR_BUSY && kp_now_ms() < until_ms)
		(void)poll(NULL, 0, BUSY_PAUSE_MS);
	return r;
}

static void put_entry(struct nlmsghdr *nlh, uint16_t family, const uint8_t *addr, uint8_t protocol, uint16_t port)
{
	struct nlattr *data = mnl_attr_nest_start(nlh, IPSET_ATTR_DATA), *ip;

	if (addr) {
		ip = mnl_attr_nest_start(nlh, IPSET_ATTR_IP);
		mnl_attr_put(nlh, (uint16_t)((family == AF_INET ? IPSET_ATTR_IPADDR_IPV4 : IPSET_ATTR_IPADDR_IPV6) | NLA_F_NET_BYTEORDER),
			     family == AF_INET ? 4 : 16, addr);
		mnl_attr_nest_end(nlh, ip);
		mnl_attr_put_u8(nlh, IPSET_ATTR_PROTO, protocol);
	}
	mnl_attr_put_u16(nlh, IPSET_ATTR_PORT | NLA_F_NET_BYTEORDER, port);
	mnl_attr_nest_end(nlh, data);
}

bool dp_ipsets_have(struct mnl_socket *nl, uint16_t family, const uint8_t *addr, bool of_node, uint8_t protocol, uint16_t port)
{
	static const struct {
		const char *name;
		uint8_t protocol;	/* 0: any */
		bool of_node, port_only;
	} sets[] = {
		{ "EXTERNAL-IP", 0, false, false }, { "EXTERNAL-IP-LOCAL", 0, false, false }, { "LOAD-BALANCER", 0, false, false },
		{ "NODE-PORT-TCP", IPPROTO_TCP, true, true }, { "NODE-PORT-UDP", IPPROTO_UDP, true, true },
		{ "NODE-PORT-SCTP-HASH", IPPROTO_SCTP, true, false },
	};
	bool have = false;

	for (size_t i = 0; i < KP_N(sets) && !have; i++) {
		char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "", name[IPSET_MAXNAMELEN];
		struct nlmsghdr *nlh;

		if ((sets[i].of_node && !of_node) || (sets[i].protocol && sets[i].protocol != protocol))
			continue;
		snprintf(name, sizeof(name), "%s%s", prefixes[family == AF_INET6], sets[i].name);
		nlh = put_command(buf, IPSET_CMD_TEST, name);
		put_entry(nlh, family, sets[i].port_only ? NULL : addr, protocol, port);
		have = dp_talk(nl, nlh, NULL, NULL) == 0;
	}
	return have;
}

int dp_ipsets_destroy(bool dry_run, void (*say)(void *arg, const char *name), void *arg, struct kp_err *err)
{
	struct mnl_socket *nl = NULL;
	uint64_t until_ms = kp_now_ms() + BUSY_MS;
	int result = dp_socket_open(&nl, err);

	if (result < 0)
		return result;
	for (size_t i = 0; i < KP_N(prefixes) * KP_N(names); i++) {
		char name[IPSET_MAXNAMELEN];
		int r;

		snprintf(name, sizeof(name), "%s%s", prefixes[i / KP_N(names)], names[i % KP_N(names)]);
		if (send_command(nl, IPSET_CMD_HEADER, name) < 0)
			continue;
		say(arg, name);
		r = dry_run ? 0 : destroy(nl, name, until_ms);
		if (r < 0 && result == 0)
			result = kp_err_set(err, r, "destroy ipset %s: %s", name, r == -IPSET_ERR_BUSY ? "still in use" : strerror(-r));
	}
	mnl_socket_close(nl);
	return result;
}
