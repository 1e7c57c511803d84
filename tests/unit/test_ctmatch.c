#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ctmatch.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/map.h"
#include "proxy/plan/plan.h"

#define SEC 1000000000ull

static struct kp_addr addr(const char *s)
{
	struct kp_addr a;

	ck_assert_msg(kp_addr_parse(s, &a), "%s", s);
	return a;
}

static int cmp_backend(const void *a, const void *b)
{
	return kp_backend_cmp(a, b);
}

static int cmp_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* "10.0.0.1 10.0.0.2" to sorted endpoints on port 5353. */
static uint32_t backends(const char *list, struct kp_backend *out)
{
	char copy[256], *save, *p;
	uint32_t n = 0;

	snprintf(copy, sizeof(copy), "%s", list);
	for (p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		out[n++] = (struct kp_backend){ .addr = addr(p), .port = 5353 };
	qsort(out, n, sizeof(*out), cmp_backend);
	return n;
}

/* ip "" is a node port; family then from the serving addresses or IPv4. removed: serving is NULL. */
static void put(struct dp_ct_set *s, const char *ip, uint16_t port, const char *serving)
{
	struct kp_backend list[8];
	struct dp_ct_frontend fe = {
		.node_port = !*ip,
		.port = port,
		.serving = list,
		.n_serving = serving ? backends(serving, list) : 0,
		.removed = !serving,
	};

	if (*ip)
		fe.ip = addr(ip);
	else if (fe.n_serving)
		fe.ip.family = list[0].addr.family;
	dp_ct_set_put(s, &fe);
}

static struct dp_ct_set *example(void)
{
	struct dp_ct_set *s = dp_ct_set_new();

	put(s, "10.96.0.10", 53, "10.1.0.2 10.1.0.1 10.1.0.3");
	put(s, "10.96.0.11", 53, "");
	put(s, "10.96.0.12", 53, NULL);
	put(s, "", 30053, "10.1.0.1");
	put(s, "", 30054, NULL);
	put(s, "192.0.2.1", 30053, "10.1.0.9");
	put(s, "fd00::10", 53, "fd01::1");
	put(s, "", 30053, "fd01::1");
	return s;
}

static const struct {
	const char *name;
	uint8_t proto;
	const char *dst;
	uint16_t dport;
	const char *from;	/* reply source */
	uint16_t sport;
	bool stale;
	bool stale_on_node_ips;	/* with 192.0.2.1 and fd00::1 as the node's addresses */
} cases[] = {
	{ "leads to a serving endpoint",	IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.2", 5353, false, false },
	{ "first of the sorted list",		IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.1", 5353, false, false },
	{ "last of the sorted list",		IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.3", 5353, false, false },
	{ "its former port",			IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.2", 9999, true, true },
	{ "leads to a vanished endpoint",	IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.4", 5353, true, true },
	{ "black hole",				IPPROTO_UDP, "10.96.0.10", 53, "10.96.0.10", 53, true, true },
	{ "TCP is not touched",			IPPROTO_TCP, "10.96.0.10", 53, "10.1.0.4", 5353, false, false },
	{ "SCTP is not touched",		IPPROTO_SCTP, "10.96.0.10", 53, "10.1.0.4", 5353, false, false },
	{ "other port of the address",		IPPROTO_UDP, "10.96.0.10", 54, "10.1.0.4", 5353, false, false },
	{ "other address",			IPPROTO_UDP, "10.96.0.99", 53, "10.1.0.4", 5353, false, false },
	{ "nothing serves: translated",		IPPROTO_UDP, "10.96.0.11", 53, "10.1.0.1", 5353, true, true },
	{ "nothing serves: black hole",		IPPROTO_UDP, "10.96.0.11", 53, "10.96.0.11", 53, true, true },
	{ "removed: translated",		IPPROTO_UDP, "10.96.0.12", 53, "10.1.0.1", 5353, true, true },
	{ "removed: only the port differs",	IPPROTO_UDP, "10.96.0.12", 53, "10.96.0.12", 5353, true, true },
	{ "removed: not translated",		IPPROTO_UDP, "10.96.0.12", 53, "10.96.0.12", 53, false, false },
	{ "node port, serving",			IPPROTO_UDP, "192.0.2.2", 30053, "10.1.0.1", 5353, false, false },
	{ "node port, any destination",		IPPROTO_UDP, "192.0.2.2", 30053, "10.1.0.2", 5353, true, false },
	{ "node port through, elsewhere",	IPPROTO_UDP, "8.8.8.8", 30053, "8.8.8.8", 30053, true, false },
	{ "exact address before node port",	IPPROTO_UDP, "192.0.2.1", 30053, "10.1.0.9", 5353, false, false },
	{ "exact address before node port 2",	IPPROTO_UDP, "192.0.2.1", 30053, "10.1.0.1", 5353, true, true },
	{ "removed node port, translated",	IPPROTO_UDP, "192.0.2.1", 30054, "10.1.0.1", 5353, true, true },
	{ "removed node port, a local server",	IPPROTO_UDP, "192.0.2.1", 30054, "192.0.2.1", 30054, false, false },
	{ "IPv6 serving",			IPPROTO_UDP, "fd00::10", 53, "fd01::1", 5353, false, false },
	{ "IPv6 vanished",			IPPROTO_UDP, "fd00::10", 53, "fd01::2", 5353, true, true },
	{ "IPv6 node port, serving",		IPPROTO_UDP, "fd00::1", 30053, "fd01::1", 5353, false, false },
	{ "IPv6 node port, vanished",		IPPROTO_UDP, "fd00::1", 30053, "fd01::2", 5353, true, true },
	{ "families are apart",			IPPROTO_UDP, "fd00::1", 30054, "fd01::2", 5353, false, false },
};

static bool is_stale(const struct dp_ct_set *s, uint8_t proto, const char *dst, uint16_t dport, const char *from,
		     uint16_t sport)
{
	struct dp_ct_entry e = {
		.proto = proto, .orig_dst = addr(dst), .orig_dport = dport, .reply_src = addr(from), .reply_sport = sport,
	};

	return dp_ct_set_stale(s, &e);
}

START_TEST(decides)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = example();
	struct kp_addr node = addr("192.0.2.1"), node6 = addr("fd00::1");

	ck_assert_msg(is_stale(s, cases[_i].proto, cases[_i].dst, cases[_i].dport, cases[_i].from, cases[_i].sport) ==
		      cases[_i].stale, "%s", cases[_i].name);
	dp_ct_set_node_ips(s, KP_IPV4, &node, 1);
	dp_ct_set_node_ips(s, KP_IPV6, &node6, 1);
	ck_assert_msg(is_stale(s, cases[_i].proto, cases[_i].dst, cases[_i].dport, cases[_i].from, cases[_i].sport) ==
		      cases[_i].stale_on_node_ips, "%s, with node addresses", cases[_i].name);
}
END_TEST

START_TEST(newest_state_counts)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();

	put(s, "10.96.0.10", 53, NULL);
	ck_assert(is_stale(s, IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.1", 5353));
	put(s, "10.96.0.10", 53, "10.1.0.1");
	ck_assert(!is_stale(s, IPPROTO_UDP, "10.96.0.10", 53, "10.1.0.1", 5353));
	ck_assert_uint_eq(dp_ct_set_due(s, KP_IPV4, 0), 1);
}
END_TEST

START_TEST(no_node_address_at_all)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = example();

	dp_ct_set_node_ips(s, KP_IPV4, NULL, 0);
	ck_assert(!is_stale(s, IPPROTO_UDP, "192.0.2.2", 30053, "10.1.0.2", 1));
	ck_assert(is_stale(s, IPPROTO_UDP, "fd00::1", 30053, "fd01::2", 1));
}
END_TEST

START_TEST(repeats_once)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();

	ck_assert_uint_eq(dp_ct_set_due_ns(s), UINT64_MAX);
	put(s, "10.96.0.10", 53, "");
	put(s, "fd00::10", 53, "");
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 0);
	ck_assert_uint_eq(dp_ct_set_due(s, KP_IPV4, 5 * SEC), 1);

	dp_ct_set_done(s, KP_IPV4, 5 * SEC, true, 6 * SEC);	/* something was deleted: again */
	dp_ct_set_done(s, KP_IPV6, 5 * SEC, false, 6 * SEC);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 6 * SEC);
	ck_assert_uint_eq(dp_ct_set_due(s, KP_IPV6, 9 * SEC), 0);
	ck_assert_uint_eq(dp_ct_set_due(s, KP_IPV4, 6 * SEC - 1), 0);

	put(s, "10.96.0.11", 53, "");	/* in between: only this one is due, the other waits on */
	ck_assert_uint_eq(dp_ct_set_due(s, KP_IPV4, 5 * SEC), 1);
	dp_ct_set_done(s, KP_IPV4, 5 * SEC, false, 6 * SEC);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 6 * SEC);

	dp_ct_set_done(s, KP_IPV4, 6 * SEC, true, 7 * SEC);	/* but only once */
	ck_assert_uint_eq(dp_ct_set_due_ns(s), UINT64_MAX);
}
END_TEST

/* A plan with one UDP port on every front end, and the same front ends over TCP, which never appear. */
struct small_plan {
	struct kp_plan plan;
	struct kp_plan_port ports[2];
	struct kp_frontend fe[4];
	struct kp_backend serving[4];
};

static const struct kp_plan *make(struct small_plan *p, const char *ips, uint16_t node_port, const char *serving)
{
	struct kp_backend list[4];	/* of which the addresses are front ends */
	uint32_t n = backends(ips, list);

	memset(p, 0, sizeof(*p));
	for (uint32_t i = 0; i < n; i++)
		p->fe[i] = (struct kp_frontend){ .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = 53, .ip = list[i].addr };
	if (node_port)
		p->fe[n++] = (struct kp_frontend){ .kind = KP_FE_NODE_PORT, .claimed = true, .port = node_port };
	p->ports[0] = (struct kp_plan_port){
		.proto = IPPROTO_UDP, .frontends = p->fe, .n_frontends = n,
		.serving = p->serving, .n_serving = backends(serving, p->serving),
	};
	p->ports[1] = p->ports[0];
	p->ports[1].proto = IPPROTO_TCP;
	p->plan.ports = p->ports;
	p->plan.n_ports = 2;
	return &p->plan;
}

static const struct {
	const char *name;
	struct { const char *ips; uint16_t node_port; const char *serving; } was, is;	/* ips NULL: no plan */
	size_t removed, changed;
} plans[] = {
	{ "new",		{ NULL, 0, NULL }, { "10.96.0.1", 30053, "10.1.0.1" }, 0, 2 },
	{ "gone",		{ "10.96.0.1", 30053, "10.1.0.1" }, { NULL, 0, NULL }, 2, 0 },
	{ "same",		{ "10.96.0.1", 30053, "10.1.0.1" }, { "10.96.0.1", 30053, "10.1.0.1" }, 0, 0 },
	{ "endpoint added",	{ "10.96.0.1", 30053, "10.1.0.1" }, { "10.96.0.1", 30053, "10.1.0.1 10.1.0.2" }, 0, 2 },
	{ "endpoint replaced",	{ "10.96.0.1", 0, "10.1.0.1" }, { "10.96.0.1", 0, "10.1.0.2" }, 0, 1 },
	{ "last endpoint lost",	{ "10.96.0.1", 0, "10.1.0.1" }, { "10.96.0.1", 0, "" }, 0, 1 },
	{ "address added",	{ "10.96.0.1", 0, "10.1.0.1" }, { "10.96.0.1 10.96.0.2", 0, "10.1.0.1" }, 0, 1 },
	{ "address removed",	{ "10.96.0.1 10.96.0.2", 0, "10.1.0.1" }, { "10.96.0.1", 0, "10.1.0.1" }, 1, 0 },
	{ "node port moved",	{ "10.96.0.1", 30053, "10.1.0.1" }, { "10.96.0.1", 30054, "10.1.0.1" }, 1, 1 },
};

START_TEST(plan_differences)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	struct small_plan a, b;
	const struct kp_plan *was, *is;

	was = plans[_i].was.ips ? make(&a, plans[_i].was.ips, plans[_i].was.node_port, plans[_i].was.serving) : NULL;
	is = plans[_i].is.ips ? make(&b, plans[_i].is.ips, plans[_i].is.node_port, plans[_i].is.serving) : NULL;
	dp_ct_set_put_removed(s, was, is);
	ck_assert_msg(dp_ct_set_due(s, KP_IPV4, 0) == plans[_i].removed, "%s: removed", plans[_i].name);
	dp_ct_set_put_changed(s, was, is);
	ck_assert_msg(dp_ct_set_due(s, KP_IPV4, 0) == plans[_i].removed + plans[_i].changed, "%s: changed",
		      plans[_i].name);
}
END_TEST

