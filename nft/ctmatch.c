#include "nft/ctmatch.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

/* Compared as bytes: made from zeroed memory, and nothing between its members. */
struct key {
	struct kp_addr ip;
	uint8_t node_port;
	uint16_t port, proto;
};

/* Front ends of connections whose rules were missing: very many, for a short time. */
struct missed {
	struct key *keys;
	size_t n, cap;
	bool sorted;
	bool repeated;		/* this is the repetition */
	uint64_t due_ns;
};

struct dp_ct_set {
	struct kp_map *items;	/* struct key -> struct item; UDP */
	struct missed missed[KP_N_FAMILIES];
	struct {
		bool given;
		struct kp_addr *ips;
		size_t n;
	} node[KP_N_FAMILIES];
};

/* Endpoints that do not serve a front end any more, its port being of no interest. */
struct gone {
	bool known;		/* no entry leads elsewhere and is stale */
	uint8_t n;
	struct kp_addr at[DP_CT_MAX_PARTS];
};

struct item {
	struct dp_ct_frontend fe;
	struct gone gone;
	uint64_t due_ns;
	bool repeated;		/* this is the repetition */
	struct kp_backend serving[];
};

struct dp_ct_set *dp_ct_set_new(void)
{
	struct dp_ct_set *s = kp_calloc(1, sizeof(*s));

	s->items = kp_map_new(free);
	return s;
}

static void forget_missed(struct missed *m)
{
	free(m->keys);
	*m = (struct missed){ 0 };
}

struct dp_ct_set *dp_ct_set_free(struct dp_ct_set *s)
{
	if (!s)
		return NULL;
	kp_map_free(s->items);
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		forget_missed(&s->missed[f]);
		free(s->node[f].ips);
	}
	free(s);
	return NULL;
}

static struct key make_key(const struct kp_addr *ip, bool node_port, uint8_t proto, uint16_t port)
{
	struct key k;

	memset(&k, 0, sizeof(k));
	k.ip.family = ip->family;
	if (!node_port)
		k.ip = *ip;
	k.node_port = node_port;
	k.proto = proto;
	k.port = port;
	return k;
}

static int cmp_backend(const void *a, const void *b)
{
	return kp_backend_cmp(a, b);
}

static bool is_among(const struct kp_backend *b, const struct kp_backend *sorted, uint32_t n)
{
	return n && bsearch(b, sorted, n, sizeof(*b), cmp_backend);
}

/* More than can be asked for are worth as little as none. */
static void add_gone(struct gone *g, const struct kp_addr *a)
{
	for (unsigned i = 0; i < g->n; i++)
		if (kp_addr_cmp(&g->at[i], a) == 0)
			return;
	if (g->n < KP_N(g->at))
		g->at[g->n++] = *a;
	else
		g->known = false;
}

static struct gone gone_from(const struct dp_ct_frontend *fe)
{
	struct gone g = { .known = fe->n_was && !fe->removed };

	for (uint32_t i = 0; i < fe->n_was && g.known; i++)
		if (!is_among(&fe->was[i], fe->serving, fe->n_serving))
			add_gone(&g, &fe->was[i].addr);
	return g;
}

static void merge_gone(struct gone *g, const struct gone *with)
{
	g->known = g->known && with->known;
	for (unsigned i = 0; i < with->n && g->known; i++)
		add_gone(g, &with->at[i]);
}

static void put_item(struct dp_ct_set *s, const struct dp_ct_frontend *fe, struct gone gone)
{
	struct key k = make_key(&fe->ip, fe->node_port, IPPROTO_UDP, fe->port);
	size_t len = fe->n_serving * sizeof(*fe->serving);
	struct item *it = kp_calloc(1, sizeof(*it) + len);
	const struct item *pending = kp_map_get(s->items, &k, sizeof(k));

	if (pending)
		merge_gone(&gone, &pending->gone);
	it->gone = gone;
	it->fe = *fe;
	if (len)
		memcpy(it->serving, fe->serving, len);
	it->fe.serving = it->serving;
	it->fe.was = NULL;
	it->fe.n_was = 0;
	kp_map_put(s->items, &k, sizeof(k), it);
}

