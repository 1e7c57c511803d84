#include "healthz/state.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

#define STUCK_MIN_NS	5000000000ull	/* a syncPeriod may be shorter than what a busy machine takes */

struct hz_services *hz_services_new(size_t n)
{
	struct hz_services *s = kp_calloc(1, sizeof(*s));

	s->refs = 1;
	s->items = n ? kp_calloc(n, sizeof(*s->items)) : NULL;
	s->n = n;
	return s;
}

struct hz_services *hz_services_ref(struct hz_services *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

struct hz_services *hz_services_unref(struct hz_services *s)
{
	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return NULL;
	for (size_t i = 0; i < s->n && !s->first; i++) {
		free(s->items[i].ns);
		free(s->items[i].name);
	}
	hz_services_unref(s->first);
	free(s->items);
	free(s);
	return NULL;
}

struct hz_services *hz_services_again(struct hz_services *s)
{
	struct hz_services *again = kp_calloc(1, sizeof(*again));

	again->refs = 1;	/* s->refs is also another thread's */
	again->n = s->n;
	again->first = hz_services_ref(s->first ? s->first : s);
	again->items = kp_memdup(s->items, s->n * sizeof(*s->items));
	return again;
}

static const struct hz_services *first_of(const struct hz_services *s)
{
	return s && s->first ? s->first : s;
}

bool hz_services_same_ports(const struct hz_services *a, const struct hz_services *b)
{
	return first_of(a) == first_of(b);
}

static int by_name(const void *a, const void *b)
{
	const struct hz_service *x = a, *y = b;
	int c = strcmp(x->ns, y->ns);

	return c ? c : strcmp(x->name, y->name);
}

void hz_services_sort(struct hz_services *s)
{
	if (s->n)
		qsort(s->items, s->n, sizeof(*s->items), by_name);
}

const struct hz_service *hz_services_find(const struct hz_services *services, const char *ns, const char *name)
{
	struct hz_service key = { .ns = (char *)ns, .name = (char *)name };

	return services && services->n ? bsearch(&key, services->items, services->n, sizeof(key), by_name) : NULL;
}

void hz_state_free(struct hz_state *s)
{
	if (!s)
		return;
	hz_services_unref(s->services);
	free(s->addresses);
	free(s);
}

struct hz_state *hz_state_copy(const struct hz_state *s)
{
	struct hz_state *copy = kp_memdup(s, sizeof(*s));

	if (s->services)
		hz_services_ref(s->services);
	copy->addresses = kp_memdup(s->addresses, s->n_addresses * sizeof(*s->addresses));
	return copy;
}

bool hz_state_same_ports(const struct hz_state *a, const struct hz_state *b)
{
	return hz_services_same_ports(a->services, b->services) && a->n_addresses == b->n_addresses &&
	       memcmp(a->any_address, b->any_address, sizeof(a->any_address)) == 0 &&
	       (!a->n_addresses || memcmp(a->addresses, b->addresses, a->n_addresses * sizeof(*a->addresses)) == 0);
}

uint64_t hz_pending_ns(const struct hz_state *s, enum kp_family f, uint64_t now_ns)
{
	uint64_t since = s->family[f].oldest_pending_ns;

	/* The other thread may have read its clock after we read ours. */
	return since && now_ns > since ? now_ns - since : 0;
}

bool hz_drifted(const struct hz_state *s, enum kp_family f, uint64_t now_ns)
{
	return s->family[f].drift_due_ns && now_ns >= s->family[f].drift_due_ns;
}

/* What waits then nobody knows. */
bool hz_stuck(const struct hz_state *s, uint64_t now_ns)
{
	uint64_t limit = s->stale_ns > STUCK_MIN_NS ? s->stale_ns : STUCK_MIN_NS;

	return s->alive_ns && now_ns > s->alive_ns && now_ns - s->alive_ns >= limit;
}

bool hz_family_healthy(const struct hz_state *s, enum kp_family f, uint64_t now_ns)
{
	if (hz_drifted(s, f, now_ns) || hz_stuck(s, now_ns))
		return false;
	return !s->family[f].oldest_pending_ns || hz_pending_ns(s, f, now_ns) < s->stale_ns;
}

bool hz_healthy(const struct hz_state *s, uint64_t now_ns)
{
	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		if (s->family[f].enabled && !hz_family_healthy(s, f, now_ns))
			return false;
	return true;
}

bool hz_ready(const struct hz_state *s, uint64_t now_ns)
{
	return (s->started || s->lenient) && s->node_eligible && hz_healthy(s, now_ns) &&
	       hz_node_state(&s->node, s->started) != HZ_NODE_STOPPING && hz_node_checks_ok(&s->node, true);
}

bool hz_agent_ready(const struct hz_state *s, uint64_t now_ns)
{
	return hz_node_state(&s->node, s->started) == HZ_NODE_READY && hz_healthy(s, now_ns) &&
	       hz_node_checks_ok(&s->node, false);
}

enum kp_family hz_service_family(const struct hz_service *svc, enum kp_family connection)
{
	enum kp_family other = connection == KP_IPV4 ? KP_IPV6 : KP_IPV4;

	return svc->has_family[connection] ? connection : other;
}

bool hz_service_proxy_ok(const struct hz_state *s, const struct hz_service *svc, enum kp_family f, uint64_t now_ns)
{
	return s->started && hz_healthy(s, now_ns) && !(svc && svc->broken[f]);
}

bool hz_service_ok(const struct hz_state *s, const struct hz_service *svc, enum kp_family f, uint64_t now_ns)
{
	return svc->local_ready[f] && hz_service_proxy_ok(s, svc, f, now_ns) && !s->node.draining_services;
}
