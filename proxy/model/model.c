#include "proxy/model/model.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define MAX_TRIGGERS 1024	/* of a Service: they may wait for days where nothing is programmed, and later ones tell little */

/*
 * All that is known under one "ns/name": the Service, the slices that name it, and
 * whether it waits to be built. A group lives as long as any of the three is there,
 * so slices may come before their Service, and a removed Service is still handed out.
 */
struct group {
	struct kp_service *service;
	const struct kp_slice **slices;	/* by name; owned by kp_model.slices */
	size_t n_slices;
	uint64_t *triggers;
	size_t n_triggers, cap_triggers;
	struct group *next_dirty;
	bool dirty;
	char key[];
};

struct kp_model {
	char *node_name;
	struct kp_map *groups;		/* key of the Service -> struct group */
	struct kp_map *slices;		/* key of the slice -> struct kp_slice */
	struct kp_map *cidrs;		/* name -> struct kp_service_cidr */
	struct kp_node *node;
	size_t n_services;
	struct group *dirty, **dirty_end;
	bool node_dirty;
	bool tracks_triggers;
	uint64_t triggers_since;
};

static const void *key_of_group(const void *v, size_t *ret_len)
{
	const struct group *g = v;

	*ret_len = strlen(g->key);
	return g->key;
}

static void free_group(void *v)
{
	struct group *g = v;

	kp_service_free(g->service);
	free(g->slices);
	free(g->triggers);
	free(g);
}

static void free_slice(void *v)
{
	kp_slice_free(v);
}

static void free_service_cidr(void *v)
{
	kp_service_cidr_free(v);
}

struct kp_model *kp_model_new(const char *node_name)
{
	struct kp_model *m = kp_calloc(1, sizeof(*m));

	m->node_name = kp_strdup(node_name);
	m->groups = kp_map_new_keyed(key_of_group, free_group);
	m->slices = kp_map_new(free_slice);
	m->cidrs = kp_map_new(free_service_cidr);
	m->dirty_end = &m->dirty;
	return m;
}

struct kp_model *kp_model_free(struct kp_model *m)
{
	if (!m)
		return NULL;
	kp_map_free(m->groups);
	kp_map_free(m->slices);
	kp_map_free(m->cidrs);
	kp_node_free(m->node);
	free(m->node_name);
	free(m);
	return NULL;
}

static struct group *get_group(struct kp_model *m, const char *key)
{
	struct group *g = kp_map_gets(m->groups, key);
	size_t len;

	if (g)
		return g;
	len = strlen(key) + 1;
	g = kp_calloc(1, sizeof(*g) + len);
	memcpy(g->key, key, len);
	kp_map_puts(m->groups, key, g);
	return g;
}

static void mark(struct kp_model *m, struct group *g)
{
	if (g->dirty)
		return;
	g->dirty = true;
	*m->dirty_end = g;
	m->dirty_end = &g->next_dirty;
}

void kp_model_mark_dirty(struct kp_model *m, const char *key)
{
	mark(m, get_group(m, key));
}

void kp_model_mark_all_dirty(struct kp_model *m)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(m->groups, &it);) {
		struct group *g = it.value;

		if (g->service)
			mark(m, g);
	}
}

char *kp_model_pop_dirty(struct kp_model *m)
{
	struct group *g = m->dirty;
	char *key;

	if (!g)
		return NULL;
	m->dirty = g->next_dirty;
	if (!m->dirty)
		m->dirty_end = &m->dirty;
	g->next_dirty = NULL;
	g->dirty = false;
	key = kp_strdup(g->key);
	if (!g->service && !g->n_slices)
		kp_map_dels(m->groups, key);
	return key;
}

bool kp_model_pop_node_dirty(struct kp_model *m)
{
	bool was = m->node_dirty;

	m->node_dirty = false;
	return was;
}

/* Services */

bool kp_model_put_service(struct kp_model *m, struct kp_service *taken)
{
	KP_AUTO(kp_service_freep) struct kp_service *s = taken;
	KP_AUTO(kp_freep) char *key = kp_asprintf("%s/%s", s->ns, s->name);
	struct group *g;

	if (s->foreign)
		return kp_model_del_service(m, key);
	g = get_group(m, key);
	if (g->service && kp_service_equal(g->service, s))
		return false;
	m->n_services += !g->service;
	kp_service_free(g->service);
	g->service = kp_steal(&s);
	mark(m, g);
	return true;
}

