#ifndef KP_TAKEOVER_H
#define KP_TAKEOVER_H

#include <stdbool.h>

#include "proxy/otherlife.h"

struct event_base;
struct kp_err;

/*
 * Another proxy in our network namespace: kube-proxy, or what one left. Found before we
 * program anything, taken over from when it is dead (key proxylet.takeover), watched for
 * its return ever after. A thread of its own looks and removes, since both may take their
 * time; decisions and callbacks are the main thread's.
 */
struct kp_takeover;

/* What there is to tell. Strings are borrowed, until the next turn of the loop. */
struct kp_other_view {
	enum kp_other_state state;
	enum kp_other_action action;
	const char *found;	/* "nftables table kube-proxy (IPv4)", "nothing" */
	const char *why;	/* "process 123 runs", ... */
	const char *problem;	/* why its rules could not be removed; NULL: they could, or need not be */
};

struct kp_takeover_hooks {
	void (*changed)(void *arg);	/* kp_takeover_may_program() or _blocked() may say something else now */
	/* It came back, or went again; once for each. For Events; NULL: nobody wants to know. */
	void (*other)(void *arg, const struct kp_other_view *v);
	void *arg;
};

/*
 * Before anything is served: are there rules of another proxy that have to be watched before ours may be counted
 * on? Rules of both do not tell whose are kept. Blocks for as long as one look takes.
 */
bool kp_takeover_must_watch(enum kp_takeover_mode mode);

/* holding: we have programmed already, before we began anew. */
int kp_takeover_start(struct kp_takeover **ret, struct event_base *base, enum kp_takeover_mode mode, bool holding,
		      const struct kp_takeover_hooks *hooks, struct kp_err *err);
/* NULL is fine; returns NULL. A program under way is killed, and a kernel that does not answer is left to the thread. */
struct kp_takeover *kp_takeover_stop(struct kp_takeover *t);

/* False until the first look, and while another proxy runs that we give way to. Once true, for good. */
bool kp_takeover_may_program(const struct kp_takeover *t);
const char *kp_takeover_blocked(const struct kp_takeover *t);	/* why not, NULL: it may, or nothing is known yet */
/* Our rules are in the kernel, acknowledged: now those of the other may go. Call it as often as you like. */
void kp_takeover_programmed(struct kp_takeover *t);

struct kp_other_view kp_takeover_view(const struct kp_takeover *t);

#endif
