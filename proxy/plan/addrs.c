#include "proxy/plan/addrs.h"

#include <stdlib.h>

size_t kp_addrs_distinct(struct kp_addr *a, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(a, n, sizeof(*a), kp_addr_order);
	for (size_t i = 0; i < n; i++)
		if (!kept || kp_addr_cmp(&a[kept - 1], &a[i]) != 0)
			a[kept++] = a[i];
	return kept;
}
