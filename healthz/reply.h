#ifndef HZ_REPLY_H
#define HZ_REPLY_H

#include <stdbool.h>
#include <stddef.h>

struct kp_buf;

enum hz_reply_verdict { HZ_REPLY_MORE, HZ_REPLY_DONE, HZ_REPLY_BAD };

/* What a server answered to one HTTP/1.1 request with "Connection: close". */
struct hz_reply {
	int status;
	const char *type;	/* Content-Type, into the caller's buffer; NULL: none */
	size_t type_len;
	size_t body_len;	/* as announced, if it was asked for the head alone */
};

/*
 * Pure and restartable: all bytes so far; ended: no more will come. The body is appended to
 * body when the verdict is DONE; with any other nothing was allocated for it. Its end is that
 * of its length, its chunks, or the connection.
 */
enum hz_reply_verdict hz_reply_parse(const char *buf, size_t len, bool ended, bool head_only, struct hz_reply *ret,
				     struct kp_buf *body);

#endif
