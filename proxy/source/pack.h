#ifndef KP_SOURCE_PACK_H
#define KP_SOURCE_PACK_H

#include "proxy/base/buf.h"
#include "proxy/source/decode.h"

/*
 * Model values as bytes and back, for a file that outlives the process. One table for
 * each kind of value serves both directions. Numbers are of variable length, texts and
 * lists have their lengths in front; nothing depends on the machine.
 *
 * Slices are those of the model: without names of nodes. A slice's trigger time is left out: nobody waits
 * for what a file tells. So is that a Node shuts down: who reads the file has booted since.
 */
void kp_pack(struct kp_buf *out, enum kp_kind kind, const void *value);

/*
 * The value at *at, which is moved behind it. 1, or 0 at the end, or -EBADMSG: no such
 * bytes were ever written. Safe on any bytes; memory stays within a small multiple of len.
 * A value that is handed out is as sound as one that a decoder made.
 */
int kp_unpack(const char *data, size_t len, size_t *at, struct kp_object *ret);

#endif
