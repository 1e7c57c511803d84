#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nft/conntrack.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "tests/support/netns.h"

/*
 * Real conntrack tables, one per test: entries are made by ctnetlink where many
 * kinds are needed, and by packets where it matters what becomes of the flow.
 */

static struct mnl_socket *nl;
static struct dp_ct *ct;

static void setup(void)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	ck_assert_ptr_nonnull(nl);
	ck_assert_int_eq(mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID), 0);
	ct = dp_ct_new();
}

static void teardown(void)
{
	ct = dp_ct_free(ct);
	mnl_socket_close(nl);
}

static struct kp_addr addr(const char *s)
{
	struct kp_addr a;

	ck_assert_msg(kp_addr_parse(s, &a), "%s", s);
	return a;
}

struct flow {
	uint8_t proto;
	const char *src, *dst, *from;	/* from: reply source, NULL: not translated */
	uint16_t sport, dport, from_port;
	uint16_t zone;
};

static void put_tuple(struct nlmsghdr *nlh, uint16_t type, uint8_t proto, struct kp_addr src, uint16_t sport,
		      struct kp_addr dst, uint16_t dport)
{
	struct nlattr *tuple = mnl_attr_nest_start(nlh, type), *nest = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
	bool v4 = src.family == KP_IPV4;

	mnl_attr_put(nlh, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, kp_addr_len(src.family), src.b);
	mnl_attr_put(nlh, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, kp_addr_len(src.family), dst.b);
	mnl_attr_nest_end(nlh, nest);
	nest = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(nlh, CTA_PROTO_NUM, proto);
	mnl_attr_put_u16(nlh, CTA_PROTO_SRC_PORT, htons(sport));
	mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(dport));
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, tuple);
}

/* IPCTNL_MSG_CT_NEW, _GET or _DELETE of one entry: 0 or -errno. status: of a new one, IPS_*. */
static int request_as(unsigned type, const struct flow *f, uint32_t status)
{
	_Alignas(struct nlmsghdr) char buf[8192] = { 0 };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	struct kp_addr src = addr(f->src), dst = addr(f->dst);
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | (type == IPCTNL_MSG_CT_GET ? 0 : NLM_F_ACK);
	nfg->nfgen_family = src.family == KP_IPV4 ? AF_INET : AF_INET6;
	put_tuple(nlh, CTA_TUPLE_ORIG, f->proto, src, f->sport, dst, f->dport);
	if (f->zone)
		mnl_attr_put_u16(nlh, CTA_ZONE, htons(f->zone));
	if (type == IPCTNL_MSG_CT_NEW) {
		nlh->nlmsg_flags |= NLM_F_CREATE | NLM_F_EXCL;
		put_tuple(nlh, CTA_TUPLE_REPLY, f->proto, f->from ? addr(f->from) : dst,
			  f->from ? f->from_port : f->dport, src, f->sport);
		mnl_attr_put_u32(nlh, CTA_TIMEOUT, htonl(120));
		mnl_attr_put_u32(nlh, CTA_STATUS, htonl(IPS_CONFIRMED | status));
	}
	ck_assert_int_gt(mnl_socket_sendto(nl, nlh, nlh->nlmsg_len), 0);
	ck_assert_int_gt(mnl_socket_recvfrom(nl, buf, sizeof(buf)), 0);
	return nlh->nlmsg_type == NLMSG_ERROR ? e->error : 0;
}

static int request(unsigned type, const struct flow *f)
{
	return request_as(type, f, 0);
}

static void make_as(const struct flow *f, uint32_t status)
{
	int r = request_as(IPCTNL_MSG_CT_NEW, f, status);

	ck_assert_msg(r == 0, "make %s:%u -> %s:%u: %s", f->src, f->sport, f->dst, f->dport, strerror(-r));
}

static void make(const struct flow *f)
{
	make_as(f, 0);
}

