#ifndef DP_ATTR_H
#define DP_ATTR_H

#include <assert.h>
#include <endian.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <string.h>

#include "proxy/base/buf.h"

/* Netlink attributes at the end of a growing buffer; padding is zero. */
static inline void dp_attr_put(struct kp_buf *b, uint16_t type, const void *data, size_t len)
{
	struct nlattr a = { .nla_len = (uint16_t)(NLA_HDRLEN + len), .nla_type = type };
	char *p = kp_buf_reserve(b, (size_t)NLA_ALIGN(a.nla_len));

	memset(p, 0, (size_t)NLA_ALIGN(a.nla_len));
	memcpy(p, &a, sizeof(a));
	if (len)
		memcpy(p + NLA_HDRLEN, data, len);
	b->len += (size_t)NLA_ALIGN(a.nla_len);
}

static inline void dp_attr_be32(struct kp_buf *b, uint16_t type, uint32_t value)
{
	uint32_t be = htobe32(value);

	dp_attr_put(b, type, &be, sizeof(be));
}

static inline void dp_attr_str(struct kp_buf *b, uint16_t type, const char *s)
{
	dp_attr_put(b, type, s, strlen(s) + 1);
}

/* A nest of elements that is full goes on in another message: 65,535 bytes are all that its length can say. */
#define DP_NEST_FULL	60000

/* Returns the position to close; that a nest does not grow too long is the caller's business. */
static inline size_t dp_attr_open(struct kp_buf *b, uint16_t type)
{
	size_t at = b->len;

	dp_attr_put(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

static inline void dp_attr_close(struct kp_buf *b, size_t at)
{
	uint16_t len = (uint16_t)(b->len - at);

	assert(len == b->len - at);	/* the kernel would read another transaction than we wrote */
	memcpy(b->data + at, &len, sizeof(len));
}

#endif