void dp_ct_set_put(struct dp_ct_set *s, const struct dp_ct_frontend *fe)
{
	put_item(s, fe, gone_from(fe));
}

/* The port of a plan that answers UDP at fe, or NULL. */
static const struct kp_plan_port *find_udp(const struct kp_plan *p, const struct kp_frontend *fe)
{
	for (uint32_t i = 0; p && i < p->n_ports; i++) {
		const struct kp_plan_port *port = &p->ports[i];

		if (port->proto != IPPROTO_UDP || port->family != fe->ip.family)
			continue;
		for (uint32_t j = 0; j < port->n_frontends; j++)
			if (port->frontends[j].claimed && kp_frontend_same_place(&port->frontends[j], fe))
				return port;
	}
	return NULL;
}

static bool same_serving(const struct kp_plan_port *a, const struct kp_plan_port *b)
{
	return a->n_serving == b->n_serving &&
	       (!a->n_serving || memcmp(a->serving, b->serving, a->n_serving * sizeof(*a->serving)) == 0);
}

/* An endpoint may get traffic without serving: one that is not ready, of a Service that says to publish it. */
static bool all_serve(const struct kp_plan_port *p, const struct kp_backend *list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!is_among(&list[i], p->serving, p->n_serving))
			return false;
	return true;
}

/* port: NULL for a front end that is gone; was: NULL for a new one. */
static void put_planned(struct dp_ct_set *s, const struct kp_frontend *fe, const struct kp_plan_port *port,
			const struct kp_plan_port *was)
{
	struct dp_ct_frontend f = {
		.node_port = fe->kind == KP_FE_NODE_PORT,
		.ip = fe->ip,
		.port = fe->port,
		.removed = !port,
	};

	if (port) {
		f.serving = port->serving;
		f.n_serving = port->n_serving;
	}
	if (was && all_serve(was, was->cluster, was->n_cluster) && all_serve(was, was->local, was->n_local)) {
		f.was = was->serving;
		f.n_was = was->n_serving;
	}
	dp_ct_set_put(s, &f);
}

/* Everything that "in" answers at over UDP, if it is not the same in "other". */
static void put_difference(struct dp_ct_set *s, const struct kp_plan *in, const struct kp_plan *other, bool removed)
{
	for (uint32_t i = 0; in && i < in->n_ports; i++) {
		const struct kp_plan_port *port = &in->ports[i];

		for (uint32_t j = 0; port->proto == IPPROTO_UDP && j < port->n_frontends; j++) {
			const struct kp_frontend *fe = &port->frontends[j];
			const struct kp_plan_port *there;

			if (!fe->claimed)
				continue;
			there = find_udp(other, fe);
			if (!there || (!removed && !same_serving(port, there)))
				put_planned(s, fe, removed ? NULL : port, there);
		}
	}
}

void dp_ct_set_put_removed(struct dp_ct_set *s, const struct kp_plan *was, const struct kp_plan *is)
{
	put_difference(s, was, is, true);
}

void dp_ct_set_put_changed(struct dp_ct_set *s, const struct kp_plan *was, const struct kp_plan *is)
{
	put_difference(s, is, was, false);
}

static void add_missed(struct missed *m, const struct kp_plan_port *port)
{
	for (uint32_t i = 0; i < port->n_frontends; i++) {
		const struct kp_frontend *fe = &port->frontends[i];

		if (!fe->claimed)
			continue;
		kp_grow(&m->keys, m->n, &m->cap);
		m->keys[m->n++] = make_key(&fe->ip, fe->kind == KP_FE_NODE_PORT, port->proto, fe->port);
	}
}

void dp_ct_set_put_missed(struct dp_ct_set *s, enum kp_family family, const struct kp_map *plans)
{
	struct missed *m = &s->missed[family];

	forget_missed(m);
	for (struct kp_map_it it = { 0 }; kp_map_next(plans, &it);) {
		const struct kp_plan *p = it.value;

		for (uint32_t i = 0; i < p->n_ports; i++)
			if (p->ports[i].family == family && p->ports[i].proto != IPPROTO_UDP)
				add_missed(m, &p->ports[i]);
	}
}

