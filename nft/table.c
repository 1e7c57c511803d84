#include "nft/table.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "nft/carry.h"
#include "nft/diff.h"
#include "nft/family.h"
#include "nft/netlink.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"

#define RACE_TRIES	10	/* somebody commits between our dump and our transaction */
#define KEYS_MAX	256	/* Services that a drift names one by one */
#define REFUSAL_ROUNDS	16	/* one transaction usually names all that it refuses */

struct dp_table {
	enum kp_family f;
	char *name;
	struct mnl_socket *nl;
	uint32_t *generation;	/* borrowed: see dp_table_new() */
	struct dp_family *fam;
	struct kp_map *good;	/* key -> plan that the kernel acknowledged */
	struct kp_map *refused;	/* key -> struct dp_refusal */
	struct kp_said *said;	/* about refusals, which are tried again and again */
	bool known;		/* fam is what the kernel holds */
	bool keep_gone;		/* old kernel: see dp_netlink_keep_gone() */
	bool owner;
	struct dp_drift *repairing;	/* borrowed while a full write puts it right; NULL: none */
	bool described;			/* its text says all */
	enum dp_set drifted;		/* the set that differs, for drift of elements */
	bool looked_for_next;	/* a crash while replacing leaves a second table */
};

static void refusal_free(void *p)
{
	struct dp_refusal *r = p;

	free(r->key);
	free(r->why);
	free(r);
}

static void plan_free(void *p)
{
	kp_plan_unref(p);
}

/* See dp_netlink_keep_gone(). */
static bool must_keep_gone(void)
{
	struct utsname u;
	unsigned major, minor;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return false;
	return major < 6 || (major == 6 && minor < 2);
}

int dp_table_new(struct dp_table **ret, enum kp_family f, const char *name, bool owner, uint32_t *generation,
		 struct kp_err *err)
{
	struct dp_table *t = kp_calloc(1, sizeof(*t));
	int r = dp_socket_open(&t->nl, err);

	if (r < 0) {
		free(t);
		return r;
	}
	t->f = f;
	t->name = kp_strdup(name);
	t->owner = owner;
	t->generation = generation;
	t->keep_gone = must_keep_gone();
	t->fam = dp_family_new(f);
	t->good = kp_map_new(plan_free);
	t->refused = kp_map_new(refusal_free);
	t->said = kp_said_new();
	*ret = t;
	return 0;
}

struct dp_table *dp_table_free(struct dp_table *t)
{
	if (!t)
		return NULL;
	dp_family_free(t->fam);
	kp_map_free(t->good);
	kp_map_free(t->refused);
	kp_said_free(t->said);
	mnl_socket_close(t->nl);
	free(t->name);
	free(t);
	return NULL;
}

bool dp_table_is_known(const struct dp_table *t)
{
	return t->known;
}

const struct dp_family *dp_table_family(const struct dp_table *t)
{
	return t->fam;
}

struct mnl_socket *dp_table_socket(const struct dp_table *t)
{
	return t->nl;
}

const char *dp_table_name(const struct dp_table *t)
{
	return t->name;
}

const struct kp_map *dp_table_refused(const struct dp_table *t)
{
	return t->refused;
}

int dp_table_commit(struct dp_table *t, struct dp_txn *txn, const uint32_t *genid, struct dp_txn_report *rep)
{
	uint32_t commits = dp_txn_commits(txn);

	if (dp_txn_commit(txn, t->nl, genid, rep) == 0)
		*t->generation += commits;
	return rep->code;
}

static uint32_t flags_of(const struct dp_table *t)
{
	return t->owner ? DP_TABLE_OWNER | DP_TABLE_PERSIST : 0;
}

/* Takes what. */
static struct dp_drift *new_drift(struct dp_table *t, enum dp_drift_kind kind, char *what)
{
	struct dp_drift *d = kp_calloc(1, sizeof(*d));

	*d = (struct dp_drift){ .kind = kind, .what = what, .noticed_ns = kp_now_ns() };
	t->described = false;
	return d;
}

