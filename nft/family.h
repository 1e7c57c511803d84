#ifndef DP_FAMILY_H
#define DP_FAMILY_H

#include "nft/writer.h"
#include "proxy/plan/plan.h"

struct dp_held;
struct dp_sum;
struct kp_map;

/*
 * One table: what was last written for every Service, and how to write a change of it.
 * The state runs ahead of the kernel until a transaction is acknowledged; when one fails,
 * reset it and write everything again over a dump. Work is proportional to the change.
 */
struct dp_family;

struct dp_family *dp_family_new(enum kp_family f);
struct dp_family *dp_family_free(struct dp_family *fam);
void dp_family_reset(struct dp_family *fam);	/* as new */

/*
 * Before a full write: what the kernel holds (NULL: nothing), and how many elements each
 * set will get, so that new sets are made large enough.
 */
void dp_family_begin(struct dp_family *fam, const struct dp_held *held, const uint32_t expect[DP_N_SETS]);
void dp_family_expect(const struct kp_plan *plan, enum kp_family f, uint32_t expect[DP_N_SETS]);	/* adds to expect */

/* First of a full write; later: rewrites every chain that depends on it. */
void dp_family_node(struct dp_family *fam, struct dp_writer *w, struct kp_plan_node *node);
/* plan NULL: the Service is gone. Keeps a reference. */
void dp_family_service(struct dp_family *fam, struct dp_writer *w, const char *key, struct kp_plan *plan);
/* Ends every batch: addresses counted over all Services. */
void dp_family_finish(struct dp_family *fam, struct dp_writer *w);
/* Ends a full write: chains and sets that nobody asked for. */
void dp_family_prune(struct dp_family *fam, struct dp_writer *w);

/*
 * After a foreign change: writes the chains that are not as they were written, and removes
 * what others added. held: chains and sets of now. Elements are left as they are.
 */
void dp_family_rewrite(struct dp_family *fam, struct dp_writer *w, const struct dp_held *held);
/* Adds all elements of one set once more; w knows which are there. Tag of an element: 1 + its Service's place in keys. */
void dp_family_repeat(struct dp_family *fam, struct dp_writer *w, enum dp_set set, const char *const *keys, size_t n);

/*
 * The Services that elements with these keys are of, sorted; NULL: all. keys: a map by key
 * bytes. The caller frees the array, not the names: they are the plans', until those change.
 */
const char **dp_family_owners(const struct dp_family *fam, enum dp_set set, const struct kp_map *keys, size_t *ret_n);

/* Is anything of this plan of our family? NULL: no. */
bool dp_family_has(const struct dp_family *fam, const struct kp_plan *plan);
/* The plan last written; borrowed. NULL: none, or nothing of it is of this family. */
struct kp_plan *dp_family_plan(const struct dp_family *fam, const char *key);
/* Of all elements of a set, as they should be in the kernel now. */
const struct dp_sum *dp_family_sum(const struct dp_family *fam, enum dp_set set);
bool dp_family_has_set(const struct dp_family *fam, const char *name);
bool dp_family_has_sets_of(const struct dp_family *fam, const struct dp_held *held);	/* none of ours is missing there */
/* A sized set is over three quarters full: time to replace the table (2.5). */
bool dp_family_is_tight(const struct dp_family *fam);
/* No sized set is to hold more than it can: the kernel would refuse that. */
bool dp_family_has_room(const struct dp_family *fam);

#endif
