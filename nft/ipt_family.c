#include "nft/ipt_family.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipt_held.h"
#include "nft/ipt_rules.h"
#include "nft/ipt_search.h"
#include "nft/ipt_state.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define REFUSAL_ROUNDS	64	/* one restore names one line that it refuses */
#define NODE		""	/* owner of what belongs to no Service; no key is empty */

struct dp_ipt_family {
	enum kp_family f;
	const struct dp_ipt_tools *tools;
	struct dp_ipt_state *state;
	struct dp_ipt_env env;	/* node: of the plan at work */
	struct kp_map *good;	/* key -> plan that was written */
	struct kp_map *refused;	/* key -> struct dp_refusal */
	bool known;
	bool blind;		/* iptables-save failed, and we said so */
	uint32_t commits;
};

struct dp_ipt_family *dp_ipt_family_new(enum kp_family f, const struct dp_ipt_tools *tools)
{
	struct dp_ipt_family *fam = kp_calloc(1, sizeof(*fam));

	fam->f = f;
	fam->tools = tools;
	fam->state = dp_ipt_state_new();
	fam->good = dp_plans_new();
	fam->refused = dp_refusals_new();
	return fam;
}

struct dp_ipt_family *dp_ipt_family_free(struct dp_ipt_family *fam)
{
	if (!fam)
		return NULL;
	dp_ipt_state_free(fam->state);
	kp_map_free(fam->good);
	kp_map_free(fam->refused);
	free(fam);
	return NULL;
}

bool dp_ipt_family_is_known(const struct dp_ipt_family *fam)
{
	return fam->known;
}

uint32_t dp_ipt_family_take_commits(struct dp_ipt_family *fam)
{
	uint32_t n = fam->commits;

	fam->commits = 0;
	return n;
}

const struct kp_map *dp_ipt_family_refused(const struct dp_ipt_family *fam)
{
	return fam->refused;
}

/* As kube-proxy: what the switch was when the rule is made. */
static bool is_liberal(void)
{
	FILE *f = fopen("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", "re");
	int value = 0;

	if (f && fscanf(f, "%d", &value) != 1)
		value = 0;
	if (f)
		(void)fclose(f);
	return value != 0;
}

static void put_service(struct dp_ipt_family *fam, const char *key, const struct kp_plan *plan)
{
	struct dp_ipt_rules rules = { 0 };

	if (plan)
		dp_ipt_service(&fam->env, plan, &rules);
	dp_ipt_state_put(fam->state, key, &rules);
}

/* The node is part of many Services' rules. What stays the same is not written. */
static void put_all(struct dp_ipt_family *fam, const struct dp_wanted *want)
{
	struct dp_ipt_rules rules;

	fam->env = (struct dp_ipt_env){
		.f = fam->f, .node = want->node, .random_fully = fam->tools->random_fully, .liberal = is_liberal(),
	};
	dp_ipt_node(&fam->env, &rules);
	dp_ipt_state_put(fam->state, NODE, &rules);
	for (struct kp_map_it it = { 0 }; kp_map_next(want->plans, &it);)
		put_service(fam, it.key, it.value);
}

/* --- one write --- */

static void refuse(struct dp_ipt_family *fam, const char *key, const struct kp_err *why)
{
	struct dp_refusal *r = kp_calloc(1, sizeof(*r));

	if (kp_map_gets(fam->refused, key))	/* its last good rules are refused as well: nothing of it remains */
		kp_map_dels(fam->good, key);
	r->key = kp_strdup(key);
	r->family = (uint8_t)fam->f;
	r->code = why->code;
	r->why = kp_strdup(why->msg);
	r->gone = !kp_map_gets(fam->good, key);
	kp_map_puts(fam->refused, r->key, r);
	put_service(fam, r->key, kp_map_gets(fam->good, r->key));
	kp_error("iptables", "%s: Service \"%s\" is refused: %s; %s, the others go on", kp_family_names[fam->f], r->key,
		 why->msg, r->gone ? "it has no rules" : "its last good rules stay");
}