int dp_table_look(struct dp_table *t, struct dp_drift **ret)
{
	struct dp_held *held = NULL;
	struct kp_err err = { 0 };
	enum dp_drift_kind kind;
	struct dp_words *w;
	int r;

	*ret = NULL;
	if (!t->known)
		return 0;	/* it is being put right anyway */
	r = dp_held_read(t->nl, t->f, t->name, false, &held, &err);
	if (r < 0)
		return r;
	w = dp_words_new(NULL);
	if (dp_diff_structure(t->fam, held, !t->keep_gone, flags_of(t), w, &kind))
		*ret = new_drift(t, kind, dp_words_text(w));
	dp_words_free(w);
	dp_held_free(held);
	return 0;
}

struct dp_drift *dp_table_elements_differ(struct dp_table *t, enum dp_set set)
{
	struct kp_buf what = { 0 };

	t->drifted = set;
	kp_buf_printf(&what, "elements of %s changed", dp_set_defs[set].name);
	return new_drift(t, DP_DRIFT_ELEMENTS, what.data);
}

static void note_result(const struct dp_txn *txn, const struct dp_txn_report *rep, struct dp_family_result *ret)
{
	uint32_t added, deleted;

	dp_txn_counts(txn, &added, &deleted);
	ret->code = rep->code;
	snprintf(ret->message, sizeof(ret->message), "%s", rep->message);
	if (rep->code || dp_txn_empty(txn))
		return;
	ret->wrote = true;
	ret->elements_added += added;
	ret->elements_deleted += deleted;
}

static void set_good(struct dp_table *t, const char *key, struct kp_plan *plan)
{
	if (plan)
		kp_map_puts(t->good, key, kp_plan_ref(plan));
	else
		kp_map_dels(t->good, key);
}

static void say_refused(struct dp_table *t, const struct dp_refusal *r)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("%s: the kernel refuses Service \"%s\": %s", kp_family_names[t->f], r->key,
						   r->why);

	kp_log(kp_said_lately(t->said, text, kp_now_ms()) ? KP_LOG_DEBUG : KP_LOG_ERROR, "nft",
	       "%s; %s, the others go on", text, r->gone ? "it has no rules" : "its last good rules stay");
}

static void refuse(struct dp_table *t, const char *key, const struct dp_txn_report *rep)
{
	struct dp_refusal *r = kp_calloc(1, sizeof(*r));

	if (kp_map_gets(t->refused, key))	/* its last good rules are refused as well: nothing of it remains */
		kp_map_dels(t->good, key);
	r->key = kp_strdup(key);
	r->code = rep->code;
	r->why = kp_strdup(rep->message);
	r->gone = !kp_map_gets(t->good, key);
	kp_map_puts(t->refused, key, r);
	say_refused(t, r);
}

/* One full write into an empty or dumped table. keys: sorted, tag - 1 is the index. */
static void write_all(struct dp_table *t, struct dp_writer *w, const struct dp_wanted *want, const char **keys, size_t n,
		      const struct dp_held *held)
{
	uint32_t expect[DP_N_SETS] = { 0 };

	for (size_t i = 0; i < n; i++)
		dp_family_expect(kp_map_gets(want->plans, keys[i]), t->f, expect);
	dp_family_reset(t->fam);
	dp_family_begin(t->fam, held, expect);
	dp_family_node(t->fam, w, want->node);
	for (size_t i = 0; i < n; i++) {
		bool refused = kp_map_gets(t->refused, keys[i]) != NULL;
		struct kp_plan *plan = kp_map_gets(refused ? t->good : want->plans, keys[i]);

		w->tag = (uint32_t)i + 1;
		if (plan)
			dp_family_service(t->fam, w, keys[i], plan);
	}
	dp_family_finish(t->fam, w);
	dp_family_prune(t->fam, w);
}

/* Flags can be given to a table only in part: one without owner can be claimed if it was made to persist. */
static bool has_usable_flags(const struct dp_table *t, const struct dp_held *held)
{
	uint32_t flags = held->flags & ~(uint32_t)DP_TABLE_DORMANT;

	return flags == flags_of(t) || (t->owner && flags == DP_TABLE_PERSIST);
}

static bool is_usable(const struct dp_table *t, const struct dp_held *held)
{
	if (!held->format_ok || !has_usable_flags(t, held))
		return false;
	for (struct kp_map_it it = { 0 }; kp_map_next(held->chains, &it);)
		if (!((const struct dp_held_chain *)it.value)->as_defined)
			return false;
	for (struct kp_map_it it = { 0 }; kp_map_next(held->sets, &it);)
		if (!((const struct dp_held_set *)it.value)->as_defined)
			return false;
	return true;
}

