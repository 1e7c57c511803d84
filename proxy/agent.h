#ifndef KP_AGENT_H
#define KP_AGENT_H

#include <stddef.h>

struct kp_config;
struct kp_err;

/* Where the objects come from: files if there are any, else the API server. Borrowed. */
struct kp_agent_source {
	const char *const *objects;
	size_t n_objects;
	const char *master;	/* "": not given; the kubeconfig is in cfg */
};

/*
 * The running agent: source -> model -> plan -> dataplane thread -> health thread, wired
 * together on the main loop. Returns when SIGTERM or SIGINT arrives (0; the rules stay)
 * or when it cannot start (-errno, err set). socket: where "proxylet status" asks; "": nowhere.
 */
int kp_agent_run(const struct kp_config *cfg, const struct kp_agent_source *from, const char *socket, struct kp_err *err);

#endif
