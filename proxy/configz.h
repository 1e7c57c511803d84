#ifndef KP_CONFIGZ_H
#define KP_CONFIGZ_H

#include <jansson.h>

struct kp_config;

/*
 * The configuration that is in effect, as kube-proxy's /configz shows it: below
 * "kubeproxy.config.k8s.io" all of it, with the names of its internal form; our own keys
 * below "proxylet". mode: what it means that none is configured. The caller's reference.
 */
json_t *kp_configz(const struct kp_config *c, const char *mode);

#endif