bool kp_model_del_service(struct kp_model *m, const char *key)
{
	struct group *g = kp_map_gets(m->groups, key);

	if (!g || !g->service)
		return false;
	g->service = kp_service_free(g->service);
	m->n_services--;
	mark(m, g);
	return true;
}

const struct kp_service *kp_model_service(const struct kp_model *m, const char *key)
{
	struct group *g = kp_map_gets(m->groups, key);

	return g ? g->service : NULL;
}

size_t kp_model_n_services(const struct kp_model *m)
{
	return m->n_services;
}

/* Slices */

static struct group *group_of(struct kp_model *m, const struct kp_slice *s)
{
	KP_AUTO(kp_freep) char *key = kp_asprintf("%s/%s", s->ns, s->service);

	return get_group(m, key);
}

/* Where the slice of that name is in the group, or would be. */
static size_t slice_at(const struct group *g, const char *name)
{
	size_t lo = 0, hi = g->n_slices;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(g->slices[mid]->name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void link_slice(struct group *g, const struct kp_slice *s)
{
	size_t at = slice_at(g, s->name);

	g->slices = kp_reallocarray(g->slices, g->n_slices + 1, sizeof(*g->slices));	/* mostly one */
	memmove(g->slices + at + 1, g->slices + at, (g->n_slices - at) * sizeof(*g->slices));
	g->slices[at] = s;
	g->n_slices++;
}

static void unlink_slice(struct group *g, const struct kp_slice *s)
{
	size_t at = slice_at(g, s->name);

	g->n_slices--;
	memmove(g->slices + at, g->slices + at + 1, (g->n_slices - at) * sizeof(*g->slices));
}

static void remember_trigger(const struct kp_model *m, struct group *g, uint64_t ns)
{
	if (!m->tracks_triggers || !ns || ns < m->triggers_since || g->n_triggers == MAX_TRIGGERS)
		return;
	kp_grow(&g->triggers, g->n_triggers, &g->cap_triggers);
	g->triggers[g->n_triggers++] = ns;
}

/* Out of the picture, and the group it was in, which has changed. NULL: there is none. */
static struct group *drop_slice(struct kp_model *m, const char *key)
{
	KP_AUTO(kp_slice_freep) struct kp_slice *s = kp_map_takes(m->slices, key);
	struct group *g;

	if (!s)
		return NULL;
	g = group_of(m, s);
	unlink_slice(g, s);
	mark(m, g);
	return g;
}

/* Of a node it matters whether it is this one; the names would be a tenth of all memory. */
static void forget_node_names(const struct kp_model *m, struct kp_slice *s)
{
	for (size_t i = 0; i < s->n_endpoints; i++) {
		struct kp_endpoint *e = &s->endpoints[i];

		if (e->node && strcmp(s->node_names + e->node, m->node_name) == 0)
			e->flags |= KP_EP_HERE;
		e->node = 0;
	}
	free(kp_steal(&s->node_names));
}

bool kp_model_put_slice(struct kp_model *m, struct kp_slice *taken)
{
	KP_AUTO(kp_slice_freep) struct kp_slice *s = taken;
	KP_AUTO(kp_freep) char *key = kp_asprintf("%s/%s", s->ns, s->name);
	const struct kp_slice *old = kp_map_gets(m->slices, key);
	struct group *g;

	if (s->foreign)
		return kp_model_del_slice(m, key);
	if (old && strcmp(old->service, s->service) == 0 && kp_slice_equal(old, s))
		return false;
	forget_node_names(m, s);
	(void)drop_slice(m, key);	/* it may have belonged to another Service */
	g = group_of(m, s);
	link_slice(g, s);
	remember_trigger(m, g, s->trigger_ns);
	mark(m, g);
	kp_map_puts(m->slices, key, kp_steal(&s));
	return true;
}

bool kp_model_del_slice(struct kp_model *m, const char *key)
{
	struct group *g = drop_slice(m, key);

	if (!g)
		return false;
	g->n_triggers = 0;
	return true;
}

void kp_model_track_triggers(struct kp_model *m, uint64_t since_ns)
{
	m->tracks_triggers = true;
	m->triggers_since = since_ns;
}

size_t kp_model_take_triggers(struct kp_model *m, const char *key, uint64_t **ret)
{
	struct group *g = kp_map_gets(m->groups, key);
	size_t n = g ? g->n_triggers : 0;

	*ret = NULL;
	if (!n)
		return 0;
	*ret = kp_steal(&g->triggers);
	g->n_triggers = g->cap_triggers = 0;
	return n;
}

size_t kp_model_slices(const struct kp_model *m, const char *key, const struct kp_slice *const **ret)
{
	struct group *g = kp_map_gets(m->groups, key);

	*ret = g ? g->slices : NULL;
	return g ? g->n_slices : 0;
}

const struct kp_slice *kp_model_slice(const struct kp_model *m, const char *key)
{
	return kp_map_gets(m->slices, key);
}

void kp_model_keys(const struct kp_model *m, struct kp_buf *ret)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(m->groups, &it);)
		kp_buf_add(ret, it.key, it.len + 1);
}

