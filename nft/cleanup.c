#include "nft/cleanup.h"

#include <arpa/inet.h>		/* before the kernel's own definitions of the same */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <poll.h>
#include <string.h>

#include "nft/ask.h"
#include "nft/attr.h"
#include "nft/netlink.h"
#include "nft/nftables.h"
#include "nft/table.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"

#define UNDER_WAY_MS 20	/* a packet takes microseconds, unless it is interrupted */
#define N_TABLES 3	/* rules, next, residual */

static int on_entry(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;
	uint64_t *flows = arg;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) == CTA_STATUS && (ntohl(mnl_attr_get_u32(a)) & IPS_DST_NAT))
			(*flows)++;
	return MNL_CB_OK;
}

/* Whose translation it is cannot be told, so all count. No conntrack in this kernel: none. */
static int count_flows(struct mnl_socket *nl, uint8_t family, uint64_t *ret)
{
	char buf[256] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	int r;

	nlh->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	g->nfgen_family = family;
	*ret = 0;
	r = dp_talk(nl, nlh, on_entry, ret);
	return r == -EINVAL || r == -EOPNOTSUPP ? 0 : r;
}

int dp_cleanup_look(struct dp_cleanup *ret, struct kp_err *err)
{
	struct dp_cleanup c = { 0 };
	struct mnl_socket *nl = NULL;
	int r = dp_socket_open(&nl, err);

	*ret = c;
	if (r < 0)
		return r == -EPROTONOSUPPORT ? 0 : r;
	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++) {
		r = dp_table_exists(nl, (enum kp_family)f, DP_TABLE, &c.rules[f]);
		if (r == 0)
			r = dp_table_exists(nl, (enum kp_family)f, DP_TABLE_NEXT, &c.next[f]);
		if (r == 0)
			r = dp_table_exists(nl, (enum kp_family)f, DP_RESIDUAL, &c.residual[f]);
		if (r == 0)
			r = count_flows(nl, f == KP_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6, &c.flows[f]);
	}
	mnl_socket_close(nl);
	if (r < 0)
		return kp_err_set(err, r, "look for our rules: %s", strerror(-r));
	*ret = c;
	return 0;
}

/* An empty NAT base chain, and a rule that nothing leads to but that keeps conntrack loaded. */
static void write_residual(struct dp_txn *txn, struct dp_writer *w)
{
	static const struct dp_hook hook = { .number = NF_INET_PRE_ROUTING, .priority = -100 };
	struct dp_rule rule = { .stmts = { { .kind = DP_DNATTED }, { .kind = DP_DROP } }, .n = 2 };
	struct dp_chain base = { .name = "nat-prerouting", .hook = &hook };
	struct dp_chain holder = { .name = "keeps-conntrack", .rules = &rule, .n_rules = 1 };

	dp_netlink_add_table(txn, 0);
	w->ops->chain(w, &base, false);
	w->ops->chain(w, &holder, false);
}

/* One transaction: the small table comes, others go. del: their names, or NULL. */
static int change_family(struct mnl_socket *nl, enum kp_family f, bool add, const char *const del[N_TABLES], struct kp_err *err)
{
	struct dp_txn *txn = dp_txn_new(f, DP_RESIDUAL);
	struct dp_writer *w = dp_netlink_new(txn, f, NULL);
	struct dp_txn_report rep;
	int r;

	if (add)
		write_residual(txn, w);
	for (size_t i = 0; i < N_TABLES; i++)
		if (del[i])
			dp_netlink_del_table(txn, del[i]);
	r = dp_txn_commit(txn, nl, NULL, &rep);
	if (r < 0)
		kp_err_set(err, r, "%s: %s", kp_family_names[f], rep.message);
	dp_txn_report_release(&rep);
	dp_netlink_free(w);
	dp_txn_free(txn);
	return r;
}

/*
 * With the table its maps go inactive at once, but its sets do not: a packet under way in our
 * rules would miss its Service, be known for a clusterIP all the same, and be rejected, though
 * another proxy serves it. So first nothing leads into the rules any more. Where a chain is
 * missing there is nothing to spare, and the table goes all the same.
 */
static void lead_nobody_in(struct mnl_socket *nl, enum kp_family f, const char *table)
{
	static const char *const chains[] = { "nat-prerouting", "nat-output" };
	struct dp_txn *txn = dp_txn_new(f, table);
	struct dp_txn_report rep;

	for (size_t i = 0; i < KP_N(chains); i++) {
		struct kp_buf *b = dp_txn_begin(txn, DP_SEC_GONE_FLUSH, NFT_MSG_DELRULE, 0, 0, chains[i]);

		dp_attr_str(b, NFTA_RULE_TABLE, table);
		dp_attr_str(b, NFTA_RULE_CHAIN, chains[i]);
		dp_txn_end(txn);
	}
	(void)dp_txn_commit(txn, nl, NULL, &rep);
	dp_txn_report_release(&rep);
	dp_txn_free(txn);
	(void)poll(NULL, 0, UNDER_WAY_MS);
}

static bool is_there(const struct dp_cleanup *c, int f)
{
	return c->rules[f] || c->next[f] || c->residual[f];
}

static int clean_family(struct mnl_socket *nl, const struct dp_cleanup *c, enum kp_family f, bool keep, struct kp_err *err)
{
	bool stay = keep && c->flows[f] && is_there(c, f);
	const char *const del[N_TABLES] = {
		c->rules[f] ? DP_TABLE : NULL, c->next[f] ? DP_TABLE_NEXT : NULL, !stay && c->residual[f] ? DP_RESIDUAL : NULL,
	};

	if (c->rules[f])
		lead_nobody_in(nl, f, DP_TABLE);
	if (c->next[f])
		lead_nobody_in(nl, f, DP_TABLE_NEXT);
	return change_family(nl, f, stay && !c->residual[f], del, err);
}

int dp_cleanup_keep(const struct dp_cleanup *c, struct kp_err *err)
{
	static const char *const none[N_TABLES];
	struct mnl_socket *nl = NULL;
	int r = dp_socket_open(&nl, err);

	if (r < 0)
		return r;
	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (c->flows[f] && !is_there(c, f))
			r = change_family(nl, (enum kp_family)f, true, none, err);
	mnl_socket_close(nl);
	return r;
}

static bool is_anything_there(const struct dp_cleanup *c)
{
	return is_there(c, KP_IPV4) || is_there(c, KP_IPV6);
}

int dp_cleanup_run(const struct dp_cleanup *c, bool keep, struct kp_err *err)
{
	struct mnl_socket *nl = NULL;
	int r = is_anything_there(c) ? dp_socket_open(&nl, err) : 0;

	if (!nl)
		return r;
	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++)
		r = clean_family(nl, c, (enum kp_family)f, keep, err);
	mnl_socket_close(nl);
	return r;
}

int dp_cleanup_remove(struct kp_err *err)
{
	struct dp_cleanup c;
	int r = dp_cleanup_look(&c, err);

	if (r < 0 || !is_anything_there(&c))
		return r;
	kp_info("nft", "removing table " DP_TABLE ", which mode nftables left");
	return dp_cleanup_run(&c, false, err);
}
