#include <check.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nft/held.h"
#include "nft/netlink.h"
#include "nft/nftables.h"
#include "nft/socket.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/plan/draft.h"
#include "proxy/plan/runner.h"
#include "tests/support/netns.h"
#include "tests/support/nft_lab.h"

/*
 * The backend against the real kernel, each test in a network of its own: what happens
 * when somebody else changes the table, when the kernel refuses, when a map grows full.
 */
static void *dp;
static struct kp_plan_node *node;

static void open_backend(void)
{
	struct dp_options opt = { .families = { true, node->enabled[KP_IPV6] } };
	struct kp_err err = { 0 };

	ck_assert_msg(dp_nftables_ops.open(&dp, &opt, &err) == 0, "%s", err.msg);
}

static void setup(void)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	no_second_table = false;
	node = kp_plan_node_new();
	node->enabled[KP_IPV4] = true;
	node->mark = 0x4000;
	node->nodeport_all[KP_IPV4] = true;
	open_backend();
}

static void teardown(void)
{
	dp_nftables_ops.close(dp);
	kp_plan_node_unref(node);
}

struct spec {
	unsigned id, endpoints, at;	/* at: the address, if not that of its number */
	unsigned ranges;	/* of sources; 0: everybody, and no VIP */
	bool affinity;
	bool clash;		/* two ports with one key, as no validated object can have: the kernel refuses */
	bool clash6;		/* the same of IPv6, beside what there is of IPv4 */
};
#define SVC(i, n)	{ .id = (i), .endpoints = (n) }
#define STICKY(i, n)	{ .id = (i), .endpoints = (n), .affinity = true }
#define GUARDED(i, n)	{ .id = (i), .endpoints = (n), .ranges = 1 }
#define CLASH(i, n)	{ .id = (i), .endpoints = (n), .clash = true }

static void add_port(struct kp_draft *d, const char *key, struct spec s, uint16_t number, uint8_t f)
{
	struct kp_plan_port *p = kp_draft_port(d, key, "http", IPPROTO_TCP, number);
	unsigned at = s.at ? s.at : s.id;

	p->family = f;
	p->has_any = s.endpoints > 0;
	p->affinity_seconds = s.affinity ? 10 : 0;
	kp_draft_frontend(d, (struct kp_frontend){ .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = 80,
		.ip = { .family = f, .b = { 10, 96, (uint8_t)(at >> 8), (uint8_t)at } } });
	if (s.ranges)
		kp_draft_frontend(d, (struct kp_frontend){ .kind = KP_FE_VIP, .claimed = true, .port = 80,
			.ip = { .b = { 203, 0, (uint8_t)(s.id >> 8), (uint8_t)s.id } } });
	for (unsigned i = 0; i < s.ranges; i++)
		kp_draft_range(d, (struct kp_cidr){ .addr = { .b = { 192, (uint8_t)(i >> 7), (uint8_t)(2 + 2 * i), 0 } }, .len = 24 });
	for (unsigned i = 0; i < s.endpoints; i++)
		kp_draft_cluster(d, (struct kp_backend){ .port = number,
			.addr = { .family = f, .b = { 10, 244, (uint8_t)(i >> 8), (uint8_t)i } } });
}

static struct kp_plan *plan(struct spec s)
{
	struct kp_draft d = { 0 };
	struct kp_plan *ret;
	char key[32];

	snprintf(key, sizeof(key), "default/s%u", s.id);
	add_port(&d, key, s, 8080, KP_IPV4);
	if (s.clash)
		add_port(&d, key, s, 8081, KP_IPV4);
	for (uint16_t number = 8080; s.clash6 && number < 8082; number++)
		add_port(&d, key, s, number, KP_IPV6);
	ret = kp_draft_freeze(&d, key);
	kp_draft_release(&d);
	return ret;
}

/* Apply these; the first call carries the node. */
static struct dp_result apply(bool first, const struct spec *specs, size_t n)
{
	struct dp_batch b = { .node = first ? kp_plan_node_ref(node) : NULL };
	struct dp_result res;
	size_t cap = 0;

	for (size_t i = 0; i < n; i++) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *p = plan(specs[i]);

		dp_batch_add(&b, p->key, p, &cap);
	}
	dp_nftables_ops.apply(dp, &b, &res);
	dp_batch_release(&b);
	return res;
}