static bool there(const struct flow *f)
{
	int r = request(IPCTNL_MSG_CT_GET, f);

	ck_assert_msg(r == 0 || r == -ENOENT, "get: %s", strerror(-r));
	return r == 0;
}

/* ip "": node port. serving: one address (port 5353), "" for none, NULL: front end removed. */
static void put(const char *ip, uint8_t family, uint16_t port, const char *serving)
{
	struct dp_ct_frontend fe = { .node_port = !*ip, .port = port, .removed = !serving };
	struct kp_backend one = { .port = 5353 };

	if (*ip)
		fe.ip = addr(ip);
	else
		fe.ip.family = family;
	if (serving && *serving) {
		one.addr = addr(serving);
		fe.serving = &one;
		fe.n_serving = 1;
	}
	dp_ct_set_put(dp_ct_set(ct), &fe);
}

/* Of both families together. */
static struct dp_ct_stats run(uint64_t now_ns)
{
	struct dp_ct_stats st[KP_N_FAMILIES];
	struct kp_err err = { 0 };

	ck_assert_msg(dp_ct_run(ct, now_ns, st, &err) == 0, "%s", err.msg);
	return (struct dp_ct_stats){ .examined = st[KP_IPV4].examined + st[KP_IPV6].examined,
				     .deleted = st[KP_IPV4].deleted + st[KP_IPV6].deleted,
				     .missed = st[KP_IPV4].missed + st[KP_IPV6].missed };
}

static const struct {
	struct flow f;
	bool stays;
} table[] = {
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.1", 1001, 53, 5353, 0 }, true },	/* serving */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.2", 1002, 53, 5353, 0 }, false },	/* vanished */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", NULL, 1003, 53, 0, 0 }, false },		/* black hole */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.1", 1015, 53, 5354, 0 }, false },	/* its old port */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.2", 1004, 53, 5353, 7 }, false },	/* in a zone */
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.10", "10.1.0.2", 1005, 53, 5353, 0 }, true },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.2", 1006, 54, 5353, 0 }, true },	/* other port */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.99", "10.1.0.2", 1007, 53, 5353, 0 }, true },	/* other Service */
	{ { IPPROTO_UDP, "10.1.9.1", "192.0.2.1", "10.1.0.2", 1008, 30053, 5353, 0 }, false },	/* node port */
	{ { IPPROTO_UDP, "10.1.9.1", "192.0.2.1", "10.1.0.1", 1009, 30053, 5353, 0 }, true },
	{ { IPPROTO_UDP, "10.1.9.1", "198.51.100.1", NULL, 1010, 30053, 0, 0 }, true },		/* not this node */
	{ { IPPROTO_UDP, "fd01::9", "fd00::10", "fd01::1", 1011, 53, 5353, 0 }, true },
	{ { IPPROTO_UDP, "fd01::9", "fd00::10", "fd01::2", 1012, 53, 5353, 0 }, false },
	{ { IPPROTO_UDP, "fd01::9", "fd00::10", NULL, 1013, 53, 0, 0 }, false },
	{ { IPPROTO_TCP, "fd01::9", "fd00::10", "fd01::2", 1014, 53, 5353, 0 }, true },
};

static void fill_table(void)
{
	struct kp_addr node = addr("192.0.2.1");

	for (size_t i = 0; i < KP_N(table); i++)
		make(&table[i].f);
	dp_ct_set_node_ips(dp_ct_set(ct), KP_IPV4, &node, 1);
}

static void check_table(uint64_t deleted)
{
	uint64_t want = 0;

	for (size_t i = 0; i < KP_N(table); i++) {
		ck_assert_msg(there(&table[i].f) == table[i].stays, "%s:%u port %u %s", table[i].f.dst, table[i].f.dport,
			      table[i].f.sport, table[i].stays ? "was deleted" : "is still there");
		want += !table[i].stays;
	}
	ck_assert_uint_eq(deleted, want);
}

