#ifndef KP_CONFIG_CHECKS_H
#define KP_CONFIG_CHECKS_H

#include <stdbool.h>

#include "proxy/base/cleanup.h"

struct kp_err;

#define KP_MAX_CHECKS 16

/* One entry of proxylet.agent.checks (health-and-probes B.5). */
struct kp_check {
	enum { KP_CHECK_CPU, KP_CHECK_EXEC } type;
	char *name;
	bool for_healthz;	/* appliesTo */
	/* cpuPercentMax: fails when the mean of the last for_s seconds is over percent. */
	int percent, for_s;
	/* exec: passes on exit status 0. NULL-terminated. */
	char **command;
	int interval_s, timeout_s;
};

/* From the JSON of the entry, as in struct kp_config. -EINVAL with err: what is wrong with it. */
int kp_check_parse(const char *json, struct kp_check **ret, struct kp_err *err);
struct kp_check *kp_check_free(struct kp_check *c);	/* NULL is fine; returns NULL */
KP_DEFINE_AUTO(struct kp_check *, kp_check_free)

#endif