static void must(struct dp_result res, bool wrote, size_t refused)
{
	ck_assert_msg(res.family[KP_IPV4].code == 0, "%s", res.family[KP_IPV4].message);
	ck_assert_int_eq(res.family[KP_IPV4].wrote, wrote);
	ck_assert_uint_eq(res.n_refused, refused);
	dp_result_release(&res);
}

#define APPLY(first, ...) apply(first, (const struct spec[]){ __VA_ARGS__ }, \
				sizeof((const struct spec[]){ __VA_ARGS__ }) / sizeof(struct spec))

static void restart(void)
{
	dp_nftables_ops.close(dp);
	open_backend();
}

START_TEST(restart_writes_nothing)
{
	must(APPLY(true, GUARDED(1, 3), STICKY(2, 1), SVC(3, 0)), true, 0);
	must(APPLY(false, GUARDED(1, 5)), true, 0);
	must(APPLY(false, GUARDED(1, 4)), true, 0);	/* the class stays larger than a new one would be */
	restart();
	must(APPLY(true, GUARDED(1, 4), STICKY(2, 1), SVC(3, 0)), false, 0);
}
END_TEST

START_TEST(refused_object_is_named_and_left_out)
{
	struct dp_result res;

	must(APPLY(true, SVC(1, 2), SVC(2, 2)), true, 0);
	res = APPLY(false, SVC(1, 3), CLASH(2, 3), SVC(3, 1));
	ck_assert_int_eq(res.family[KP_IPV4].code, 0);
	ck_assert_uint_eq(res.n_refused, 1);
	ck_assert_str_eq(res.refused[0].key, "default/s2");
	ck_assert_msg(strstr(res.refused[0].why, "10.96.0.2 . tcp . 80") != NULL, "%s", res.refused[0].why);
	dp_result_release(&res);
	assert_lists("10.96.0.1 . tcp . 80 . 2", true);
	assert_lists("10.96.0.3 . tcp . 80 . 0", true);
	assert_lists("10.96.0.2 . tcp . 80 . 1", true);		/* its last good rules */
	assert_lists("10.96.0.2 . tcp . 80 . 2", false);
	must(APPLY(false, SVC(2, 3)), true, 0);			/* corrected */
	assert_lists("10.96.0.2 . tcp . 80 . 2", true);
}
END_TEST

/* The address that it gives up is another's from now on, whose draws must not hit what its last good rules left. */
START_TEST(refused_and_in_the_way)
{
	struct dp_result res;

	must(APPLY(true, SVC(1, 1), SVC(2, 5)), true, 0);
	res = APPLY(false, { .id = 1, .endpoints = 2, .at = 2 }, { .id = 2, .endpoints = 5, .at = 3, .clash = true });
	ck_assert_msg(res.family[KP_IPV4].code == 0, "%s", res.family[KP_IPV4].message);
	ck_assert_uint_eq(res.n_refused, 1);
	ck_assert_str_eq(res.refused[0].key, "default/s2");
	ck_assert(res.refused[0].gone);
	dp_result_release(&res);
	assert_lists("10.96.0.2 . tcp . 80 . 1", true);
	assert_lists("10.96.0.2 . tcp . 80 . 2", false);
	assert_lists("10.96.0.2 . tcp . 80 . 4", false);
}
END_TEST

START_TEST(refused_from_the_start)
{
	struct dp_result res = APPLY(true, SVC(1, 2), CLASH(2, 3));

	ck_assert_int_eq(res.family[KP_IPV4].code, 0);
	ck_assert_uint_eq(res.n_refused, 1);
	dp_result_release(&res);
	assert_lists("10.96.0.1 . tcp . 80 . 1", true);
	assert_lists("10.96.0.2", false);
}
END_TEST

START_TEST(refused_in_one_family)
{
	struct dp_result res;

	node->enabled[KP_IPV6] = true;
	restart();
	res = APPLY(true, SVC(1, 2), { .id = 2, .endpoints = 2, .clash6 = true });
	ck_assert_int_eq(res.family[KP_IPV6].code, 0);
	ck_assert_uint_eq(res.n_refused, 1);
	ck_assert_str_eq(res.refused[0].key, "default/s2");
	ck_assert_uint_eq(res.refused[0].family, KP_IPV6);
	dp_result_release(&res);
	assert_lists("10.96.0.2 . tcp . 80 . 1", true);
}
END_TEST

