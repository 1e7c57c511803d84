#ifndef DP_STALE_H
#define DP_STALE_H

#include "proxy/plan/dataplane.h"

struct dp_ct;
struct dp_elem;
struct dp_sweep;
struct kp_map;
struct kp_said;
struct dp_wanted;

/*
 * What commits make stale in conntrack, noted from plans and removed when due; the same
 * for all backends. To be noted after the commit was acknowledged.
 */

/* old: the plans before, by change; want: as it is now. */
void dp_stale_note(struct dp_ct *ct, const struct dp_wanted *want, const struct dp_batch *b, struct kp_plan *const *old);
/* UDP front ends that are gone (table.h), of which no plan is left. To be noted before those that there are. */
void dp_stale_note_lost(struct dp_ct *ct, const struct dp_elem *lost, size_t n);
/*
 * What a write means. settled: all that is wanted was in the kernel, so that changes are known one by one; ret_anew:
 * it was not, and is now. Adds the families to missed whose rules the kernel did not hold until this write: it is
 * the first one or follows a failure, or it put right what somebody else did. In mode nftables a start that finds
 * everything in place writes nothing. False: nothing was written that could make something stale.
 */
bool dp_stale_see(bool settled[KP_N_FAMILIES], bool missed[KP_N_FAMILIES], const struct dp_result *res, bool *ret_anew);
/*
 * After a start, a failure or a repair: any flow may be stale. missed: see above, false
 * afterwards; connections that began meanwhile go on with their next retransmission.
 */
void dp_stale_note_all(struct dp_ct *ct, const struct dp_wanted *want, bool missed[KP_N_FAMILIES]);
/*
 * Services that were refused and are not any more: the kernel held another plan of theirs than was
 * noted before, so any flow of theirs may be stale, and any remembered choice. refused: their keys as
 * of the last commit (values not owned), afterwards those of this one. sweep: NULL: choices are not ours to forget.
 */
void dp_stale_note_accepted(struct dp_ct *ct, struct dp_sweep *sweep, const struct dp_wanted *want, struct kp_map *refused,
			    const struct dp_result *res);
/* said: lately about failures. What was done goes into ret. */
void dp_stale_remove(struct dp_ct *ct, struct kp_said *said, struct dp_result *ret);

#endif
