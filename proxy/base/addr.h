#ifndef KP_BASE_ADDR_H
#define KP_BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Index of arrays that hold one thing per family. */
enum kp_family { KP_IPV4, KP_IPV6, KP_N_FAMILIES };

/* "IPv4", "IPv6": as in Kubernetes objects and metric labels. */
extern const char *const kp_family_names[KP_N_FAMILIES];

/*
 * An address is a value: network order, IPv4 in the first 4 bytes and the other
 * 12 zero, so that two equal addresses are equal bytes.
 */
struct kp_addr {
	uint8_t family;		/* enum kp_family */
	uint8_t b[16];
};

struct kp_cidr {
	struct kp_addr addr;	/* host bits are zero */
	uint8_t len;		/* prefix length */
};

#define KP_ADDR_STRLEN 46
#define KP_CIDR_STRLEN 50

static inline size_t kp_addr_len(uint8_t family) { return family == KP_IPV4 ? 4 : 16; }
static inline uint8_t kp_addr_bits(uint8_t family) { return family == KP_IPV4 ? 32 : 128; }

/*
 * Text to address. As kube-proxy: leading zeros in IPv4 octets are accepted and
 * read as decimal; an IPv4-mapped IPv6 address becomes IPv4; no zone, no blanks.
 */
bool kp_addr_parse(const char *s, struct kp_addr *ret);
bool kp_cidr_parse(const char *s, struct kp_cidr *ret);	/* host bits are cleared */

/* Both return out, which has room for KP_*_STRLEN. */
const char *kp_addr_str(const struct kp_addr *a, char *out);
const char *kp_cidr_str(const struct kp_cidr *c, char *out);

int kp_addr_cmp(const struct kp_addr *a, const struct kp_addr *b);
int kp_addr_order(const void *a, const void *b);	/* the same for qsort() and bsearch() */
bool kp_addr_is_loopback(const struct kp_addr *a);
bool kp_addr_is_link_local(const struct kp_addr *a);	/* of IPv6 */
bool kp_addr_is_zero(const struct kp_addr *a);
bool kp_cidr_contains(const struct kp_cidr *c, const struct kp_addr *a);	/* false across families */

#endif
