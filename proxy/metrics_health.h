#ifndef KP_METRICS_HEALTH_H
#define KP_METRICS_HEALTH_H

#include <stdint.h>

struct hz_report;
struct hz_state;
struct kp_buf;

/* The part of /metrics about the health ports (health-and-probes B.10), appended to out. Pure. */
void kp_metrics_health_ports(const struct hz_report *r, struct kp_buf *out);
void kp_metrics_health_state(const struct hz_state *s, uint64_t now_ns, struct kp_buf *out);

#endif