/* The whole table was refused, for a reason that is not told. Returns how many Services it is about. */
static size_t search(struct dp_ipt_family *fam, const struct dp_wanted *want, const struct kp_err *why)
{
	struct kp_plan **plans = kp_calloc(kp_map_len(want->plans), sizeof(struct kp_plan *));
	size_t n = 0, found[REFUSAL_ROUNDS], n_found;

	for (struct kp_map_it it = { 0 }; kp_map_next(want->plans, &it);)
		if (!kp_map_get(fam->refused, it.key, it.len))
			plans[n++] = it.value;
	n_found = dp_ipt_search(fam->tools, &fam->env, plans, n, found, KP_N(found));
	for (size_t i = 0; i < n_found; i++)
		refuse(fam, plans[found[i]]->key, why);
	free(plans);
	return n_found;
}

/* A chain that is gone makes every rule that leads there fail, and that is no fault of its Service. */
static bool is_damaged(struct dp_ipt_family *fam, const struct dp_ipt_held *held)
{
	KP_AUTO(kp_freep) char *what = NULL;

	return !dp_ipt_state_matches(fam->state, held, &what);
}

static bool leave_out(struct dp_ipt_family *fam, const struct dp_wanted *want, const char *text, unsigned line,
		      const struct kp_err *why)
{
	bool kept = false;
	const char *owner = line ? dp_ipt_state_blame(fam->state, text, line, &kept) : NULL;
	bool left_out = owner && *owner;

	if (kept)
		kp_warn("iptables", "%s: a chain of ours stays, empty, because a rule of somebody else leads there: %s",
			kp_family_names[fam->f], why->msg);
	if (left_out)
		refuse(fam, owner, why);
	else if (line && !owner && !kept)
		left_out = search(fam, want, why) > 0;
	return kept || left_out;
}

/* Somebody is to blame and has been left out: another try makes sense. */
static bool learn_from(struct dp_ipt_family *fam, const struct dp_wanted *want, const char *text, unsigned line,
		       const struct kp_err *why)
{
	KP_AUTO(dp_ipt_held_freep) struct dp_ipt_held *held = NULL;
	struct kp_err err = { 0 };

	if (dp_ipt_tools_held(fam->tools, fam->f, &held, &err) < 0 || (fam->known && is_damaged(fam, held)))
		return false;
	dp_ipt_state_jumps(fam->state, held);
	return leave_out(fam, want, text, line, why);
}

static uint32_t count_commits(const struct kp_buf *text)
{
	uint32_t n = 0;

	for (const char *at = text->data; at && (at = strstr(at, "\nCOMMIT\n")); at++)
		n++;
	return n;
}

static int write_once(struct dp_ipt_family *fam, const struct dp_wanted *want, bool *ret_again, struct dp_family_result *ret)
{
	struct kp_buf text = { 0 };
	struct kp_err err = { 0 };
	uint32_t removed, rules = dp_ipt_state_write(fam->state, &text, &removed);
	unsigned line = 0;

	*ret_again = false;
	ret->code = text.len ? dp_ipt_tools_restore(fam->tools, fam->f, &text, &line, &err) : 0;
	if (ret->code < 0) {
		snprintf(ret->message, sizeof(ret->message), "%.250s", err.msg);
		*ret_again = learn_from(fam, want, text.data, line, &err);
	} else if (text.len) {
		dp_ipt_state_written(fam->state);
		fam->commits += count_commits(&text);
		ret->wrote = true;
		ret->elements_added += rules;
		ret->elements_deleted += removed;
	}
	dp_ipt_state_count(fam->state, &ret->rules);
	kp_buf_release(&text);
	return ret->code;
}

static void write_rounds(struct dp_ipt_family *fam, const struct dp_wanted *want, struct dp_family_result *ret)
{
	bool again = true;

	for (int round = 0; round < REFUSAL_ROUNDS && again; round++)
		fam->known = write_once(fam, want, &again, ret) == 0;
}

/* --- what is asked of it --- */

static void set_good(struct dp_ipt_family *fam, const char *key, struct kp_plan *plan)
{
	if (kp_map_gets(fam->refused, key) || (plan && kp_map_gets(fam->good, key) == plan))
		return;
	if (plan)
		kp_map_puts(fam->good, key, kp_plan_ref(plan));
	else
		kp_map_dels(fam->good, key);
}

