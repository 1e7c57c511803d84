#include "nft/ipt_cleanup.h"

#include <errno.h>
#include <string.h>

#include "nft/ipt_held.h"
#include "nft/ipt_rules.h"
#include "nft/kubechains.h"
#include "nft/xtnft.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"

static void count(const struct dp_ipt_held *held, struct dp_ipt_leftover *ret, int f)
{
	const struct dp_ipt_held_chain *localnet = kp_map_gets(held->chains[DP_IPT_FILTER], "PXL-LOCALNET");

	ret->localnet |= localnet && localnet->n_rules;
	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		ret->chains[f] += (uint32_t)kp_map_len(held->chains[t]);
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		ret->jumps[f] += held->jumps[i];
	ret->residual[f] = kp_map_gets(held->chains[DP_IPT_NAT], DP_IPT_RESIDUAL) != NULL;
	ret->chains[f] -= ret->residual[f];
}

static int look_at(struct dp_ipt_leftover *ret, enum kp_family f, struct kp_err *err)
{
	const char *variant = dp_ipt_variant_names[ret->tools.variant];
	struct dp_ipt_held *held = NULL;
	int r;

	if (!dp_ipt_in_use(&ret->tools, f))
		return 0;
	r = dp_ipt_tools_held(&ret->tools, f, &held, err);
	if (r < 0)
		return kp_err_wrap(err, r, "%s: cannot see what iptables%s%s holds%s", kp_family_names[f], *variant ? "-" : "", variant,
				   ret->tools.through_nft ? "" : ", which takes root and CAP_NET_RAW");
	count(held, ret, f);
	dp_ipt_held_free(held);
	return 0;
}

int dp_ipt_cleanup_look(struct dp_ipt_cleanup *ret, struct kp_err *err)
{
	struct kp_err why = { 0 };

	*ret = (struct dp_ipt_cleanup){ 0 };
	for (int v = 0; v < DP_IPT_N_VARIANTS; v++) {
		struct dp_ipt_leftover *l = &ret->variants[v];

		if (v == DP_IPT_PLAIN && (ret->variants[DP_IPT_NFT].installed || ret->variants[DP_IPT_LEGACY].installed))
			break;
		l->installed = dp_ipt_tools_find((enum dp_ipt_variant)v, &l->tools);
		for (int f = 0; f < KP_N_FAMILIES && l->installed; f++)
			if (look_at(l, (enum kp_family)f, &why) < 0)
				*err = why;
	}
	return why.code;
}

static bool is_ours(const char *chain)
{
	return strncmp(chain, DP_IPT_PREFIX, strlen(DP_IPT_PREFIX)) == 0;
}

static bool is_ours_and_goes(const char *chain)
{
	return is_ours(chain) && strcmp(chain, DP_IPT_RESIDUAL) != 0;
}

struct going {
	bool (*goes)(const char *chain);
};

static void remove_going(void *arg, const char *save, struct kp_buf *removal)
{
	dp_chain_removal(save, ((const struct going *)arg)->goes, removal);
}

static int clean(const struct dp_ipt_leftover *l, enum kp_family f, bool keep, struct kp_err *err)
{
	struct going going = { keep ? is_ours_and_goes : is_ours };
	struct kp_buf save = { 0 }, text = { 0 };
	bool by_netlink;
	unsigned line;
	int r;

	if (!l->chains[f] && !l->jumps[f] && (keep || !l->residual[f]))
		return 0;
	if (keep)
		kp_buf_puts(&text, "*nat\n:" DP_IPT_RESIDUAL " - [0:0]\n-A " DP_IPT_RESIDUAL " -m conntrack --ctstate DNAT -j RETURN\nCOMMIT\n");
	r = dp_ipt_tools_save(&l->tools, f, &save, err);
	by_netlink = r == -EUCLEAN;
	if (by_netlink)
		r = 0;
	else if (r == 0)
		dp_chain_removal(save.data, going.goes, &text);
	if (r == 0 && text.len)
		r = dp_ipt_tools_restore(&l->tools, f, &text, &line, err);
	if (r == 0 && by_netlink)
		r = dp_xtnft_edit(f, remove_going, &going, err);
	kp_buf_release(&save);
	kp_buf_release(&text);
	if (r == 0 && f == KP_IPV4 && l->localnet)	/* who else wants it cannot be known */
		kp_warn("iptables", "net.ipv4.conf.all.route_localnet stays as it is: where it is 1, and no rule like the kubelet's in "
			"KUBE-FIREWALL is there, neighbours reach what listens on 127.0.0.1");
	return r;
}

int dp_ipt_cleanup_run(const struct dp_ipt_cleanup *c, const bool keep[KP_N_FAMILIES], struct kp_err *err)
{
	int r = 0;

	for (int v = 0; v < DP_IPT_N_VARIANTS && r == 0; v++)
		for (int f = 0; f < KP_N_FAMILIES && c->variants[v].installed && r == 0; f++)
			r = clean(&c->variants[v], (enum kp_family)f, keep[f], err);
	return r;
}

int dp_ipt_remove_but(enum dp_ipt_variant stays, struct kp_err *err)
{
	const bool keep[KP_N_FAMILIES] = { false };
	struct dp_ipt_cleanup c;
	int unseen = dp_ipt_cleanup_look(&c, err), r;

	for (int v = 0; v < DP_IPT_N_VARIANTS; v++) {
		struct dp_ipt_leftover *l = &c.variants[v];

		l->localnet &= stays == DP_IPT_N_VARIANTS;	/* else that one's guards */
		if (v == (int)stays)
			l->installed = false;
		else if (l->chains[KP_IPV4] || l->chains[KP_IPV6])
			kp_info("iptables", "removing the chains that mode iptables left, variant %s",
				*dp_ipt_variant_names[v] ? dp_ipt_variant_names[v] : "of this host");
	}
	r = dp_ipt_cleanup_run(&c, keep, err);
	return r < 0 ? r : unseen;
}

int dp_ipt_remove(struct kp_err *err)
{
	return dp_ipt_remove_but(DP_IPT_N_VARIANTS, err);
}
