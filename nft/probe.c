#include "nft/probe.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>

#include "nft/ask.h"
#include "nft/netlink.h"
#include "nft/nftables.h"
#include "nft/table.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

#define PROBE_TABLE "proxylet-probe"

static const struct dp_hook prerouting = { .number = NF_INET_PRE_ROUTING, .priority = -100 };

/* One rule that needs one thing. module: what to look for when it is missing. */
static const struct {
	const char *what, *module;
	struct dp_stmt stmts[2];
	size_t n;
} features[] = {
	{ "nat chains", "nft_chain_nat", { { .kind = DP_DROP } }, 1 },
	{ "fib lookups", "nft_fib_ipv4, nft_fib_ipv6", { { .kind = DP_DADDR_LOCAL }, { .kind = DP_DROP } }, 2 },
	{ "verdict maps with concatenated keys", "nf_tables", { { .kind = DP_VMAP, .set = DP_NP } }, 1 },
	{ "numgen and dnat from a map", "nft_numgen, nft_nat",
	  { { .kind = DP_DNAT_SLOT, .set = DP_NPEPS, .number = 2 } }, 1 },
	{ "conntrack matches", "nft_ct", { { .kind = DP_DNATTED }, { .kind = DP_VMAP, .set = DP_AFFRECNP } }, 2 },
	{ "dynamic maps with timeouts", "nf_tables", { { .kind = DP_UPDATE_AFFINITY, .name = "aff/probe", .number = 1 } }, 1 },
	{ "reject in prerouting (since Linux 5.9)", "nft_reject_ipv4, nft_reject_ipv6", { { .kind = DP_REJECT } }, 1 },
	{ "interval sets", "nf_tables", { { .kind = DP_SADDR_NOT_RANGES }, { .kind = DP_DROP } }, 2 },
	{ "masquerade", "nft_masq", { { .kind = DP_MASQUERADE } }, 1 },
};

static int try_feature(struct mnl_socket *nl, enum kp_family f, size_t i, struct dp_txn_report *rep)
{
	static const struct dp_hook postrouting = { .number = NF_INET_POST_ROUTING, .priority = 100 };
	struct dp_txn *txn = dp_txn_new(f, PROBE_TABLE);
	struct dp_writer *w = dp_netlink_new(txn, f, NULL);
	struct dp_rule rule = { .n = features[i].n };
	struct dp_chain chain = { .name = "probe", .rules = &rule, .n_rules = 1 };
	struct kp_cidr range = { .addr = { .family = (uint8_t)f, .b = { 0x20 } }, .len = 8 };

	memcpy(rule.stmts, features[i].stmts, sizeof(features[i].stmts));
	rule.stmts[0].ranges = &range;
	rule.stmts[0].n_ranges = 1;
	chain.hook = rule.stmts[0].kind == DP_MASQUERADE ? &postrouting : &prerouting;
	dp_netlink_add_table(txn, 0);
	for (int set = 0; set < DP_N_SETS; set++)
		w->ops->set(w, (enum dp_set)set, NULL, dp_set_defs[set].min_size ? 64 : 0);
	w->ops->set(w, DP_AFF, "aff/probe", 64);
	w->ops->chain(w, &chain, false);
	dp_netlink_del_table(txn, PROBE_TABLE);
	dp_txn_commit(txn, nl, NULL, rep);
	dp_netlink_free(w);
	dp_txn_free(txn);
	return rep->code;
}

static int explain(enum kp_family f, size_t i, const struct dp_txn_report *rep, struct kp_err *err)
{
	if (rep->code == -EPERM || rep->code == -EACCES)
		return kp_err_set(err, rep->code, "nftables: no permission to change rules: CAP_NET_ADMIN is needed");
	return kp_err_set(err, rep->code, "nftables: the kernel lacks %s for %s (module %s?): %s", features[i].what,
			  kp_family_names[f], features[i].module, rep->message);
}

/* Our own table there: this kernel has taken the ruleset before, and need not be asked by a transaction. */
static bool is_programmed(struct mnl_socket *nl, const bool families[KP_N_FAMILIES])
{
	bool all = true;

	for (int f = 0; f < KP_N_FAMILIES && all; f++)
		if (families[f] && dp_table_exists(nl, (enum kp_family)f, DP_TABLE, &all) < 0)
			all = false;
	return all;
}

int dp_nft_probe(const struct dp_options *opt, struct kp_err *err)
{
	const bool *families = opt->families;
	struct mnl_socket *nl = NULL;
	int r = dp_socket_open(&nl, err);

	if (r == -EPROTONOSUPPORT)
		return kp_err_set(err, r, "nftables: this kernel has no netfilter netlink (module nfnetlink?)");
	if (r < 0)
		return r;
	for (int f = is_programmed(nl, families) ? KP_N_FAMILIES : 0; f < KP_N_FAMILIES && r == 0; f++)
		for (size_t i = 0; families[f] && i < KP_N(features) && r == 0; i++) {
			struct dp_txn_report rep;

			r = try_feature(nl, (enum kp_family)f, i, &rep);
			if (r < 0)
				explain((enum kp_family)f, i, &rep, err);
			dp_txn_report_release(&rep);
		}
	mnl_socket_close(nl);
	return r;
}

int dp_nft_can_own(struct kp_err *err)
{
	struct dp_txn *txn = dp_txn_new(KP_IPV4, PROBE_TABLE);
	struct dp_txn_report rep = { 0 };
	struct mnl_socket *nl = NULL;
	int r = dp_socket_open(&nl, err);

	if (r == 0) {
		dp_netlink_add_table(txn, DP_TABLE_OWNER | DP_TABLE_PERSIST);
		dp_netlink_del_table(txn, PROBE_TABLE);
		r = dp_txn_commit(txn, nl, NULL, &rep);
		mnl_socket_close(nl);
		if (r == -EOPNOTSUPP || r == -EINVAL)
			kp_err_set(err, r, "this kernel has no tables that belong to a program and outlive it (Linux 6.9 has)");
		else if (r < 0)
			kp_err_set(err, r, "%s", rep.message);
	}
	dp_txn_report_release(&rep);
	dp_txn_free(txn);
	return r;
}
