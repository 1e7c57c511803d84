#include "proxy/base/thread.h"

#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* Read each time: somebody may move the process at any time. */
static bool main_thread_may(cpu_set_t *ret)
{
	return sched_getaffinity(getpid(), sizeof(*ret), ret) == 0;	/* fails where there are more than 1024 processors */
}

static bool widen(pthread_t thread)
{
	cpu_set_t set;

	return main_thread_may(&set) && pthread_setaffinity_np(thread, sizeof(set), &set) == 0;
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
	sigset_t all, before;
	int r;

	sigfillset(&all);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return -r;
	(void)pthread_setname_np(*ret, name);
	(void)widen(*ret);
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
