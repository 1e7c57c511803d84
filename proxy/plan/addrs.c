#include "proxy/plan/addrs.h"

#include <stdlib.h>

static int cmp_addr(const void *a, const void *b)
{
	return kp_addr_cmp(a, b);
}

size_t kp_addrs_distinct(struct kp_addr *a, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(a, n, sizeof(*a), cmp_addr);
	for (size_t i = 0; i < n; i++)
		if (!kept || kp_addr_cmp(&a[kept - 1], &a[i]) != 0)
			a[kept++] = a[i];
	return kept;
}
