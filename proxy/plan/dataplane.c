#include "proxy/plan/dataplane.h"

#include <stdlib.h>

#include "proxy/base/mem.h"

const char *const dp_drift_names[DP_N_DRIFTS] = {
	[DP_DRIFT_ELEMENTS] = "elements", [DP_DRIFT_RULES] = "rules", [DP_DRIFT_TABLE] = "table",
};

struct dp_drift *dp_drift_free(struct dp_drift *d)
{
	if (!d)
		return NULL;
	for (size_t i = 0; i < d->n_keys; i++)
		free(d->keys[i]);
	free(d->keys);
	free(d->what);
	free(d->who);
	free(d);
	return NULL;
}

struct dp_drift *dp_drift_copy(const struct dp_drift *d)
{
	struct dp_drift *c = kp_malloc(sizeof(*c));

	*c = *d;
	c->what = kp_strdup(d->what);
	c->who = d->who ? kp_strdup(d->who) : NULL;
	c->keys = d->n_keys ? kp_calloc(d->n_keys, sizeof(*c->keys)) : NULL;
	for (size_t i = 0; i < d->n_keys; i++)
		c->keys[i] = kp_strdup(d->keys[i]);
	return c;
}

bool dp_result_tells(const struct dp_result *r)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (r->family[f].tried || r->family[f].drift || r->conntrack[f].tried)
			return true;
	return r->cold;
}

void dp_result_release(struct dp_result *r)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		dp_drift_free(r->family[f].drift);
	for (size_t i = 0; i < r->n_refused; i++) {
		free(r->refused[i].key);
		free(r->refused[i].why);
	}
	free(r->refused);
	free(r->cold);
	*r = (struct dp_result){ 0 };
}
