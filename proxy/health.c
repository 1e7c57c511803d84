#include "proxy/health.h"

#include <stdlib.h>
#include <string.h>

#include "healthz/state.h"
#include "proxy/base/clock.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

/*
 * A drift is repaired at once, and nobody needs to hear of the milliseconds in between. One
 * that lasts longer than this, that could not be repaired or is not being repaired, is told.
 */
#define DRIFT_GRACE_NS 1000000000u
#define MAX_FLIGHTS 256		/* while a family fails they pile up; from here on the oldest share a place */

/*
 * A Service with a health port. held are the ready endpoints that the kernel has for certain: a
 * loss counts from the moment it is wanted, since from then on it may be committed at any time,
 * a gain when the commit that holds it is acknowledged. One that came for another is both. Each
 * family is committed, and refused, by itself.
 */
struct port {
	struct kp_plan *wanted;
	uint64_t generation;		/* that carries wanted */
	size_t at;			/* in the list of services, as long as there is one */
	struct port_family {
		struct kp_addr *held;	/* NULL: none */
		uint32_t n_held;
		bool settled;		/* wanted has been acknowledged */
		bool refused;		/* by the kernel, which has the last good rules of it, or none */
		bool drifted;		/* some of its rules are known to be gone, and could not be put right */
	} family[KP_N_FAMILIES];
};

/* A hand-over that is not acknowledged by every family yet. */
struct flight {
	uint64_t generation, at_ns;
};

struct kp_health {
	struct {
		bool enabled;
		uint64_t acked, updated_wall_ns;
		uint64_t drift_ns, drift_due_ns;	/* since when rules are not what we wrote; when to tell; 0: they are */
		uint64_t broken_ns;	/* since when the kernel refuses us, for what was handed over long ago too; 0: not */
	} family[KP_N_FAMILIES];
	uint64_t stale_ns, submitted;
	uint64_t good_from;		/* generation; UINT64_MAX: none so far is */
	struct flight *flights;		/* oldest first */
	size_t n_flights, cap_flights;
	bool eligible, lenient, warm;
	const struct hz_node *node_state;	/* NULL: nobody says anything */
	struct kp_map *blockers;	/* name -> why */
	struct kp_map *ports;		/* key -> struct port */
	bool unsettled;			/* some port is, in some family */
	struct hz_services *services;	/* what the ports amount to, shared by all states; NULL: make it anew */
	bool recount;			/* the numbers in it are of before */
	struct kp_plan_node *node;
};

static void port_free(void *p)
{
	struct port *x = p;

	kp_plan_unref(x->wanted);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		free(x->family[f].held);
	free(x);
}

struct kp_health *kp_health_new(const bool families[KP_N_FAMILIES], uint64_t stale_ns)
{
	struct kp_health *h = kp_calloc(1, sizeof(*h));

	for (int f = 0; f < KP_N_FAMILIES; f++)
		h->family[f].enabled = families[f];
	h->stale_ns = stale_ns;
	h->blockers = kp_map_new(free);
	h->ports = kp_map_new(port_free);
	return h;
}

struct kp_health *kp_health_free(struct kp_health *h)
{
	if (!h)
		return NULL;
	free(h->flights);
	kp_map_free(h->blockers);
	kp_map_free(h->ports);
	hz_services_unref(h->services);
	kp_plan_node_unref(h->node);
	free(h);
	return NULL;
}

void kp_health_set_stale(struct kp_health *h, uint64_t stale_ns)
{
	h->stale_ns = stale_ns;
}

/* The order of the list, and which listeners there are. */
static bool is_same_port(const struct kp_plan *a, const struct kp_plan *b)
{
	return a->health_port == b->health_port && a->created == b->created;
}

/* What the health port says of a plan besides the endpoints that the kernel holds. */
static bool says_the_same(const struct kp_plan *a, const struct kp_plan *b)
{
	return memcmp(a->has_family, b->has_family, sizeof(a->has_family)) == 0 &&
	       memcmp(a->local_terminating, b->local_terminating, sizeof(a->local_terminating)) == 0;
}

