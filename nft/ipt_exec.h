#ifndef DP_IPT_EXEC_H
#define DP_IPT_EXEC_H

#include <stdint.h>

struct kp_buf;
struct kp_err;

/*
 * Runs a program, without a shell: in goes to its standard input, what it prints is
 * appended to out and what it complains about to complaint (NULL: thrown away). Reads
 * and writes at the same time, so that no amount of either blocks. After the deadline it
 * is killed; it also dies with the calling thread, so that nothing of a killed agent is
 * committed after its successor began. 0 for exit status 0, else -errno and err: -EIO for
 * another status or a signal, -ETIMEDOUT, or why it could not be started.
 */
int dp_ipt_exec(const char *const argv[], const struct kp_buf *in, struct kp_buf *out, struct kp_buf *complaint,
		unsigned deadline_ms, struct kp_err *err);

#endif
