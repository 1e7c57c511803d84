#include <check.h>
#include <stdlib.h>

#include "nft/kubechains.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"

static const struct {
	const char *name;
	enum dp_kube_chain whose;
} names[] = {
	{ "KUBE-SERVICES", DP_CHAIN_KUBE_PROXY }, { "KUBE-SVC-ABC", DP_CHAIN_KUBE_PROXY }, { "KUBE-SEP-ABC", DP_CHAIN_KUBE_PROXY },
	{ "KUBE-PROXY-CANARY", DP_CHAIN_KUBE_PROXY }, { "KUBE-IPVS-FILTER", DP_CHAIN_KUBE_PROXY },
	{ "KUBE-MARK-MASQ", DP_CHAIN_SHARED }, { "KUBE-POSTROUTING", DP_CHAIN_SHARED },
	{ "KUBE-FIREWALL", DP_CHAIN_FOREIGN }, { "KUBE-KUBELET-CANARY", DP_CHAIN_FOREIGN },
	{ "KUBE-IPTABLES-HINT", DP_CHAIN_FOREIGN }, { "KUBE-MARK-DROP", DP_CHAIN_FOREIGN }, { "KUBE-HOSTPORTS", DP_CHAIN_FOREIGN },
	{ "KUBE-HP-ABC", DP_CHAIN_FOREIGN }, { "KUBE-SERVICES2", DP_CHAIN_FOREIGN }, { "KUBE-SV", DP_CHAIN_FOREIGN },
	{ "PREROUTING", DP_CHAIN_FOREIGN }, { "", DP_CHAIN_FOREIGN },
};

START_TEST(name_case)
{
	ck_assert_msg(dp_kube_chain(names[_i].name) == names[_i].whose, "%s", names[_i].name);
}
END_TEST

static const struct {
	const char *what, *save, *removal;
	uint32_t n;
} removals[] = {
	{ "nothing", "", "", 0 },
	{ "no chain of its", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n", "", 0 },
	{ "jump and chain",
	  "# Generated\n*nat\n:OUTPUT ACCEPT [9:9]\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -m comment --comment \"a b\" -j KUBE-SERVICES\n"
	  "-A KUBE-SERVICES -j RETURN\nCOMMIT\n# Completed\n",
	  "*nat\n:KUBE-SERVICES - [0:0]\n-D OUTPUT -m comment --comment \"a b\" -j KUBE-SERVICES\n-X KUBE-SERVICES\nCOMMIT\n", 1 },
	{ "two tables, one without",
	  "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n*mangle\n:KUBE-PROXY-CANARY - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n",
	  "*mangle\n:KUBE-PROXY-CANARY - [0:0]\n-X KUBE-PROXY-CANARY\nCOMMIT\n", 1 },
	{ "a comment that looks like a jump",
	  "*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
	  "-A OUTPUT -m comment --comment \"x \\\" -j KUBE-SERVICES\" -j ACCEPT\nCOMMIT\n",
	  "*nat\n:KUBE-SERVICES - [0:0]\n-X KUBE-SERVICES\nCOMMIT\n", 1 },
	{ "goto", "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-FORWARD - [0:0]\n-A INPUT -g KUBE-FORWARD\nCOMMIT\n",
	  "*filter\n:KUBE-FORWARD - [0:0]\n-D INPUT -g KUBE-FORWARD\n-X KUBE-FORWARD\nCOMMIT\n", 1 },
	{ "shared ones go too",
	  "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-SVC-A - [0:0]\n"
	  "-A POSTROUTING -j KUBE-POSTROUTING\n-A KUBE-SVC-A -j KUBE-MARK-MASQ\nCOMMIT\n",
	  "*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n:KUBE-SVC-A - [0:0]\n-D POSTROUTING -j KUBE-POSTROUTING\n"
	  "-X KUBE-MARK-MASQ\n-X KUBE-POSTROUTING\n-X KUBE-SVC-A\nCOMMIT\n", 1 },
	{ "shared ones stay for host ports",
	  "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-HP-A - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n"
	  ":KUBE-SVC-A - [0:0]\n-A POSTROUTING -j KUBE-POSTROUTING\n-A KUBE-HP-A -j KUBE-MARK-MASQ\n-A KUBE-SVC-A -j KUBE-MARK-MASQ\nCOMMIT\n",
	  "*nat\n:KUBE-SVC-A - [0:0]\n-X KUBE-SVC-A\nCOMMIT\n", 1 },
	{ "what somebody else leads to stays, with all below",
	  "*nat\n:CNI-X - [0:0]\n:KUBE-SEP-A - [0:0]\n:KUBE-SEP-B - [0:0]\n:KUBE-SVC-A - [0:0]\n:KUBE-SVC-B - [0:0]\n"
	  "-A CNI-X -j KUBE-SVC-A\n-A KUBE-SVC-A -j KUBE-SEP-A\n-A KUBE-SVC-B -j KUBE-SEP-B\nCOMMIT\n",
	  "*nat\n:KUBE-SEP-B - [0:0]\n:KUBE-SVC-B - [0:0]\n-X KUBE-SEP-B\n-X KUBE-SVC-B\nCOMMIT\n", 4 },
	{ "cut off", "*nat\n:KUBE-SVC-A - [0:0]\n-A KUBE-SVC-A -m comment --comment \"x", "*nat\n:KUBE-SVC-A - [0:0]\n-X KUBE-SVC-A\nCOMMIT\n", 1 },
	{ "empty lines and words", "\n\n*nat\n\n-A\n-A \n:\n-A X -j\n:KUBE-FORWARD\nCOMMIT", "*nat\n:KUBE-FORWARD - [0:0]\n-X KUBE-FORWARD\nCOMMIT\n", 1 },
};

START_TEST(removal_case)
{
	struct kp_buf out = { 0 };

	dp_kube_removal(removals[_i].save, &out);
	ck_assert_msg(strcmp(out.data ? out.data : "", removals[_i].removal) == 0, "%s:\n%s", removals[_i].what, out.data);
	ck_assert_msg(dp_kube_rules(removals[_i].save).n_chains == removals[_i].n, "%s: count", removals[_i].what);
	kp_buf_release(&out);
}
END_TEST

/* Other rules, another print; counters and rules of others are none of its business. */
START_TEST(print)
{
	uint64_t one = dp_kube_rules("*nat\n:KUBE-SVC-A - [0:0]\n-A KUBE-SVC-A -j X\nCOMMIT\n").print;

	ck_assert(one == dp_kube_rules("*nat\n:KUBE-SVC-A - [7:7]\n-A OUTPUT -j Y\n-A KUBE-SVC-A -j X\nCOMMIT\n").print);
	ck_assert(one != dp_kube_rules("*nat\n:KUBE-SVC-A - [0:0]\n-A KUBE-SVC-A -j Z\nCOMMIT\n").print);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kubechains");
	TCase *t = tcase_create("kubechains");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, name_case, 0, KP_N(names));
	tcase_add_loop_test(t, removal_case, 0, KP_N(removals));
	tcase_add_test(t, print);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
