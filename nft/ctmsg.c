#include "nft/ctmsg.h"

#include <arpa/inet.h>
#include <assert.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* CTA_FILTER_ORIG_FLAGS, _REPLY_FLAGS: no header has names for these. Since Linux 5.8; older ones ignore the attribute. */
enum { MATCH_IP_SRC = 1 << 0, MATCH_IP_DST = 1 << 1, MATCH_PROTO_NUM = 1 << 3, MATCH_PROTO_DST_PORT = 1 << 5 };

static struct nlmsghdr *put_header(void *at, uint32_t seq, unsigned type, unsigned flags, enum kp_family family)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = seq;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = family == KP_IPV4 ? AF_INET : AF_INET6;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

struct nlmsghdr *dp_ct_msg_dump(void *at, uint32_t seq, enum kp_family family)
{
	return put_header(at, seq, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
}

static void put_v4(struct nlmsghdr *nlh, uint16_t type, const struct kp_addr *a)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);

	mnl_attr_put(nlh, type, kp_addr_len(KP_IPV4), a->b);
	mnl_attr_nest_end(nlh, nest);
}

/* UDP, of that what goes to the front end. Returns what is to be compared. */
static uint32_t put_orig(struct nlmsghdr *nlh, const struct dp_ct_frontend *fe)
{
	uint32_t flags = MATCH_PROTO_NUM;
	struct nlattr *tuple = mnl_attr_nest_start(nlh, CTA_TUPLE_ORIG), *nest;

	if (fe && !fe->node_port && fe->ip.family == KP_IPV4) {
		flags |= MATCH_IP_DST;
		put_v4(nlh, CTA_IP_V4_DST, &fe->ip);
	}
	nest = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(nlh, CTA_PROTO_NUM, IPPROTO_UDP);
	if (fe) {
		flags |= MATCH_PROTO_DST_PORT;
		mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(fe->port));
	}
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, tuple);
	return flags;
}

/*
 * The kernel walks the whole table in any case; this saves it the copying and us
 * the reading. An IPv6 address is left out: the kernel's comparison of it is the
 * wrong way round (seen on 6.18: entries to other addresses come, ours do not).
 */
static void select_udp(struct nlmsghdr *nlh, const struct dp_ct_part *part)
{
	bool by_endpoint = part && !part->frontend;
	uint32_t flags = put_orig(nlh, part ? part->frontend : NULL);
	struct nlattr *nest;

	assert(!by_endpoint || part->endpoint.family == KP_IPV4);
	if (by_endpoint) {
		nest = mnl_attr_nest_start(nlh, CTA_TUPLE_REPLY);
		put_v4(nlh, CTA_IP_V4_SRC, &part->endpoint);
		mnl_attr_nest_end(nlh, nest);
	}
	nest = mnl_attr_nest_start(nlh, CTA_FILTER);
	mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, flags);
	if (by_endpoint)
		mnl_attr_put_u32(nlh, CTA_FILTER_REPLY_FLAGS, MATCH_IP_SRC);
	mnl_attr_nest_end(nlh, nest);
}

/* By status, since Linux 5.15; older ones hand over everything. Most of a large table has been answered. */
static void select_unreplied(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, CTA_STATUS, 0);
	mnl_attr_put_u32(nlh, CTA_STATUS_MASK, htonl(IPS_SEEN_REPLY));
}

void dp_ct_msg_select(struct nlmsghdr *nlh, enum dp_ct_ask ask, const struct dp_ct_part *part)
{
	if (ask == DP_CT_UDP)
		select_udp(nlh, part);
	else
		select_unreplied(nlh);
}

struct tuple {
	struct kp_addr src, dst;
	uint16_t sport, dport;
	uint8_t proto;
	unsigned seen;
};

/* Where an attribute goes; numbers of CTA_TUPLE_IP and CTA_TUPLE_PROTO overlap, so two tables. */
struct slot {
	uint16_t len;		/* 0: not of interest */
	uint16_t offset;
	uint8_t bit;
};

enum { HAVE_SRC = 1, HAVE_DST = 2, HAVE_PROTO = 4, HAVE_SPORT = 8, HAVE_DPORT = 16, HAVE_ALL = 31 };

