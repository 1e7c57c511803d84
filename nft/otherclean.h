#ifndef DP_OTHERCLEAN_H
#define DP_OTHERCLEAN_H

#include <stdbool.h>

#include "nft/otherproxy.h"

struct kp_err;

/*
 * Takes away what kube-proxy left: the one exception to "we touch no table but ours", for
 * when it is known that nobody keeps it any more. Translated connections live on only if
 * a NAT base chain and a rule that needs conntrack remain (health-and-probes T7): ours have
 * to be in place before, or those of dp_cleanup_keep().
 */
struct dp_otherclean {
	bool dry_run;
	bool gentle;		/* what mode ipvs left stays while connections run through it: -EAGAIN */
	int cancel_fd;		/* see exec.h */
	/* Each step, before it is taken; detail: one line of what goes to iptables-restore. */
	void (*say)(void *arg, bool detail, const char *text);
	void *arg;
};

/* Every step is tried; the first failure is what is returned. Blocks. */
int dp_other_clean(const struct dp_other *o, const struct dp_otherclean *how, struct kp_err *err);

#endif
