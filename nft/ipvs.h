#ifndef DP_IPVS_H
#define DP_IPVS_H

#include <stdint.h>

struct kp_err;

/*
 * Mode ipvs of kube-proxy: deletes the virtual servers whose address is on the given
 * interface, and those that are in its ipsets; those of others (keepalived's, say) stay.
 * A kernel without IPVS has none: 0.
 */
int dp_ipvs_clear(const char *link, uint32_t *ret_n, struct kp_err *err);
/* Connections that IPVS carries now, whoever's: they end with the interface that has their addresses. */
uint32_t dp_ipvs_connections(void);
/* Deletes the interface itself; one that is not there is fine. */
int dp_link_delete(const char *link, struct kp_err *err);

#endif
