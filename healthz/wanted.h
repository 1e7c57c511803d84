#ifndef HZ_WANTED_H
#define HZ_WANTED_H

#include <stddef.h>

#include "proxy/base/addr.h"

struct hz_service;
struct hz_services;
struct hz_state;

/* Which sockets a state asks for. Pure; arrays are the caller's to free. */

/*
 * Who answers at which healthCheckNodePort: of two Services that announce one port
 * the older, else the one that sorts first. All of services with a port come out: first the
 * owners (their number is returned), then the *ret_losers others, each part by ns and name.
 * Elements point into services, which may be NULL.
 */
size_t hz_wanted_owners(const struct hz_services *services, const struct hz_service ***ret, size_t *ret_losers);

/*
 * Addresses that Service ports listen on: per family the zero address, or what
 * the state lists. Link-local IPv6 is left out: no scope comes with it, so it cannot be bound.
 */
size_t hz_wanted_addrs(const struct hz_state *s, struct kp_addr **ret);

#endif
