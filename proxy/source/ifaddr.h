#ifndef KP_SOURCE_IFADDR_H
#define KP_SOURCE_IFADDR_H

#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

struct event_base;
struct kp_err;
struct kp_ifaddr;

/*
 * The addresses of this node's interfaces, followed over rtnetlink: what node ports
 * and the health listeners bind to. Loop of base only. An address counts once it is
 * usable: IPv6 addresses not before duplicate detection is through.
 */

/* The set changed (kp_ifaddr_get has it). At most every 10 ms, so that a burst is one call. */
typedef void kp_ifaddr_fn(void *arg);

/* Reads the addresses before it returns, without calling cb. -errno with err: no rtnetlink here. */
int kp_ifaddr_new(struct kp_ifaddr **ret, struct event_base *base, kp_ifaddr_fn *cb, void *arg, struct kp_err *err);
struct kp_ifaddr *kp_ifaddr_free(struct kp_ifaddr *i);
KP_DEFINE_AUTO(struct kp_ifaddr *, kp_ifaddr_free)

/* All of them, loopback too, sorted and distinct. Returns the count; the array is borrowed until the next cb. */
size_t kp_ifaddr_get(const struct kp_ifaddr *i, const struct kp_addr **ret);

#endif
