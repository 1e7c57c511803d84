#ifndef DP_EXEC_H
#define DP_EXEC_H

struct kp_buf;
struct kp_err;

/*
 * Runs a program, without a shell and without our environment. in (NULL: nothing) goes to its
 * standard input, what it prints is appended to out and what it complains about to complaint
 * (NULL: thrown away); both are then NUL-terminated. Reads and writes at the same time, so
 * that no amount of either blocks.
 *
 * deadline_ms is for the whole of it, and cancel_fd (-1: none) calls it off when it is readable;
 * the program is then killed. It also dies with the calling thread, so that nothing of a killed
 * agent is committed after its successor began.
 *
 * 0: exit status 0. Else -errno, and err with the first line of the complaint: -EIO for another
 * status or a signal, -ETIMEDOUT, -ECANCELED, -EFBIG: it says more than anybody can want, or
 * why it could not be started.
 */
int dp_exec(const char *const argv[], const struct kp_buf *in, unsigned deadline_ms, int cancel_fd, struct kp_buf *out,
	    struct kp_buf *complaint, struct kp_err *err);

#endif
