#ifndef KP_BASE_THREAD_H
#define KP_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/*
 * A thread of the agent. Signals are the main thread's, but for SIGSYS: a system call that the
 * sandbox refuses is the thread's own, and the kernel ends a process that has it blocked.
 * name: at most 15 characters. 0 or -errno.
 */
int kp_thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg);

/*
 * Joins it. False: it has not ended in ms milliseconds, as it is in a system call that takes its time;
 * it may be joined later, and what it works on stays its own until then.
 */
bool kp_thread_join(pthread_t thread, unsigned ms);

#endif
