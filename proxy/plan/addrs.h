#ifndef KP_PLAN_ADDRS_H
#define KP_PLAN_ADDRS_H

#include "proxy/base/addr.h"

/* Sort and drop repeats, in place; returns how many are left. */
size_t kp_addrs_distinct(struct kp_addr *a, size_t n);

#endif
