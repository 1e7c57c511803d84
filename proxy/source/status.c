#include "proxy/source/status.h"

#include <stdlib.h>

#include "proxy/base/mem.h"

struct kp_source_row *kp_source_status_add(struct kp_source_status *s, const char *name)
{
	kp_grow(&s->rows, s->n, &s->cap);
	s->rows[s->n] = (struct kp_source_row){ .name = kp_strdup(name) };
	return &s->rows[s->n++];
}

void kp_source_status_release(struct kp_source_status *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->rows[i].name);
		free(s->rows[i].problem);
	}
	free(s->rows);
	*s = (struct kp_source_status){ 0 };
}
