#include "proxy/base/thread.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/mem.h"

struct start {
	void *(*fn)(void *arg);
	void *arg;
};

/* Read each time: somebody may move the process at any time. */
static bool main_thread_may(cpu_set_t *ret)
{
	return sched_getaffinity(getpid(), sizeof(*ret), ret) == 0;	/* fails where there are more than 1024 processors */
}

/*
 * The kernel remembers a set that was asked for, and cuts by it what a cpuset gives later (since Linux 6.2). Every bit
 * cuts nothing; if the thread may then be where the main thread may not, that one is held by taskset or CPUAffinity=.
 */
static bool widen(pthread_t thread)
{
	cpu_set_t set, main_set;

	memset(&set, 0xff, sizeof(set));
	return main_thread_may(&main_set) && pthread_setaffinity_np(thread, sizeof(set), &set) == 0 &&
	       pthread_getaffinity_np(thread, sizeof(set), &set) == 0 &&
	       (CPU_EQUAL(&set, &main_set) || pthread_setaffinity_np(thread, sizeof(main_set), &main_set) == 0);
}

/* In the new thread: to others it may have ended already, and then a set is the caller's own. */
static void *begin(void *arg)
{
	struct start start = *(struct start *)arg;
	cpu_set_t set, main_set;

	free(arg);
	if (main_thread_may(&main_set) && sched_getaffinity(0, sizeof(set), &set) == 0 && !CPU_EQUAL(&set, &main_set))
		(void)widen(pthread_self());
	return start.fn(start.arg);
}

bool kp_thread_near(pthread_t thread, int *cpu)
{
	int here = sched_getcpu();
	cpu_set_t set;

	if (here == *cpu)
		return here >= 0;
	if (here < 0 || !main_thread_may(&set))
		return false;
	CPU_ZERO(&set);
	CPU_SET((unsigned)here, &set);
	if (pthread_setaffinity_np(thread, sizeof(set), &set) != 0)
		return false;
	*cpu = here;
	return true;
}

void kp_thread_anywhere(pthread_t thread, int *cpu)
{
	if (*cpu >= 0 && widen(thread))
		*cpu = -1;
}

int kp_thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg)
{
	struct start *start = kp_calloc(1, sizeof(*start));
	sigset_t all, before;
	int r;

	*start = (struct start){ fn, arg };
	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, begin, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0) {
		free(start);
		return -r;
	}
	(void)pthread_setname_np(*ret, name);
	return 0;
}

/* Should somebody set the clock meanwhile, the wait is another one: nothing depends on that. */
bool kp_thread_join(pthread_t thread, unsigned ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(ms / 1000);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return pthread_timedjoin_np(thread, NULL, &until) == 0;
}
