#include "proxy/source/pb.h"

#include <errno.h>
#include <string.h>

#define MAX_VARINT 10	/* bytes of 64 bits, 7 in each */

/* Bytes taken, 0: it goes on after n, -EPROTO: longer than any number. */
static int varint(const uint8_t *p, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	for (int i = 0; i < MAX_VARINT; i++) {
		if ((size_t)i >= n)
			return 0;
		v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
		if (!(p[i] & 0x80)) {
			*ret = v;
			return i + 1;
		}
	}
	return -EPROTO;
}

int kp_pb_head(const uint8_t *p, size_t n, struct kp_pb_field *ret)
{
	uint64_t tag;
	int used = varint(p, n, &tag), more = 0;

	if (used <= 0)
		return used;
	if (tag >> 3 == 0 || tag >> 3 > UINT32_MAX >> 3)
		return -EPROTO;
	*ret = (struct kp_pb_field){ .number = (uint32_t)(tag >> 3), .wire = tag & 7 };
	switch (ret->wire) {
	case KP_PB_VARINT:
	case KP_PB_BYTES:
		more = varint(p + used, n - (size_t)used, &ret->n);
		if (more <= 0)
			return more;
		break;
	case KP_PB_FIXED64:
		ret->n = 8;
		break;
	case KP_PB_FIXED32:
		ret->n = 4;
		break;
	default:
		return -EPROTO;
	}
	if (ret->wire != KP_PB_VARINT)
		ret->data = p + used + more;
	return used + more;
}

int kp_pb_next(struct kp_pb *m, struct kp_pb_field *ret)
{
	int used;

	if (!m->n)
		return 0;
	used = kp_pb_head(m->p, m->n, ret);
	if (used <= 0)
		return -EPROTO;
	m->p += used;
	m->n -= (size_t)used;
	if (!ret->data)
		return 1;
	if (ret->n > m->n)
		return -EPROTO;
	m->p += ret->n;
	m->n -= (size_t)ret->n;
	return 1;
}
