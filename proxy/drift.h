#ifndef KP_DRIFT_H
#define KP_DRIFT_H

#include "proxy/base/log.h"
#include "proxy/plan/dataplane.h"

/*
 * Foreign changes of our rules, in the log: one line each, with what, who and how long it
 * lasted, not too many in a minute. Who changes them again and again gets a line that says so. Zero-initialise.
 */
struct kp_drift_log {
	struct kp_ratelimit lines[KP_N_FAMILIES], fights[KP_N_FAMILIES];
};
void kp_drift_log(struct kp_drift_log *l, const struct dp_result *res, uint64_t now_ns);

#endif
