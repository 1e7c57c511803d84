#include "proxy/plan/dataplane.h"

#include <stdlib.h>

void dp_result_release(struct dp_result *r)
{
	for (size_t i = 0; i < r->n_refused; i++) {
		free(r->refused[i].key);
		free(r->refused[i].why);
	}
	free(r->refused);
	*r = (struct dp_result){ 0 };
}
