#ifndef KP_BASE_SWAR_H
#define KP_BASE_SWAR_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/*
 * Looking for a byte eight at a time (SIMD within a register). A mask has the highest bit of each byte
 * that is meant, and maybe of bytes behind the first one of these: kp_swar_first() is right.
 */
#define KP_SWAR(byte)	(UINT64_C(0x0101010101010101) * (byte))

/* The first byte is the lowest, whatever the machine. */
static inline uint64_t kp_swar_load(const char *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline uint64_t kp_swar_below(uint64_t v, uint8_t than)	/* up to 0x80 */
{
	return (v - KP_SWAR(than)) & ~v & KP_SWAR(0x80);
}

static inline uint64_t kp_swar_is(uint64_t v, uint8_t byte)
{
	return kp_swar_below(v ^ KP_SWAR(byte), 1);
}

static inline unsigned kp_swar_first(uint64_t mask)
{
	return (unsigned)__builtin_ctzll(mask) / 8;
}

#endif