/* Sorted: IPv4 first. */
static const struct kp_addr *ready_of(const struct kp_plan *p, int f)
{
	return p->ready + (f == KP_IPV6 ? p->local_ready[KP_IPV4] : 0);
}

/* held stays what is wanted of it; is that less? */
static bool lose_some(struct kp_health *h, struct port *p, int f)
{
	const struct kp_addr *ready = ready_of(p->wanted, f);
	struct port_family *x = &p->family[f];
	uint32_t n = x->n_held, kept = 0;

	for (uint32_t i = 0; i < n; i++)
		if (bsearch(&x->held[i], ready, p->wanted->local_ready[f], sizeof(*ready), kp_addr_order))
			x->held[kept++] = x->held[i];
	x->n_held = kept;
	h->recount |= kept < n;
	return kept < n;
}

/* All that is wanted is held. */
static void gain_all(struct kp_health *h, struct port *p, int f)
{
	struct port_family *x = &p->family[f];
	uint32_t n = p->wanted->local_ready[f];

	free(x->held);
	x->held = n ? kp_memdup(ready_of(p->wanted, f), n * sizeof(*x->held)) : NULL;
	h->recount |= x->n_held != n;
	x->n_held = n;
}

bool kp_health_want(struct kp_health *h, const char *key, struct kp_plan *plan)
{
	struct port *p = kp_map_gets(h->ports, key);
	bool serves = plan && plan->health_port, less = false;

	if (!p && !serves)
		return false;
	if (!p || !serves || !is_same_port(p->wanted, plan))
		h->services = hz_services_unref(h->services);
	else
		h->recount |= !says_the_same(p->wanted, plan);
	if (!serves) {
		kp_map_dels(h->ports, key);
		return true;
	}
	if (!p) {
		p = kp_calloc(1, sizeof(*p));
		kp_map_puts(h->ports, key, p);
	}
	kp_plan_unref(p->wanted);
	p->wanted = kp_plan_ref(plan);
	p->generation = h->submitted + 1;
	h->unsettled = true;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		p->family[f].settled = false;
		less |= lose_some(h, p, f);
	}
	return less;
}

void kp_health_submitted(struct kp_health *h, uint64_t generation, uint64_t now_ns)
{
	h->submitted = generation;
	if (h->n_flights == MAX_FLIGHTS) {
		h->flights[1].at_ns = h->flights[0].at_ns;
		memmove(h->flights, h->flights + 1, --h->n_flights * sizeof(*h->flights));
	}
	kp_grow(&h->flights, h->n_flights, &h->cap_flights);
	h->flights[h->n_flights++] = (struct flight){ generation, now_ns };
}

/* Acknowledged by all families. */
static uint64_t acked_by_all(const struct kp_health *h)
{
	uint64_t least = UINT64_MAX;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (h->family[f].enabled && h->family[f].acked < least)
			least = h->family[f].acked;
	return least;
}

static bool is_refused(const struct dp_result *res, const char *key, int f)
{
	for (size_t i = 0; i < res->n_refused; i++)
		if (res->refused[i].family == f && strcmp(res->refused[i].key, key) == 0)
			return true;
	return false;
}

/* A Service whose rules were refused altogether, even those of before, has none. */
static void lose_refused(struct kp_health *h, const struct dp_result *res)
{
	for (size_t i = 0; i < res->n_refused; i++) {
		const struct dp_refusal *r = &res->refused[i];
		struct port *p = r->gone ? kp_map_gets(h->ports, r->key) : NULL;
		struct port_family *x;

		if (!p)
			continue;
		x = &p->family[r->family];
		x->n_held = 0;
		x->refused = true;
		x->settled = false;
		h->unsettled = true;
		h->recount = true;
	}
}

static void settle(struct kp_health *h, struct port *p, int f, bool refused)
{
	struct port_family *x = &p->family[f];

	h->recount |= x->refused != refused;
	x->refused = refused;
	x->settled = p->generation <= h->family[f].acked && !refused;
	if (x->settled)
		gain_all(h, p, f);
}