/* Two front ends in IPv4, one in IPv6: the kernel preselects. */
START_TEST(few_frontends)
{
	struct dp_ct_stats st;

	fill_table();
	put("10.96.0.10", 0, 53, "10.1.0.1");
	put("", KP_IPV4, 30053, "10.1.0.1");
	put("fd00::10", 0, 53, "fd01::1");
	st = run(1);
	check_table(st.deleted);
	ck_assert_uint_eq(st.examined, 5 + 3 + 3);	/* zones are not told apart */
}
END_TEST

/* More: one dump of all UDP entries per family. */
START_TEST(many_frontends)
{
	struct dp_ct_stats st;

	fill_table();
	for (int i = 0; i < 10; i++) {
		char ip[64];

		snprintf(ip, sizeof(ip), "10.96.1.%d", i);
		put(ip, 0, 53, "");
		snprintf(ip, sizeof(ip), "fd00::1:%d", i);
		put(ip, 0, 53, "");
	}
	put("10.96.0.10", 0, 53, "10.1.0.1");
	put("", KP_IPV4, 30053, "10.1.0.1");
	put("fd00::10", 0, 53, "fd01::1");
	st = run(1);
	check_table(st.deleted);
	ck_assert_uint_eq(st.examined, 10 + 3);
}
END_TEST

/* 10.1.0.2 and 10.1.0.3 served at port 5353; now 10.1.0.2 is gone. */
static void put_vanished(const char *ip, uint16_t port)
{
	const struct kp_backend was[] = {
		{ .addr = addr("10.1.0.2"), .port = 5353 },
		{ .addr = addr("10.1.0.3"), .port = 5353 },
	};
	struct dp_ct_frontend fe = {
		.node_port = !*ip, .port = port, .serving = &was[1], .n_serving = 1, .was = was, .n_was = KP_N(was),
	};

	if (*ip)
		fe.ip = addr(ip);
	dp_ct_set_put(dp_ct_set(ct), &fe);
}

static const struct {
	struct flow f;
	bool stays, seen;	/* seen: it is one that 10.1.0.2 answers, over UDP */
} vanished[] = {
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.1", "10.1.0.2", 1001, 53, 5353, 0 }, false, true },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.1", "10.1.0.3", 1002, 53, 5353, 0 }, true, false },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.2", "10.1.0.2", 1003, 53, 5353, 0 }, false, true },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.2", "10.1.0.2", 1004, 53, 5353, 7 }, false, true },	/* in a zone */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.3", "10.1.0.2", 1005, 54, 5353, 0 }, false, true },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.4", "10.1.0.2", 1006, 53, 5353, 0 }, false, true },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.4", "10.1.0.3", 1007, 53, 5353, 0 }, true, false },
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.4", "10.1.0.2", 1008, 53, 5353, 0 }, true, false },
	{ { IPPROTO_UDP, "10.1.9.1", "192.0.2.1", "10.1.0.2", 1009, 30053, 5353, 0 }, false, true },	/* node port */
	{ { IPPROTO_UDP, "10.1.9.1", "192.0.2.1", "10.1.0.3", 1010, 30053, 5353, 0 }, true, false },
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.99", "10.1.0.2", 1011, 53, 5353, 0 }, true, true },	/* other Service */
	{ { IPPROTO_UDP, "10.1.9.1", "10.1.0.2", NULL, 1012, 5353, 0, 0 }, true, true },		/* without one */
	{ { IPPROTO_UDP, "10.1.9.1", "10.1.9.2", NULL, 1013, 53, 0, 0 }, true, false },
};

