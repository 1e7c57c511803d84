#ifndef KP_SUCCESSION_H
#define KP_SUCCESSION_H

#include <stdbool.h>

struct event_base;
struct hz_server;
struct kp_config;
struct kp_err;
struct kp_inherit;
struct kp_monitor;
struct kp_nodestate;
struct kp_runner;

/*
 * The agent's place in its network namespace, from how it came to it (it was free, or a
 * predecessor hands it over) to whom it leaves it. Ties proxy/successor.h and
 * proxy/predecessor.h to the parts that have sockets. Main thread.
 */
struct kp_succession;

struct kp_succession_view {
	struct event_base *base;
	const struct kp_config *cfg;
	/* As they are when something happens; NULL: not there. */
	struct hz_server *const *server;
	struct kp_monitor *const *monitor;
	struct kp_runner *const *runner;
	char *const *node_name;
	struct kp_nodestate *state;	/* what administrators said goes along */
	void (*open)(void *arg);	/* probes are ours to answer from now on: listen as configured */
	void (*write)(void *arg);	/* the dataplane is ours from now on, or again */
	void (*end)(void *arg, const struct kp_err *err);	/* of the process; NULL: all is well */
	void *arg;
};

/*
 * Take the place, if it must be from a predecessor that is willing. inherited: sockets of an
 * earlier process, from systemd (taken; NULL: none). -EADDRINUSE with err: another agent has it
 * and keeps it. Held by what is no agent it is done without, and taken later.
 */
int kp_succession_new(struct kp_succession **ret, const char *node_name, struct kp_inherit *inherited,
		      const struct kp_succession_view *view, struct kp_err *err);
struct kp_succession *kp_succession_free(struct kp_succession *s);	/* NULL is fine; returns NULL */

/* The configuration has other contents. */
void kp_succession_configured(struct kp_succession *s);

/* May we listen and answer? Until open() is called a predecessor does. */
bool kp_succession_answers(const struct kp_succession *s);
/* Then: the sockets of an earlier process. For the health server (taken), and after that for the monitor (borrowed). */
struct kp_inherit *kp_succession_take_health(struct kp_succession *s);
struct kp_inherit *kp_succession_inherited(struct kp_succession *s);
/* May we write to the kernel? Asks the predecessor when there is one; write() says when. */
bool kp_succession_may_write(struct kp_succession *s);
/* Everything is in the kernel; call after the new health state is published, as often as you like. */
void kp_succession_committed(struct kp_succession *s);

/* A new configuration or a signal has to wait: a successor is at it. */
bool kp_succession_is_giving(const struct kp_succession *s);
/* Told to end. True: not yet, a successor is on its way; end() will be called. */
bool kp_succession_delays_end(struct kp_succession *s);

/* The process has handed over and has nothing left to do. */
bool kp_succession_has_left(const struct kp_succession *s);
/*
 * Then, as process 1: whoever ends is started again by a container's supervisor, and would want the
 * place back. So wait until we are told to end (false), or the successor has ended (true): begin again.
 */
bool kp_succession_stand_by(struct kp_succession *s);

#endif
