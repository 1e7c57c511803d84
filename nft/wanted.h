#ifndef DP_WANTED_H
#define DP_WANTED_H

#include "proxy/plan/dataplane.h"

struct kp_map;

/* Everything that is wanted; what both modes remember of batches and refusals. */
struct dp_wanted {
	struct kp_plan_node *node;
	struct kp_map *plans;	/* key -> struct kp_plan, counted references */
};
struct dp_wanted dp_wanted_new(void);
void dp_wanted_release(struct dp_wanted *w);

void dp_wanted_take(struct dp_wanted *w, const struct dp_batch *b);
/* The plans before, by change, NULL where there was none; to be called before take, and released. */
struct kp_plan **dp_wanted_before(const struct dp_wanted *w, const struct dp_batch *b);
void dp_wanted_before_free(struct kp_plan **before, const struct dp_batch *b);

/* Some other Service answers by now where this plan, an older one of its own Service, does in that family. */
bool dp_wanted_elsewhere(const struct dp_wanted *w, enum kp_family f, const struct kp_plan *plan);

struct kp_map *dp_plans_new(void);	/* key -> struct kp_plan, counted references */
struct kp_map *dp_refusals_new(void);	/* key -> struct dp_refusal, with all it points to */
void dp_refusals_copy(const struct kp_map *refusals, struct dp_result *ret);	/* added to those of other families */

#endif
