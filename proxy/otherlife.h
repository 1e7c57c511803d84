#ifndef KP_OTHERLIFE_H
#define KP_OTHERLIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/config/config.h"

/*
 * Does the kube-proxy live whose rules are there? Looking and judging are apart: what was
 * seen is a plain value, and what follows from it are pure functions.
 */
struct kp_life_signs {
	bool rules;		/* something of it is in the kernel */
	int pid;		/* a process of that name in this network namespace; 0: none to be seen */
	uint16_t port;		/* answers as kube-proxy does, and is not ours; 0: none */
	uint64_t quiet_ns;	/* for how long its rules have been the same under our eyes */
	bool changed;		/* they were not, the last time that ended */
};

enum kp_other_state {
	KP_OTHER_NONE,
	KP_OTHER_UNSURE,	/* its rules have not been watched for long enough */
	KP_OTHER_LEFT,		/* rules that nobody keeps */
	KP_OTHER_ALIVE,
};
extern const char *const kp_other_states[];	/* "none", "unsure", "left behind", "running" */

enum kp_other_state kp_other_judge(const struct kp_life_signs *s);
/* How long rules that never changed are watched, and how long after a change that was seen. */
#define KP_OTHER_QUIET_NS	1500000000ull
#define KP_OTHER_CALM_NS	10000000000ull

/* What to do about it. holding: our rules went in before, so that this is its return. */
enum kp_other_action {
	KP_OTHER_PROGRAM,	/* there is nobody else */
	KP_OTHER_WAIT,		/* nothing is programmed; look again soon */
	KP_OTHER_REPLACE,	/* ours in place first, then its rules go */
	KP_OTHER_WATCH,		/* something of it appeared: program, and look closer */
	KP_OTHER_BESIDE,	/* program, and leave what is there */
	KP_OTHER_ALARM,		/* it came back and runs: neither fight nor give way */
};
enum kp_other_action kp_other_decide(enum kp_takeover_mode t, enum kp_other_state state, bool holding);

/* Looks for pid and port; the rest of *ret stays as it is. Takes up to a second when a port is slow to answer. */
void kp_life_look(struct kp_life_signs *ret);
/* "process 123 runs", "port 10256 answers", "its rules change", "its rules do not change". Returns out. */
#define KP_LIFE_STRLEN 64
const char *kp_life_str(const struct kp_life_signs *s, char *out);

/* An HTTP answer to GET /healthz on port 10256 or GET /proxyMode on 10249: is that kube-proxy's? */
bool kp_is_kube_proxy(uint16_t port, const char *answer);

#endif
