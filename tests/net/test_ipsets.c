#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipsets.h"
#include "nft/socket.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

static struct mnl_socket *nl;

static void sh(const char *command)
{
	ck_assert_msg(system(command) == 0, "%s", command);
}

/* As mode ipvs makes them, with an entry each. */
static void setup(void)
{
	struct kp_err err = { 0 };

	if (unshare(CLONE_NEWNET) == -1) {
		fprintf(stderr, "skipped: no network namespaces here: %s\n", strerror(errno));
		exit(77);
	}
	sh("ipset create KUBE-EXTERNAL-IP hash:ip,port; ipset add KUBE-EXTERNAL-IP 203.0.113.1,tcp:80");
	sh("ipset create KUBE-EXTERNAL-IP-LOCAL hash:ip,port; ipset add KUBE-EXTERNAL-IP-LOCAL 203.0.113.2,udp:53");
	sh("ipset create KUBE-6-LOAD-BALANCER hash:ip,port family inet6; ipset add KUBE-6-LOAD-BALANCER 2001:db8::7,tcp:443");
	sh("ipset create KUBE-NODE-PORT-TCP bitmap:port range 0-65535; ipset add KUBE-NODE-PORT-TCP 30080");
	sh("ipset create KUBE-NODE-PORT-SCTP-HASH hash:ip,port; ipset add KUBE-NODE-PORT-SCTP-HASH 192.0.2.1,sctp:30090");
	ck_assert_msg(dp_socket_open(&nl, &err) == 0, "%s", err.msg);
}

static void teardown(void)
{
	mnl_socket_close(nl);
}

static const struct {
	const char *addr;
	bool of_node;
	uint8_t protocol;
	uint16_t port;
	bool have;
} servers[] = {
	{ "203.0.113.1", false, IPPROTO_TCP, 80, true },
	{ "203.0.113.1", false, IPPROTO_TCP, 81, false },
	{ "203.0.113.1", false, IPPROTO_UDP, 80, false },
	{ "203.0.113.2", false, IPPROTO_UDP, 53, true },
	{ "203.0.113.3", false, IPPROTO_TCP, 80, false },
	{ "2001:db8::7", true, IPPROTO_TCP, 443, true },
	{ "2001:db8::8", true, IPPROTO_TCP, 443, false },
	{ "192.0.2.1", true, IPPROTO_TCP, 30080, true },
	{ "192.0.2.1", false, IPPROTO_TCP, 30080, false },	/* a virtual server of somebody else's */
	{ "192.0.2.1", true, IPPROTO_UDP, 30080, false },
	{ "192.0.2.1", true, IPPROTO_TCP, 30081, false },
	{ "192.0.2.1", true, IPPROTO_SCTP, 30090, true },
	{ "192.0.2.2", true, IPPROTO_SCTP, 30090, false },
};

START_TEST(whose_server)
{
	uint16_t family = strchr(servers[_i].addr, ':') ? AF_INET6 : AF_INET;
	uint8_t addr[16];

	ck_assert_int_eq(inet_pton(family, servers[_i].addr, addr), 1);
	ck_assert_msg(dp_ipsets_have(nl, family, addr, servers[_i].of_node, servers[_i].protocol, htons(servers[_i].port)) ==
		      servers[_i].have, "%s, port %u", servers[_i].addr, servers[_i].port);
}
END_TEST

static void count(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
}

/* One that a rule uses stays, and is no reason for the others to; later it goes as well. */
START_TEST(in_use)
{
	struct kp_err err = { 0 };
	unsigned n = 0;

	sh("iptables-nft -A INPUT -m set --match-set KUBE-EXTERNAL-IP dst,dst -j RETURN");
	ck_assert_int_lt(dp_ipsets_destroy(false, count, &n, &err), 0);
	ck_assert_msg(strcmp(err.msg, "destroy ipset KUBE-EXTERNAL-IP: still in use") == 0, "%s", err.msg);
	ck_assert_uint_eq(n, 5);
	sh("iptables-nft -F INPUT");
	n = 0;
	ck_assert_int_eq(dp_ipsets_destroy(false, count, &n, &err), 0);
	ck_assert_uint_eq(n, 1);
	sh("test -z \"$(ipset list -n)\"");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ipsets");
	TCase *t = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, whose_server, 0, KP_N(servers));
	tcase_add_test(t, in_use);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
