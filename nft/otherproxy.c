#include "nft/otherproxy.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "nft/ask.h"
#include "nft/ipt_tools.h"
#include "nft/kubechains.h"
#include "nft/table.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/hash.h"

const char *const dp_xt_names[DP_N_XT] = { [DP_XT_NFT] = "iptables-nft", [DP_XT_LEGACY] = "iptables-legacy" };

/* A chain of every mode and age of kube-proxy: one of these is there, or none of its are. */
static const struct { const char *table, *chain; } signs[] = {
	{ "nat", "KUBE-SERVICES" }, { "filter", "KUBE-SERVICES" }, { "filter", "KUBE-FORWARD" },
	{ "nat", "KUBE-PROXY-CANARY" }, { "filter", "KUBE-PROXY-CANARY" }, { "mangle", "KUBE-PROXY-CANARY" },
};

/* Tables of iptables-nft that kube-proxy writes to. */
static const char *const xt_tables[] = { "nat", "filter", "mangle" };

static int has_chain(struct mnl_socket *nl, int f, const char *table, const char *chain, bool *ret)
{
	const struct dp_ask q = { .type = NFT_MSG_GETCHAIN, .table_attr = NFTA_CHAIN_TABLE, .table = table,
				  .name_attr = NFTA_CHAIN_NAME, .name = chain };

	return dp_ask_exists(nl, (enum kp_family)f, q, ret);
}

/* --- what is in it --- */

struct count {
	const char *table;
	bool all;		/* every chain of it is kube-proxy's */
	uint32_t n;
	uint64_t print;
};

static bool is_of(const struct nlmsghdr *nlh, const struct count *c, uint16_t table_attr, uint16_t chain_attr)
{
	return strcmp(dp_ask_str(nlh, table_attr), c->table) == 0 &&
	       (c->all || dp_kube_chain(dp_ask_str(nlh, chain_attr)) == DP_CHAIN_KUBE_PROXY);
}

static int on_chain(const struct nlmsghdr *nlh, void *arg)
{
	struct count *c = arg;

	c->n += is_of(nlh, c, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME);
	return MNL_CB_OK;
}

/* A rule is written anew, never changed: its handle stands for what it says. */
static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;
	struct count *c = arg;

	if (!is_of(nlh, c, NFTA_RULE_TABLE, NFTA_RULE_CHAIN))
		return MNL_CB_OK;
	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) == NFTA_RULE_HANDLE)
			c->print = kp_hash(c->print, mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));
	return MNL_CB_OK;
}

static int count(struct mnl_socket *nl, int f, struct count *c)
{
	struct dp_ask chains = { .type = NFT_MSG_GETCHAIN, .on_answer = on_chain, .arg = c };
	struct dp_ask rules = { .type = NFT_MSG_GETRULE, .table_attr = NFTA_RULE_TABLE, .table = c->table,
				  .on_answer = on_rule, .arg = c };
	int r = dp_ask(nl, (enum kp_family)f, &chains, NLM_F_DUMP);

	return r == 0 ? dp_ask(nl, (enum kp_family)f, &rules, NLM_F_DUMP) : r;
}

static int look_nft(struct mnl_socket *nl, int f, struct dp_other *o)
{
	struct count c = { .table = DP_OTHER_TABLE, .all = true, .print = o->print };
	int r = dp_table_exists(nl, (enum kp_family)f, DP_OTHER_TABLE, &o->table[f]);

	if (r == 0 && o->table[f])
		r = count(nl, f, &c);
	o->print = c.print;
	return r;
}

static int look_xt_nft(struct mnl_socket *nl, int f, struct dp_other *o)
{
	bool any = false;
	int r = 0;

	for (size_t i = 0; i < KP_N(signs) && r == 0 && !any; i++)
		r = has_chain(nl, f, signs[i].table, signs[i].chain, &any);
	for (size_t i = 0; i < KP_N(xt_tables) && r == 0 && any; i++) {
		struct count c = { .table = xt_tables[i], .print = o->print };

		r = count(nl, f, &c);
		o->chains[DP_XT_NFT][f] += c.n;
		o->print = c.print;
	}
	return r;
}

