#ifndef KP_BASE_HASH_H
#define KP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define KP_HASH_INIT 0x9e3779b97f4a7c15ull

/* 64-bit mixing hash, seedable: h = kp_hash(kp_hash(KP_HASH_INIT, a, n), b, m). Stable over runs. */
uint64_t kp_hash(uint64_t seed, const void *data, size_t len);

#endif
