#ifndef DP_WATCH_H
#define DP_WATCH_H

#include "nft/table.h"

struct dp_audit;

/*
 * Notices what others do to our tables, and has it put right. Every 40 ms the generation
 * of the ruleset is asked for, which costs microseconds; when it moved and we did not do it,
 * chains, rules, sets and how many elements they have are looked at at once. Then elements:
 * those that were heard of while we listen (who.h), else all, in slices (audit.h).
 *
 * A drift is told first and repaired in the next step, so that health knows of it even if
 * the kernel keeps us waiting. Where repairs are undone again and again they are put off,
 * longer each time, up to seconds: two programs that both want the last word would take a
 * whole CPU, and the answers of health are to be true for more than a moment.
 */
struct dp_watch;

/* All borrowed; generation as dp_table_new()'s. */
struct dp_watch *dp_watch_new(struct dp_table *const tables[KP_N_FAMILIES], const struct dp_wanted *want, uint32_t *generation);
struct dp_watch *dp_watch_free(struct dp_watch *w);

/* One step, when pending_ms() is over: repairs, or looks. What there is to tell goes to ret. */
void dp_watch_step(struct dp_watch *w, struct dp_result *ret);
/*
 * Before changes of our own: what is known or found now is repaired at once. The first call begins to watch;
 * a table that is not known is left alone, as its next write compares all of it.
 */
void dp_watch_before_write(struct dp_watch *w, struct dp_result *ret);
/* After anything was written: a drift whose family is complete again is over. */
void dp_watch_settle(struct dp_watch *w, struct dp_result *ret);
/* A large transaction of ours is next: nobody shall listen to it. */
void dp_watch_large(struct dp_watch *w);
/* Where generations are asked for. */
struct mnl_socket *dp_watch_socket(const struct dp_watch *w);
int dp_watch_pending_ms(const struct dp_watch *w, uint64_t now_ns);	/* -1: not begun */

#endif