void dp_ct_set_node_ips(struct dp_ct_set *s, enum kp_family family, const struct kp_addr *ips, size_t n)
{
	free(s->node[family].ips);
	s->node[family].given = true;
	s->node[family].ips = n ? kp_memdup(ips, n * sizeof(*ips)) : NULL;
	s->node[family].n = n;
}

static bool is_translated(const struct dp_ct_entry *e)
{
	return e->reply_sport != e->orig_dport || kp_addr_cmp(&e->reply_src, &e->orig_dst) != 0;
}

/*
 * A front end that exists: stale is what does not lead to a serving endpoint, its
 * port included (the recorded cases, against CT-5). That includes an entry without translation, made while
 * there was no endpoint: it would keep the flow black-holed (CT-6).
 *
 * A front end that is gone: stale is what is still translated. An entry without
 * translation is what a new packet would get now, too, since nothing translates
 * this address any more; it belongs to whoever answers there, for example a DNS
 * server on the node itself, and deleting it would only cost that flow its place in
 * other people's rules and its masqueraded port.
 */
static bool stale_at(const struct dp_ct_frontend *fe, const struct dp_ct_entry *e)
{
	const struct kp_backend to = { .addr = e->reply_src, .port = e->reply_sport };

	if (fe->removed)
		return is_translated(e);
	return !is_among(&to, fe->serving, fe->n_serving);
}

static const struct dp_ct_frontend *find(const struct dp_ct_set *s, const struct dp_ct_entry *e, bool node_port)
{
	struct key k = make_key(&e->orig_dst, node_port, IPPROTO_UDP, e->orig_dport);
	const struct item *it = kp_map_get(s->items, &k, sizeof(k));

	return it ? &it->fe : NULL;
}

static bool may_be_node(const struct dp_ct_set *s, const struct kp_addr *a)
{
	const struct kp_addr *ips = s->node[a->family].ips;

	if (!s->node[a->family].given)
		return true;
	return ips && bsearch(a, ips, s->node[a->family].n, sizeof(*ips), kp_addr_order);
}

void dp_ct_set_move(struct dp_ct_set *into, struct dp_ct_set *from)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (from->node[f].given) {
			free(into->node[f].ips);
			into->node[f] = from->node[f];
			memset(&from->node[f], 0, sizeof(from->node[f]));
		}
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (from->missed[f].n) {
			forget_missed(&into->missed[f]);
			into->missed[f] = from->missed[f];
			from->missed[f] = (struct missed){ 0 };
		}
	for (struct kp_map_it it = { 0 }; kp_map_next(from->items, &it);) {
		const struct item *item = it.value;

		put_item(into, &item->fe, item->gone);
		kp_map_del_at(from->items, &it);
	}
}

static bool is_stale_flow(const struct dp_ct_set *s, const struct dp_ct_entry *e)
{
	const struct dp_ct_frontend *fe = find(s, e, false);

	if (fe)		/* an exact address comes before node ports in the rules as well */
		return stale_at(fe, e);
	fe = find(s, e, true);
	return fe && may_be_node(s, &e->orig_dst) && stale_at(fe, e);
}

static int cmp_key(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct key));
}

static bool was_missed(const struct missed *m, const struct dp_ct_entry *e, bool node_port)
{
	struct key k = make_key(&e->orig_dst, node_port, e->proto, e->orig_dport);

	return m->sorted && bsearch(&k, m->keys, m->n, sizeof(k), cmp_key);
}

/*
 * Never answered: nothing that works is cut, neither a connection nor one to a server that
 * listens at the front end's address itself.
 */
static bool is_black_hole(const struct dp_ct_set *s, const struct dp_ct_entry *e)
{
	const struct missed *m = &s->missed[e->orig_dst.family];

	if (e->replied || is_translated(e))
		return false;
	return was_missed(m, e, false) || (may_be_node(s, &e->orig_dst) && was_missed(m, e, true));
}

bool dp_ct_set_stale(const struct dp_ct_set *s, const struct dp_ct_entry *e)
{
	return e->proto == IPPROTO_UDP ? is_stale_flow(s, e) : is_black_hole(s, e);
}

