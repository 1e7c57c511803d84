#ifndef KP_CLEANUP_OTHER_H
#define KP_CLEANUP_OTHER_H

#include <stdbool.h>

struct kp_err;

/*
 * "proxylet cleanup --kube-proxy": says on stdout what kube-proxy left in this network
 * namespace and takes it away, unless dry_run; an agent of ours may be running meanwhile.
 * Refused, with -EBUSY, while kube-proxy runs. Where no rules of ours are in place, the
 * small table of nft/cleanup.h keeps translated connections alive, unless now.
 */
int kp_cleanup_kube_proxy(bool dry_run, bool now, struct kp_err *err);

#endif
