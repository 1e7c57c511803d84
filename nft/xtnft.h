#ifndef DP_XTNFT_H
#define DP_XTNFT_H

#include <stdint.h>

#include "proxy/base/addr.h"

struct kp_buf;
struct kp_err;
struct mnl_socket;

/*
 * iptables-nft keeps its rules in nf_tables, where they can be seen and deleted without its
 * programs. Both speak the language of kubechains.h, with a handle, and of a match no more than
 * that there is one:
 *	-A FORWARD handle 12 -m match -j KUBE-SERVICES
 */

/* The tables kube-proxy writes to. Appended; also the generation of the ruleset it was. */
int dp_xtnft_save(struct mnl_socket *nl, enum kp_family f, struct kp_buf *out, uint32_t *ret_generation);
/* What dp_kube_removal() made of it, as one transaction; -ERESTART: somebody committed since, save again. */
int dp_xtnft_restore(struct mnl_socket *nl, enum kp_family f, const char *removal, uint32_t generation, struct kp_err *err);

#endif
