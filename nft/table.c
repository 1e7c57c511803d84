#include "nft/table_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "nft/ask.h"
#include "nft/carry.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"

#define RACE_TRIES	10	/* somebody commits between our dump and our transaction */
#define GROW_AGAIN_NS	60000000000ull
#define REFUSAL_ROUNDS	16	/* the second one names all that is refused, further ones whose last good rules are, too */

/* See gone.h. */
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
	t->gone = must_keep_gone() ? dp_gone_new() : NULL;
	t->fam = dp_family_new(f);
	t->good = dp_plans_new();
	t->refused = dp_refusals_new();
	t->said = kp_said_new();
	*ret = t;
	return 0;
}

struct dp_table *dp_table_free(struct dp_table *t)
{
	if (!t)
		return NULL;
	dp_family_free(t->fam);
	dp_gone_free(t->gone);
	kp_map_free(t->good);
	kp_map_free(t->refused);
	kp_map_free(t->suspects);
	kp_said_free(t->said);
	free(t->lost);
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

uint32_t dp_table_flags(const struct dp_table *t)
{
	return t->owner ? DP_TABLE_OWNER | DP_TABLE_PERSIST : 0;
}

void dp_table_note_result(const struct dp_txn *txn, const struct dp_txn_report *rep, struct dp_family_result *ret)
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

/* Its last good rules go where they are refused as well, or would be in the way of another Service's. */
static void refuse(struct dp_table *t, const struct dp_wanted *want, const char *key, const struct dp_txn_report *rep)
{
	struct dp_refusal *r = kp_calloc(1, sizeof(*r));
	const struct kp_plan *good = kp_map_gets(t->good, key);

	if (good && (kp_map_gets(t->refused, key) || dp_wanted_elsewhere(want, t->f, good)))
		kp_map_dels(t->good, key);
	r->key = kp_strdup(key);
	r->family = (uint8_t)t->f;
	r->code = rep->code;
	r->why = kp_strdup(rep->message);
	r->gone = !kp_map_gets(t->good, key);
	kp_map_puts(t->refused, key, r);
	say_refused(t, r);
}

/* One full write into an empty or dumped table. keys: sorted, tag - 1 is the index. */
static void write_all(struct dp_table *t, struct dp_txn *txn, struct dp_writer *w, const struct dp_wanted *want,
		      const char **keys, size_t n, const struct dp_held *held)
{
	uint32_t expect[DP_N_SETS] = { 0 };

	if (kp_map_len(t->refused))
		dp_txn_split(txn);
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

	return flags == dp_table_flags(t) || (t->owner && flags == DP_TABLE_PERSIST);
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

	dp_netlink_add_table(txn, dp_table_flags(t));
	write_all(t, txn, w, want, keys, n, NULL);
	if (carry)
		dp_carry_write(carry, t->fam, txn);
	dp_table_commit(t, txn, NULL, rep);
	dp_table_note_result(txn, rep, ret);
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

/* A crash, or a failure, while replacing leaves the second table. */
static int delete_leftover(struct dp_table *t, const char *next, struct dp_txn_report *rep)
{
	bool there = false;
	int r = dp_table_exists(t->nl, t->f, next, &there);

	if (r == 0)
		return there ? delete_table(t, next, rep) : 0;
	snprintf(rep->message, sizeof(rep->message), "look for table %s: %s", next, strerror(-r));
	return rep->code = r;
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
	r = delete_leftover(t, next, rep);	/* else its rules and ours would be in it */
	if (r == 0)
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

static void note_lost(void *arg, enum dp_set set, const uint8_t *key)
{
	struct dp_table *t = arg;
	struct dp_elem e = dp_elem_of_key(set, t->f, key);

	if ((set != DP_SVC && set != DP_NP) || e.proto != IPPROTO_UDP)
		return;
	kp_grow(&t->lost, t->n_lost, &t->cap_lost);
	t->lost[t->n_lost++] = e;
}

size_t dp_table_take_lost(struct dp_table *t, struct dp_elem **ret)
{
	size_t n = t->n_lost;

	*ret = kp_steal(&t->lost);
	t->n_lost = t->cap_lost = 0;
	return n;
}

/* Over what is there: elements and chains that are as wanted cost nothing. */
static int reconcile(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n, struct dp_held *held,
		     struct dp_family_result *ret, struct dp_txn_report *rep)
{
	struct dp_txn *txn = dp_txn_new(t->f, t->name);
	struct dp_writer *w = dp_table_writer(t, txn, held);
	size_t n_lost = t->n_lost;

	if (held->flags != dp_table_flags(t))
		dp_netlink_add_table(txn, dp_table_flags(t));
	write_all(t, txn, w, want, keys, n, held);
	dp_netlink_prune(w, note_lost, t);
	dp_table_describe(t, w, txn, keys);
	if (dp_table_commit(t, txn, &held->genid, rep) < 0)
		t->n_lost = n_lost;	/* they are still there, and will be found again */
	dp_table_note_result(txn, rep, ret);
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

/* One element too many, and the kernel refuses its Service. */
static bool has_room(const struct dp_table *t, const struct dp_wanted *want, const struct dp_held *held)
{
	uint32_t expect[DP_N_SETS] = { 0 };
	bool fits = true;

	for (struct kp_map_it it = { 0 }; kp_map_next(want->plans, &it);)
		dp_family_expect(it.value, t->f, expect);
	for (int set = 0; set < DP_N_SETS; set++) {
		const struct dp_held_set *s = kp_map_gets(held->sets, dp_set_defs[set].name);

		fits &= !s || !s->size || expect[set] <= s->size;
	}
	return fits;
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

bool dp_table_is_writable(const struct dp_table *t, const struct dp_held *held)
{
	return !is_anothers(t, held) && is_usable(t, held);
}

static bool wants_to_grow(const struct dp_table *t)
{
	return dp_family_is_tight(t->fam) && kp_now_ns() >= t->grow_ns;
}

static int write_once(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n,
		      struct dp_family_result *ret, struct dp_txn_report *rep);

/* As long as there is room, a new table that cannot be loaded is no failure of the rules: the first one has them all. */
static int grow(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n, const struct dp_held *held,
		struct dp_family_result *ret, struct dp_txn_report *rep)
{
	int r = replace(t, want, keys, n, held, ret, rep);
	bool there = false;

	if (r == 0 || rep->n_tags || dp_table_exists(t->nl, t->f, t->name, &there) < 0 || !there)
		return r;
	kp_warn("nft", "%s: table %s is getting full, and a larger one fails; will try again: %s", kp_family_names[t->f], t->name,
		rep->message);
	t->grow_ns = kp_now_ns() + GROW_AGAIN_NS;
	dp_txn_report_release(rep);
	return write_once(t, want, keys, n, ret, rep);	/* t->fam is what the new one would have held */
}

static int write_once(struct dp_table *t, const struct dp_wanted *want, const char **keys, size_t n,
		      struct dp_family_result *ret, struct dp_txn_report *rep)
{
	struct dp_held *held = NULL;
	struct kp_err err = { 0 };
	int r = dp_held_read(t->nl, t->f, t->name, true, &held, &err);

	if (t->gone)
		dp_gone_clear(t->gone);
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
	else if (!is_usable(t, held) || !has_room(t, want, held))
		r = replace(t, want, keys, n, held, ret, rep);
	else
		r = reconcile(t, want, keys, n, held, ret, rep);
	if (must_replace(rep)) {
		dp_txn_report_release(rep);
		r = replace(t, want, keys, n, held, ret, rep);
	}
	if (r == 0 && wants_to_grow(t))
		r = grow(t, want, keys, n, held, ret, rep);
	dp_held_free(held);
	return r;
}

/*
 * What is left of a replacement goes once the first table is complete. Until then it is what counts: its chains
 * were there before ours.
 */
static void remove_next(struct dp_table *t, struct dp_family_result *ret)
{
	struct dp_txn_report rep = { 0 };
	char next[DP_KEY_MAX];

	if (t->looked_for_next)
		return;
	snprintf(next, sizeof(next), "%s-next", t->name);
	t->looked_for_next = delete_leftover(t, next, &rep) == 0;
	if (!t->looked_for_next) {
		t->known = false;
		ret->cleanup_failed = true;
		ret->code = rep.code;
		snprintf(ret->message, sizeof(ret->message), "remove what an earlier replacement left: %.200s", rep.message);
	}
	dp_txn_report_release(&rep);
}

static void remember_good(struct dp_table *t, const struct dp_wanted *want)
{
	kp_map_free(t->good);
	t->good = dp_plans_new();
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
			refuse(t, want, keys[rep.tags[i] - 1], &rep);
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
	t->refused = dp_refusals_new();
	full_rounds(t, want, ret);
	if (t->known)
		remove_next(t, ret);
	ret->took_ns = kp_now_ns() - began;
	return ret->code;
}

int dp_table_gone_pending_ms(const struct dp_table *t, uint64_t now_ns)
{
	return t->gone && t->known ? dp_gone_pending_ms(t->gone, now_ns) : -1;
}

void dp_table_delete_gone(struct dp_table *t, uint64_t now_ns)
{
	struct dp_txn *txn = dp_txn_new(t->f, t->name);
	struct dp_writer *w = dp_netlink_new(txn, t->f, NULL);
	struct dp_txn_report rep;

	dp_gone_write(t->gone, w, now_ns);
	dp_gone_settle(t->gone, dp_table_commit(t, txn, NULL, &rep), now_ns);
	dp_txn_report_release(&rep);
	dp_netlink_free(w);
	dp_txn_free(txn);
}

static int write_changes(struct dp_table *t, const struct dp_batch *batch, struct dp_family_result *ret)
{
	struct dp_txn *txn = dp_txn_new(t->f, t->name);
	struct dp_writer *w = dp_table_writer(t, txn, NULL);
	struct dp_txn_report rep;
	bool heavy;
	uint64_t began;

	if (batch->node)
		dp_family_node(t->fam, w, batch->node);
	for (size_t i = 0; i < batch->n_changes; i++) {
		w->tag = (uint32_t)i + 1;
		dp_family_service(t->fam, w, batch->changes[i].key, batch->changes[i].plan);
	}
	dp_family_finish(t->fam, w);
	heavy = dp_txn_changes_verdicts(txn);
	began = heavy ? kp_thread_ns() : 0;
	if (dp_family_has_room(t->fam))
		dp_table_commit(t, txn, NULL, &rep);
	else
		rep = (struct dp_txn_report){ .code = -ENFILE, .message = "a set would be too full" };
	dp_table_note_result(txn, &rep, ret);
	if (ret->wrote && heavy)
		ret->heavy_ns = kp_thread_ns() - began;
	dp_netlink_free(w);
	dp_txn_free(txn);
	dp_txn_report_release(&rep);
	return ret->code;
}

/* Most Services have one family. */
static bool concerns(const struct dp_table *t, const struct dp_batch *b)
{
	bool any = b->node;

	for (size_t i = 0; i < b->n_changes && !any; i++) {
		const struct dp_change *c = &b->changes[i];

		any = dp_family_has(t->fam, c->plan) || dp_family_plan(t->fam, c->key) || kp_map_gets(t->refused, c->key);
	}
	return any;
}

int dp_table_apply(struct dp_table *t, const struct dp_wanted *want, const struct dp_batch *batch,
		   struct dp_family_result *ret)
{
	uint64_t began = kp_now_ns();

	if (!t->known)
		return dp_table_full(t, want, ret);
	ret->tried = true;
	if (!concerns(t, batch))
		return 0;
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
	if (wants_to_grow(t))
		return dp_table_full(t, want, ret);
	ret->took_ns = kp_now_ns() - began;
	return 0;
}