static const struct slot ip_slots[] = {
	[CTA_IP_V4_SRC] = { 4, offsetof(struct tuple, src.b), HAVE_SRC },
	[CTA_IP_V4_DST] = { 4, offsetof(struct tuple, dst.b), HAVE_DST },
	[CTA_IP_V6_SRC] = { 16, offsetof(struct tuple, src.b), HAVE_SRC },
	[CTA_IP_V6_DST] = { 16, offsetof(struct tuple, dst.b), HAVE_DST },
};

static const struct slot proto_slots[] = {
	[CTA_PROTO_NUM] = { 1, offsetof(struct tuple, proto), HAVE_PROTO },
	[CTA_PROTO_SRC_PORT] = { 2, offsetof(struct tuple, sport), HAVE_SPORT },
	[CTA_PROTO_DST_PORT] = { 2, offsetof(struct tuple, dport), HAVE_DPORT },
};

static void read_slots(const struct nlattr *nest, const struct slot *slots, size_t n, struct tuple *t)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, nest) {
		uint16_t type = mnl_attr_get_type(a);

		if (type >= n || !slots[type].len || mnl_attr_get_payload_len(a) != slots[type].len)
			continue;
		memcpy((char *)t + slots[type].offset, mnl_attr_get_payload(a), slots[type].len);
		t->seen |= slots[type].bit;
	}
}

static bool read_tuple(const struct nlattr *nest, uint8_t family, struct tuple *t)
{
	const struct nlattr *a;

	memset(t, 0, sizeof(*t));
	t->src.family = t->dst.family = family;
	mnl_attr_for_each_nested(a, nest) {
		if (mnl_attr_get_type(a) == CTA_TUPLE_IP)
			read_slots(a, ip_slots, KP_N(ip_slots), t);
		else if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO)
			read_slots(a, proto_slots, KP_N(proto_slots), t);
	}
	t->sport = ntohs(t->sport);
	t->dport = ntohs(t->dport);
	return t->seen == HAVE_ALL;
}

/* Without a word about it, it was. */
static bool was_replied(const struct nlattr *status)
{
	return !status || mnl_attr_validate(status, MNL_TYPE_U32) < 0 || ntohl(mnl_attr_get_u32(status)) & IPS_SEEN_REPLY;
}

bool dp_ct_msg_read(const struct nlmsghdr *nlh, enum kp_family family, struct dp_ct_msg *ret)
{
	const struct nlattr *a, *at[CTA_MAX + 1] = { 0 };
	struct tuple orig, reply;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) <= CTA_MAX)
			at[mnl_attr_get_type(a)] = a;
	if (!at[CTA_TUPLE_ORIG] || !at[CTA_TUPLE_REPLY] || !at[CTA_ID] ||
	    !read_tuple(at[CTA_TUPLE_ORIG], family, &orig) || !read_tuple(at[CTA_TUPLE_REPLY], family, &reply))
		return false;
	*ret = (struct dp_ct_msg){
		.entry = {
			.proto = orig.proto,
			.orig_dst = orig.dst,
			.orig_dport = orig.dport,
			.reply_src = reply.src,
			.reply_sport = reply.sport,
			.replied = was_replied(at[CTA_STATUS]),
		},
		.orig = at[CTA_TUPLE_ORIG],
		.zone = at[CTA_ZONE],
		.id = at[CTA_ID],
	};
	return true;
}

static void copy_attr(struct nlmsghdr *nlh, const struct nlattr *a)
{
	mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

/* A delete without a tuple would flush the whole table. */
struct nlmsghdr *dp_ct_msg_delete(void *at, uint32_t seq, enum kp_family family, const struct dp_ct_msg *m)
{
	struct nlmsghdr *nlh;

	assert(m->orig && mnl_attr_get_type(m->orig) == CTA_TUPLE_ORIG);
	if (mnl_attr_get_len(m->orig) > DP_CT_DELETE_MAX - 64)
		return NULL;	/* not a tuple as we know them */
	nlh = put_header(at, seq, IPCTNL_MSG_CT_DELETE, 0, family);
	copy_attr(nlh, m->orig);
	copy_attr(nlh, m->id);
	if (m->zone)
		copy_attr(nlh, m->zone);
	return nlh;
}
