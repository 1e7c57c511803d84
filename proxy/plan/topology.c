#include "proxy/plan/topology.h"

#include <string.h>

#include "proxy/model/objects.h"

/*
 * Hints are the only topology there is: a controller wrote them from whatever the
 * Service asked for. They count only while every ready endpoint carries them and one
 * of them means us, so that a half-written slice never leaves a node without endpoints.
 */
struct hint_kind {
	const char *here;	/* our node or zone */
	char **(*hints)(const struct kp_endpoint *e);
};

static char **node_hints(const struct kp_endpoint *e) { return e->node_hints; }
static char **zone_hints(const struct kp_endpoint *e) { return e->zone_hints; }

static bool is_ready(const struct kp_candidate *c)
{
	return c->flags & KP_EP_READY;
}

/* Good enough when nothing is ready: on its way out, but still answering. */
static bool is_last_resort(const struct kp_candidate *c)
{
	return (c->flags & (KP_EP_SERVING | KP_EP_TERMINATING)) == (KP_EP_SERVING | KP_EP_TERMINATING);
}

static bool hinted_here(const struct kp_candidate *c, const struct hint_kind *k)
{
	char **hints = k->hints(c->from);

	for (; hints && *hints; hints++)
		if (strcmp(*hints, k->here) == 0)
			return true;
	return false;
}

static bool counts(const struct kp_candidate *eps, size_t n, const struct hint_kind *k)
{
	bool any = false;

	if (!k->here || !*k->here)
		return false;
	for (size_t i = 0; i < n; i++) {
		char **hints = k->hints(eps[i].from);

		if (!is_ready(&eps[i]))
			continue;
		if (!hints || !*hints)
			return false;
		any = any || hinted_here(&eps[i], k);
	}
	return any;
}

static bool select_cluster(struct kp_candidate *eps, size_t n, const struct kp_viewpoint *v)
{
	const struct hint_kind kinds[] = { { v->node_name, node_hints }, { v->zone, zone_hints } };
	const struct hint_kind *k = kinds, *end = kinds + 2;
	bool any = false;

	while (k < end && !counts(eps, n, k))
		k++;
	for (size_t i = 0; i < n; i++) {
		eps[i].in_cluster = is_ready(&eps[i]) && (k == end || hinted_here(&eps[i], k));
		any = any || eps[i].in_cluster;
	}
	if (any)
		return true;
	for (size_t i = 0; i < n; i++) {
		eps[i].in_cluster = is_last_resort(&eps[i]);
		any = any || eps[i].in_cluster;
	}
	return any;
}

/* Hints do not matter here, and remote endpoints only say that there is something (ES-4, ES-5). */
static bool select_local(struct kp_candidate *eps, size_t n)
{
	bool any = false, any_ready = false;

	for (size_t i = 0; i < n; i++) {
		any = any || is_ready(&eps[i]) || is_last_resort(&eps[i]);
		any_ready = any_ready || (eps[i].local && is_ready(&eps[i]));
	}
	for (size_t i = 0; i < n; i++)
		eps[i].in_local = eps[i].local && (any_ready ? is_ready(&eps[i]) : is_last_resort(&eps[i]));
	return any;
}

bool kp_topology_select(struct kp_candidate *eps, size_t n, const struct kp_viewpoint *v)
{
	bool any_cluster = v->uses_cluster && select_cluster(eps, n, v);
	bool any_local = v->uses_local && select_local(eps, n);

	return any_cluster || any_local;
}