/* 10.96.0.1 goes from one Service to another: flows to the new owner's endpoint stay. */
START_TEST(frontend_moves)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	struct small_plan a1, b0, b1;
	const struct kp_plan *a_was = make(&a1, "10.96.0.1", 0, "10.1.0.1");
	const struct kp_plan *b_was = make(&b0, "10.96.0.1 10.96.0.2", 0, "10.1.0.2");
	const struct kp_plan *b_is = make(&b1, "10.96.0.1 10.96.0.2", 0, "10.1.0.2");

	b0.fe[0].claimed = false;
	dp_ct_set_put_removed(s, b_was, b_is);
	dp_ct_set_put_removed(s, a_was, NULL);
	dp_ct_set_put_changed(s, b_was, b_is);
	ck_assert_uint_eq(dp_ct_set_due(s, KP_IPV4, 0), 1);
	ck_assert(!is_stale(s, IPPROTO_UDP, "10.96.0.1", 53, "10.1.0.2", 5353));
	ck_assert(is_stale(s, IPPROTO_UDP, "10.96.0.1", 53, "10.1.0.1", 5353));
}
END_TEST

/* Of one front end: port 53 of an address, or "" for node port 30053. */
struct change {
	const char *ip;
	const char *was, *is;	/* the serving endpoints; is NULL: removed */
};