/* A second complete table under another name, or the first one. One transaction. carry: may be NULL. */
static int load_fresh(struct dp_table *t, const char *name, const struct dp_wanted *want, const char **keys, size_t n,
		      const struct dp_carry *carry, struct dp_family_result *ret, struct dp_txn_report *rep)
{
	struct dp_txn *txn = dp_txn_new(t->f, name);
	struct dp_writer *w = dp_netlink_new(txn, t->f, NULL);

	dp_netlink_add_table(txn, flags_of(t));
	write_all(t, w, want, keys, n, NULL);
	if (carry)
		dp_carry_write(carry, t->fam, txn);
	dp_table_commit(t, txn, NULL, rep);
	note_result(txn, rep, ret);
	dp_netlink_free(w);
	dp_txn_free(txn);
	return rep->code;
}

static int delete_table(struct dp_table *t, const char *name, struct dp_txn_report *rep)
{
	struct dp_txn *txn = dp_txn_new(t->f, name);

	dp_netlink_del_table(txn, name);
	dp_table_commit(t, txn, NULL, rep);
	dp_txn_free(txn);
	return rep->code;
}

/*
 * Never delete and create in one transaction: a packet inside the old rules would find
 * empty maps and no table behind (6.2). There is a complete table at every moment:
 * load the second, delete the first, load the first, delete the second.
 */
static int replace(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n, const struct dp_held *held,
		   struct dp_family_result *ret, struct dp_txn_report *rep)
{
	struct dp_carry *carry = dp_carry_read(t->nl, t->f, t->name, held);
	char next[DP_KEY_MAX];
	int r;

	snprintf(next, sizeof(next), "%s-next", t->name);
	kp_info("nft", "%s: replacing table %s", kp_family_names[t->f], t->name);
	r = load_fresh(t, next, want, keys, n, carry, ret, rep);
	if (r == 0)
		r = delete_table(t, t->name, rep);
	if (r == 0)
		r = load_fresh(t, t->name, want, keys, n, carry, ret, rep);
	dp_carry_free(carry);
	if (r == 0)
		r = delete_table(t, next, rep);
	if (r < 0)
		t->looked_for_next = false;	/* it may have to go later */
	ret->code = r;		/* of the last step that was tried */
	snprintf(ret->message, sizeof(ret->message), "%s", rep->message);
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

/* What a full write has to put right tells what somebody else did to the elements. Once for each drift. */
static void describe(struct dp_table *t, struct dp_writer *w, const struct dp_txn *txn, const char **keys)
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

/* Over what is there: elements and chains that are as wanted cost nothing. */
static int reconcile(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n, struct dp_held *held,
		     struct dp_family_result *ret, struct dp_txn_report *rep)
{
	struct dp_txn *txn = dp_txn_new(t->f, t->name);
	struct dp_writer *w = dp_netlink_new(txn, t->f, held);

	if (t->keep_gone)
		dp_netlink_keep_gone(w);
	if (held->flags != flags_of(t))
		dp_netlink_add_table(txn, flags_of(t));
	write_all(t, w, want, keys, n, held);
	dp_netlink_prune(w);
	describe(t, w, txn, keys);
	dp_table_commit(t, txn, &held->genid, rep);
	note_result(txn, rep, ret);
	dp_netlink_free(w);
	dp_txn_free(txn);
	return rep->code;
}

/*
 * The kernel refuses what belongs to no Service: somebody else's rule holds on to a chain of
 * ours, say. Then only a new table helps.
 */
static bool must_replace(const struct dp_txn_report *rep)
{
	return !rep->n_tags && (rep->code == -EBUSY || rep->code == -EEXIST || rep->code == -EOPNOTSUPP);
}

static bool is_anothers(const struct dp_table *t, const struct dp_held *held)
{
	return held->flags & DP_TABLE_OWNER && held->owner && held->owner != mnl_socket_get_portid(t->nl);
}

/* Nobody but the owner can change it, or even delete it. */
static int report_owner(const struct dp_table *t, const struct dp_held *held, struct dp_family_result *ret,
			struct dp_txn_report *rep)
{
	rep->code = ret->code = -EPERM;
	snprintf(ret->message, sizeof(ret->message), "table %s belongs to another program (netlink port %u, mostly its pid)",
		 t->name, held->owner);
	return -EPERM;
}

static int write_once(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n,
		      struct dp_family_result *ret, struct dp_txn_report *rep)
{
	struct dp_held *held = NULL;
	struct kp_err err = { 0 };
	int r = dp_held_read(t->nl, t->f, t->name, true, &held, &err);

