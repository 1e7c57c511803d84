#ifndef KP_HOST_H
#define KP_HOST_H

#include <stdint.h>

struct kp_config;

/* What the process asks of its host. What it may not do it says and goes without. */

/* Two sockets for each health port, and the probers' connections: as many descriptors as we may have. */
void kp_host_raise_descriptors(void);

/* To lower it takes CAP_SYS_RESOURCE, but not to set it again to the lowest it ever was then. */
void kp_host_set_oom_score(int64_t score);

/* The out-of-memory score and the limits of connection tracking, as configured. */
void kp_host_set_up(const struct kp_config *c);

/* So that connections to node ports on 127.0.0.1 may leave the node, translated (IT-65). Never taken back. */
void kp_host_route_localnet(void);

#endif
