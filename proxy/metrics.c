#include "proxy/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/metrics_impl.h"
#include "proxy/plan/dataplane.h"

/* While a family fails, hand-overs pile up; from here on they share their places. */
#define MAX_FLIGHTS 256
#define MAX_TRIGGERS 4096	/* of one hand-over; a cold start may bring more, and those tell nothing new */

static const double sync_bounds[] = {
	.001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1.024, 2.048, 4.096, 8.192, 16.384,
};
static const double programming_bounds[] = {
	0, .25, .5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
	29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56,
	57, 58, 59, 60, 65, 70, 75, 80, 85, 90, 95, 100, 105, 110, 115, 120, 150, 180, 210, 240, 270, 300,
};

/* Fine enough for a median and a 99th percentile of what takes some hundred microseconds. */
static const double change_bounds[] = {
	25e-6, 50e-6, 75e-6, .0001, .000125, .00015, .000175, .0002, .00025, .0003, .0004, .0005, .00065, .0008, .001, .0015,
	.002, .003, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5,
};

#define SYNC_HISTOGRAM { .bounds = sync_bounds, .n_bounds = KP_N(sync_bounds) }

struct kp_metrics *kp_metrics_new(const bool families[KP_N_FAMILIES])
{
	struct kp_metrics *m = kp_calloc(1, sizeof(*m));
	struct kp_process p;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		m->families[f] = families[f];
		m->family[f] = (struct kp_metrics_family){
			.sync = SYNC_HISTOGRAM, .full = SYNC_HISTOGRAM, .partial = SYNC_HISTOGRAM,
			.conntrack = SYNC_HISTOGRAM, .repair = SYNC_HISTOGRAM,
			.programming = { .bounds = programming_bounds, .n_bounds = KP_N(programming_bounds) },
			.change = { .bounds = change_bounds, .n_bounds = KP_N(change_bounds) },
		};
	}
	m->wanted = kp_nolocal_new();
	(void)kp_process_read(&p);	/* without /proc it is 0 */
	m->start_seconds = p.start_seconds;	/* computed once: the clocks drift against each other */
	return m;
}

static void flight_release(struct kp_flight *fl)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		free(fl->triggers[f]);
	*fl = (struct kp_flight){ 0 };
}

struct kp_metrics *kp_metrics_free(struct kp_metrics *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->n_flights; i++)
		flight_release(&m->flights[i]);
	free(m->flights);
	flight_release(&m->next);
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		kp_prom_histogram_release(&m->family[f].sync);
		kp_prom_histogram_release(&m->family[f].full);
		kp_prom_histogram_release(&m->family[f].partial);
		kp_prom_histogram_release(&m->family[f].programming);
		kp_prom_histogram_release(&m->family[f].conntrack);
		kp_prom_histogram_release(&m->family[f].repair);
		kp_prom_histogram_release(&m->family[f].change);
	}
	kp_nolocal_free(m->wanted);
	free(m);
	return NULL;
}

/* kube-proxy has a tracker in each family, and each of them counts. */
void kp_metrics_service_event(struct kp_metrics *m, bool changed)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		m->events[KP_EVENT_SERVICE] += m->families[f];
	m->next.n_events[KP_EVENT_SERVICE] += changed;
}

void kp_metrics_slice_event(struct kp_metrics *m, bool changed)
{
	m->events[KP_EVENT_SLICE]++;
	m->next.n_events[KP_EVENT_SLICE] += changed;
}

void kp_metrics_seen(struct kp_metrics *m, uint64_t wall_ns)
{
	if (!m->next.seen_ns)
		m->next.seen_ns = wall_ns;
}

static void add_trigger(struct kp_flight *fl, int f, uint64_t ns)
{
	if (fl->n_triggers[f] >= MAX_TRIGGERS)
		return;
	kp_grow(&fl->triggers[f], fl->n_triggers[f], &fl->cap_triggers[f]);
	fl->triggers[f][fl->n_triggers[f]++] = ns;
}

static bool is_among(const uint64_t *list, size_t n, uint64_t ns)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == ns)
			return true;
	return false;
}

/*
 * One change of pods is written down in a slice of each family, with the same time. The
 * times do not say of which family they are, so each counts once for every family.
 */
void kp_metrics_want(struct kp_metrics *m, const char *key, const struct kp_plan *plan, const uint64_t *triggers,
		     size_t n_triggers)
{
	kp_nolocal_put(m->wanted, key, plan);
	for (size_t i = 0; plan && i < n_triggers; i++)
		for (int f = 0; f < KP_N_FAMILIES; f++)
			if (plan->has_family[f] && !is_among(triggers, i, triggers[i]))
				add_trigger(&m->next, f, triggers[i]);
}

static void merge(struct kp_flight *into, const struct kp_flight *fl)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		for (size_t i = 0; i < fl->n_triggers[f]; i++)
			add_trigger(into, f, fl->triggers[f][i]);
	for (int e = 0; e < KP_N_EVENTS; e++)
		into->n_events[e] += fl->n_events[e];
	into->generation = fl->generation;
	if (!into->seen_ns)
		into->seen_ns = fl->seen_ns;
	into->nolocal = fl->nolocal;
}

