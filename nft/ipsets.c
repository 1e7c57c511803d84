#include "nft/ipsets.h"

#include <arpa/inet.h>		/* before the kernel's own definitions of the same */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "nft/socket.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

/* After "KUBE-" or "KUBE-6-", cut as the kernel's limit asks. */
static const char *const names[] = {
	"LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "LOAD-BALANCER", "LOAD-BALANCER-LOCAL",
	"LOAD-BALANCER-FW", "LOAD-BALANCER-SOURCE-IP", "LOAD-BALANCER-SOURCE-CIDR", "NODE-PORT-TCP",
	"NODE-PORT-LOCAL-TCP", "NODE-PORT-UDP", "NODE-PORT-LOCAL-UDP", "HEALTH-CHECK-NODE-PORT", "NODE-PORT-SCTP-HASH",
	"NODE-PORT-LOCAL-SCTP-HASH", "IPVS-IPS",
};
static const char *const prefixes[] = { "KUBE-", "KUBE-6-" };

static int send_command(struct mnl_socket *nl, uint8_t cmd, const char *name)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO))) = "";
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_IPSET << 8 | cmd);
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	g->nfgen_family = AF_INET;
	mnl_attr_put_u8(nlh, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
	mnl_attr_put_strz(nlh, IPSET_ATTR_SETNAME, name);
	return dp_talk(nl, nlh, NULL, NULL);
}

int dp_ipsets_destroy(bool dry_run, void (*say)(void *arg, const char *name), void *arg, struct kp_err *err)
{
	struct mnl_socket *nl = NULL;
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
		r = dry_run ? 0 : send_command(nl, IPSET_CMD_DESTROY, name);
		if (r < 0 && result == 0)
			result = kp_err_set(err, r, "destroy ipset %s: %s", name, r == -IPSET_ERR_BUSY ? "still in use" : strerror(-r));
	}
	mnl_socket_close(nl);
	return result;
}
