#ifndef DP_IPT_WATCH_H
#define DP_IPT_WATCH_H

#include "nft/ipt_family.h"

/*
 * Notices what others do to our chains, and has it put right: watch.h for mode iptables.
 * Through nf_tables a foreign change raises the generation id, which costs microseconds to
 * ask for; the old way has nothing like it, so there we look every period. A closer look is an
 * iptables-save; looks and repairs take at most a tenth of the time, which also is what
 * becomes of repairs that are undone again and again.
 *
 * A drift is told first and repaired in the next step, so that health knows of it while
 * iptables-restore runs, or hangs.
 */
struct dp_ipt_watch;

/* fams: NULL where a family is not enabled; borrowed, as want. */
int dp_ipt_watch_new(struct dp_ipt_watch **ret, struct dp_ipt_family *const fams[KP_N_FAMILIES], const struct dp_wanted *want,
		     bool through_nft, unsigned period_ms, struct kp_err *err);
struct dp_ipt_watch *dp_ipt_watch_free(struct dp_ipt_watch *w);

/* One step, when pending_ms() is over: repairs, or looks. What there is to tell goes to ret. */
void dp_ipt_watch_step(struct dp_ipt_watch *w, struct dp_result *ret);
/* Around writes of our own, with the first of which it begins; what is known or found before is repaired at once. */
void dp_ipt_watch_before_write(struct dp_ipt_watch *w, struct dp_result *ret);
void dp_ipt_watch_after_write(struct dp_ipt_watch *w, struct dp_result *ret);
/* Where generations are asked for; NULL: there are none. */
struct mnl_socket *dp_ipt_watch_socket(const struct dp_ipt_watch *w);
int dp_ipt_watch_pending_ms(const struct dp_ipt_watch *w, uint64_t now_ns);	/* -1: it has not begun */

#endif
