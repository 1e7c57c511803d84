#ifndef KP_BASE_THREAD_H
#define KP_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/*
 * A thread of the agent. It may run where the main thread may, even if its creator is held to one processor. Signals
 * are the main thread's, but for SIGSYS: a system call that the sandbox refuses is the thread's own, and the kernel ends
 * a process that has it blocked. name: at most 15 characters. 0 or -errno.
 */
int kp_thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg);

/*
 * Joins it. False: it has not ended in ms milliseconds, as it is in a system call that takes its time;
 * it may be joined later, and what it works on stays its own until then.
 */
bool kp_thread_join(pthread_t thread, unsigned ms);

/*
 * near: from now on the thread, which has not ended, runs only on the processor that the caller is on. anywhere: where
 * the main thread may, also when its cpuset grows later, as if it had never been held.
 * For work of some microseconds that is handed over: the scheduler prefers an idle processor to the one that is about to
 * become idle, and to wake that takes longer than the work (it leaves a deep sleep, or its virtual machine) with nothing
 * in its caches. *cpu, -1 at first, is the caller's to keep for that thread. What cannot be done changes nothing; near
 * returns whether it is so.
 */
bool kp_thread_near(pthread_t thread, int *cpu);
void kp_thread_anywhere(pthread_t thread, int *cpu);

#endif