uint64_t dp_ct_set_due_ns(const struct dp_ct_set *s)
{
	uint64_t due = UINT64_MAX;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (s->missed[f].n && s->missed[f].due_ns < due)
			due = s->missed[f].due_ns;
	if (!kp_map_len(s->items))	/* the usual case: asked often, and an emptied map keeps its slots */
		return due;
	for (struct kp_map_it it = { 0 }; kp_map_next(s->items, &it);) {
		const struct item *item = it.value;

		if (item->due_ns < due)
			due = item->due_ns;
	}
	return due;
}

static bool is_due(const struct item *item, enum kp_family family, uint64_t now_ns)
{
	return item->fe.ip.family == family && item->due_ns <= now_ns;
}

size_t dp_ct_set_due(const struct dp_ct_set *s, enum kp_family family, uint64_t now_ns)
{
	size_t n = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(s->items, &it);)
		n += is_due(it.value, family, now_ns);
	return n;
}

/* Counted beyond what there is room for, but then some more than once. */
struct parts {
	struct dp_ct_part *at;
	size_t n;
};

static void add_part(struct parts *p, const struct dp_ct_part *part)
{
	for (size_t i = 0; i < p->n && i < DP_CT_MAX_PARTS; i++)
		if (p->at[i].frontend == part->frontend && kp_addr_cmp(&p->at[i].endpoint, &part->endpoint) == 0)
			return;
	if (p->n < DP_CT_MAX_PARTS)
		p->at[p->n] = *part;
	p->n++;
}

static void add_parts(struct parts *p, const struct item *item, bool by_endpoint)
{
	const struct gone *g = &item->gone;

	if (!g->known || (g->n && !by_endpoint))
		add_part(p, &(struct dp_ct_part){ .frontend = &item->fe });
	else
		for (unsigned i = 0; i < g->n; i++)
			add_part(p, &(struct dp_ct_part){ .endpoint = g->at[i] });
}

static size_t parts_of(const struct dp_ct_set *s, enum kp_family family, uint64_t now_ns, bool by_endpoint,
		       struct dp_ct_part ret[DP_CT_MAX_PARTS])
{
	struct parts p = { .at = ret };

	for (struct kp_map_it it = { 0 }; kp_map_next(s->items, &it);)
		if (is_due(it.value, family, now_ns))
			add_parts(&p, it.value, by_endpoint);
	return p.n;
}

/* An endpoint's entries are all stale, a front end's perhaps few of many: with as many walks, by endpoint. */
size_t dp_ct_set_parts(const struct dp_ct_set *s, enum kp_family family, uint64_t now_ns,
		       struct dp_ct_part ret[DP_CT_MAX_PARTS])
{
	size_t n = parts_of(s, family, now_ns, false, ret), m;

	if (family != KP_IPV4)
		return n;
	m = parts_of(s, family, now_ns, true, ret);
	return m <= n ? m : parts_of(s, family, now_ns, false, ret);
}

/* Sorted here and not when they are put: that is the thread of the commits. */
bool dp_ct_set_missed_due(struct dp_ct_set *s, enum kp_family family, uint64_t now_ns)
{
	struct missed *m = &s->missed[family];

	if (!m->n || m->due_ns > now_ns)
		return false;
	if (!m->sorted)
		qsort(m->keys, m->n, sizeof(*m->keys), cmp_key);
	m->sorted = true;
	return true;
}

static void missed_done(struct missed *m, uint64_t now_ns, bool deleted, uint64_t repeat_ns)
{
	if (!m->n || m->due_ns > now_ns)
		return;
	if (!deleted || m->repeated) {
		forget_missed(m);
		return;
	}
	m->due_ns = repeat_ns;
	m->repeated = true;
}

void dp_ct_set_done(struct dp_ct_set *s, enum kp_family family, uint64_t now_ns, bool deleted, uint64_t repeat_ns)
{
	missed_done(&s->missed[family], now_ns, deleted, repeat_ns);
	for (struct kp_map_it it = { 0 }; kp_map_next(s->items, &it);) {
		struct item *item = it.value;

		if (!is_due(item, family, now_ns))
			continue;
		if (deleted && !item->repeated) {
			item->due_ns = repeat_ns;
			item->repeated = true;
		} else {
			kp_map_del_at(s->items, &it);
		}
	}
}
