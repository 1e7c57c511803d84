#include "nft/table_impl.h"

#include <stdlib.h>

#include "nft/prints.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"

#define MISCOUNTS	3	/* repairs that find nothing to do, and the kernel's numbers are not believed again */

/*
 * Elements on their way from the family that repeats them. Of a whole set: first their
 * prints are noted, then those that a dump did not show go on. Else those that are asked for.
 */
struct sieve {
	struct dp_writer w;
	struct dp_prints *ours;
	const struct kp_map *only;	/* keys; NULL: of a whole set */
	struct dp_writer *to;		/* NULL: note */
	struct kp_buf value;
};

static void pass_on(struct sieve *s, bool add, const struct dp_elem *e)
{
	s->to->tag = s->w.tag;
	s->to->ops->elem(s->to, add, e);
}

static void sieve_elem(struct dp_writer *w, bool add, const struct dp_elem *e)
{
	struct sieve *s = (struct sieve *)w;
	uint8_t key[DP_KEY_MAX];
	size_t len = dp_elem_key(e, w->f, key);
	uint64_t print;

	if (s->only) {
		if (kp_map_get(s->only, key, len))
			pass_on(s, add, e);
		return;
	}
	s->value.len = 0;
	dp_elem_value(e, w->f, &s->value);
	print = dp_elem_print((enum dp_set)e->set, key, len, s->value.data, s->value.len);
	if (!s->to)
		dp_prints_add(s->ours, print);
	else if (!dp_prints_seen(s->ours, print))
		pass_on(s, add, e);
}

/* What has to be written so that a set, or some elements of it, are as they should be. */
struct correction {
	enum dp_set set;
	const struct kp_map *only;
	const char **keys;	/* of Services, by tag - 1 */
	size_t n;
	struct dp_held *held;	/* of the kernel's elements those that differ, or that were asked for */
	struct dp_txn *txn;
	struct dp_writer *w;
};

static void sift(struct dp_table *t, const struct correction *c, struct dp_prints *ours)
{
	static const struct dp_writer_ops ops = { .elem = sieve_elem };
	struct sieve s = { .w = { .ops = &ops, .f = t->f }, .ours = ours, .only = c->only, .to = c->w };

	dp_family_repeat(t->fam, &s.w, c->set, c->keys, c->n);
	kp_buf_release(&s.value);
}

static void release(struct correction *c)
{
	dp_netlink_free(c->w);
	dp_txn_free(c->txn);
	dp_held_free(c->held);
	free(c->keys);
}

/* A whole set is dumped once, and nothing is kept of what is as it should be. */
static int read_kernel(struct dp_table *t, struct correction *c, struct dp_prints *ours)
{
	struct kp_err err = { 0 };

	if (c->only)
		return dp_held_read_keys(t->nl, t->f, t->name, c->set, c->only, &c->held, &err);
	sift(t, c, ours);
	return dp_held_read_others(t->nl, t->f, t->name, c->set, ours, &c->held, &err);
}

/* only: keys; NULL: the whole set. < 0: the kernel could not be read, nothing is to be released. */
static int correct(struct dp_table *t, enum dp_set set, const struct kp_map *only, struct correction *ret)
{
	struct dp_prints *ours = only ? NULL : dp_prints_new(dp_family_sum(t->fam, set)->n);
	int r;

	*ret = (struct correction){ .set = set, .only = only };
	ret->keys = dp_family_owners(t->fam, set, only, &ret->n);
	r = read_kernel(t, ret, ours);
	if (r == 0) {
		ret->txn = dp_txn_new(t->f, t->name);
		ret->w = dp_table_writer(t, ret->txn, ret->held);
		sift(t, ret, ours);
		dp_netlink_prune(ret->w, NULL, NULL);
	} else {
		release(ret);
	}
	dp_prints_free(ours);
	return r;
}

bool dp_table_repair_elements(struct dp_table *t, struct dp_family_result *ret)
{
	struct correction c;
	bool done;

	if (correct(t, t->drifted, t->suspects, &c) < 0)
		return false;
	dp_table_describe(t, c.w, c.txn, c.keys);
	if (!t->suspects)
		t->miscounts = dp_txn_empty(c.txn) ? t->miscounts + 1 : 0;
	done = dp_table_commit_part(t, c.txn, c.held, ret);
	release(&c);
	return done;
}

int dp_table_heard_differ(struct dp_table *t, const struct dp_heard *heard, enum dp_set *ret)
{
	int r = 0;

	for (int set = 0; set < DP_N_SETS && r == 0; set++) {
		struct correction c;

		if (!heard->keys[t->f][set])
			continue;
		r = correct(t, (enum dp_set)set, heard->keys[t->f][set], &c);
		if (r < 0)
			break;
		r = !dp_txn_empty(c.txn);
		*ret = (enum dp_set)set;
		release(&c);
	}
	return r;
}

bool dp_table_miscounts(const struct dp_table *t, const struct dp_held *held, enum dp_set *ret)
{
	for (int set = 0; t->miscounts < MISCOUNTS && set < DP_N_SETS; set++) {
		const struct dp_held_set *s = kp_map_gets(held->sets, dp_set_defs[set].name);

		*ret = (enum dp_set)set;
		if (s && s->counted && s->n != dp_family_sum(t->fam, *ret)->n)
			return true;
	}
	return false;
}