/* More front ends than are asked for one by one: the kernel hands over what the vanished endpoint answered, twice. */
START_TEST(endpoint_of_many_frontends)
{
	struct flow late = { IPPROTO_UDP, "10.1.9.1", "10.96.0.3", "10.1.0.2", 1014, 54, 5353, 0 };
	struct dp_ct_stats st;
	uint64_t deleted = 0, seen = 0;

	for (size_t i = 0; i < KP_N(vanished); i++)
		make(&vanished[i].f);
	put_vanished("10.96.0.1", 53);
	put_vanished("10.96.0.2", 53);
	put_vanished("10.96.0.3", 54);
	put_vanished("10.96.0.4", 53);
	put_vanished("", 30053);
	st = run(1);
	for (size_t i = 0; i < KP_N(vanished); i++) {
		ck_assert_msg(there(&vanished[i].f) == vanished[i].stays, "%s:%u port %u %s", vanished[i].f.dst,
			      vanished[i].f.dport, vanished[i].f.sport, vanished[i].stays ? "was deleted" : "is still there");
		deleted += !vanished[i].stays;
		seen += vanished[i].seen;
	}
	ck_assert_uint_eq(st.deleted, deleted);
	ck_assert_uint_eq(st.examined, seen);
	make(&late);
	st = run(1 + 100000000000u);
	ck_assert_uint_eq(st.deleted, 1);
	ck_assert_uint_eq(st.examined, seen - deleted + 1);
	ck_assert_int_eq(dp_ct_pending_ms(ct, 1 + 100000000000u), -1);
}
END_TEST

/* One front end of which it is known and one of which it is not; nothing is asked about an addition. */
START_TEST(known_and_not)
{
	struct kp_backend was = { .addr = addr("10.1.0.1"), .port = 5353 }, is[2] = { was, was };
	const struct dp_ct_frontend added = {
		.ip = addr("10.96.0.99"), .port = 53, .serving = is, .n_serving = 2, .was = &was, .n_was = 1,
	};
	struct dp_ct_stats st;

	is[1].addr = addr("10.1.0.3");
	fill_table();
	dp_ct_set_put(dp_ct_set(ct), &added);
	st = run(1);
	ck_assert_uint_eq(st.examined, 0);
	ck_assert_int_eq(dp_ct_pending_ms(ct, 1 + 100000000000u), -1);
	put("10.96.0.10", 0, 53, "10.1.0.1");
	put_vanished("", 30053);
	st = run(1 + 100000000000u);
	ck_assert_uint_eq(st.deleted, 4 + 1);
	ck_assert_uint_eq(st.examined, 5 + 3);	/* the endpoint's are five, of which the front end's two are there no more */
}
END_TEST

START_TEST(removed_and_empty)
{
	struct flow to_removed = { IPPROTO_UDP, "10.1.9.1", "192.0.2.1", "10.1.0.1", 1001, 53, 5353, 0 };
	struct flow to_local = { IPPROTO_UDP, "10.1.9.1", "192.0.2.1", NULL, 1002, 53, 0, 0 };
	struct flow to_empty = { IPPROTO_UDP, "10.1.9.1", "10.96.0.11", "10.1.0.1", 1003, 53, 5353, 0 };
	struct flow hole = { IPPROTO_UDP, "10.1.9.1", "10.96.0.11", NULL, 1004, 53, 0, 0 };

	make(&to_removed);
	make(&to_local);
	make(&to_empty);
	make(&hole);
	put("192.0.2.1", 0, 53, NULL);
	put("10.96.0.11", 0, 53, "");
	ck_assert_uint_eq(run(1).deleted, 3);
	ck_assert(there(&to_local));
}
END_TEST

