#include "nft/ask.h"

#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "nft/socket.h"

int dp_ask(struct mnl_socket *nl, enum kp_family f, const struct dp_ask *q, uint16_t flags)
{
	char buf[1024] __attribute__((aligned(NLMSG_ALIGNTO))) = "";	/* names are below 256 bytes */
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | q->type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = 1;
	g->nfgen_family = f == KP_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	if (q->table_attr)
		mnl_attr_put_strz(nlh, q->table_attr, q->table);
	if (q->name_attr)
		mnl_attr_put_strz(nlh, q->name_attr, q->name);
	return dp_talk(nl, nlh, q->on_answer, q->arg);
}

static int on_there(const struct nlmsghdr *nlh, void *arg)
{
	(void)nlh;
	*(bool *)arg = true;
	return MNL_CB_OK;
}

/* The ACK ends the answer. */
int dp_ask_exists(struct mnl_socket *nl, enum kp_family f, struct dp_ask q, bool *ret)
{
	bool there = false;
	int r;

	q.on_answer = on_there;
	q.arg = &there;
	r = dp_ask(nl, f, &q, NLM_F_ACK);
	*ret = there;
	return r == -ENOENT || r == -EOPNOTSUPP || r == -EAFNOSUPPORT || r == -EINVAL ? 0 : r;	/* EINVAL: no nf_tables */
}

int dp_table_exists(struct mnl_socket *nl, enum kp_family f, const char *table, bool *ret)
{
	const struct dp_ask q = { .type = NFT_MSG_GETTABLE, .name_attr = NFTA_TABLE_NAME, .name = table };

	return dp_ask_exists(nl, f, q, ret);
}

const char *dp_ask_str(const struct nlmsghdr *nlh, uint16_t type)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) == type && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
			return mnl_attr_get_str(a);
	return "";
}

const struct nlattr *dp_ask_in(const struct nlattr *nest, uint16_t type)
{
	const struct nlattr *a;

	if (nest)
		mnl_attr_for_each_nested(a, nest)
			if (mnl_attr_get_type(a) == type)
				return a;
	return NULL;
}