/* The kernel names one of each message, and there are more than it is asked for again. */
START_TEST(many_are_refused)
{
	struct spec specs[42] = { SVC(100, 2), SVC(101, 2) };
	struct dp_result res;

	for (unsigned i = 2; i < 42; i++)
		specs[i] = (struct spec)CLASH(i, 3);
	res = apply(true, specs, 42);
	ck_assert_msg(res.family[KP_IPV4].code == 0, "%s", res.family[KP_IPV4].message);
	ck_assert_uint_eq(res.n_refused, 40);
	dp_result_release(&res);
	assert_lists("10.96.0.100 . tcp . 80 . 1", true);
	assert_lists("10.96.0.41", false);
}
END_TEST

/* What somebody did to the table; the next change, or a restart, must put everything right. */
static const struct {
	const char *name, *script;
	bool needs_restart;	/* nothing in the next change stumbles over it */
} damages[] = {
	{ "flush ruleset", "flush ruleset", false },
	{ "table deleted", "delete table ip proxylet", false },
	{ "map flushed", "flush map ip proxylet eps", false },
	{ "element deleted", "delete element ip proxylet svc { 10.96.0.1 . tcp . 80 }", true },
	{ "element added", "add element ip proxylet cluster-ips { 10.9.9.9 }", true },
	{ "rule added", "insert rule ip proxylet services counter", true },
	{ "chain flushed", "flush chain ip proxylet services", true },
	{ "base chain flushed", "flush chain ip proxylet nat-prerouting", true },
	{ "foreign chain", "add chain ip proxylet intruder\nadd rule ip proxylet intruder jump services", true },
	{ "foreign set", "add set ip proxylet intruder { type ipv4_addr; }", true },
	{ "other format", "delete table ip proxylet\nadd table ip proxylet { comment \"proxylet format 0\"; }", true },
	{ "set of another type", "delete table ip proxylet\nadd table ip proxylet { comment \"proxylet format 1\"; }\n"
	  "add set ip proxylet svc { type ipv4_addr; }", true },
	{ "killed while replacing, and another time", "delete table ip proxylet\n"
	  "add table ip proxylet { comment \"proxylet format 0\"; }\nadd table ip proxylet-next\n"
	  "add set ip proxylet-next svc { type ipv4_addr; }", true },
};

START_TEST(damage)
{
	KP_AUTO(kp_freep) char *after = NULL;

	must(APPLY(true, GUARDED(1, 3), STICKY(2, 1), SVC(3, 1)), true, 0);
	script(damages[_i].script);
	if (damages[_i].needs_restart) {
		restart();
		must(APPLY(true, GUARDED(1, 2), STICKY(2, 1), SVC(3, 1)), true, 0);
	} else {
		must(APPLY(false, GUARDED(1, 2)), true, 0);
	}
	after = list_table();
	ck_assert_msg(!strstr(after, "intruder") && !strstr(after, "counter") && !strstr(after, "10.9.9.9"), "%s:\n%.1000s",
		      damages[_i].name, after);
	ck_assert_ptr_nonnull(strstr(after, "10.96.0.1 . tcp . 80 . 1"));
	ck_assert_ptr_nonnull(strstr(after, "10.96.0.1 . tcp . 80 comment"));
	ck_assert_ptr_null(strstr(after, "10.96.0.1 . tcp . 80 . 2"));
	ck_assert_ptr_nonnull(strstr(after, "10.96.0.3 . tcp . 80 comment"));
	restart();
	must(APPLY(true, GUARDED(1, 2), STICKY(2, 1), SVC(3, 1)), false, 0);
}
END_TEST

/* What the dataplane thread does while nothing is handed to it, until the table lists text again; false: it never does. */
static bool runs_until(const char *text, bool listed, unsigned limit_ms)
{
	uint64_t deadline = kp_now_ms() + limit_ms;

	while (kp_now_ms() < deadline) {
		KP_AUTO(kp_freep) char *now = list_table();
		struct dp_result res;

		if ((strstr(now, text) != NULL) == listed)
			return true;
		usleep((useconds_t)dp_nftables_ops.pending_ms(dp) * 1000);
		dp_nftables_ops.retry(dp, &res);
		dp_result_release(&res);
	}
	return false;
}

