#ifndef KP_SANDBOX_IMPL_H
#define KP_SANDBOX_IMPL_H

#include <stddef.h>

/* Shared by the parts of the sandbox; nobody else includes this. */

/* When a group of system calls is needed. */
enum {
	KP_CALLS_ALWAYS = 1,
	KP_CALLS_PROGRAMS = 2,	/* to start programs, and by the iptables tools */
	KP_CALLS_SANITIZER = 4,	/* by the runtime of a build with SANITIZE= */
};

struct kp_call_group {
	unsigned when;
	const char *const *names;	/* NULL ends them; what this machine does not have is left out */
};
extern const struct kp_call_group kp_call_groups[];	/* names NULL ends it */

#endif