static void put_change(struct dp_ct_set *s, const struct change *c)
{
	struct kp_backend was[8], is[8];
	struct dp_ct_frontend fe = {
		.node_port = !*c->ip, .port = *c->ip ? 53 : 30053, .removed = !c->is,
		.serving = is, .n_serving = c->is ? backends(c->is, is) : 0, .was = was, .n_was = backends(c->was, was),
	};

	if (*c->ip)
		fe.ip = addr(c->ip);
	dp_ct_set_put(s, &fe);
}

/* "from 10.1.0.1, to 10.96.0.1", in order. */
static const char *parts(const struct dp_ct_set *s, enum kp_family family, uint64_t now_ns, char out[512])
{
	struct dp_ct_part p[DP_CT_MAX_PARTS];
	char text[DP_CT_MAX_PARTS][64], ip[KP_ADDR_STRLEN];
	size_t n = dp_ct_set_parts(s, family, now_ns, p), len = 0;

	*out = 0;
	if (n > DP_CT_MAX_PARTS)
		return "all";
	for (size_t i = 0; i < n; i++) {
		const struct dp_ct_frontend *fe = p[i].frontend;

		snprintf(text[i], sizeof(text[i]), "%s%s", fe ? "to " : "from ",
			 fe && fe->node_port ? "node port" : kp_addr_str(fe ? &fe->ip : &p[i].endpoint, ip));
	}
	qsort(text, n, sizeof(*text), cmp_text);
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(out + len, 512 - len, "%s%s", i ? ", " : "", text[i]);
	return out;
}

