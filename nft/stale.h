#ifndef DP_STALE_H
#define DP_STALE_H

#include "proxy/plan/dataplane.h"

struct dp_ct;
struct kp_said;
struct dp_wanted;

/*
 * What commits make stale in conntrack, noted from plans and removed when due; the same
 * for all backends. To be noted after the commit was acknowledged.
 */

/* old: the plans before, by change; want: as it is now. */
void dp_stale_note(struct dp_ct *ct, const struct dp_wanted *want, const struct dp_batch *b, struct kp_plan *const *old);
/* After a start or a failure: anything may be stale. */
void dp_stale_note_all(struct dp_ct *ct, const struct dp_wanted *want);
/* said: lately about failures. What was done goes into ret. */
void dp_stale_remove(struct dp_ct *ct, struct kp_said *said, struct dp_result *ret);

#endif