int dp_ipt_family_full(struct dp_ipt_family *fam, const struct dp_wanted *want, struct dp_family_result *ret)
{
	struct dp_ipt_held *held = NULL;
	struct kp_err err = { 0 };
	uint64_t began = kp_now_ns();

	ret->tried = ret->full = true;
	ret->code = dp_ipt_tools_held(fam->tools, fam->f, &held, &err);
	fam->known = false;
	if (ret->code < 0) {
		snprintf(ret->message, sizeof(ret->message), "%.250s", err.msg);
		return ret->code;
	}
	kp_map_free(fam->refused);
	fam->refused = dp_refusals_new();
	dp_ipt_state_assume(fam->state, held);
	dp_ipt_held_free(held);
	put_all(fam, want);
	write_rounds(fam, want, ret);
	for (struct kp_map_it it = { 0 }; fam->known && kp_map_next(want->plans, &it);)
		set_good(fam, it.key, it.value);
	ret->took_ns = kp_now_ns() - began;
	ret->heavy_ns = ret->wrote ? ret->took_ns : 0;	/* mostly of the tools, which are other processes */
	return ret->code;
}

/* fam->state has been told of all changes. */
static int write_changes(struct dp_ipt_family *fam, const struct dp_wanted *want, struct dp_family_result *ret)
{
	write_rounds(fam, want, ret);
	if (fam->known)
		return 0;
	ret->partial_failed = true;
	kp_debug("iptables", "%s: %s; writing everything", kp_family_names[fam->f], ret->message);
	return dp_ipt_family_full(fam, want, ret);
}

int dp_ipt_family_apply(struct dp_ipt_family *fam, const struct dp_wanted *want, const struct dp_batch *batch,
			struct dp_family_result *ret)
{
	uint64_t began = kp_now_ns();
	int r;

	for (size_t i = 0; i < batch->n_changes; i++) {	/* also the gone, which want no longer names */
		kp_map_dels(fam->refused, batch->changes[i].key);
		if (batch->changes[i].plan)
			continue;
		kp_map_dels(fam->good, batch->changes[i].key);	/* whatever comes of the write: the next of that name is another */
		put_service(fam, batch->changes[i].key, NULL);
	}
	if (!fam->known)
		return dp_ipt_family_full(fam, want, ret);
	ret->tried = true;
	if (batch->node)
		put_all(fam, want);
	for (size_t i = 0; i < batch->n_changes; i++)
		put_service(fam, batch->changes[i].key, batch->changes[i].plan);
	r = write_changes(fam, want, ret);
	for (size_t i = 0; r == 0 && i < batch->n_changes; i++)
		set_good(fam, batch->changes[i].key, batch->changes[i].plan);
	ret->took_ns = kp_now_ns() - began;
	ret->heavy_ns = ret->wrote ? ret->took_ns : 0;	/* mostly of the tools, which are other processes */
	return r;
}

int dp_ipt_family_retry(struct dp_ipt_family *fam, const struct dp_wanted *want, struct dp_family_result *ret)
{
	struct kp_map *before = fam->refused;
	int r;

	ret->tried = true;
	fam->refused = dp_refusals_new();
	for (struct kp_map_it it = { 0 }; kp_map_next(before, &it);)
		put_service(fam, it.key, kp_map_gets(want->plans, it.key));
	r = write_changes(fam, want, ret);
	for (struct kp_map_it it = { 0 }; r == 0 && kp_map_next(before, &it);)
		set_good(fam, it.key, kp_map_gets(want->plans, it.key));
	kp_map_free(before);
	return r;
}

int dp_ipt_family_look(struct dp_ipt_family *fam, char **ret_what)
{
	struct dp_ipt_held *held = NULL;
	struct kp_err err = { 0 };
	int r;

	if (!fam->known)
		return 0;	/* it is being put right anyway */
	r = dp_ipt_tools_held(fam->tools, fam->f, &held, &err);
	if (r < 0)
		kp_log(fam->blind ? KP_LOG_DEBUG : KP_LOG_WARN, "iptables", "%s: cannot see whether the rules are there: %s",
		       kp_family_names[fam->f], err.msg);
	fam->blind = r < 0;
	if (r == 0)
		dp_ipt_state_matches(fam->state, held, ret_what);
	dp_ipt_held_free(held);
	return r;
}