/* The same damages, and nothing of ours to write: found by looking, and put right. */
static const struct {
	const char *name, *script, *text;
	bool listed;
} drifts[] = {
	{ "flush ruleset", "flush ruleset", "10.96.0.1 . tcp . 80 . 2", true },
	{ "table deleted", "delete table ip proxylet", "10.96.0.1 . tcp . 80 . 2", true },
	{ "chain flushed", "flush chain ip proxylet services", "vmap @svc", true },
	{ "rule added", "insert rule ip proxylet services counter", "counter", false },
	{ "foreign chain", "add chain ip proxylet intruder", "intruder", false },
	{ "foreign set", "add set ip proxylet intruder { type ipv4_addr; }", "intruder", false },
	{ "map flushed", "flush map ip proxylet eps", "10.96.0.1 . tcp . 80 . 2", true },
	{ "element deleted", "delete element ip proxylet svc { 10.96.0.1 . tcp . 80 }", "10.96.0.1 . tcp . 80 comment", true },
	{ "element added", "add element ip proxylet cluster-ips { 10.9.9.9 }", "10.9.9.9", false },
};

START_TEST(drift)
{
	must(APPLY(true, GUARDED(1, 3), STICKY(2, 1), SVC(3, 1)), true, 0);
	script(drifts[_i].script);
	ck_assert_msg(runs_until(drifts[_i].text, drifts[_i].listed, 60000), "%s: not put right", drifts[_i].name);
	restart();
	must(APPLY(true, GUARDED(1, 3), STICKY(2, 1), SVC(3, 1)), false, 0);
}
END_TEST

/* After a first foreign change the kernel names the elements that others write. */
static const struct {
	const char *name, *script, *gone, *there;
} heard[] = {
	{ "changed", "delete element ip proxylet eps { 10.96.0.1 . tcp . 80 . 1 }\n"
	  "add element ip proxylet eps { 10.96.0.1 . tcp . 80 . 1 : 10.9.9.9 . 1 }", "10.9.9.9", "10.96.0.1 . tcp . 80 . 1" },
	{ "one for another", "delete element ip proxylet eps { 10.96.0.1 . tcp . 80 . 2 }\n"
	  "add element ip proxylet eps { 10.99.9.9 . tcp . 80 . 2 : 10.9.9.9 . 1 }", "10.99.9.9", "10.96.0.1 . tcp . 80 . 2" },
	{ "two sets", "delete element ip proxylet svc { 10.96.0.1 . tcp . 80 }\n"
	  "add element ip proxylet cluster-ips { 10.9.9.9 }", "10.9.9.9", "10.96.0.1 . tcp . 80 comment" },
	{ "as it was", "delete element ip proxylet eps { 10.96.0.1 . tcp . 80 . 1 }\nflush chain ip proxylet services\n"
	  "delete element ip proxylet eps { 10.96.0.1 . tcp . 80 . 0 }", "no such thing", "10.96.0.1 . tcp . 80 . 0" },
};

static void listens(void)
{
	must(APPLY(true, GUARDED(1, 3), STICKY(2, 1), SVC(3, 1)), true, 0);
	script("flush chain ip proxylet services");
	ck_assert(runs_until("vmap @svc", true, 5000));
	while (dp_nftables_ops.pending_ms(dp) == 0) {	/* all is looked at once more */
		struct dp_result res;

		dp_nftables_ops.retry(dp, &res);
		dp_result_release(&res);
	}
}

static void is_as_wanted(void)
{
	restart();
	must(APPLY(true, GUARDED(1, 3), STICKY(2, 1), SVC(3, 1)), false, 0);
}

START_TEST(heard_of)
{
	listens();
	script(heard[_i].script);
	ck_assert_msg(runs_until(heard[_i].gone, false, 5000), "%s: not put right", heard[_i].name);
	ck_assert_msg(runs_until(heard[_i].there, true, 5000), "%s: not put right", heard[_i].name);
	ck_assert_msg(runs_until("vmap @svc", true, 5000), "%s: not put right", heard[_i].name);
	is_as_wanted();
}
END_TEST