#define A "10.1.0.1"
#define B "10.1.0.2"
#define C "10.1.0.3"
#define D "10.1.0.4"

static const struct {
	const char *name;
	struct change put[6];	/* ends with ip NULL */
	const char *want;
} known[] = {
	{ "an endpoint vanishes", { { "10.96.0.1", A " " B, B } }, "from " A },
	{ "one is added", { { "10.96.0.1", A, A " " B } }, "" },
	{ "one of several front ends", { { "10.96.0.1", A " " B, B }, { "", A " " B, B }, { "10.96.0.2", A " " C, C } }, "from " A },
	{ "the last one", { { "10.96.0.1", A, "" } }, "from " A },
	{ "the first one", { { "10.96.0.1", "", A } }, "to 10.96.0.1" },
	{ "none before and after", { { "10.96.0.1", "", "" } }, "to 10.96.0.1" },
	{ "removed", { { "10.96.0.1", A, NULL } }, "to 10.96.0.1" },
	{ "two at once: the front end is less", { { "10.96.0.1", A " " B, C } }, "to 10.96.0.1" },
	{ "two of two", { { "10.96.0.1", A " " B, C }, { "10.96.0.2", A " " B, C } }, "from " A ", from " B },
	{ "more than can be asked for", { { "10.96.0.1", A " " B " " C, D } }, "to 10.96.0.1" },
	{ "one after the other", { { "10.96.0.1", A " " B, B }, { "10.96.0.1", B, C }, { "", A, C }, { "", B, C } },
	  "from " A ", from " B },
	{ "there and back", { { "10.96.0.1", A, B }, { "10.96.0.1", B, A }, { "10.96.0.2", A " " B, C } }, "from " A ", from " B },
	{ "removed after a change", { { "10.96.0.1", A, B }, { "10.96.0.1", B, NULL } }, "to 10.96.0.1" },
	{ "changed after a removal", { { "10.96.0.1", A, NULL }, { "10.96.0.1", A, B } }, "to 10.96.0.1" },
	{ "changed after the first one", { { "10.96.0.1", "", A }, { "10.96.0.1", A, B } }, "to 10.96.0.1" },
	{ "one known, one not", { { "10.96.0.1", A, B }, { "10.96.0.2", A, B }, { "", "", B } }, "from " A ", to node port" },
	{ "three of each", { { "10.96.0.1", A, D }, { "10.96.0.2", B, D }, { "", C, D } }, "all" },
	{ "three endpoints, two front ends", { { "10.96.0.1", A, D }, { "10.96.0.2", B " " C, D } }, "to 10.96.0.1, to 10.96.0.2" },
	{ "two and one not known", { { "10.96.0.1", A, D }, { "10.96.0.2", B, D }, { "", "", D } }, "all" },
	{ "three not known", { { "10.96.0.1", "", A }, { "10.96.0.2", "", A }, { "", "", A } }, "all" },
};