/* The Node */

static bool same_zone(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_ips(const struct kp_node *a, const struct kp_node *b)
{
	return a->n_ips == b->n_ips && (!a->n_ips || memcmp(a->ips, b->ips, a->n_ips * sizeof(*a->ips)) == 0);
}

bool kp_model_put_node(struct kp_model *m, struct kp_node *taken)
{
	KP_AUTO(kp_node_freep) struct kp_node *n = taken;
	static const struct kp_node none;
	const struct kp_node *was = m->node ? m->node : &none;

	if (strcmp(n->name, m->node_name) != 0 || (m->node && kp_node_equal(m->node, n)))
		return false;
	if (!same_zone(was->zone, n->zone) || !same_ips(was, n))
		kp_model_mark_all_dirty(m);
	kp_node_free(m->node);
	m->node = kp_steal(&n);
	m->node_dirty = true;
	return true;
}

const struct kp_node *kp_model_node(const struct kp_model *m)
{
	return m->node;
}

const char *kp_model_node_name(const struct kp_model *m)
{
	return m->node_name;
}

/* ServiceCIDRs */

bool kp_model_put_service_cidr(struct kp_model *m, struct kp_service_cidr *taken)
{
	KP_AUTO(kp_service_cidr_freep) struct kp_service_cidr *c = taken;
	const struct kp_service_cidr *old = kp_map_gets(m->cidrs, c->name);

	if (old && old->n_cidrs == c->n_cidrs &&
	    (!c->n_cidrs || memcmp(old->cidrs, c->cidrs, c->n_cidrs * sizeof(*c->cidrs)) == 0))
		return false;
	kp_map_puts(m->cidrs, c->name, c);
	m->node_dirty = true;
	c = NULL;	/* the map's now */
	return true;
}

bool kp_model_del_service_cidr(struct kp_model *m, const char *name)
{
	if (!kp_map_dels(m->cidrs, name))
		return false;
	m->node_dirty = true;
	return true;
}

const struct kp_service_cidr *kp_model_service_cidr(const struct kp_model *m, const char *name)
{
	return kp_map_gets(m->cidrs, name);
}

void kp_model_each_service_cidr(const struct kp_model *m, void (*fn)(void *arg, const struct kp_service_cidr *c), void *arg)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(m->cidrs, &it);)
		fn(arg, it.value);
}

static int cmp_cidr(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct kp_cidr));
}

size_t kp_model_service_cidrs(const struct kp_model *m, enum kp_family family, struct kp_cidr **ret)
{
	struct kp_cidr *all = NULL;
	size_t n = 0, cap = 0, kept = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(m->cidrs, &it);) {
		const struct kp_service_cidr *c = it.value;

		for (size_t i = 0; i < c->n_cidrs; i++) {
			if (c->cidrs[i].addr.family != family)
				continue;
			kp_grow(&all, n, &cap);
			all[n++] = c->cidrs[i];
		}
	}
	if (n)
		qsort(all, n, sizeof(*all), cmp_cidr);
	for (size_t i = 0; i < n; i++)
		if (!kept || cmp_cidr(&all[kept - 1], &all[i]) != 0)
			all[kept++] = all[i];
	*ret = all;
	return kept;
}
