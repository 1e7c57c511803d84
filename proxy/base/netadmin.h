#ifndef KP_BASE_NETADMIN_H
#define KP_BASE_NETADMIN_H

#include <stdbool.h>

struct kp_err;

/*
 * Proof that a process has CAP_NET_ADMIN in a network namespace, to be shown to another one there. A
 * uid is not enough: containers that only share the host's network are often root, too.
 * The proof is a TCP socket of that namespace in repair mode, which takes just this capability.
 */
int kp_netadmin_prove(struct kp_err *err);	/* a descriptor, or -errno */
bool kp_netadmin_is_proof(int fd);		/* for the caller's own namespace, which takes the capability as well */

#endif
