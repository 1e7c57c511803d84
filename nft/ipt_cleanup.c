#include "nft/ipt_cleanup.h"

#include <string.h>

#include "nft/ipt_held.h"
#include "nft/ipt_rules.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"

static void count(const struct dp_ipt_held *held, struct dp_ipt_leftover *ret, int f)
{
	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		ret->chains[f] += (uint32_t)kp_map_len(held->chains[t]);
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		ret->jumps[f] += held->jumps[i];
	ret->residual[f] = kp_map_gets(held->chains[DP_IPT_NAT], DP_IPT_RESIDUAL) != NULL;
	ret->chains[f] -= ret->residual[f];
}

/* A kernel that does not know the variant holds none of its rules. */
static void look(struct dp_ipt_leftover *ret)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_ipt_held *held = NULL;
		struct kp_err err = { 0 };

		if (dp_ipt_tools_held(&ret->tools, (enum kp_family)f, &held, &err) < 0) {
			kp_debug("iptables", "%s", err.msg);
			continue;
		}
		count(held, ret, f);
		dp_ipt_held_free(held);
	}
}

void dp_ipt_cleanup_look(struct dp_ipt_cleanup *ret)
{
	*ret = (struct dp_ipt_cleanup){ 0 };
	for (int v = 0; v < DP_IPT_N_VARIANTS; v++) {
		struct dp_ipt_leftover *l = &ret->variants[v];

		if (v == DP_IPT_PLAIN && (ret->variants[DP_IPT_NFT].installed || ret->variants[DP_IPT_LEGACY].installed))
			break;
		l->installed = dp_ipt_tools_find((enum dp_ipt_variant)v, &l->tools);
		if (l->installed)
			look(l);
	}
}

static void write_table(const struct dp_ipt_held *held, int t, bool keep, struct kp_buf *out)
{
	bool residual = keep && t == DP_IPT_NAT;

	kp_buf_printf(out, "*%s\n", dp_ipt_tables[t]);
	for (struct kp_map_it it = { 0 }; kp_map_next(held->chains[t], &it);)
		kp_buf_printf(out, ":%s - [0:0]\n", (const char *)it.key);
	if (residual)
		kp_buf_puts(out, ":" DP_IPT_RESIDUAL " - [0:0]\n-A " DP_IPT_RESIDUAL " -m conntrack --ctstate DNAT -j RETURN\n");
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		for (uint32_t n = 0; dp_ipt_jumps[i].table == t && n < held->jumps[i]; n++)
			kp_buf_printf(out, "-D %s %s-j %s\n", dp_ipt_jumps[i].from, dp_ipt_jumps[i].match, dp_ipt_jumps[i].to);
	for (struct kp_map_it it = { 0 }; kp_map_next(held->chains[t], &it);)
		if (!residual || strcmp(it.key, DP_IPT_RESIDUAL) != 0)
			kp_buf_printf(out, "-X %s\n", (const char *)it.key);
	kp_buf_puts(out, "COMMIT\n");
}

static int clean(const struct dp_ipt_leftover *l, enum kp_family f, bool keep, struct kp_err *err)
{
	struct dp_ipt_held *held = NULL;
	struct kp_buf text = { 0 };
	unsigned line;
	int r;

	if (!l->chains[f] && !l->jumps[f] && (keep || !l->residual[f]))
		return 0;
	r = dp_ipt_tools_held(&l->tools, f, &held, err);
	if (r < 0)
		return r;
	for (int t = 0; t < DP_IPT_N_TABLES; t++)	/* what rejects goes first: a successor may be at work */
		if (kp_map_len(held->chains[t]))
			write_table(held, t, keep, &text);
	r = dp_ipt_tools_restore(&l->tools, f, &text, &line, err);
	kp_buf_release(&text);
	dp_ipt_held_free(held);
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

	dp_ipt_cleanup_look(&c);
	for (int v = 0; v < DP_IPT_N_VARIANTS; v++) {
		const struct dp_ipt_leftover *l = &c.variants[v];

		if (v == (int)stays)
			c.variants[v].installed = false;
		else if (l->chains[KP_IPV4] || l->chains[KP_IPV6])
			kp_info("iptables", "removing the chains that mode iptables left, variant %s",
				*dp_ipt_variant_names[v] ? dp_ipt_variant_names[v] : "of this host");
	}
	return dp_ipt_cleanup_run(&c, keep, err);
}

int dp_ipt_remove(struct kp_err *err)
{
	return dp_ipt_remove_but(DP_IPT_N_VARIANTS, err);
}