	if (r < 0) {
		rep->code = r;
		snprintf(rep->message, sizeof(rep->message), "%.200s", err.msg);
		ret->code = r;
		snprintf(ret->message, sizeof(ret->message), "%.200s", err.msg);
		return r;
	}
	if (is_anothers(t, held))
		r = report_owner(t, held, ret, rep);
	else if (!held->table)
		r = load_fresh(t, t->name, want, keys, n, NULL, ret, rep);
	else if (!is_usable(t, held))
		r = replace(t, want, keys, n, held, ret, rep);
	else
		r = reconcile(t, want, keys, n, held, ret, rep);
	if (must_replace(rep)) {
		dp_txn_report_release(rep);
		r = replace(t, want, keys, n, held, ret, rep);
	}
	if (r == 0 && dp_family_is_tight(t->fam))
		r = replace(t, want, keys, n, held, ret, rep);
	dp_held_free(held);
	return r;
}

/* A crash while replacing leaves the second table; it goes once the first is complete. */
static void remove_next(struct dp_table *t, struct dp_family_result *ret)
{
	struct dp_txn_report rep = { 0 };
	char next[DP_KEY_MAX];
	bool there = false;

	if (t->looked_for_next)
		return;
	snprintf(next, sizeof(next), "%s-next", t->name);
	if (dp_table_exists(t->nl, t->f, next, &there) == 0 && there)
		ret->cleanup_failed = delete_table(t, next, &rep) < 0;
	dp_txn_report_release(&rep);
	t->looked_for_next = !ret->cleanup_failed;
}

static void remember_good(struct dp_table *t, const struct dp_wanted *want)
{
	kp_map_free(t->good);
	t->good = kp_map_new(plan_free);
	for (struct kp_map_it it = { 0 }; kp_map_next(want->plans, &it);)
		set_good(t, it.key, dp_family_plan(t->fam, it.key));
}

static void full_rounds(struct dp_table *t, const struct dp_wanted *want, struct dp_family_result *ret)
{
	const char **keys = kp_map_sorted_keys(want->plans);
	size_t n = kp_map_len(want->plans);
	int races = 0;

	for (int round = 0; round < REFUSAL_ROUNDS; round++) {
		struct dp_txn_report rep = { 0 };

		t->known = write_once(t, want, keys, n, ret, &rep) == 0;
		for (size_t i = 0; rep.code != -ERESTART && i < rep.n_tags; i++)
			refuse(t, keys[rep.tags[i] - 1], &rep);
		if (rep.code == -ERESTART && ++races < RACE_TRIES)
			round--;
		else if (!rep.n_tags)
			round = REFUSAL_ROUNDS;
		dp_txn_report_release(&rep);
		if (t->known)
			break;
	}
	if (t->known)
		remember_good(t, want);
	free(keys);
}

int dp_table_full(struct dp_table *t, const struct dp_wanted *want, struct dp_family_result *ret)
{
	uint64_t began = kp_now_ns();

	ret->tried = ret->full = true;
	kp_map_free(t->refused);
	t->refused = kp_map_new(refusal_free);
	full_rounds(t, want, ret);
	if (t->known)
		remove_next(t, ret);
	ret->took_ns = kp_now_ns() - began;
	return ret->code;
}

/* Chains and rules alone, when tables, sets and flags are what they should be. */
static bool can_rewrite(const struct dp_table *t, const struct dp_held *held)
{
	return held->table && !is_anothers(t, held) && is_usable(t, held) && dp_family_has_sets_of(t->fam, held);
}

static void rewrite_chains(struct dp_table *t, struct dp_writer *w, const struct dp_held *held, struct dp_txn *txn)
{
	if (held->flags != flags_of(t))
		dp_netlink_add_table(txn, flags_of(t));
	dp_family_rewrite(t->fam, w, held);
}

/* The elements of one set; tags as in write_all(). */
static void rewrite_set(struct dp_table *t, struct dp_writer *w, const struct dp_wanted *want, struct dp_txn *txn)
{
	const char **keys = kp_map_sorted_keys(want->plans);

	dp_family_repeat(t->fam, w, t->drifted, keys, kp_map_len(want->plans));
	dp_netlink_prune(w);
	describe(t, w, txn, keys);
	free(keys);
}

/*
 * Only what differs is read and written: at 10,000 Services a look at everything takes
 * longer than rules may be missing. False: this does not help, or failed.
 */
static bool repair_part(struct dp_table *t, const struct dp_wanted *want, const struct dp_drift *d, struct dp_family_result *ret)
{
	bool elements = d->kind == DP_DRIFT_ELEMENTS;
	struct dp_held *held = NULL;
	struct dp_txn_report rep = { 0 };
	struct kp_err err = { 0 };
	struct dp_writer *w;
	struct dp_txn *txn;

	if (elements ? dp_held_read_set(t->nl, t->f, t->name, t->drifted, &held, &err) < 0 :
		       dp_held_read(t->nl, t->f, t->name, false, &held, &err) < 0)
		return false;
	if (!elements && !can_rewrite(t, held)) {
		dp_held_free(held);
		return false;
	}
	txn = dp_txn_new(t->f, t->name);
	w = dp_netlink_new(txn, t->f, elements ? held : NULL);
	if (t->keep_gone)
		dp_netlink_keep_gone(w);
	if (elements)
		rewrite_set(t, w, want, txn);
	else
		rewrite_chains(t, w, held, txn);
	t->known = dp_table_commit(t, txn, &held->genid, &rep) == 0;
	note_result(txn, &rep, ret);
	dp_txn_report_release(&rep);
	dp_netlink_free(w);
	dp_txn_free(txn);
	dp_held_free(held);
	return t->known;
}

int dp_table_repair(struct dp_table *t, const struct dp_wanted *want, struct dp_drift *d, struct dp_family_result *ret)
{
	uint64_t began = kp_now_ns();

	t->repairing = d;
	ret->tried = true;
	if (repair_part(t, want, d, ret))
		ret->took_ns = kp_now_ns() - began;
	else
		dp_table_full(t, want, ret);
	t->repairing = NULL;
	return ret->code;
}

static int write_changes(struct dp_table *t, const struct dp_batch *batch, struct dp_family_result *ret)
{
	struct dp_txn *txn = dp_txn_new(t->f, t->name);
	struct dp_writer *w = dp_netlink_new(txn, t->f, NULL);
	struct dp_txn_report rep;
	uint64_t began = kp_thread_ns();

	if (t->keep_gone)
		dp_netlink_keep_gone(w);
	if (batch->node)
		dp_family_node(t->fam, w, batch->node);
	for (size_t i = 0; i < batch->n_changes; i++) {
		w->tag = (uint32_t)i + 1;
		dp_family_service(t->fam, w, batch->changes[i].key, batch->changes[i].plan);
	}
	dp_family_finish(t->fam, w);
	dp_table_commit(t, txn, NULL, &rep);
	note_result(txn, &rep, ret);
	if (ret->wrote && dp_txn_changes_verdicts(txn))
		ret->heavy_ns = kp_thread_ns() - began;
	dp_netlink_free(w);
	dp_txn_free(txn);
	dp_txn_report_release(&rep);
	return ret->code;
}

int dp_table_apply(struct dp_table *t, const struct dp_wanted *want, const struct dp_batch *batch,
		   struct dp_family_result *ret)
{
	uint64_t began = kp_now_ns();

	if (!t->known)
		return dp_table_full(t, want, ret);
	ret->tried = true;
	if (write_changes(t, batch, ret) < 0) {
		kp_debug("nft", "%s: %s; comparing with the kernel", kp_family_names[t->f], ret->message);
		t->known = false;
		return dp_table_full(t, want, ret);
	}
	for (size_t i = 0; i < batch->n_changes; i++) {
		const char *key = batch->changes[i].key;

		set_good(t, key, dp_family_plan(t->fam, key));
		kp_map_dels(t->refused, key);
	}
	if (dp_family_is_tight(t->fam))
		return dp_table_full(t, want, ret);
	ret->took_ns = kp_now_ns() - began;
	return 0;
}
