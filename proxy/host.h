#ifndef KP_HOST_H
#define KP_HOST_H

struct kp_config;

/* What the process asks of its host. What it may not do it says and goes without. */

/* Two sockets for each health port, and the probers' connections: as many descriptors as we may have. */
void kp_host_raise_descriptors(void);

/* The out-of-memory score and the limits of connection tracking, as configured. */
void kp_host_set_up(const struct kp_config *c);

/* So that connections to node ports on 127.0.0.1 may leave the node, translated (IT-65). Never taken back. */
void kp_host_route_localnet(void);

#endif
