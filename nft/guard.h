#ifndef DP_GUARD_H
#define DP_GUARD_H

#include <stdint.h>

#include "proxy/plan/dataplane.h"

struct mnl_socket;

/*
 * Are rules of before, which others count on (dp_options.warm), still whole? As long as nothing
 * of ours is in the kernel: after that watch.h knows. The generation of the ruleset is asked for
 * each 40 ms as there, and when it moved, or after a period at the latest, who made them is asked
 * (dp_ops.warm). That takes at most a tenth of the time.
 */
struct dp_guard;

/*
 * NULL, which the rest takes, if opt does not ask for it. own: the backend. nl: to ask by,
 * borrowed; NULL: there are no generations.
 */
struct dp_guard *dp_guard_new(const struct dp_options *opt, const struct dp_ops *own, struct mnl_socket *nl);
struct dp_guard *dp_guard_free(struct dp_guard *g);

/* As in struct dp_ops. They are gone, or not whole: ret->cold is told, once. */
int dp_guard_pending_ms(const struct dp_guard *g, uint64_t now_ns);
void dp_guard_step(struct dp_guard *g, struct dp_result *ret);

#endif