/* Put one by one, and also when the last was put during a walk. */
START_TEST(where_stale_ones_are)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new(), *late = dp_ct_set_new(), *later = dp_ct_set_new();
	char got[512];

	for (const struct change *c = known[_i].put; c->ip; c++) {
		put_change(s, c);
		put_change(c[1].ip ? late : later, c);
	}
	ck_assert_str_eq(parts(s, KP_IPV4, 0, got), known[_i].want);
	dp_ct_set_move(late, later);
	ck_assert_str_eq(parts(late, KP_IPV4, 0, got), known[_i].want);
	ck_assert_str_eq(parts(s, KP_IPV6, 0, got), "");
}
END_TEST

/* The kernel does not find IPv6 addresses. */
START_TEST(ipv6_goes_by_front_end)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	char got[512];

	put_change(s, &(struct change){ "fd00::1", "fd01::1 fd01::2", "fd01::2" });
	put_change(s, &(struct change){ "fd00::2", "fd01::1", "fd01::1 fd01::2" });
	ck_assert_str_eq(parts(s, KP_IPV6, 0, got), "to fd00::1");
}
END_TEST

START_TEST(repetition_looks_at_the_same)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	char got[512];

	put_change(s, &(struct change){ "10.96.0.1", A " " B, B });
	dp_ct_set_done(s, KP_IPV4, 5 * SEC, true, 6 * SEC);
	ck_assert_str_eq(parts(s, KP_IPV4, 5 * SEC, got), "");
	ck_assert_str_eq(parts(s, KP_IPV4, 6 * SEC, got), "from " A);
	put_change(s, &(struct change){ "10.96.0.1", B, B " " C });	/* meanwhile */
	ck_assert_str_eq(parts(s, KP_IPV4, 5 * SEC, got), "from " A);
	dp_ct_set_done(s, KP_IPV4, 6 * SEC, false, 7 * SEC);
	put_change(s, &(struct change){ "10.96.0.1", B " " C, C });
	ck_assert_str_eq(parts(s, KP_IPV4, 7 * SEC, got), "from " B);
}
END_TEST

