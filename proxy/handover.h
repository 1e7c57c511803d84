#ifndef KP_HANDOVER_H
#define KP_HANDOVER_H

#include <jansson.h>
#include <stddef.h>

#include "healthz/node.h"
#include "proxy/base/inherit.h"

struct kp_err;
struct kp_fdline;

/*
 * How a running agent passes its place on to a successor in the same network namespace
 * (health-and-probes E.6), over the abstract socket that makes it the only one
 * (proxy/base/instance.h). Lines of JSON, one object each, "say" tells which; unknown keys
 * are ignored.
 *
 *	successor				predecessor
 *	hello protocol version node  ->			with a proof that it may administer the network
 *				     <-		hello protocol version
 *	(reads all objects, plans; writes nothing)
 *	take			     ->
 *						(stops writing to the kernel, goes on answering)
 *				     <-		socket name address port, with the descriptor; as many as there are
 *				     <-		given nodeState drain checks
 *	(compares with the kernel, writes the difference, answers probes)
 *	ready			     ->
 *				     <-		done
 *						(stops accepting, ends its connections, exits)
 *
 * So at no time two of them write, and at every time somebody answers. "no why", from the
 * predecessor at any time before done, ends it: it carries on. It says so by itself when
 * ready does not come in time; when it is told to end (SIGTERM) while a successor prepares
 * itself, it gives without being asked, and from then on hangs up where it would say no. Whoever
 * finds the other gone goes on alone: the predecessor as before, the successor with what it was
 * given, or before that as soon as the place is free. If that is not soon, or it is given
 * nothing in time, it ends.
 *
 * A change that an older reader would get wrong raises the protocol's number, and those of
 * different numbers refuse each other. Versions of the program do not matter: a roll-back is
 * a hand-over to an older one.
 */
#define KP_HANDOVER_PROTOCOL	1
#define KP_HANDOVER_HELLO_MS	5000	/* between connecting and hello, each way */
#define KP_HANDOVER_GIVE_MS	10000	/* between take and given */
#define KP_HANDOVER_READY_MS	30000	/* between given and ready */
#define KP_HANDOVER_DRAIN_MS	5000	/* for the open connections of a predecessor */

/* Names of the sockets that are no TCP listeners. */
#define KP_HANDOVER_INSTANCE	"instance"
#define KP_HANDOVER_SOCKET	"status"
#define KP_HANDOVER_LOCK	"status.lock"

/* Of the node (B.5): what the operator has told the predecessor, as small numbers, 0: nothing; and what it has found. */
struct kp_handover_node {
	int node_state, drain;
	struct hz_check checks[HZ_MAX_CHECKS];	/* name and ok; the successor's own say the rest soon */
	size_t n_checks;
};

/* The object of one line; NULL: it is none. *ret: what it says. Caller frees. */
json_t *kp_handover_parse(const char *line, const char **ret);
int kp_handover_int(const json_t *o, const char *key);		/* 0: not there */
const char *kp_handover_text(const json_t *o, const char *key);	/* "": not there; borrowed */

/* Queue a line. value is taken, and so is the descriptor that goes with it. */
void kp_handover_say(struct kp_fdline *l, json_t *value);
void kp_handover_say_with(struct kp_fdline *l, json_t *value, int fd);
void kp_handover_say_no(struct kp_fdline *l, const char *why);
/* A line for each socket; its descriptors are taken, *in is freed. */
void kp_handover_say_sockets(struct kp_fdline *l, struct kp_inherit *in);
/* What comes with "given". */
void kp_handover_say_given(struct kp_fdline *l, const struct kp_handover_node *node);
void kp_handover_read_given(const json_t *o, struct kp_handover_node *ret);

#endif