/* A program that is missing or fails is no reason to fail: it may have nothing to show. */
static void look_legacy(int f, struct dp_other *o, int cancel_fd)
{
	struct kp_buf save = { 0 };
	struct dp_kube_rules rules = { 0 };
	struct dp_ipt_tools tools;
	struct kp_err why;
	int r;

	if (!dp_ipt_legacy_in_use((enum kp_family)f))
		return;
	r = dp_ipt_tools_legacy(&tools, &why);
	tools.cancel_fd = cancel_fd;
	if (r == 0)
		r = dp_ipt_tools_save(&tools, (enum kp_family)f, &save, &why);
	o->unseen |= r < 0;
	if (r == 0)
		rules = dp_kube_rules(save.data);
	o->chains[DP_XT_LEGACY][f] = rules.n_chains;
	o->legacy_print[f] = rules.print;
	kp_buf_release(&save);
}

static void keep_legacy(struct dp_other *o, const struct dp_other *before)
{
	memcpy(o->chains[DP_XT_LEGACY], before->chains[DP_XT_LEGACY], sizeof(o->chains[DP_XT_LEGACY]));
	memcpy(o->legacy_print, before->legacy_print, sizeof(o->legacy_print));
	o->unseen = before->unseen;
}

/* Lines of virtual servers begin with their protocol, or FWM; those of real servers with blanks. */
static uint32_t count_servers(void)
{
	FILE *f = fopen("/proc/net/ip_vs", "re");
	char line[256];
	uint32_t n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strncmp(line, "TCP ", 4) == 0 || strncmp(line, "UDP ", 4) == 0 || strncmp(line, "SCTP ", 5) == 0;
	if (f)
		(void)fclose(f);
	return n;
}

static int look_nf_tables(struct dp_other *o, struct mnl_socket **nl, struct kp_err *err)
{
	int r = *nl ? 0 : dp_socket_open(nl, err);

	if (r < 0)
		return r == -EPROTONOSUPPORT ? 0 : r;	/* a kernel with legacy tables only */
	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++) {
		r = look_nft(*nl, f, o);
		if (r == 0)
			r = look_xt_nft(*nl, f, o);
	}
	if (r < 0)
		mnl_socket_close(kp_steal(nl));		/* it may hold the rest of an answer */
	return r < 0 ? kp_err_set(err, r, "look for rules of kube-proxy: %s", strerror(-r)) : 0;
}

int dp_other_look(struct dp_other *ret, struct mnl_socket **keep, bool legacy, int cancel_fd, struct kp_err *err)
{
	struct mnl_socket *own = NULL;
	struct dp_other o;
	int r, tries = 0;

	do {
		o = (struct dp_other){ .print = KP_HASH_INIT };
		r = look_nf_tables(&o, keep ? keep : &own, err);
	} while (r == -EINTR && ++tries < 10);	/* somebody committed during a dump */
	if (own)
		mnl_socket_close(own);
	if (r < 0)
		return r;
	if (!legacy)
		keep_legacy(&o, ret);
	for (int f = 0; f < KP_N_FAMILIES && legacy; f++)
		look_legacy(f, &o, cancel_fd);
	o.print = kp_hash(o.print, o.legacy_print, sizeof(o.legacy_print));
	o.link = if_nametoindex(DP_OTHER_LINK) != 0;
	o.servers = o.link ? count_servers() : 0;
	*ret = o;
	return 0;
}

bool dp_other_any(const struct dp_other *o)
{
	bool any = o->link;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		any |= o->table[f] || o->chains[DP_XT_NFT][f] || o->chains[DP_XT_LEGACY][f];
	return any;
}

void dp_other_describe(const struct dp_other *o, struct kp_buf *out)
{
	size_t begin = out->len;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		const char *const family = kp_family_names[f];

		if (o->table[f])
			kp_buf_printf(out, "%snftables table %s (%s)", out->len > begin ? ", " : "", DP_OTHER_TABLE, family);
		for (int xt = 0; xt < DP_N_XT; xt++)
			if (o->chains[xt][f])
				kp_buf_printf(out, "%s%u %s chains (%s)", out->len > begin ? ", " : "", o->chains[xt][f],
					      dp_xt_names[xt], family);
	}
	if (o->link)
		kp_buf_printf(out, "%sinterface %s and %u virtual servers", out->len > begin ? ", " : "", DP_OTHER_LINK, o->servers);
	if (out->len == begin)
		kp_buf_puts(out, "nothing");
}
