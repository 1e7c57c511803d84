#ifndef KP_BASE_UNIXSOCK_H
#define KP_BASE_UNIXSOCK_H

#include <stdbool.h>

struct kp_err;

/*
 * A listening UNIX socket at a path. Who listens there holds a lock on PATH.lock, which
 * the kernel gives free when the process ends, however it ends; so a path that was left
 * behind is taken over, and one that is in use is not.
 */
struct kp_unixsock {
	char *path;	/* NULL: nothing is held */
	int fd;		/* listening, non-blocking */
	int lock;
};
#define KP_UNIXSOCK_NONE { .fd = -1, .lock = -1 }

/*
 * Mode 0600; the last folder of the path is made if it is missing (0755). -EADDRINUSE:
 * another process listens there. On failure *ret is KP_UNIXSOCK_NONE.
 */
int kp_unixsock_listen(struct kp_unixsock *ret, const char *path, struct kp_err *err);
/*
 * Go on with the descriptors of an earlier process (taken; -1: none), if its lock is that of this
 * path. False: it is not, and they are closed.
 */
bool kp_unixsock_adopt(struct kp_unixsock *ret, const char *path, int fd, int lock);
void kp_unixsock_leave(struct kp_unixsock *s);	/* to whoever has copies: the path stays */
void kp_unixsock_close(struct kp_unixsock *s);	/* removes the path; the lock's file stays */

/* Connected, blocking, with this limit for every read and write. -errno; -ENOENT, -ECONNREFUSED: nobody listens. */
int kp_unixsock_connect(const char *path, int timeout_ms, struct kp_err *err);

#endif
