#ifndef DP_XTNFT_H
#define DP_XTNFT_H

#include "proxy/base/addr.h"

struct kp_buf;
struct kp_err;

/*
 * iptables-nft keeps its rules in nf_tables, where they can be seen and deleted without its
 * programs. Both speak the language of kubechains.h, with a handle, and of a match no more than
 * that there is one:
 *	-A FORWARD handle 12 -m match -j KUBE-SERVICES
 */

/*
 * fn is told of the tables kube-proxy writes to; the removal that it makes of them (see kubechains.h), if any, is one
 * transaction. When somebody else commits meanwhile, all of it is done again.
 */
typedef void dp_xtnft_fn(void *arg, const char *save, struct kp_buf *removal);
int dp_xtnft_edit(enum kp_family f, dp_xtnft_fn *fn, void *arg, struct kp_err *err);

#endif
