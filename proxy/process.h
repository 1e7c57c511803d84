#ifndef KP_PROCESS_H
#define KP_PROCESS_H

#include <stdbool.h>

/* This process as the kernel accounts for it, in the units of the usual process_* metrics. */
struct kp_process {
	double cpu_seconds;
	double open_fds, max_fds;
	double resident_bytes, virtual_bytes;
	double start_seconds;	/* since 1970 */
};

/* False: /proc is not there or not readable; *ret is then zero. */
bool kp_process_read(struct kp_process *ret);

#endif