/* An endpoint's former port is as stale as an endpoint that is gone. */
START_TEST(former_port)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	struct kp_backend was = { .addr = addr(A), .port = 5353 }, is = { .addr = addr(A), .port = 5354 };
	const struct dp_ct_frontend fe = {
		.ip = addr("10.96.0.1"), .port = 53, .serving = &is, .n_serving = 1, .was = &was, .n_was = 1,
	};
	char got[512];

	dp_ct_set_put(s, &fe);
	ck_assert_str_eq(parts(s, KP_IPV4, 0, got), "from " A);
}
END_TEST

static const struct {
	const char *name, *was, *is, *not_serving;	/* traffic went to the last, too */
	const char *want;
} planned[] = {
	{ "vanished", A " " B, B, NULL, "from " A },
	{ "new", NULL, A, NULL, "all" },
	{ "not ready but published", A " " B, B, C, "all" },
};

/* Four front ends, so that it makes a difference what is known. */
START_TEST(plans_tell)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	const char *ips = "10.96.0.1 10.96.0.2 10.96.0.3";
	struct small_plan a, b;
	struct kp_backend cluster[4];
	char got[512];

	if (planned[_i].was)
		make(&a, ips, 30053, planned[_i].was);
	if (planned[_i].not_serving) {
		a.ports[0].cluster = cluster;
		a.ports[0].n_cluster = backends(planned[_i].not_serving, cluster);
	}
	dp_ct_set_put_changed(s, planned[_i].was ? &a.plan : NULL, make(&b, ips, 30053, planned[_i].is));
	ck_assert_msg(strcmp(parts(s, KP_IPV4, 0, got), planned[_i].want) == 0, "%s: %s", planned[_i].name, got);
}
END_TEST

/* The rules of 10.96.0.1 and node port 30053 were missing, over TCP as over UDP. */
static const struct {
	const char *name;
	uint8_t proto;
	const char *dst;
	uint16_t dport;
	const char *from;
	uint16_t sport;
	bool replied, stale;
} missed[] = {
	{ "never answered",		IPPROTO_TCP, "10.96.0.1", 53, "10.96.0.1", 53, false, true },
	{ "answered without us",	IPPROTO_TCP, "10.96.0.1", 53, "10.96.0.1", 53, true, false },
	{ "translated",			IPPROTO_TCP, "10.96.0.1", 53, "10.1.0.9", 5353, false, false },
	{ "only its port is",		IPPROTO_TCP, "10.96.0.1", 53, "10.96.0.1", 5353, false, false },
	{ "other port",			IPPROTO_TCP, "10.96.0.1", 54, "10.96.0.1", 54, false, false },
	{ "other address",		IPPROTO_TCP, "10.96.0.2", 53, "10.96.0.2", 53, false, false },
	{ "other protocol",		IPPROTO_SCTP, "10.96.0.1", 53, "10.96.0.1", 53, false, false },
	{ "node port",			IPPROTO_TCP, "192.0.2.1", 30053, "192.0.2.1", 30053, false, true },
	{ "node port, answered",	IPPROTO_TCP, "192.0.2.1", 30053, "192.0.2.1", 30053, true, false },
	{ "node port, elsewhere",	IPPROTO_TCP, "8.8.8.8", 30053, "8.8.8.8", 30053, false, false },
	{ "families are apart",		IPPROTO_TCP, "fd00::1", 30053, "fd00::1", 30053, false, false },
	{ "UDP is another matter",	IPPROTO_UDP, "10.96.0.1", 53, "10.96.0.1", 53, false, false },
};

/* A Service of the plan above; the map borrows it. */
static struct kp_map *one_service(struct small_plan *p)
{
	struct kp_map *all = kp_map_new(NULL);

	make(p, "10.96.0.1", 30053, "10.1.0.1");
	kp_map_puts(all, "default/web", &p->plan);
	return all;
}

