#ifndef KP_BASE_SHA256_H
#define KP_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* FIPS 180-4. For names that nobody shall be able to make collide; nothing here is secret. */
#define KP_SHA256_LEN 32
void kp_sha256(const void *data, size_t len, uint8_t ret[KP_SHA256_LEN]);

#endif
