#include "nft/stale.h"

#include <stdlib.h>
#include <string.h>

#include "nft/conntrack.h"
#include "nft/sweep.h"
#include "nft/table.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"

/* Where node ports answer, in order. */
static void node_ips(struct dp_ct *ct, const struct kp_plan_node *node)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		bool all = node->nodeport_all[f];
		bool loopback = f == KP_IPV4 && node->nodeport_localhost;
		const struct kp_addr *ips = all ? node->node_ips[f] : node->nodeport_ips[f];
		uint32_t n_ips = all ? node->n_node_ips[f] : node->n_nodeport_ips[f], n = 0;
		struct kp_addr *answering = kp_calloc(n_ips + 1, sizeof(*ips));

		for (uint32_t i = 0; i < n_ips; i++)
			if (loopback || !kp_addr_is_loopback(&ips[i]))
				answering[n++] = ips[i];
		if (loopback && all)
			answering[n++] = (struct kp_addr){ .family = KP_IPV4, .b = { 127, 0, 0, 1 } };
		qsort(answering, n, sizeof(*ips), kp_addr_order);
		dp_ct_set_node_ips(dp_ct_set(ct), (enum kp_family)f, answering, n);
		free(answering);
	}
}

void dp_stale_note(struct dp_ct *ct, const struct dp_wanted *want, const struct dp_batch *b, struct kp_plan *const *old)
{
	if (b->node)
		node_ips(ct, want->node);
	for (size_t i = 0; i < b->n_changes; i++)
		dp_ct_set_put_removed(dp_ct_set(ct), old[i], b->changes[i].plan);
	for (size_t i = 0; i < b->n_changes; i++)
		dp_ct_set_put_changed(dp_ct_set(ct), old[i], b->changes[i].plan);
}

void dp_stale_note_lost(struct dp_ct *ct, const struct dp_elem *lost, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dp_ct_set_put(dp_ct_set(ct), &(struct dp_ct_frontend){ .node_port = lost[i].set == DP_NP, .ip = lost[i].ip,
								       .port = lost[i].port, .removed = true });
}

bool dp_stale_see(bool settled[KP_N_FAMILIES], bool missed[KP_N_FAMILIES], const struct dp_result *res, bool *ret_anew)
{
	bool any = false;

	*ret_anew = false;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		const struct dp_family_result *r = &res->family[f];
		bool good = r->tried && r->code == 0;

		if (r->wrote && r->code == 0)
			missed[f] |= !settled[f] || (r->drift && r->drift->repaired_ns);
		any |= good;
		*ret_anew |= good && !settled[f];
		settled[f] = r->tried ? good : settled[f];
	}
	return any;
}

void dp_stale_note_all(struct dp_ct *ct, const struct dp_wanted *want, bool missed[KP_N_FAMILIES])
{
	node_ips(ct, want->node);
	for (struct kp_map_it it = { 0 }; kp_map_next(want->plans, &it);)
		dp_ct_set_put_changed(dp_ct_set(ct), NULL, it.value);
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (missed[f])
			dp_ct_set_put_missed(dp_ct_set(ct), (enum kp_family)f, want->plans);
		missed[f] = false;
	}
}

static bool is_refused(const struct dp_result *res, const char *key)
{
	for (size_t i = 0; i < res->n_refused; i++)
		if (strcmp(res->refused[i].key, key) == 0)
			return true;
	return false;
}

void dp_stale_note_accepted(struct dp_ct *ct, struct dp_sweep *sweep, const struct dp_wanted *want, struct kp_map *refused,
			    const struct dp_result *res)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(refused, &it);) {
		const struct kp_plan *plan = kp_map_gets(want->plans, it.key);

		if (is_refused(res, it.key))
			continue;
		dp_ct_set_put_changed(dp_ct_set(ct), NULL, plan);
		if (sweep)
			dp_sweep_note(sweep, it.key, NULL, plan, kp_now_ns());
		kp_map_del_at(refused, &it);
	}
	for (size_t i = 0; i < res->n_refused; i++)
		kp_map_puts(refused, res->refused[i].key, refused);
}

static void say(enum kp_family f, const struct dp_ct_stats *st)
{
	unsigned long long took_us = st->took_ns / 1000, flows = st->deleted - st->missed;

	if (flows)
		kp_info("conntrack", "%s: removed %llu stale UDP entries in %llu us", kp_family_names[f], flows, took_us);
	if (st->missed)
		kp_info("conntrack", "%s: removed the entries of %llu connections that began without rules in %llu us",
			kp_family_names[f], (unsigned long long)st->missed, took_us);
}

void dp_stale_remove(struct dp_ct *ct, struct kp_said *said, struct dp_result *ret)
{
	struct dp_ct_stats stats[KP_N_FAMILIES];
	struct kp_err err = { 0 };

	if (dp_ct_pending_ms(ct, kp_now_ns()) != 0)
		return;
	if (dp_ct_run(ct, kp_now_ns(), stats, &err) < 0)
		kp_log(kp_said_lately(said, err.msg, kp_now_ms()) ? KP_LOG_DEBUG : KP_LOG_WARN, "conntrack",
		       "cannot remove stale entries, will try again: %s", err.msg);
	else if (stats[KP_IPV4].took_ns || stats[KP_IPV6].took_ns)	/* else it only began */
		kp_said_forget(said);
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		ret->conntrack[f] = (struct dp_conntrack_result){ stats[f].took_ns > 0, stats[f].deleted, stats[f].took_ns };
		say((enum kp_family)f, &stats[f]);
	}
}
