#ifndef DP_IPSETS_H
#define DP_IPSETS_H

#include <stdbool.h>
#include <stdint.h>

struct kp_err;
struct mnl_socket;

/*
 * The ipsets of kube-proxy's mode ipvs (kube-proxy-behaviour IV-12), both families. say is
 * called with the name of each that is there; it is destroyed unless dry_run. No ipset in
 * this kernel: none. A set that a rule still uses stays: an error, after the others and after
 * 2 s, since the kernel frees rules later than it deletes them.
 */
int dp_ipsets_destroy(bool dry_run, void (*say)(void *arg, const char *name), void *arg, struct kp_err *err);

/*
 * Is this an external IP, a VIP or, of_node: as the address is one of this node's, a node port of
 * mode ipvs, by what these sets hold? addr: of the family; port: network order. nl: of netfilter.
 */
bool dp_ipsets_have(struct mnl_socket *nl, uint16_t family, const uint8_t *addr, bool of_node, uint8_t protocol, uint16_t port);

#endif