/* Only a write that succeeded tells that a Service is not refused any more. */
static void settle_ports(struct kp_health *h, const struct dp_result *res)
{
	bool any = h->unsettled;

	h->unsettled = false;
	for (struct kp_map_it it = { 0 }; any && kp_map_next(h->ports, &it);) {
		struct port *p = it.value;

		for (int f = 0; f < KP_N_FAMILIES; f++) {
			if (!h->family[f].enabled || p->family[f].settled)
				continue;
			if (res->family[f].tried && res->family[f].code == 0)
				settle(h, p, f, is_refused(res, it.key, f));
			h->unsettled |= !p->family[f].settled;
		}
	}
}

static void set_drifted(struct kp_health *h, int f, const struct dp_drift *d, bool drifted)
{
	for (struct kp_map_it it = { 0 }; !d && kp_map_next(h->ports, &it);)
		((struct port *)it.value)->family[f].drifted = drifted;
	for (size_t i = 0; d && i < d->n_keys; i++) {
		struct port *p = kp_map_gets(h->ports, d->keys[i]);

		if (p)
			p->family[f].drifted = drifted;
	}
	h->recount = true;
}

static void end_drift(struct kp_health *h, int f)
{
	if (!h->family[f].drift_ns)
		return;
	h->family[f].drift_ns = h->family[f].drift_due_ns = 0;
	set_drifted(h, f, NULL, false);
}

/* Elements concern their Services alone, once it is known which; everything else concerns the node. */
static void note_drift(struct kp_health *h, int f, const struct dp_family_result *r, uint64_t now_ns)
{
	const struct dp_drift *d = r->drift;
	bool lasts = d && (r->code < 0 || d->wait_ns), named = d && d->kind == DP_DRIFT_ELEMENTS && d->n_keys;

	if (!d || d->repaired_ns)
		return;
	h->family[f].drift_ns = d->noticed_ns;
	h->family[f].drift_due_ns = named ? 0 : lasts ? now_ns : d->noticed_ns + DRIFT_GRACE_NS;
	if (named && lasts)
		set_drifted(h, f, d, true);
}

void kp_health_result(struct kp_health *h, uint64_t generation, const struct dp_result *res, uint64_t now_ns)
{
	size_t done = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		note_drift(h, f, &res->family[f], now_ns);
		if (!res->family[f].tried)
			continue;
		if (res->family[f].code < 0) {
			h->family[f].broken_ns = h->family[f].broken_ns ? h->family[f].broken_ns : now_ns;
			continue;
		}
		end_drift(h, f);
		h->family[f].broken_ns = 0;
		h->family[f].acked = generation;
		h->family[f].updated_wall_ns = kp_wall_ns();
	}
	lose_refused(h, res);
	settle_ports(h, res);
	while (done < h->n_flights && h->flights[done].generation <= acked_by_all(h))
		done++;
	h->n_flights -= done;
	if (done)
		memmove(h->flights, h->flights + done, h->n_flights * sizeof(*h->flights));
}

void kp_health_node(struct kp_health *h, bool eligible)
{
	h->eligible = eligible;
}

void kp_health_node_state(struct kp_health *h, const struct hz_node *node, bool lenient)
{
	h->node_state = node;
	h->lenient = lenient;
}

void kp_health_plan_node(struct kp_health *h, const struct kp_plan_node *node)
{
	kp_plan_node_unref(h->node);
	h->node = kp_plan_node_ref((struct kp_plan_node *)node);
}

void kp_health_block(struct kp_health *h, const char *name, const char *why)
{
	if (why)
		kp_map_puts(h->blockers, name, kp_strdup(why));
	else
		kp_map_dels(h->blockers, name);
}

const char *kp_health_blocked(const struct kp_health *h)
{
	struct kp_map_it it = { 0 };

	return kp_map_next(h->blockers, &it) ? it.value : NULL;
}

void kp_health_warm(struct kp_health *h, uint64_t wall_ns)
{
	h->warm = true;
	for (int f = 0; f < KP_N_FAMILIES; f++)
		h->family[f].updated_wall_ns = wall_ns;
}

void kp_health_cold(struct kp_health *h)
{
	h->warm = false;
}

bool kp_health_committed(const struct kp_health *h)
{
	return acked_by_all(h) > 0;
}

