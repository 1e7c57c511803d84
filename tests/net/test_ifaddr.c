#include <check.h>
#include <event2/event.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/source/ifaddr.h"
#include "tests/support/netns.h"

static struct event_base *base;
static struct kp_ifaddr *ifaddr;
static int calls;

static void on_change(void *arg)
{
	ck_assert_ptr_eq(arg, &calls);
	calls++;
}

static void sh(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

static void setup(void)
{
	struct kp_err err = { 0 };

	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	sh("ip link set lo up; ip link add d0 type veth peer name e0; ip addr add 192.0.2.1/24 dev d0");
	base = event_base_new();
	calls = 0;
	ck_assert_msg(kp_ifaddr_new(&ifaddr, base, on_change, &calls, &err) == 0, "%s", err.msg);
}

static void teardown(void)
{
	ifaddr = kp_ifaddr_free(ifaddr);
	event_base_free(base);
}

static const char *text(struct kp_buf *b)
{
	const struct kp_addr *a;
	char s[KP_ADDR_STRLEN];
	size_t n = kp_ifaddr_get(ifaddr, &a);

	b->len = 0;
	for (size_t i = 0; i < n; i++)
		kp_buf_printf(b, "%s%s", i ? " " : "", kp_addr_str(&a[i], s));
	return b->len ? b->data : "";
}

/* Let the loop run until the addresses are these, at most 60 s; then a little more, to see calls too many. */
static void wait_for(const char *want)
{
	struct kp_buf b = { 0 };
	uint64_t end = kp_now_ms() + 60000;
	struct timeval more = { .tv_usec = 50000 };

	while (strcmp(text(&b), want) != 0 && kp_now_ms() < end) {
		struct timeval step = { .tv_usec = 5000 };

		event_base_loopexit(base, &step);
		event_base_dispatch(base);
	}
	event_base_loopexit(base, &more);
	event_base_dispatch(base);
	ck_assert_str_eq(text(&b), want);
	kp_buf_release(&b);
}

START_TEST(first_set)
{
	wait_for("127.0.0.1 192.0.2.1 ::1");
	ck_assert_int_eq(calls, 0);
}
END_TEST

START_TEST(comes_and_goes)
{
	sh("ip addr add 192.0.2.2/24 dev d0");
	wait_for("127.0.0.1 192.0.2.1 192.0.2.2 ::1");
	ck_assert_int_eq(calls, 1);
	sh("ip addr del 192.0.2.2/24 dev d0");
	wait_for("127.0.0.1 192.0.2.1 ::1");
	ck_assert_int_eq(calls, 2);
	sh("ip link del d0");
	wait_for("127.0.0.1 ::1");
	ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(same_address_twice)
{
	sh("ip link add d1 type veth peer name e1; ip addr add 192.0.2.1/24 dev d1; ip addr add 192.0.2.1/25 dev d0");
	wait_for("127.0.0.1 192.0.2.1 ::1");
	sh("ip addr del 192.0.2.1/24 dev d0; ip link del d1");
	wait_for("127.0.0.1 192.0.2.1 ::1");
	ck_assert_int_eq(calls, 0);
	sh("ip addr del 192.0.2.1/25 dev d0");
	wait_for("127.0.0.1 ::1");
	ck_assert_int_eq(calls, 1);
}
END_TEST

START_TEST(own_side_of_a_point_to_point)
{
	sh("ip addr add 10.0.0.1 peer 10.0.0.2 dev d0");
	wait_for("10.0.0.1 127.0.0.1 192.0.2.1 ::1");
}
END_TEST

#define VETH "ip link add v0 type veth peer name v1; for v in v0 v1; do ip link set $v addrgenmode none up; done;"

/* On a veth pair duplicate detection takes its second or two. */
START_TEST(tentative_does_not_count)
{
	uint64_t start = kp_now_ms();

	sh(VETH "ip addr add fd00::1/64 dev v0");
	wait_for("127.0.0.1 192.0.2.1 ::1 fd00::1");
	ck_assert_uint_ge(kp_now_ms() - start, 500);
	ck_assert_int_eq(calls, 1);
	sh("ip link set v0 down");	/* takes IPv6 addresses away, IPv4 ones stay */
	wait_for("127.0.0.1 192.0.2.1 ::1");
}
END_TEST

START_TEST(duplicate_does_not_count)
{
	sh(VETH "ip addr add fd00::1/64 dev v1 nodad; ip addr add fd00::1/64 dev v0;"
	   "for i in $(seq 600); do ip addr show dev v0 | grep -q dadfailed && exit; sleep .1; done; exit 1");
	wait_for("127.0.0.1 192.0.2.1 ::1 fd00::1");
	sh("ip addr del fd00::1/64 dev v1");
	wait_for("127.0.0.1 192.0.2.1 ::1");
}
END_TEST

/* More notifications than the socket holds: the set is right all the same. */
START_TEST(overflow)
{
	sh("all() { for i in 1 2 3 4 5; do for a in $(seq 250); do echo addr $1 10.$i.0.$a/32 dev d0; done; done; };"
	   "all add | ip -b -; all del | ip -b -; ip addr add 192.0.2.9/24 dev d0");
	wait_for("127.0.0.1 192.0.2.1 192.0.2.9 ::1");
	ck_assert_int_eq(calls, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ifaddr");
	TCase *tc = tcase_create("netns");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 20);
	tcase_add_test(tc, first_set);
	tcase_add_test(tc, comes_and_goes);
	tcase_add_test(tc, same_address_twice);
	tcase_add_test(tc, own_side_of_a_point_to_point);
	tcase_add_test(tc, tentative_does_not_count);
	tcase_add_test(tc, duplicate_does_not_count);
	tcase_add_test(tc, overflow);
	suite_add_tcase(s, tc);
	return run_in_netns(s, NULL);
}
