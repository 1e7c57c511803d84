#include "proxy/cpuload.h"

#include <stdlib.h>
#include <string.h>

/* proc(5); guests are counted in user and nice already. */
enum { STAT_IDLE = 3, STAT_IOWAIT = 4, N_STAT = 8 };

bool kp_cpuload_parse(const char *line, uint64_t *ret_busy, uint64_t *ret_total)
{
	uint64_t busy = 0, total = 0;
	char *p, *end;

	if (strncmp(line, "cpu ", 4) != 0)
		return false;
	p = (char *)line + 4;
	for (int i = 0; i < N_STAT; i++, p = end) {
		uint64_t v = strtoull(p, &end, 10);

		if (end == p)
			return false;
		total += v;
		busy += i == STAT_IDLE || i == STAT_IOWAIT ? 0 : v;
	}
	*ret_busy = busy;
	*ret_total = total;
	return true;
}

void kp_cpuload_add(struct kp_cpuload *l, uint64_t busy, uint64_t total)
{
	size_t at = l->n++ % (l->window + 1);

	l->sample[at].busy = busy;
	l->sample[at].total = total;
}

bool kp_cpuload_mean(const struct kp_cpuload *l, double *ret)
{
	uint64_t have = l->n < l->window + 1 ? l->n : l->window + 1, busy, total;
	size_t last = (l->n - 1) % (l->window + 1), first = (l->n - have) % (l->window + 1);

	*ret = 0;
	if (have < 2)
		return false;
	busy = l->sample[last].busy - l->sample[first].busy;
	total = l->sample[last].total - l->sample[first].total;
	if (total && busy <= total)	/* the kernel's iowait may go backwards */
		*ret = 100.0 * (double)busy / (double)total;
	return have == l->window + 1;
}