/* More than are kept one by one. */
START_TEST(heard_of_many)
{
	struct kp_buf text = { 0 };

	listens();
	for (unsigned i = 0; i < 600; i++)
		kp_buf_printf(&text, "add element ip proxylet cluster-ips { 10.9.%u.%u }\n", i / 256, i % 256);
	script(text.data);
	kp_buf_release(&text);
	ck_assert(runs_until("10.9.", false, 5000));
	is_as_wanted();
}
END_TEST

/* Changes of ours between the slices of an audit are none of somebody else's. */
START_TEST(changes_during_an_audit)
{
	struct dp_batch b = { .node = kp_plan_node_ref(node) };
	struct dp_result res;
	size_t cap = 0;

	for (unsigned i = 0; i < 3000; i++) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *p = plan((struct spec)SVC(i, 10));

		dp_batch_add(&b, p->key, p, &cap);
	}
	dp_nftables_ops.apply(dp, &b, &res);
	dp_batch_release(&b);
	must(res, true, 0);
	script("add table ip another");		/* a cause to audit */
	for (unsigned i = 0; i < 3000; i += 3) {
		dp_nftables_ops.retry(dp, &res);
		ck_assert_msg(!res.family[KP_IPV4].drift, "%u: %s", i, res.family[KP_IPV4].drift->what);
		dp_result_release(&res);
		if (i && dp_nftables_ops.pending_ms(dp) > 0)
			return;
		must(APPLY(false, SVC(i, 9), SVC(i + 1, 9), SVC(i + 2, 9)), true, 0);
	}
	ck_abort_msg("the audit does not end");
}
END_TEST

static unsigned count_ranges(void)
{
	KP_AUTO(kp_freep) char *text = list_table();
	unsigned n = 0;

	for (const char *p = strstr(text, "ip saddr !="); p && (p = strstr(p, ".0/24")); p += 5)
		n++;
	return n;
}

/* More source ranges than one message holds. */
START_TEST(many_ranges)
{
	must(APPLY(true, { .id = 1, .endpoints = 1, .ranges = 5000 }), true, 0);
	ck_assert_uint_eq(count_ranges(), 5000);
	script("flush chain ip proxylet fw/default/s1/tcp/8080");
	ck_assert(runs_until("ip saddr !=", true, 60000));
	ck_assert_uint_eq(count_ranges(), 5000);
	restart();
	must(APPLY(true, { .id = 1, .endpoints = 1, .ranges = 5000 }), false, 0);
	must(APPLY(false, { .id = 1, .endpoints = 1, .ranges = 4999 }), true, 0);
	ck_assert_uint_eq(count_ranges(), 4999);
}
END_TEST

/* An audit that gets no socket of its own is left to the next one. */
START_TEST(no_socket_for_an_audit)
{
	uint64_t deadline = kp_now_ms() + 60000;
	int ms = 0;

	must(APPLY(true, SVC(1, 3)), true, 0);
	script("add table ip another");		/* a cause to audit */
	no_sockets = true;
	while ((!sockets_refused || ms == 0) && kp_now_ms() < deadline) {
		struct dp_result res;

		dp_nftables_ops.retry(dp, &res);
		dp_result_release(&res);
		ms = dp_nftables_ops.pending_ms(dp);
		usleep((useconds_t)ms * 1000);
	}
	ck_assert_uint_ne(sockets_refused, 0);
	no_sockets = false;
	script(heard[0].script);
	ck_assert(runs_until(heard[0].gone, false, 60000));
}
END_TEST

static void add_services(unsigned from, unsigned to)
{
	struct dp_batch b = { 0 };
	struct dp_result res;
	size_t cap = 0;

	for (unsigned i = from; i <= to; i++) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *p = plan((struct spec)SVC(i, 14));

		dp_batch_add(&b, p->key, p, &cap);
	}
	dp_nftables_ops.apply(dp, &b, &res);
	dp_batch_release(&b);
	must(res, true, 0);
}

