#ifndef KP_AGENT_H
#define KP_AGENT_H

#include <stddef.h>

struct kp_config;
struct kp_err;

/*
 * The running agent: source -> model -> plan -> dataplane thread -> health thread, wired
 * together on the main loop. Returns when SIGTERM or SIGINT arrives (0; the rules stay)
 * or when it cannot start (-errno, err set). socket: where "proxylet status" asks; "": nowhere.
 */
int kp_agent_run(const struct kp_config *cfg, const char *const *objects, size_t n_objects, const char *socket,
		 struct kp_err *err);

#endif
