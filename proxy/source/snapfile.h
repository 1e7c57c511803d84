#ifndef KP_SOURCE_SNAPFILE_H
#define KP_SOURCE_SNAPFILE_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/buf.h"

struct kp_err;

/*
 * A file of packed objects (pack.h) that outlives a reboot. In front of them stand who it
 * is for, when they were known to be right, and a checksum over everything:
 *
 *	 0  "proxylet"
 *	 8  version of all that follows, 32 bits; numbers here are little-endian
 *	12  length of the node's name, 32 bits
 *	16  when, nanoseconds since 1970, 64 bits
 *	24  length of the objects, 64 bits
 *	32  checksum of all other bytes, 64 bits
 *	40  which boot of the machine wrote it, 64 bits
 *	48  the node's name, the objects
 */
#define KP_SNAPFILE_NAME	"snapshot"
#define KP_SNAPFILE_MAX		((size_t)128 << 20)	/* bytes, written or read */

/* Another number for each boot of the machine; 0: it does not tell. */
uint64_t kp_snapfile_boot(void);

/* Into an empty buffer; objects are packed behind it, and then it is closed. */
void kp_snapfile_open(struct kp_buf *b, const char *node_name, uint64_t boot);
void kp_snapfile_close(struct kp_buf *b, uint64_t wall_ns);

struct kp_snapfile_head {
	uint64_t wall_ns, boot;
	size_t at;		/* where the objects begin */
};

/* Is this such a file, whole, for this node? Pure. 0, or -EBADMSG with err: what is wrong with it. */
int kp_snapfile_check(const char *data, size_t len, const char *node_name, struct kp_snapfile_head *ret, struct kp_err *err);

/*
 * Replaces the file in that folder in one step: whoever reads it, also after a power cut,
 * finds the old or the new one whole. Any thread; waits for the disk. -ENOENT: no such folder.
 */
int kp_snapfile_write(const char *folder, const struct kp_buf *b, struct kp_err *err);
/* All of it, unchecked. -ENOENT: there is none. */
int kp_snapfile_read(const char *folder, struct kp_buf *ret, struct kp_err *err);

#endif