void kp_metrics_submitted(struct kp_metrics *m, uint64_t generation, uint64_t wall_ns)
{
	m->next.generation = generation;
	m->next.nolocal = kp_nolocal_get(m->wanted);
	if (m->n_flights >= MAX_FLIGHTS) {
		merge(&m->flights[m->n_flights - 1], &m->next);
		flight_release(&m->next);
	} else {
		kp_grow(&m->flights, m->n_flights, &m->cap_flights);
		m->flights[m->n_flights++] = m->next;
		m->next = (struct kp_flight){ 0 };
	}
	for (int f = 0; f < KP_N_FAMILIES; f++)
		m->family[f].last_queued = (double)wall_ns / 1e9;
}

void kp_metrics_not_submitted(struct kp_metrics *m)
{
	flight_release(&m->next);	/* or a later change would be as old as this one */
}

/* What goes along with the hand-overs that this family has now. */
static void arrive(struct kp_metrics *m, int f, uint64_t generation, bool wrote, uint64_t wall_ns)
{
	struct kp_metrics_family *of = &m->family[f];

	for (size_t i = 0; i < m->n_flights && m->flights[i].generation <= generation; i++) {
		struct kp_flight *fl = &m->flights[i];

		for (size_t t = 0; t < fl->n_triggers[f]; t++)
			kp_prom_observe(&of->programming, wall_ns > fl->triggers[f][t] ? (double)(wall_ns - fl->triggers[f][t]) / 1e9 : 0);
		if (wrote && fl->seen_ns && fl->generation > of->acked)
			kp_prom_observe(&of->change, wall_ns > fl->seen_ns ? (double)(wall_ns - fl->seen_ns) / 1e9 : 0);
		fl->n_triggers[f] = 0;	/* it stays until the other family has it, too */
		for (int p = 0; p < KP_N_POLICIES; p++)
			of->nolocal[p] = fl->nolocal.n[f][p];
	}
	of->acked = generation;
}

static void note_conntrack(struct kp_metrics_family *of, const struct dp_conntrack_result *r)
{
	kp_prom_observe(&of->conntrack, (double)r->took_ns / 1e9);
	of->conntrack_deleted += (double)r->deleted;
}

/* Full is what kube-proxy calls a sync that goes over everything, here one compared with what the kernel holds. */
static void note_commit(struct kp_metrics *m, int f, uint64_t generation, const struct dp_family_result *r, uint64_t wall_ns)
{
	struct kp_metrics_family *of = &m->family[f];
	double seconds = (double)r->took_ns / 1e9;

	kp_prom_observe(&of->sync, seconds);
	if (r->full)
		kp_prom_observe(&of->full, seconds);
	else
		kp_prom_observe(&of->partial, seconds);
	of->took = seconds;
	of->sync_failures += r->code < 0;
	of->cleanup_failures += r->cleanup_failed;
	of->partial_failures += r->partial_failed;
	of->restore_failures += (r->code < 0) + r->partial_failed;
	if (r->code < 0)
		return;
	for (int t = 0; t < DP_N_RULE_TABLES; t++) {
		of->rules[t] = r->rules.total[t];
		of->rules_last[t] = r->rules.last[t];
	}
	of->elements[0] = r->elements_added;
	of->elements[1] = r->elements_deleted;
	of->last_success = (double)wall_ns / 1e9;
	arrive(m, f, generation, r->wrote, wall_ns);
}

static void note_drift(struct kp_metrics_family *of, const struct dp_drift *d)
{
	if (d->noticed_ns != of->drift_ns) {
		of->drifts[d->kind]++;
		of->put_off += d->wait_ns != 0;
	}
	of->drift_ns = d->noticed_ns;
	of->unrepaired = !d->repaired_ns;
	if (d->repaired_ns)
		kp_prom_observe(&of->repair, (double)(d->repaired_ns - d->noticed_ns) / 1e9);
}

static bool is_everywhere(const struct kp_metrics *m, uint64_t generation)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (m->families[f] && m->family[f].acked < generation)
			return false;
	return true;
}

void kp_metrics_result(struct kp_metrics *m, uint64_t generation, const struct dp_result *res, uint64_t wall_ns)
{
	size_t done = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (res->family[f].drift)
			note_drift(&m->family[f], res->family[f].drift);
		if (res->family[f].tried)
			note_commit(m, f, generation, &res->family[f], wall_ns);
		if (res->conntrack[f].tried)
			note_conntrack(&m->family[f], &res->conntrack[f]);
	}
	m->refused = (double)res->n_refused;
	while (done < m->n_flights && is_everywhere(m, m->flights[done].generation))
		flight_release(&m->flights[done++]);
	if (!done)
		return;
	m->n_flights -= done;
	memmove(m->flights, m->flights + done, m->n_flights * sizeof(*m->flights));
}

size_t kp_metrics_pending_of(const struct kp_metrics *m, enum kp_event e)
{
	size_t n = m->next.n_events[e];

	for (size_t i = 0; i < m->n_flights; i++)
		n += m->flights[i].n_events[e];
	return n;
}

size_t kp_metrics_pending(const struct kp_metrics *m)
{
	return kp_metrics_pending_of(m, KP_EVENT_SERVICE) + kp_metrics_pending_of(m, KP_EVENT_SLICE);
}
