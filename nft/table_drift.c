#include "nft/table_impl.h"

#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define KEYS_MAX	256	/* Services that a drift names one by one */

/* Takes what. */
static struct dp_drift *new_drift(struct dp_table *t, enum dp_drift_kind kind, char *what)
{
	struct dp_drift *d = kp_calloc(1, sizeof(*d));

	*d = (struct dp_drift){ .kind = kind, .what = what, .noticed_ns = kp_now_ns() };
	t->described = false;
	return d;
}

struct dp_drift *dp_table_elements_differ(struct dp_table *t, enum dp_set set)
{
	struct kp_buf what = { 0 };

	t->drifted = set;
	t->suspects = kp_map_free(t->suspects);
	kp_buf_printf(&what, "elements of %s changed", dp_set_defs[set].name);
	return new_drift(t, DP_DRIFT_ELEMENTS, what.data);
}

/* What others changed of the elements, if they did. Those that were heard of come first: they are suspects. */
static int compare_elements(struct dp_table *t, const struct dp_held *held, const struct dp_heard *heard, struct dp_drift **ret)
{
	enum dp_set set;
	int r = heard->complete ? dp_table_heard_differ(t, heard, &set) : 0;

	if (r > 0) {
		*ret = dp_table_elements_differ(t, set);
		t->suspects = dp_heard_copy(heard->keys[t->f][set]);
	} else if (r == 0 && dp_table_miscounts(t, held, &set)) {
		*ret = dp_table_elements_differ(t, set);
	}
	return r < 0 ? r : 0;
}

static int compare(struct dp_table *t, const struct dp_held *held, const struct dp_heard *heard, struct dp_drift **ret)
{
	struct dp_words *w = dp_words_new(NULL);
	enum dp_drift_kind kind;
	int r = 0;

	if (dp_diff_structure(t->fam, held, !t->gone, dp_table_flags(t), w, &kind))
		*ret = new_drift(t, kind, dp_words_text(w));
	else
		r = compare_elements(t, held, heard, ret);
	dp_words_free(w);
	return r;
}

int dp_table_look(struct dp_table *t, const struct dp_heard *heard, struct dp_drift **ret)
{
	struct dp_held *held = NULL;
	struct kp_err err = { 0 };
	int r;

	*ret = NULL;
	if (!t->known)
		return 0;	/* it is being put right anyway */
	r = dp_held_read(t->nl, t->f, t->name, false, &held, &err);
	if (r == 0)
		r = compare(t, held, heard, ret);
	dp_held_free(held);
	return r;
}

static void name_services(struct dp_drift *d, const struct dp_txn *txn, const char **keys)
{
	uint32_t tags[KEYS_MAX];
	size_t n = dp_txn_tags(txn, tags, KEYS_MAX);

	if (d->kind != DP_DRIFT_ELEMENTS || n > KEYS_MAX)
		return;
	d->keys = kp_calloc(n, sizeof(*d->keys));
	for (; d->n_keys < n; d->n_keys++)
		d->keys[d->n_keys] = kp_strdup(keys[tags[d->n_keys] - 1]);
}

void dp_table_describe(struct dp_table *t, struct dp_writer *w, const struct dp_txn *txn, const char **keys)
{
	struct dp_drift *d = t->repairing;
	struct dp_words *words;

	if (!d || t->described)
		return;
	t->described = true;
	words = dp_words_new(d->kind == DP_DRIFT_ELEMENTS ? NULL : d->what);
	dp_diff_elems_say(dp_netlink_diff(w), words);
	if (dp_words_any(words)) {
		free(d->what);
		d->what = dp_words_text(words);
	}
	dp_words_free(words);
	name_services(d, txn, keys);
}

/* Chains and rules alone, when tables, sets and flags are what they should be. */
static bool can_rewrite(const struct dp_table *t, const struct dp_held *held)
{
	return held->table && dp_table_is_writable(t, held) && dp_family_has_sets_of(t->fam, held);
}

static void rewrite_chains(struct dp_table *t, struct dp_writer *w, const struct dp_held *held, struct dp_txn *txn)
{
	if (held->flags != dp_table_flags(t))
		dp_netlink_add_table(txn, dp_table_flags(t));
	dp_family_rewrite(t->fam, w, held);
}

bool dp_table_commit_part(struct dp_table *t, struct dp_txn *txn, const struct dp_held *held, struct dp_family_result *ret)
{
	struct dp_txn_report rep = { 0 };

	t->known = dp_table_commit(t, txn, &held->genid, &rep) == 0;
	dp_table_note_result(txn, &rep, ret);
	dp_txn_report_release(&rep);
	return t->known;
}

struct dp_writer *dp_table_writer(const struct dp_table *t, struct dp_txn *txn, struct dp_held *held)
{
	struct dp_writer *w = dp_netlink_new(txn, t->f, held);

	dp_netlink_keep_gone(w, t->gone);
	return w;
}

static bool repair_chains(struct dp_table *t, struct dp_family_result *ret)
{
	struct dp_held *held = NULL;
	struct kp_err err = { 0 };
	bool done = false;

	if (dp_held_read(t->nl, t->f, t->name, false, &held, &err) == 0 && can_rewrite(t, held)) {
		struct dp_txn *txn = dp_txn_new(t->f, t->name);
		struct dp_writer *w = dp_table_writer(t, txn, NULL);

		rewrite_chains(t, w, held, txn);
		done = dp_table_commit_part(t, txn, held, ret);
		dp_netlink_free(w);
		dp_txn_free(txn);
	}
	dp_held_free(held);
	return done;
}

/*
 * Only what differs is kept and written: at 10,000 Services a look at everything takes
 * longer than rules may be missing. False: this does not help, or failed.
 */
static bool repair_part(struct dp_table *t, const struct dp_drift *d, struct dp_family_result *ret)
{
	return d->kind == DP_DRIFT_ELEMENTS ? dp_table_repair_elements(t, ret) : repair_chains(t, ret);
}

int dp_table_repair(struct dp_table *t, const struct dp_wanted *want, struct dp_drift *d, struct dp_family_result *ret)
{
	uint64_t began = kp_now_ns();

	t->repairing = d;
	ret->tried = true;
	if (repair_part(t, d, ret))
		ret->took_ns = kp_now_ns() - began;
	else
		dp_table_full(t, want, ret);
	t->repairing = NULL;
	return ret->code;
}
