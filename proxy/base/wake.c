#include "proxy/base/wake.h"

#include <stdint.h>
#include <unistd.h>

void kp_wake_set(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));	/* fails when the counter is full, which is as good as set */
}

void kp_wake_clear(int fd)
{
	uint64_t n;

	(void)!read(fd, &n, sizeof(n));		/* fails when it is empty */
}
