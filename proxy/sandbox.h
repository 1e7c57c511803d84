#ifndef KP_SANDBOX_H
#define KP_SANDBOX_H

#include <stdbool.h>

#include "proxy/config/config.h"

struct kp_err;

/*
 * Gives up for good what the agent does not need: capabilities, new privileges through
 * programs, system calls. What a part of the agent can be made to do by those it talks
 * to then ends here.
 *
 * Kept are, of what there is: CAP_NET_ADMIN; CAP_NET_BIND_SERVICE where the configuration
 * has a port below 1024; CAP_NET_RAW in mode iptables, and where iptables-legacy is what is
 * configured or in use; and the right to run programs where iptables is installed, and where the
 * configuration has checks that are programs. System calls that are
 * not listed in sandbox_calls.c are answered with ENOSYS, which is what libraries are
 * prepared for, and logged by name, each once (where programs are run: by the kernel
 * alone, to its audit log).
 *
 * To be called before there is another thread: capabilities belong to threads. (The
 * filter goes to all there are.) What needs more has to be done before. mode: the one to
 * run in; KP_MODE_UNSET: there will be no rules, so CAP_NET_ADMIN goes as well. What the
 * kernel or whoever started us does not let us give up is a warning: a node without a
 * proxy would be worse. 0, or -errno with err.
 */
int kp_sandbox_enter(const struct kp_config *c, enum kp_mode mode, struct kp_err *err);

/* What the running configuration cannot get from the next, because it was given up. Warns. */
void kp_sandbox_compare(const struct kp_config *was, const struct kp_config *is);

#endif