/* 5,000 x 14 slots are more than eps was made for: the table is replaced, nothing is lost. */
START_TEST(growth_replaces_the_table)
{
	must(APPLY(true, SVC(1, 11), STICKY(6000, 1)), true, 0);
	script("add element ip proxylet aff/default/s6000/tcp/8080 { 192.0.2.1 timeout 24h : 10.244.0.0 . 8080 }");
	add_services(2, 5000);
	assert_lists("10.96.19.136 . tcp . 80 . 10", true);
	assert_lists("size 196608", true);
	assert_lists("192.0.2.1 timeout", true);		/* with the time it had left */
	assert_lists("expires 23h", true);
	script("add table ip proxylet-next\ndelete table ip proxylet-next");	/* it is not there: this adds it newly */
	must(APPLY(false, SVC(1, 10)), true, 0);
}
END_TEST

/*
 * 700 x 14 slots are more than three quarters of what eps was made for: it is time for a larger table, for which there is no
 * memory. The rules are all there, so that this is no failure as long as there is room.
 */
START_TEST(growth_that_can_wait_is_no_failure)
{
	must(APPLY(true, SVC(1, 14)), true, 0);
	no_second_table = true;
	add_services(2, 700);
	assert_lists("size 12288", true);
	assert_lists("10.96.2.188 . tcp . 80 . 13", true);
	must(APPLY(false, SVC(701, 14)), true, 0);
	assert_lists("10.96.2.189 . tcp . 80 . 13", true);
	no_second_table = false;
	add_services(702, 1000);
	assert_lists("10.96.3.232 . tcp . 80 . 13", true);
	assert_lists("size 12288", false);
}
END_TEST

/* It cannot be deleted: its chains come before ours, so that what we wrote does not count. */
START_TEST(second_table_of_another_program)
{
	struct dp_txn *txn = dp_txn_new(KP_IPV4, "proxylet-next");
	struct mnl_socket *nl;
	struct dp_txn_report rep;
	struct kp_err err = { 0 };
	struct dp_result res;

	ck_assert_int_eq(dp_socket_open(&nl, &err), 0);
	dp_netlink_add_table(txn, DP_TABLE_OWNER);
	ck_assert_msg(dp_txn_commit(txn, nl, NULL, &rep) == 0, "%s", rep.message);
	dp_txn_free(txn);
	res = APPLY(true, SVC(1, 1));
	ck_assert_int_eq(res.family[KP_IPV4].code, -EPERM);
	dp_result_release(&res);
	ck_assert_int_ge(dp_nftables_ops.pending_ms(dp), 0);
	mnl_socket_close(nl);		/* and with it goes the table */
	must(APPLY(false, SVC(2, 1)), true, 0);
}
END_TEST

/* A crash in the middle of a replacement leaves the second table. */
START_TEST(second_table_is_removed)
{
	struct kp_buf out = { 0 };

	script("add table ip proxylet-next { chain x { }; }");
	must(APPLY(true, SVC(1, 1)), true, 0);
	ck_assert_int_ne(nft("list table ip proxylet-next", NULL, &out), 0);
	script("add table ip proxylet-next { chain x { }; }\ndelete table ip proxylet");
	ck_assert_int_eq(dp_nftables_ops.remove(NULL), 0);	/* when another backend has taken over */
	ck_assert_int_ne(nft("list table ip proxylet-next", NULL, &out), 0);
	kp_buf_release(&out);
}
END_TEST

START_TEST(remembered_choice_of_a_lost_endpoint_is_forgotten)
{
	must(APPLY(true, STICKY(1, 2)), true, 0);
	script("add element ip proxylet aff/default/s1/tcp/8080 { 192.0.2.1 timeout 1h : 10.244.0.0 . 8080, "
	       "192.0.2.2 timeout 1h : 10.244.0.1 . 8080 }");
	must(APPLY(false, STICKY(1, 1)), true, 0);
	ck_assert(runs_until("192.0.2.2 ", false, 60000));
	assert_lists("192.0.2.1 ", true);
}
END_TEST

static uint32_t generation(void)
{
	struct mnl_socket *nl;
	uint32_t ret;

	ck_assert_int_eq(dp_socket_open(&nl, NULL), 0);
	ck_assert_int_eq(dp_genid(nl, &ret, NULL), 0);
	mnl_socket_close(nl);
	return ret;
}

