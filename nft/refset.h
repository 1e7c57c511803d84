#ifndef DP_REFSET_H
#define DP_REFSET_H

#include "proxy/base/addr.h"

/*
 * Addresses that several service ports want in one set: counted, so that only the step
 * between none and one becomes a set element. Changes of one batch are collected and
 * come out together: what goes and returns within it costs nothing.
 */
struct dp_refset;

struct dp_refset *dp_refset_new(void);
struct dp_refset *dp_refset_free(struct dp_refset *s);
void dp_refset_add(struct dp_refset *s, const struct kp_addr *a, int by);	/* by: 1 or -1 */
/* Calls for every address whose presence changed since the last flush. */
void dp_refset_flush(struct dp_refset *s, void (*fn)(void *arg, const struct kp_addr *a, bool add), void *arg);

/* Calls for every address that is present, with add true. */
void dp_refset_each(const struct dp_refset *s, void (*fn)(void *arg, const struct kp_addr *a, bool add), void *arg);

#endif