bool kp_health_started(const struct kp_health *h)
{
	return h->warm || kp_health_committed(h);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

/* When the oldest change that this family has not acknowledged was handed over, or came from somebody else. */
static uint64_t oldest_pending(const struct kp_health *h, int f)
{
	uint64_t broken = earlier(h->family[f].broken_ns, h->family[f].drift_ns);

	for (size_t i = 0; i < h->n_flights; i++)
		if (h->flights[i].generation > h->family[f].acked)
			return earlier(broken, h->flights[i].at_ns);
	return broken;
}

void kp_health_hold(struct kp_health *h, bool on)
{
	if (on)
		h->good_from = UINT64_MAX;
	else if (h->good_from == UINT64_MAX)
		h->good_from = h->submitted;
}

static void fill_names(struct hz_service *s, const char *key)
{
	const char *slash = strchr(key, '/');

	s->ns = kp_strndup(key, (size_t)(slash - key));
	s->name = kp_strdup(slash + 1);
}

static void fill_numbers(struct hz_service *s, const struct port *p)
{
	s->port = p->wanted->health_port;
	s->created = p->wanted->created;
	memcpy(s->has_family, p->wanted->has_family, sizeof(s->has_family));
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		const struct port_family *x = &p->family[f];

		s->broken[f] = x->drifted ? "drift" : x->refused && !x->n_held ? "refused" : NULL;
		s->local_ready[f] = s->broken[f] ? p->wanted->local_ready[f] : x->n_held;
	}
	memcpy(s->local_terminating, p->wanted->local_terminating, sizeof(s->local_terminating));
}

/* The names in order, and every port's place among them. */
static struct hz_services *list_services(struct kp_health *h)
{
	struct hz_services *v = hz_services_new(kp_map_len(h->ports));
	size_t n = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(h->ports, &it);)
		fill_names(&v->items[n++], it.key);
	hz_services_sort(v);
	for (size_t i = 0; i < n; i++) {
		KP_AUTO(kp_freep) char *key = kp_asprintf("%s/%s", v->items[i].ns, v->items[i].name);
		struct port *p = kp_map_gets(h->ports, key);

		p->at = i;
	}
	return v;
}

static struct hz_services *services(struct kp_health *h)
{
	struct hz_services *old = h->services;

	if (old && !h->recount)
		return old;
	h->services = old ? hz_services_again(old) : list_services(h);
	for (struct kp_map_it it = { 0 }; kp_map_next(h->ports, &it);) {
		const struct port *p = it.value;

		fill_numbers(&h->services->items[p->at], p);
	}
	h->recount = false;
	hz_services_unref(old);
	return h->services;
}

static void fill_addresses(const struct kp_plan_node *n, struct hz_state *s)
{
	size_t cap = 0;

	for (int f = 0; n && f < KP_N_FAMILIES; f++) {
		s->any_address[f] = n->enabled[f] && n->nodeport_all[f];
		for (uint32_t i = 0; !n->nodeport_all[f] && i < n->n_nodeport_ips[f]; i++) {
			kp_grow(&s->addresses, s->n_addresses, &cap);
			s->addresses[s->n_addresses++] = n->nodeport_ips[f][i];
		}
	}
}

struct hz_state *kp_health_state(struct kp_health *h)
{
	struct hz_state *s = kp_calloc(1, sizeof(*s));
	bool held = acked_by_all(h) < h->good_from;

	s->started = kp_health_started(h) && !kp_health_blocked(h) && !held;
	s->generation = s->started ? acked_by_all(h) : 0;
	s->node_eligible = h->eligible;
	s->lenient = h->lenient && !kp_health_blocked(h) && !held;
	if (h->node_state)
		s->node = *h->node_state;
	s->stale_ns = h->stale_ns;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		s->family[f].enabled = h->family[f].enabled;
		s->family[f].updated_wall_ns = h->family[f].updated_wall_ns;
		s->family[f].oldest_pending_ns = oldest_pending(h, f);
		s->family[f].drift_due_ns = h->family[f].drift_due_ns;
	}
	/* None opens before the first commit; that of a later Service at once, to say 503 until its rules are there (B.4). */
	if (kp_health_committed(h) && !kp_health_blocked(h))
		s->services = hz_services_ref(services(h));
	fill_addresses(h->node, s);
	return s;
}
