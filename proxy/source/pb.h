#ifndef KP_SOURCE_PB_H
#define KP_SOURCE_PB_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/*
 * API objects in the API server's protobuf form (application/vnd.kubernetes.protobuf) as
 * the values their JSON form has, so that one decoder serves both. Only the members that
 * the decoders read are made into values; the rest, most of the bytes, is stepped over.
 * Pure. Wire format: protobuf.dev/programming-guides/encoding; proto2, no groups.
 */

enum kp_pb_wire { KP_PB_VARINT = 0, KP_PB_FIXED64 = 1, KP_PB_BYTES = 2, KP_PB_FIXED32 = 5 };

struct kp_pb_field {
	uint32_t number;
	enum kp_pb_wire wire;
	uint64_t n;		/* VARINT: the number; else how many bytes */
	const uint8_t *data;	/* those bytes, borrowed; NULL for VARINT */
};

/* A message that is being read: what is left of it. */
struct kp_pb {
	const uint8_t *p;
	size_t n;
};

/* The next field. 1, 0 at the end, -EPROTO: this is no such message. */
int kp_pb_next(struct kp_pb *m, struct kp_pb_field *ret);

/*
 * Tag and length of the field at p, its bytes need not be there yet (data is where they
 * will be). How many bytes these take, 0: more are needed to tell, -EPROTO.
 */
int kp_pb_head(const uint8_t *p, size_t n, struct kp_pb_field *ret);

/* Four bytes in front of every object that stands alone. */
#define KP_PB_MAGIC_LEN 4
extern const uint8_t kp_pb_magic[KP_PB_MAGIC_LEN];

/* The kind and the API version of an object, in text; as long as anything known, and cut there. */
struct kp_pb_type {
	char kind[64], api_version[64];
};
/* A TypeMeta. 0 or -EPROTO. */
int kp_pb_read_type(const uint8_t *p, size_t n, struct kp_pb_type *ret);

/* An object without magic and envelope; one of a kind we do not know has no members. NULL: does not parse. */
json_t *kp_pb_object(const char *kind, const uint8_t *p, size_t n);
/* An object with both; kind and apiVersion are members of the value. NULL: does not parse. */
json_t *kp_pb_body(const uint8_t *p, size_t n);

#endif
