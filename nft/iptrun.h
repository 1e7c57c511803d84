#ifndef DP_IPTRUN_H
#define DP_IPTRUN_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"

struct kp_buf;
struct kp_err;

/*
 * Runs a program, found in the usual places, with input on its stdin (NULL: none) and without a
 * shell or our environment. deadline_ms: for the whole of it; the program is then killed:
 * -ETIMEDOUT. cancel_fd: readable means the same, -ECANCELED; -1: none. -EIO: it did not end
 * well; the first line it said on stderr is part of err. out is appended to.
 */
int dp_run(const char *const argv[], const char *input, unsigned deadline_ms, int cancel_fd, struct kp_buf *out,
	   struct kp_err *err);

/*
 * iptables-legacy-save, and iptables-legacy-restore --noflush, of that family: the only way to
 * rules in the kernel's older tables. The rest as dp_run(); ret is NUL-terminated.
 */
int dp_legacy_save(enum kp_family f, unsigned deadline_ms, int cancel_fd, struct kp_buf *ret, struct kp_err *err);
int dp_legacy_restore(enum kp_family f, const char *input, unsigned deadline_ms, int cancel_fd, struct kp_err *err);

/* Legacy tables are in use in this network namespace; asking the program would create them. */
bool dp_legacy_in_use(enum kp_family f);

#endif
