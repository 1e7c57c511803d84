#include "proxy/base/thread.h"

#include <signal.h>

int kp_thread_start(pthread_t *ret, const char *name, void *(*run)(void *), void *arg)
{
	sigset_t most, before;
	int r;

	sigfillset(&most);
	sigdelset(&most, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &most, &before);
	r = pthread_create(ret, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		pthread_setname_np(*ret, name);
	return -r;
}
