#ifndef KP_PLAN_RUNNER_H
#define KP_PLAN_RUNNER_H

#include <stdint.h>

#include "proxy/plan/dataplane.h"

/*
 * The dataplane thread: the only one that talks to the kernel about rules, so that a slow
 * or stuck commit blocks nobody else. Changes handed in while it works are merged, the
 * latest plan of a Service wins, and go out together in the next commit; changes that make
 * the kernel look at the whole ruleset are collected for a moment, endpoints do not wait for
 * them. A few changes are made on the processor of the caller, where that is quick, and it steps aside meanwhile.
 * Results come back by value; an eventfd says that there is one. submit and take: main thread.
 */
struct kp_runner;

/* Opens the backend in the caller's thread, then starts. */
int kp_runner_start(struct kp_runner **ret, const struct dp_ops *ops, const struct dp_options *opt, struct kp_err *err);

/* Hands over the contents of batch, which is empty afterwards. Returns its generation: 1, 2, ... */
uint64_t kp_runner_submit(struct kp_runner *r, struct dp_batch *batch);

/*
 * To be called each second: a thread that has not run since the last time is not held to the processor of the last change
 * any more. Somebody who does not give way may have that by now, and the dataplane has work of its own.
 */
void kp_runner_let_go(struct kp_runner *r);

struct kp_runner_result {
	uint64_t generation;	/* everything submitted up to here was part of it */
	struct dp_result result;
};
int kp_runner_fd(const struct kp_runner *r);	/* readable: take */
/* The oldest result not taken yet; false: none. Release ret->result. */
bool kp_runner_take(struct kp_runner *r, struct kp_runner_result *ret);

/*
 * For a while somebody else writes. pause: finishes the commit under way, closes the backend; what is
 * submitted waits. -EBUSY with err: that commit takes longer than a second, and nothing has
 * changed. resume: opens it anew and begins as at the start of a process, with the
 * newest plan of every Service. It fails as start() does, and is still paused then.
 */
int kp_runner_pause(struct kp_runner *r, struct kp_err *err);
int kp_runner_resume(struct kp_runner *r, struct kp_err *err);

/* Has the thread run since the last call? Wakes it for the next one. Paused it has no need to. */
bool kp_runner_has_run(struct kp_runner *r);

/* Finishes the commit under way, not what is still waiting. Joins; returns NULL. The rules stay. */
struct kp_runner *kp_runner_stop(struct kp_runner *r);
/*
 * The same at the end of the process, which does not wait longer than half a second. A backend that runs
 * programs calls them off after half of that (dp_options.cancel_fd): each of their commits is then done or
 * not begun, as when the process is killed. What a kernel needs that does not answer is left to it.
 */
struct kp_runner *kp_runner_end(struct kp_runner *r);

/* Building a batch. key is the plan's own and copied, plan NULL: it is gone. A reference is taken. */
void dp_batch_add(struct dp_batch *b, const char *key, struct kp_plan *plan, size_t *cap);
void dp_batch_release(struct dp_batch *b);

#endif
