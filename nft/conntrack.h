#ifndef DP_CONNTRACK_H
#define DP_CONNTRACK_H

#include <stdbool.h>
#include <stdint.h>

#include "nft/ctmatch.h"
#include "nft/ctmsg.h"
#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

struct kp_err;

/*
 * Removes stale entries (nft/ctmatch.h) from the kernel's conntrack table, over ctnetlink
 * (nft-design 7). To be run after the commit that made them stale was
 * acknowledged: earlier, the next packet would only make the same entry again.
 *
 *	dp_ct_set_put_removed(dp_ct_set(ct), was, is), for all that changed; then
 *	dp_ct_set_put_changed(dp_ct_set(ct), was, is), for all that changed
 *	dp_ct_pending_ms() -> dp_ct_run(), as often as it says
 *
 * A run that fails is due again with growing delays; nothing is forgotten. A run
 * costs a walk over the table inside the kernel (some 50 ms for 200,000 entries),
 * so runs never take more than a fifth of the time; what becomes due meanwhile is
 * done together. The sockets belong to the network namespace in which the first run
 * happens. One thread calls; dp_ct_background() makes the walk itself another one's.
 */
struct dp_ct;

struct dp_ct *dp_ct_new(void);
struct dp_ct *dp_ct_free(struct dp_ct *ct);	/* a run in the background ends with the page the kernel is at */
KP_DEFINE_AUTO(struct dp_ct *, dp_ct_free)

struct dp_ct_set *dp_ct_set(struct dp_ct *ct);	/* borrowed until the next dp_ct_run(): what to look at */

/*
 * From now on dp_ct_run() only starts a run and, called again when dp_ct_pending_ms() says
 * so, tells what became of it: a walk over a million entries is one system call of half a
 * second, and commits shall not wait for it. What is put meanwhile is the next run's, so an
 * entry that became right during a walk can still be deleted; its next packet makes it again.
 */
void dp_ct_background(struct dp_ct *ct);

/* Milliseconds until dp_ct_run() has something to do; -1: nothing. */
int dp_ct_pending_ms(const struct dp_ct *ct, uint64_t now_ns);

struct dp_ct_stats {
	uint64_t examined;	/* entries the kernel handed over */
	uint64_t deleted;	/* and were there to be deleted */
	uint64_t missed;	/* of these: connections that began while our rules were missing */
	uint64_t took_ns;
};

/* Do what is due. 0, or -errno with err: will be due again. Either way ret is what was done; took_ns 0: nothing was due. */
int dp_ct_run(struct dp_ct *ct, uint64_t now_ns, struct dp_ct_stats ret[KP_N_FAMILIES], struct kp_err *err);

/*
 * The walk alone: every entry of the family that is asked for is shown to stale(), those it
 * answers true for are deleted. part: UDP, let the kernel preselect these, NULL all;
 * a hint, stale() may still see others. Adds to *stats. An entry is
 * deleted by its original tuple and its id, so that a flow which is made anew
 * with the same tuple in the meantime is not touched.
 */
typedef bool dp_ct_stale_fn(void *arg, const struct dp_ct_entry *e);
int dp_ct_sweep(struct dp_ct *ct, enum kp_family family, enum dp_ct_ask ask, const struct dp_ct_part *part,
		dp_ct_stale_fn *stale, void *arg, struct dp_ct_stats *stats, struct kp_err *err);

#endif
