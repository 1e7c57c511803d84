#ifndef DP_AUDIT_H
#define DP_AUDIT_H

#include "nft/schema.h"

struct dp_table;

/*
 * Are all elements what we wrote? One set after the other, small ones first, a few
 * milliseconds at a time so that changes need not wait; the sums of what is dumped and of
 * what was written are compared (nft-design 5). Private maps of affinity are traffic, not
 * ours to compare. A socket of its own: an unfinished dump is in nobody's way.
 */
struct dp_audit;

/* tables: NULL where a family is not enabled; borrowed. */
struct dp_audit *dp_audit_new(struct dp_table *const tables[KP_N_FAMILIES]);
struct dp_audit *dp_audit_free(struct dp_audit *a);

void dp_audit_start(struct dp_audit *a);	/* from the first set on, also when one is under way */
bool dp_audit_is_running(const struct dp_audit *a);
uint64_t dp_audit_spent_ns(const struct dp_audit *a);	/* since it was started */

/* One slice. True: this set of this family is not what we wrote; the audit ends with it. */
bool dp_audit_step(struct dp_audit *a, enum kp_family *ret_f, enum dp_set *ret_set);

#endif
