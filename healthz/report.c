#include "healthz/report.h"

#include <stdlib.h>

void hz_report_free(struct hz_report *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n_listeners; i++) {
		free(r->listeners[i].name);
		free(r->listeners[i].problem);
	}
	free(r->listeners);
	free(r->probes);
	free(r->peers);
	free(r);
}
