#ifndef KP_CPULOAD_H
#define KP_CPULOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The load of all processors over the last seconds, from what /proc/stat counts. */
#define KP_CPULOAD_MAX 600

struct kp_cpuload {
	unsigned window;	/* seconds: 1 to KP_CPULOAD_MAX; set it, and zero-initialise the rest */
	uint64_t n;		/* samples so far, one a second */
	struct { uint64_t busy, total; } sample[KP_CPULOAD_MAX + 1];
};

/* The first line of /proc/stat. False: that is not it. */
bool kp_cpuload_parse(const char *line, uint64_t *ret_busy, uint64_t *ret_total);
void kp_cpuload_add(struct kp_cpuload *l, uint64_t busy, uint64_t total);
/* Percent over the window, or over what there is of it; false then. */
bool kp_cpuload_mean(const struct kp_cpuload *l, double *ret);

#endif