START_TEST(rules_were_missing)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	struct kp_addr node = addr("192.0.2.1");
	struct small_plan p;
	struct kp_map *all = one_service(&p);
	const struct dp_ct_entry e = {
		.proto = missed[_i].proto, .orig_dst = addr(missed[_i].dst), .orig_dport = missed[_i].dport,
		.reply_src = addr(missed[_i].from), .reply_sport = missed[_i].sport, .replied = missed[_i].replied,
	};

	dp_ct_set_node_ips(s, KP_IPV4, &node, 1);
	dp_ct_set_put_missed(s, KP_IPV4, all);
	ck_assert(dp_ct_set_missed_due(s, KP_IPV4, 0));
	ck_assert(!dp_ct_set_missed_due(s, KP_IPV6, 0));
	ck_assert_msg(dp_ct_set_stale(s, &e) == missed[_i].stale, "%s", missed[_i].name);
	dp_ct_set_done(s, KP_IPV4, 0, false, SEC);
	ck_assert_msg(!dp_ct_set_stale(s, &e), "%s, afterwards", missed[_i].name);
	kp_map_free(all);
}
END_TEST

START_TEST(anothers_claim_was_not_missing)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new();
	const struct dp_ct_entry e = {
		.proto = IPPROTO_TCP, .orig_dst = addr("10.96.0.1"), .orig_dport = 53, .reply_src = addr("10.96.0.1"), .reply_sport = 53,
	};
	struct small_plan p;
	struct kp_map *all = one_service(&p);

	p.fe[0].claimed = false;
	dp_ct_set_put_missed(s, KP_IPV4, all);
	ck_assert(dp_ct_set_missed_due(s, KP_IPV4, 0));	/* for the node port */
	ck_assert(!dp_ct_set_stale(s, &e));
	kp_map_free(all);
}
END_TEST

START_TEST(missed_is_repeated_once)
{
	KP_AUTO(dp_ct_set_freep) struct dp_ct_set *s = dp_ct_set_new(), *later = dp_ct_set_new();
	struct small_plan p;
	struct kp_map *all = one_service(&p);

	dp_ct_set_put_missed(s, KP_IPV4, all);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 0);
	dp_ct_set_done(s, KP_IPV6, 5 * SEC, true, 6 * SEC);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 0);
	dp_ct_set_done(s, KP_IPV4, 5 * SEC, true, 6 * SEC);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 6 * SEC);
	ck_assert(!dp_ct_set_missed_due(s, KP_IPV4, 6 * SEC - 1));
	ck_assert(dp_ct_set_missed_due(s, KP_IPV4, 6 * SEC));

	dp_ct_set_put_missed(later, KP_IPV4, all);	/* missing once more meanwhile: from the start */
	dp_ct_set_move(s, later);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), 0);
	ck_assert_uint_eq(dp_ct_set_due_ns(later), UINT64_MAX);
	dp_ct_set_done(s, KP_IPV4, 7 * SEC, true, 8 * SEC);
	dp_ct_set_done(s, KP_IPV4, 8 * SEC, true, 9 * SEC);
	ck_assert_uint_eq(dp_ct_set_due_ns(s), UINT64_MAX);
	kp_map_free(all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ctmatch");
	TCase *tc = tcase_create("decision");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, decides, 0, KP_N(cases));
	tcase_add_test(tc, newest_state_counts);
	tcase_add_test(tc, no_node_address_at_all);
	tcase_add_test(tc, repeats_once);
	tcase_add_loop_test(tc, plan_differences, 0, KP_N(plans));
	tcase_add_test(tc, frontend_moves);
	tcase_add_loop_test(tc, where_stale_ones_are, 0, KP_N(known));
	tcase_add_test(tc, ipv6_goes_by_front_end);
	tcase_add_test(tc, repetition_looks_at_the_same);
	tcase_add_test(tc, former_port);
	tcase_add_loop_test(tc, plans_tell, 0, KP_N(planned));
	tcase_add_loop_test(tc, rules_were_missing, 0, KP_N(missed));
	tcase_add_test(tc, anothers_claim_was_not_missing);
	tcase_add_test(tc, missed_is_repeated_once);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
