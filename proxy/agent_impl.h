#ifndef KP_AGENT_IMPL_H
#define KP_AGENT_IMPL_H

#include <event2/util.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/agent.h"
#include "proxy/backend.h"
#include "proxy/base/err.h"
#include "proxy/drift.h"
#include "proxy/intake.h"
#include "proxy/setup.h"

struct kp_snapshot_status;
struct kp_source_status;

/*
 * Shared by the parts of the agent; nobody else includes this. All of it is the main thread's.
 *
 *	agent.c		the process: loop, signals, its place and its end
 *	agent_life.c	one life: everything is made and put together, and taken apart
 *	agent_source.c	from the source, past the snapshot, into the model
 *	agent_flow.c	from the model to the dataplane, and what comes back
 *	agent_health.c	what is told to those who probe
 *	agent_config.c	another configuration
 */
struct agent {
	/* As long as the process. */
	struct kp_config *cfg;
	const struct kp_agent_job *job;
	struct event_base *base;
	struct event *signals[3], *alive;
	struct kp_filewatch *watch;

	/* From taking the place to leaving it; as process 1 there may be another such time. */
	struct kp_admin *admin;
	struct kp_nodestate *state;
	struct hz_state *last;		/* published */
	struct hz_state *former;	/* the last word of a former life, until this one has a commit */
	struct kp_succession *place;	/* held as long as we program this network namespace */
	struct kp_systemd *systemd;	/* NULL: not run by it */
	struct hz_server *server;	/* answers also while everything below begins anew */
	struct kp_config *previous;	/* what was in force before the one that made us begin anew */
	bool again, over;		/* to begin anew; to end all the same */
	bool holding;			/* a former life has programmed: another proxy that comes does not stop us any more */
	bool warm;			/* our rules were there when the process started; only what no source has told yet */
	bool beside;			/* and those of another proxy, of which it was not known yet whether it runs */
	struct kp_err failure;		/* to end with */

	/* One life of it: a node's name and a source. */
	char *node_name;
	struct kp_backend_choice backend;
	struct kp_setup_plan setup;
	struct kp_model *model;
	struct kp_intake intake;
	struct kp_planner *planner;
	struct kp_ifaddr *ifaddr;
	struct kp_runner *runner;
	struct event *results;
	struct kp_health *health;
	struct kp_drift_log drift;
	struct kp_monitor *monitor;
	struct kp_takeover *takeover;
	struct kp_file_source *files;
	struct kp_kube_source *api;	/* this or files */
	struct kp_snapshot *snapshot;	/* between api and us */
	struct kp_notify *notify;	/* with api */
	struct kp_plan_node *node;	/* last handed over */
	bool node_stays;		/* nothing that it depends on has changed since, but what the model knows of */
	uint64_t localnet;		/* generation after which 127.0.0.0/8 is to be routed; 0: not, or done */
	bool synced;			/* everything there is at the start has been read */
	const char *waits_for;		/* more of the Node, and said so; NULL: nothing */
	struct event *patience;		/* for that */
	struct kp_said *failures[KP_N_FAMILIES];	/* of commits, said lately */
	uint64_t began_ns;
};

/* agent_life.c: one life, until a signal, a failure, or a configuration that asks for another (a->again). */
int kp_agent_live(struct agent *a, struct kp_err *err);

/* agent_source.c */
int kp_agent_start_source(struct agent *a, struct kp_err *err);
void kp_agent_source_status(void *arg, struct kp_source_status *ret);
void kp_agent_snapshot_status(void *arg, struct kp_snapshot_status *ret);

/* agent_flow.c: hand_over plans for everything that changed, if anything may be programmed now. */
void kp_agent_hand_over(struct agent *a);
void kp_agent_renew(struct agent *a);	/* the same, when addresses or the configuration changed; and publishes */
int kp_agent_start_takeover(struct agent *a, struct kp_err *err);
int kp_agent_start_dataplane(struct agent *a, struct kp_err *err);

/* agent_health.c: first_state is before there is anything else, NULL: nothing is known. */
void kp_agent_publish(struct agent *a);
void kp_agent_cold(struct agent *a, const char *why);	/* the rules of before are not whole any more */
bool kp_agent_is_eligible(const struct agent *a);
struct kp_health *kp_agent_new_health(const struct agent *a);
struct hz_state *kp_agent_first_state(struct agent *a);
struct hz_state *kp_agent_last_state(void *arg);	/* a copy of what was published */

/* agent_config.c */
void kp_agent_listen(struct agent *a);			/* at the health ports, as configured */
void kp_agent_configure_health(struct agent *a);
void kp_agent_on_config(void *arg);			/* look whether there is another */
bool kp_agent_read_config_again(struct agent *a);	/* between lives; false: there is to be no agent */
void kp_agent_on_drained(void *arg);			/* the end */

#endif
