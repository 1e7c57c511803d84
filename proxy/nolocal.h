#ifndef KP_NOLOCAL_H
#define KP_NOLOCAL_H

#include <stdint.h>

#include "proxy/base/addr.h"

struct kp_plan;

/*
 * How many service ports have a Local policy, endpoints somewhere, and none here: the
 * two gauges of kubeproxy_sync_proxy_rules_no_local_endpoints_total for each family.
 * Kept up to date Service by Service, O(that Service). Main thread.
 */
enum kp_policy { KP_POLICY_INTERNAL, KP_POLICY_EXTERNAL, KP_N_POLICIES };

struct kp_nolocal_counts {
	uint32_t n[KP_N_FAMILIES][KP_N_POLICIES];
};

struct kp_nolocal;
struct kp_nolocal *kp_nolocal_new(void);
struct kp_nolocal *kp_nolocal_free(struct kp_nolocal *l);

/* The Service's new plan; NULL: it is gone. */
void kp_nolocal_put(struct kp_nolocal *l, const char *key, const struct kp_plan *plan);
struct kp_nolocal_counts kp_nolocal_get(const struct kp_nolocal *l);

#endif
