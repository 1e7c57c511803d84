#include "nft/warm.h"

#include <errno.h>
#include <libmnl/libmnl.h>

#include "nft/held.h"
#include "nft/nftables.h"
#include "nft/program.h"
#include "nft/table.h"
#include "proxy/base/err.h"
#include "proxy/base/hash.h"
#include "proxy/base/map.h"

static int check_sets(const struct dp_held *held, struct kp_err *err)
{
	for (int set = 0; set < DP_N_SETS; set++)
		if (!kp_map_gets(held->sets, dp_set_defs[set].name))
			return kp_err_set(err, -EUCLEAN, "set %s is missing", dp_set_defs[set].name);
	for (struct kp_map_it it = { 0 }; kp_map_next(held->sets, &it);)
		if (!((const struct dp_held_set *)it.value)->as_defined)
			return kp_err_set(err, -EUCLEAN, "set %s is of another type", (const char *)it.key);
	return 0;
}

static int check_fixed(const struct dp_held *held, const struct dp_chain *want, struct kp_err *err)
{
	const struct dp_held_chain *c = kp_map_gets(held->chains, want->name);

	if (!c)
		return kp_err_set(err, -EUCLEAN, "chain %s is missing", want->name);
	if (!c->as_defined)
		return kp_err_set(err, -EUCLEAN, "chain %s is not at its hook", want->name);
	if (!c->accepts)
		return kp_err_set(err, -EUCLEAN, "chain %s has another policy", want->name);
	if (c->fingerprint == KP_HASH_INIT)
		return kp_err_set(err, -EUCLEAN, "chain %s is empty", want->name);
	return 0;
}

static int check_chains(const struct dp_held *held, enum kp_family f, struct kp_err *err)
{
	const struct kp_plan_node nobody = { .enabled = { true, true } };	/* names and hooks are the same for all */
	const struct dp_program p = { .f = f, .node = &nobody };
	struct dp_chain_buf b;
	int r = 0;

	for (size_t i = 0; r == 0 && dp_program_fixed(&p, i, &b); i++) {
		r = check_fixed(held, &b.chain, err);
		dp_chain_buf_release(&b);
	}
	for (struct kp_map_it it = { 0 }; r == 0 && kp_map_next(held->chains, &it);)
		if (((const struct dp_held_chain *)it.value)->foreign)
			r = kp_err_set(err, -EUCLEAN, "chain %s has a rule that is not ours", (const char *)it.key);
	return r;
}

static int check_table(const struct dp_held *held, enum kp_family f, struct kp_err *err)
{
	int r;

	if (!held->table)
		return kp_err_set(err, -ENOENT, "there is no table");
	if (!held->format_ok)
		return kp_err_set(err, -EUCLEAN, "it is of another version");
	if (held->flags & DP_TABLE_DORMANT)
		return kp_err_set(err, -EUCLEAN, "it is dormant");
	r = check_sets(held, err);
	return r < 0 ? r : check_chains(held, f, err);
}

static int check_family(struct mnl_socket *nl, enum kp_family f, struct kp_err *err)
{
	struct dp_held *held = NULL;
	int r = dp_held_read(nl, f, DP_TABLE, false, &held, err);

	if (r < 0)
		return r;
	r = check_table(held, f, err);
	dp_held_free(held);
	return r < 0 ? kp_err_wrap(err, r, "%s", kp_family_names[f]) : 0;
}

int dp_nft_warm(const struct dp_options *opt, struct kp_err *err)
{
	struct mnl_socket *nl;
	int r = dp_socket_open(&nl, err);

	if (r < 0)
		return r;
	for (enum kp_family f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (opt->families[f])
			r = check_family(nl, f, err);
	mnl_socket_close(nl);
	return r;
}
