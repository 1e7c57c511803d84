#ifndef KP_SETUP_H
#define KP_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "healthz/port.h"
#include "proxy/config/config.h"
#include "proxy/plan/build.h"

struct dp_ops;
struct dp_options;
struct hz_listen;
struct hz_policy;
struct kp_err;

/* From the configuration to what the parts of the agent want to know. */

/* The node's name: override or the host's, trimmed and in lower case (IN-30). Caller frees. */
int kp_setup_node_name(const char *override, char **ret, struct kp_err *err);

/*
 * The mode to run in: that of the configuration, nftables if it has none. A mode that does
 * not exist here is -EINVAL with err, or another where proxylet.fallback says so.
 */
int kp_setup_mode(const struct kp_config *c, enum kp_mode *ret, struct kp_err *err);

/* What counts in the mode it runs in. */
struct kp_config_backend kp_setup_backend(const struct kp_config *c, enum kp_mode mode);

/* Options of the planner in the mode it runs in, for these families; the CIDRs it borrows live as long as *ret. */
struct kp_setup_plan {
	struct kp_plan_options opt;
	struct kp_cidr *nodeport_cidrs;
};
void kp_setup_plan(const struct kp_config *c, enum kp_mode mode, const bool families[KP_N_FAMILIES], struct kp_setup_plan *ret);
void kp_setup_plan_release(struct kp_setup_plan *s);

/* The health ports as configured: what to listen at, and how many, at most KP_SETUP_HEALTH_PORTS. The names are static. */
#define KP_SETUP_HEALTH_PORTS 2
size_t kp_setup_health_ports(const struct kp_config *c, struct hz_listen *ret);
/* Does the kernel hold a whole set of rules of an earlier process? If there is one that is not, that is logged. */
bool kp_setup_is_warm(const struct dp_ops *ops, const struct dp_options *opt);
/* Does the configuration say that the API server is not to be asked for protobuf? */
bool kp_setup_json_only(const struct kp_config *c);

/* How they treat connections; free() releases it. */
struct hz_policy *kp_setup_health_policy(const struct kp_config *c);
/* The mode of the shared one, also where it is the only one: in a relay. */
enum hz_proxy_mode kp_setup_shared_proxy(const struct kp_config *c);
/* Does the kernel hold rules of an earlier process, whatever they are worth? Also true if it does not tell. */
bool kp_setup_finds_rules(const struct dp_ops *ops, const struct dp_options *opt);
/* The same of opt->former, the other backends; what cannot be seen of them is not there. Runs their programs. */
bool kp_setup_finds_former(const struct dp_options *opt);

/* T_stale of health-and-probes B.3. */
uint64_t kp_setup_stale_ns(const struct kp_config *c, enum kp_mode mode);

#endif
