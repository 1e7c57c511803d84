#ifndef DP_SWEEP_H
#define DP_SWEEP_H

#include <stdint.h>

#include "proxy/base/addr.h"

struct dp_table;
struct kp_plan;

/*
 * Session affinity: a remembered choice for an endpoint that left is still followed by
 * the rules, so those entries are deleted after the commit, and once more a second
 * later, since a packet between its two hooks can record late (spec nft-design 2.6).
 */
struct dp_sweep;

struct dp_sweep *dp_sweep_new(void);
struct dp_sweep *dp_sweep_free(struct dp_sweep *s);

/* The plan of a Service changed: is there a port with affinity that lost an endpoint? was NULL: after a restart. */
void dp_sweep_note(struct dp_sweep *s, const char *key, const struct kp_plan *was, const struct kp_plan *is, uint64_t now_ns);
int dp_sweep_pending_ms(const struct dp_sweep *s, uint64_t now_ns);	/* -1: nothing */
/* tables: by family, NULL where not enabled. */
void dp_sweep_run(struct dp_sweep *s, struct dp_table *const tables[KP_N_FAMILIES], uint64_t now_ns);

#endif
