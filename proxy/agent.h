#ifndef KP_AGENT_H
#define KP_AGENT_H

#include <stddef.h>

struct kp_config;
struct kp_err;

/* What the agent is to do. Borrowed. */
struct kp_agent_job {
	const char *const *objects;	/* files and folders; none: the API server */
	size_t n_objects;
	const char *master;		/* URL of the API server, "": as the kubeconfig says */
	const char *socket;		/* where "proxylet status" asks; "": nowhere */
	const char *const *config_files;	/* the configuration is read again when one of them changes */
	size_t n_config_files;
	/*
	 * Read it again: 0 and another configuration, which the caller owns, or NULL if it is
	 * the same; < 0 if it is not usable, which has been logged.
	 */
	int (*reload)(void *arg, const struct kp_config *current, struct kp_config **ret);
	void *arg;
};

/*
 * The running agent: source -> model -> plan -> dataplane thread -> health thread, wired
 * together on the main loop. Returns when SIGTERM or SIGINT arrives (0; the rules stay)
 * or when it cannot start (-errno, err set).
 *
 * An agent that runs here already is asked to hand over (proxy/succession.h), and so may we be
 * by the next one: after that it returns 0 as well, or as process 1 stands by.
 *
 * A new configuration, also upon SIGHUP, is taken over in place: what changed is planned
 * again from the objects that are there, the rules are changed by the difference, and
 * health ports whose address stays are not touched. If it makes us another node or lets us listen
 * to another server, everything but the health server begins anew; it answers as before
 * until the first commit. *cfg then has the new contents.
 */
int kp_agent_run(struct kp_config *cfg, const struct kp_agent_job *job, struct kp_err *err);

#endif