static const struct {
	struct flow f;
	bool replied, stays;
} begun[] = {
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.10", NULL, 1001, 80, 0, 0 }, false, false },
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.10", NULL, 1002, 80, 0, 7 }, false, false },		/* in a zone */
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.10", NULL, 1003, 80, 0, 0 }, true, true },		/* answered */
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.10", "10.1.0.1", 1004, 80, 8080, 0 }, false, true },	/* translated */
	{ { IPPROTO_TCP, "10.1.9.1", "10.96.0.10", NULL, 1005, 81, 0, 0 }, false, true },		/* other port */
	{ { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", NULL, 1006, 80, 0, 0 }, false, true },
	{ { IPPROTO_SCTP, "10.1.9.1", "10.96.0.10", NULL, 1007, 80, 0, 0 }, false, false },
	{ { IPPROTO_TCP, "10.1.9.1", "192.0.2.1", NULL, 1008, 30080, 0, 0 }, false, false },		/* node port */
	{ { IPPROTO_TCP, "10.1.9.1", "198.51.100.1", NULL, 1009, 30080, 0, 0 }, false, true },		/* not this node */
	{ { IPPROTO_TCP, "fd01::9", "fd00::10", NULL, 1010, 80, 0, 0 }, false, false },
	{ { IPPROTO_TCP, "fd01::9", "fd00::10", NULL, 1011, 80, 0, 0 }, true, true },
};

/* A Service at these front ends over TCP, those of IPv4 over SCTP as well. */
static void put_missed(void)
{
	struct kp_frontend v4[] = {
		{ .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = 80, .ip = addr("10.96.0.10") },
		{ .kind = KP_FE_NODE_PORT, .claimed = true, .port = 30080 },
	};
	struct kp_frontend v6 = { .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = 80, .ip = addr("fd00::10") };
	struct kp_plan_port ports[] = {
		{ .family = KP_IPV4, .proto = IPPROTO_TCP, .frontends = v4, .n_frontends = KP_N(v4) },
		{ .family = KP_IPV4, .proto = IPPROTO_SCTP, .frontends = v4, .n_frontends = KP_N(v4) },
		{ .family = KP_IPV6, .proto = IPPROTO_TCP, .frontends = &v6, .n_frontends = 1 },
	};
	struct kp_plan plan = { .ports = ports, .n_ports = KP_N(ports) };
	struct kp_map *plans = kp_map_new(NULL);
	struct kp_addr node = addr("192.0.2.1");

	kp_map_puts(plans, "default/web", &plan);
	dp_ct_set_node_ips(dp_ct_set(ct), KP_IPV4, &node, 1);
	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		dp_ct_set_put_missed(dp_ct_set(ct), f, plans);
	kp_map_free(plans);
}

/* Connections that began without rules, and whatever else there is; the kernel hands over those without an answer. */
START_TEST(rules_were_missing)
{
	struct dp_ct_stats st;
	uint64_t want = 0;

	for (size_t i = 0; i < KP_N(begun); i++)
		make_as(&begun[i].f, begun[i].replied ? IPS_SEEN_REPLY : 0);
	put_missed();
	st = run(1);
	for (size_t i = 0; i < KP_N(begun); i++) {
		ck_assert_msg(there(&begun[i].f) == begun[i].stays, "%s:%u port %u %s", begun[i].f.dst, begun[i].f.dport,
			      begun[i].f.sport, begun[i].stays ? "was deleted" : "is still there");
		want += !begun[i].stays;
	}
	ck_assert_uint_eq(st.deleted, want);
	ck_assert_uint_eq(st.missed, want);
	ck_assert_uint_eq(st.examined, 8 + 1);
	ck_assert_uint_eq(run(1 + 100000000000u).missed, 0);
	ck_assert_int_eq(dp_ct_pending_ms(ct, 1 + 100000000000u), -1);
}
END_TEST

/* Over several sends, and the repetition a second later finds what came meanwhile. */
START_TEST(thousands)
{
	struct flow f = { IPPROTO_UDP, "fd01::9", "fd00::10", "fd01::2", 0, 53, 5353, 0 };
	struct flow other = { IPPROTO_UDP, "fd01::9", "fd00::11", "fd01::2", 9999, 53, 5353, 0 };
	uint64_t now = kp_now_ns();

	make(&other);
	for (f.sport = 1; f.sport <= 3000; f.sport++)
		make(&f);
	put("fd00::10", 0, 53, "fd01::1");
	ck_assert_int_eq(dp_ct_pending_ms(ct, now), 0);
	ck_assert_uint_eq(run(now).deleted, 3000);
	ck_assert_int_ge(dp_ct_pending_ms(ct, now), 1000);	/* or longer, as the run may have taken */
	make(&f);
	ck_assert_uint_eq(run(now + 1000000).examined, 0);	/* not yet */
	ck_assert_uint_eq(run(now + 1000000000).deleted, 1);
	ck_assert_int_eq(dp_ct_pending_ms(ct, now + 1000000000), -1);
	ck_assert(there(&other));
}
END_TEST

/*
 * Between the look at the entry and its delete, the flow ends and begins anew. The
 * id is made from the entry's place in memory: another flow takes the old one.
 */
static bool recreate(void *arg, const struct dp_ct_entry *e)
{
	struct flow *f = arg, other = *f;

	if (e->orig_dport != f->dport)
		return false;
	ck_assert_int_eq(request(IPCTNL_MSG_CT_DELETE, f), 0);
	other.sport++;
	other.dport++;
	make(&other);
	make(f);
	return true;
}

START_TEST(id_protects_a_new_flow)
{
	struct flow f = { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.1", 1001, 53, 5353, 0 };
	struct dp_ct_stats st = { 0 };
	struct kp_err err = { 0 };

	make(&f);
	ck_assert_msg(dp_ct_sweep(ct, KP_IPV4, DP_CT_UDP, NULL, recreate, &f, &st, &err) == 0, "%s", err.msg);
	ck_assert_uint_ge(st.examined, 1);
	ck_assert_uint_eq(st.deleted, 0);
	ck_assert(there(&f));
}
END_TEST

START_TEST(failure_is_retried)
{
	struct flow f = { IPPROTO_UDP, "10.1.9.1", "10.96.0.10", "10.1.0.2", 1001, 53, 5353, 0 };
	struct dp_ct_stats st[KP_N_FAMILIES];
	struct kp_err err = { 0 };

	make(&f);
	put("10.96.0.10", 0, 53, "10.1.0.1");
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(dp_ct_run(ct, 1, st, &err), -EPERM);
	ck_assert_msg(strstr(err.msg, "clean up conntrack: "), "%s", err.msg);
	ck_assert_int_eq(dp_ct_pending_ms(ct, 1), 1000);
	ck_assert_int_eq(dp_ct_run(ct, 1 + 1000000000, st, &err), -EPERM);
	ck_assert_int_eq(dp_ct_pending_ms(ct, 1 + 1000000000), 2000);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_uint_eq(run(1 + 3000000000u).deleted, 1);
}
END_TEST

static void sh(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

static int udp_socket(const char *ip, uint16_t port)
{
	struct kp_addr a = addr(ip);
	struct sockaddr_in6 s6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in s4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval limit = { .tv_sec = 20 };
	bool v4 = a.family == KP_IPV4;
	int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(&s6.sin6_addr, a.b, 16);
	memcpy(&s4.sin_addr, a.b, 4);
	ck_assert_int_eq(bind(fd, v4 ? (void *)&s4 : (void *)&s6, v4 ? sizeof(s4) : sizeof(s6)), 0);
	ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

static void send_to(int fd, const char *ip, uint16_t port)
{
	struct kp_addr a = addr(ip);
	struct sockaddr_in6 s6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in s4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	bool v4 = a.family == KP_IPV4;

	memcpy(&s6.sin6_addr, a.b, 16);
	memcpy(&s4.sin_addr, a.b, 4);
	ck_assert_int_eq(sendto(fd, "?", 1, 0, v4 ? (void *)&s4 : (void *)&s6, v4 ? sizeof(s4) : sizeof(s6)), 1);
}

static bool receives(int fd)
{
	char c;

	return recv(fd, &c, 1, 0) == 1;
}

static const struct {
	const char *family, *vip, *net, *client, *pod[2], *at[2];	/* at: the same for nft */
} real[] = {
	{ "ip", "10.96.0.10", "10.96.0.0/16", "10.1.9.1", { "10.1.0.1", "10.1.0.2" }, { "10.1.0.1", "10.1.0.2" } },
	{ "ip6", "fd00::10", "fd00::/64", "fd01::9", { "fd01::1", "fd01::2" }, { "[fd01::1]", "[fd01::2]" } },
};

static void point_vip_at(size_t fam, const char *pod)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "echo 'table %s t {}; flush table %s t; table %s t { chain c { type nat hook output priority -100; "
		 "%s daddr %s udp dport 53 dnat to %s:5353; }; }' | nft -f -",
		 real[fam].family, real[fam].family, real[fam].family, real[fam].family, real[fam].vip, pod);
	sh(text);
}

/* The walk is another thread's: calls return at once, and what is put meanwhile is the next run's. */
START_TEST(in_the_background)
{
	const struct timespec wait = { .tv_nsec = 1000000 };
	struct dp_ct_stats st = { 0 };
	uint64_t until = kp_now_ns() + 60000000000u, deleted = 0;

	fill_table();
	dp_ct_background(ct);
	put("10.96.0.10", 0, 53, "10.1.0.1");
	st = run(kp_now_ns());
	ck_assert_uint_eq(st.examined, 0);
	put("", KP_IPV4, 30053, "10.1.0.1");
	put("fd00::10", 0, 53, "fd01::1");
	while (deleted < 7 && kp_now_ns() < until) {
		if (dp_ct_pending_ms(ct, kp_now_ns()) == 0)
			deleted += run(kp_now_ns()).deleted;
		nanosleep(&wait, NULL);
	}
	check_table(deleted);
}
END_TEST

/* A client that keeps its socket moves on when its endpoint vanishes, and only then. */
START_TEST(real_flow)
{
	int client, pod[2];
	char text[512];

	sh("ip link set lo up");
	snprintf(text, sizeof(text), "for a in %s %s %s; do ip addr add $a dev lo; done; ip route add %s dev lo",
		 real[_i].client, real[_i].pod[0], real[_i].pod[1], real[_i].net);
	sh(text);
	client = udp_socket(real[_i].client, 4000);
	for (int i = 0; i < 2; i++)
		pod[i] = udp_socket(real[_i].pod[i], 5353);

	point_vip_at((size_t)_i, real[_i].at[0]);
	send_to(client, real[_i].vip, 53);
	ck_assert_msg(receives(pod[0]), "first packet");
	point_vip_at((size_t)_i, real[_i].at[1]);
	send_to(client, real[_i].vip, 53);
	ck_assert_msg(receives(pod[0]), "the flow is pinned by conntrack");

	put(real[_i].vip, 0, 53, real[_i].pod[0]);
	ck_assert_uint_eq(run(1).deleted, 0);
	put(real[_i].vip, 0, 53, real[_i].pod[1]);
	ck_assert_uint_eq(run(1 + 100000000000u).deleted, 1);
	send_to(client, real[_i].vip, 53);
	ck_assert_msg(receives(pod[1]), "after the clean-up");
	ck_assert_uint_eq(run(1 + 300000000000u).deleted, 0);
	close(client);
	close(pod[0]);
	close(pod[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("conntrack");
	TCase *tc = tcase_create("netns");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, few_frontends);
	tcase_add_test(tc, many_frontends);
	tcase_add_test(tc, endpoint_of_many_frontends);
	tcase_add_test(tc, known_and_not);
	tcase_add_test(tc, removed_and_empty);
	tcase_add_test(tc, rules_were_missing);
	tcase_add_test(tc, thousands);
	tcase_add_test(tc, id_protects_a_new_flow);
	tcase_add_test(tc, failure_is_retried);
	tcase_add_test(tc, in_the_background);
	tcase_add_loop_test(tc, real_flow, 0, KP_N(real));
	suite_add_tcase(s, tc);
	return run_in_netns(s, NULL);
}