/* Few transactions, although some are gone when they are to be deleted. */
START_TEST(many_remembered_choices_are_forgotten)
{
	struct kp_buf text = { 0 };
	uint32_t before;

	must(APPLY(true, STICKY(1, 2)), true, 0);
	for (unsigned i = 0; i < 4000; i++)
		kp_buf_printf(&text, "%s 192.1.%u.%u timeout 1h : 10.244.0.%u . 8080", i ? "," :
			      "add element ip proxylet aff/default/s1/tcp/8080 {", i / 250, i % 250, i % 2);
	kp_buf_puts(&text, " }");
	script(text.data);
	kp_buf_release(&text);
	must(APPLY(false, STICKY(1, 1)), true, 0);
	before = generation();
	before_send = "delete element ip proxylet aff/default/s1/tcp/8080 { 192.1.0.1, 192.1.9.201 }";
	ck_assert(runs_until(": 10.244.0.1 . 8080", false, 60000));
	ck_assert_ptr_null(before_send);
	ck_assert_uint_lt(generation() - before, 100);
	assert_lists("192.1.9.200 ", true);
}
END_TEST

/* The endpoint left while the kernel did not take its Service, whose rules still led to it. */
START_TEST(remembered_choice_is_forgotten_when_accepted)
{
	struct dp_result res;

	must(APPLY(true, STICKY(1, 2)), true, 0);
	script("add element ip proxylet aff/default/s1/tcp/8080 { 192.0.2.2 timeout 1h : 10.244.0.1 . 8080 }");
	res = APPLY(false, { .id = 1, .endpoints = 1, .affinity = true, .ranges = 1, .clash = true });
	ck_assert_uint_eq(res.n_refused, 1);
	dp_result_release(&res);
	ck_assert(!runs_until("192.0.2.2 ", false, 1500));
	must(APPLY(false, STICKY(1, 1)), true, 0);
	ck_assert(runs_until("192.0.2.2 ", false, 60000));
}
END_TEST

/* A table of ours in the other family that belongs to somebody else, so that writing to it fails: until the socket closes. */
static struct mnl_socket *take_ipv6(void)
{
	struct dp_txn *txn = dp_txn_new(KP_IPV6, DP_TABLE);
	struct dp_txn_report rep;
	struct mnl_socket *nl;

	ck_assert_int_eq(dp_socket_open(&nl, NULL), 0);
	dp_netlink_add_table(txn, DP_TABLE_OWNER);
	ck_assert_int_eq(dp_txn_commit(txn, nl, NULL, &rep), 0);
	dp_txn_free(txn);
	return nl;
}

static void fails_ipv6_alone(struct dp_result res)
{
	ck_assert_int_eq(res.family[KP_IPV4].code, 0);
	ck_assert_int_eq(res.family[KP_IPV6].code, -EPERM);
	dp_result_release(&res);
}

static struct mnl_socket *begin_without_ipv6(void)
{
	struct mnl_socket *other;

	dp_nftables_ops.close(dp);
	node->enabled[KP_IPV6] = true;
	open_backend();
	other = take_ipv6();
	fails_ipv6_alone(APPLY(true, STICKY(1, 2), SVC(2, 1)));
	return other;
}

/* What one family lacks is no reason to leave the other alone. */
START_TEST(watched_while_the_other_family_fails)
{
	struct mnl_socket *other = begin_without_ipv6();

	script("delete table ip proxylet");
	ck_assert(runs_until("10.96.0.1 . tcp . 80 . 1", true, 60000));
	script("add element ip proxylet aff/default/s1/tcp/8080 { 192.0.2.2 timeout 1h : 10.244.0.1 . 8080 }");
	fails_ipv6_alone(APPLY(false, STICKY(1, 1)));
	ck_assert(runs_until("192.0.2.2 ", false, 60000));
	mnl_socket_close(other);
}
END_TEST

/* A repair of the one does not make the other forget that it has to try again. */
START_TEST(retried_after_a_repair_of_the_other_family)
{
	struct mnl_socket *other = begin_without_ipv6();
	uint64_t deadline = kp_now_ms() + 60000;
	bool done = false;

	script("delete table ip proxylet");
	ck_assert(runs_until("10.96.0.1 . tcp . 80 . 1", true, 60000));
	mnl_socket_close(other);
	while (!done && kp_now_ms() < deadline) {
		struct dp_result res;

		usleep((useconds_t)dp_nftables_ops.pending_ms(dp) * 1000);
		dp_nftables_ops.retry(dp, &res);
		done = res.family[KP_IPV6].tried && res.family[KP_IPV6].code == 0;
		dp_result_release(&res);
	}
	ck_assert(done);
}
END_TEST

