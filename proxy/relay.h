#ifndef KP_RELAY_H
#define KP_RELAY_H

struct kp_config;
struct kp_err;

/*
 * The shared-probe relay (health-and-probes B.12), for nodes that keep another kube-proxy:
 * the shared port answers what proxylet.health.relayTarget says, and nothing else runs. Returns
 * when SIGTERM or SIGINT arrives (0), or when it cannot start (-errno, err set).
 */
int kp_relay_run(const struct kp_config *cfg, struct kp_err *err);

#endif
