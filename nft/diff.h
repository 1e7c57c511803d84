#ifndef DP_DIFF_H
#define DP_DIFF_H

#include "nft/schema.h"
#include "proxy/plan/dataplane.h"

struct dp_family;
struct dp_held;

/*
 * What somebody else did to our table, in words: made from what we wrote and what the
 * kernel holds. Pure.
 */
struct dp_words;

struct dp_words *dp_words_new(const char *first);	/* NULL: nothing is said yet */
struct dp_words *dp_words_free(struct dp_words *w);	/* NULL is fine; returns NULL */
bool dp_words_any(const struct dp_words *w);
/* "chain services deleted; 3 elements of svc changed"; caller frees. */
char *dp_words_text(const struct dp_words *w);

/*
 * Chains, rules and sets; elements are not looked at. exactly: others than ours differ, too.
 * False: all is as we wrote it.
 */
bool dp_diff_structure(const struct dp_family *fam, const struct dp_held *held, bool exactly, uint32_t flags,
		       struct dp_words *w, enum dp_drift_kind *ret);

/* How the elements of a set differ from what we wrote. */
struct dp_diff_elems {
	uint32_t deleted, changed, added;	/* by the other one */
};
void dp_diff_elems_say(const struct dp_diff_elems diff[DP_N_SETS], struct dp_words *w);

#endif