/* Nor is its success one to take what happened meanwhile for our own doing. */
START_TEST(lost_before_the_other_family_succeeds)
{
	struct mnl_socket *other = begin_without_ipv6();

	script("delete table ip proxylet");
	mnl_socket_close(other);
	ck_assert(runs_until("10.96.0.1 . tcp . 80 . 1", true, 60000));
}
END_TEST

/*
 * A kernel that cannot delete chains along with the elements that lead to them: they go a second
 * later. A map that is wanted again before has forgotten, and is not deleted.
 */
START_TEST(chains_go_later_on_old_kernels)
{
	release = "6.1.0-32-amd64";
	restart();
	must(APPLY(true, STICKY(1, 2), STICKY(2, 1), GUARDED(3, 1)), true, 0);
	script("add element ip proxylet aff/default/s1/tcp/8080 { 192.0.2.1 timeout 1h : 10.244.0.1 . 8080 }");
	must(APPLY(false, SVC(1, 2), SVC(2, 1), SVC(3, 1)), true, 0);
	assert_lists("chain fw/default/s3", true);
	must(APPLY(false, STICKY(1, 1)), true, 0);
	assert_lists("192.0.2.1 ", false);
	ck_assert(runs_until("/default/s2/", false, 60000));
	ck_assert(runs_until("/default/s3/", false, 60000));
	assert_lists("map aff/default/s1", true);
	restart();
	must(APPLY(true, STICKY(1, 1), SVC(2, 1), SVC(3, 1)), false, 0);
	must(APPLY(false, SVC(1, 1)), true, 0);
	restart();
	must(APPLY(true, SVC(1, 1), SVC(2, 1), SVC(3, 1)), true, 0);	/* finds what is left */
	ck_assert(runs_until("/default/s1/", false, 60000));
	release = NULL;
}
END_TEST

/* Without the capability: a clear word, no rules, no crash. */
START_TEST(probe_names_the_missing_right)
{
	struct dp_options opt = { .families = { true, true } };
	struct kp_err err = { 0 };

	ck_assert_int_eq(dp_nftables_ops.probe(&opt, &err), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(dp_nftables_ops.probe(&opt, &err), -EPERM);
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert_msg(strstr(err.msg, "CAP_NET_ADMIN") != NULL, "%s", err.msg);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nftables");
	TCase *tc = tcase_create("kernel");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, restart_writes_nothing);
	tcase_add_test(tc, refused_object_is_named_and_left_out);
	tcase_add_test(tc, refused_and_in_the_way);
	tcase_add_test(tc, refused_from_the_start);
	tcase_add_test(tc, refused_in_one_family);
	tcase_add_test(tc, many_are_refused);
	tcase_add_loop_test(tc, damage, 0, sizeof(damages) / sizeof(damages[0]));
	tcase_add_loop_test(tc, drift, 0, sizeof(drifts) / sizeof(drifts[0]));
	tcase_add_loop_test(tc, heard_of, 0, sizeof(heard) / sizeof(heard[0]));
	tcase_add_test(tc, heard_of_many);
	tcase_add_test(tc, changes_during_an_audit);
	tcase_add_test(tc, many_ranges);
	tcase_add_test(tc, no_socket_for_an_audit);
	tcase_add_test(tc, growth_replaces_the_table);
	tcase_add_test(tc, growth_that_can_wait_is_no_failure);
	tcase_add_test(tc, second_table_of_another_program);
	tcase_add_test(tc, second_table_is_removed);
	tcase_add_test(tc, remembered_choice_of_a_lost_endpoint_is_forgotten);
	tcase_add_test(tc, many_remembered_choices_are_forgotten);
	tcase_add_test(tc, remembered_choice_is_forgotten_when_accepted);
	tcase_add_test(tc, watched_while_the_other_family_fails);
	tcase_add_test(tc, retried_after_a_repair_of_the_other_family);
	tcase_add_test(tc, lost_before_the_other_family_succeeds);
	tcase_add_test(tc, chains_go_later_on_old_kernels);
	tcase_add_test(tc, probe_names_the_missing_right);
	suite_add_tcase(s, tc);
	return run_in_netns(s, NULL);
}
