#include "nft/ipt_warm.h"

#include <errno.h>
#include <string.h>

#include "nft/ipt_cleanup.h"
#include "nft/ipt_held.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/plan/dataplane.h"

static bool is_fixed(int table, const char *chain)
{
	for (size_t i = 0; i < dp_ipt_n_fixed; i++)
		if (dp_ipt_fixed[i].table == table && strcmp(dp_ipt_fixed[i].name, chain) == 0)
			return true;
	return false;
}

/* Not the list that ends with the way to node ports, and no chain that is made for its rules, but for one. */
static bool may_be_empty(int table, const char *chain)
{
	bool services = table == DP_IPT_NAT && strcmp(chain, "PXL-SERVICES") == 0;

	return (is_fixed(table, chain) && !services) || strcmp(chain, "PXL-LOCALNET") == 0;
}

static bool is_there(const struct dp_ipt_held *held)
{
	size_t n = 0;

	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		n += kp_map_len(held->chains[t]);
	return n > (kp_map_gets(held->chains[DP_IPT_NAT], DP_IPT_RESIDUAL) ? 1 : 0);
}

static int check(const struct dp_ipt_held *held, struct kp_err *err)
{
	if (!is_there(held))
		return kp_err_set(err, -ENOENT, "there are no chains");
	for (size_t i = 0; i < dp_ipt_n_fixed; i++)
		if (!kp_map_gets(held->chains[dp_ipt_fixed[i].table], dp_ipt_fixed[i].name))
			return kp_err_set(err, -EUCLEAN, "chain %s of %s is missing", dp_ipt_fixed[i].name,
					  dp_ipt_tables[dp_ipt_fixed[i].table]);
	for (size_t i = 0; i < DP_IPT_N_JUMPS; i++)
		if (!held->jumps[i] || held->disordered[i])
			return kp_err_set(err, -EUCLEAN, "the jump from %s to %s of %s is %s", dp_ipt_jumps[i].from, dp_ipt_jumps[i].to,
					  dp_ipt_tables[dp_ipt_jumps[i].table], held->jumps[i] ? "out of place" : "missing");
	for (int t = 0; t < DP_IPT_N_TABLES; t++)
		for (struct kp_map_it it = { 0 }; kp_map_next(held->chains[t], &it);)
			if (!((const struct dp_ipt_held_chain *)it.value)->n_rules && !may_be_empty(t, it.key))
				return kp_err_set(err, -EUCLEAN, "chain %s of %s is empty", (const char *)it.key, dp_ipt_tables[t]);
	return 0;
}

static int check_family(const struct dp_ipt_tools *tools, enum kp_family f, struct kp_err *err)
{
	struct dp_ipt_held *held = NULL;
	int r = dp_ipt_tools_held(tools, f, &held, err);

	if (r == 0)
		r = check(held, err);
	dp_ipt_held_free(held);
	return r < 0 ? kp_err_wrap(err, r, "%s", kp_family_names[f]) : 0;
}

int dp_ipt_warm(const struct dp_options *opt, struct kp_err *err)
{
	struct dp_ipt_tools tools;
	int r = dp_ipt_tools_choose(opt->variant ? opt->variant : "auto", &tools, err);

	for (enum kp_family f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (opt->families[f])
			r = check_family(&tools, f, err);
	return r;
}
