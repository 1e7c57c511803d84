#ifndef KP_BASE_FDLINE_H
#define KP_BASE_FDLINE_H

#include <stdbool.h>
#include <stddef.h>

struct kp_err;

/*
 * Lines of text, each with a descriptor or without, over a connected UNIX stream socket that
 * does not block. The kernel delivers a descriptor no later than the first byte sent with it, so
 * that the order tells which line it belongs to. What the peer sends is not trusted: at most
 * KP_FDLINE_MAX bytes a line, and descriptors that no line asks for are closed.
 */
#define KP_FDLINE_MAX 4096

struct kp_fdline;

struct kp_fdline *kp_fdline_new(int fd_taken);
struct kp_fdline *kp_fdline_free(struct kp_fdline *l);	/* closes everything; NULL is fine; returns NULL */
int kp_fdline_fd(const struct kp_fdline *l);

/* Queue a line (without its end; copied) and a descriptor (taken; -1: none). */
void kp_fdline_put(struct kp_fdline *l, const char *line, int fd_taken);
/* Send what is queued: 0 all of it, -EAGAIN: the rest when the socket is writable, other -errno: the peer is gone. */
int kp_fdline_flush(struct kp_fdline *l);

/*
 * The next line, borrowed until the next call: 1. 0: none yet. -ECONNRESET: the peer has gone;
 * -EPROTO: it does not speak in lines.
 */
int kp_fdline_get(struct kp_fdline *l, const char **ret);
/* The descriptor that came with the line that was got last; the caller's. -1: none came. */
int kp_fdline_take_fd(struct kp_fdline *l);

#endif
