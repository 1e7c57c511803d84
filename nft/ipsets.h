#ifndef DP_IPSETS_H
#define DP_IPSETS_H

#include <stdbool.h>

struct kp_err;

/*
 * The ipsets of kube-proxy's mode ipvs (kube-proxy-behaviour IV-12), both families. say is
 * called with the name of each that is there; it is destroyed unless dry_run. No ipset in
 * this kernel: none. A set that a rule still uses stays: an error, after the others.
 */
int dp_ipsets_destroy(bool dry_run, void (*say)(void *arg, const char *name), void *arg, struct kp_err *err);

#endif
