#ifndef KP_BASE_THREAD_H
#define KP_BASE_THREAD_H

#include <pthread.h>

/*
 * A thread that leaves signals to the main thread, all but SIGSYS: a refused system call
 * (proxy/sandbox.h) is the thread's own. name: at most 15 bytes, for those who look at
 * the process. 0 or -errno.
 */
int kp_thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg);

#endif
