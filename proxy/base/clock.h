#ifndef KP_BASE_CLOCK_H
#define KP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Monotonic, for intervals. Functions that decide by time take it as a parameter, so tests can turn it. */
static inline uint64_t kp_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t kp_now_ms(void)
{
	return kp_now_ns() / 1000000u;
}

/* For poll(): milliseconds, rounded up; 0: it is over. */
static inline int kp_ms_until(uint64_t at_ns, uint64_t now_ns)
{
	return at_ns <= now_ns ? 0 : (int)((at_ns - now_ns) / 1000000u + 1);
}

/* The sooner of two of these; -1: never. */
static inline int kp_ms_sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* Nanoseconds since 1970, for what humans read. */
static inline uint64_t kp_wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What this thread has had of a processor: what something costs, however busy the machine is. */
static inline uint64_t kp_thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
