#ifndef KP_BACKEND_H
#define KP_BACKEND_H

#include "proxy/config/config.h"
#include "proxy/plan/dataplane.h"

/* Which backend writes the rules, and what it has to know. */
struct kp_backend_choice {
	enum kp_mode mode;
	const struct dp_ops *ops;
	struct dp_options opt;		/* borrows nothing */
};

/*
 * The one the configuration asks for, if it works on this kernel. If it names no mode:
 * nftables, else iptables, which is said. For both families, where the host has both; for
 * IPv4 alone, which is said, if only that works. err tells what is missing.
 */
int kp_backend_choose(const struct kp_config *c, struct kp_backend_choice *ret, struct kp_err *err);

#endif
