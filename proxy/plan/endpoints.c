#include "proxy/plan/endpoints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/model/objects.h"
#include "proxy/plan/addrs.h"

/* Decimal, without a terminator; returns the end. */
static char *put_number(char *out, unsigned v)
{
	char digits[5];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*out++ = digits[--n];
	return out;
}

/* By hand for IPv4: half of the time of building large Services would go into printf. */
static void write_text(struct kp_candidate *c)
{
	char *out = c->text;

	if (c->addr.family == KP_IPV4) {
		for (int i = 0; i < 4; i++) {
			out = put_number(out, c->addr.b[i]);
			*out++ = '.';
		}
		out--;
	} else {
		*out++ = '[';
		kp_addr_str(&c->addr, out);
		out += strlen(out);
		*out++ = ']';
	}
	*out++ = ':';
	*put_number(out, c->port) = '\0';
}

static void add(struct kp_candidates *list, const struct kp_endpoint *e, uint16_t port)
{
	struct kp_candidate *c;

	kp_grow(&list->items, list->n, &list->cap);
	c = &list->items[list->n];
	c->addr = e->addr;
	c->port = port;
	c->flags = e->flags;
	c->local = e->flags & KP_EP_HERE;
	c->in_cluster = c->in_local = false;
	c->from = e;
	c->seen = (uint32_t)list->n++;
	write_text(c);
}

static void add_slice(struct kp_candidates *list, const struct kp_slice *s, uint16_t port)
{
	for (size_t e = 0; e < s->n_endpoints; e++)
		if (s->endpoints[e].addr.family == s->family)
			add(list, &s->endpoints[e], port);
}

static int by_text(const void *pa, const void *pb)
{
	const struct kp_candidate *a = pa, *b = pb;
	int r = strcmp(a->text, b->text);

	return r ? r : (a->seen > b->seen) - (a->seen < b->seen);
}

static void settle_duplicates(struct kp_candidates *list)
{
	size_t kept = 0;

	for (size_t i = 0; i < list->n; i++) {
		const struct kp_candidate *c = &list->items[i];

		if (!kept || strcmp(list->items[kept - 1].text, c->text) != 0)
			list->items[kept++] = *c;
		else if (!(c->flags & KP_EP_TERMINATING))
			list->items[kept - 1] = *c;
	}
	list->n = kept;
}

static void settle(struct kp_candidates *list)
{
	if (list->n < 2)
		return;
	qsort(list->items, list->n, sizeof(*list->items), by_text);
	settle_duplicates(list);
}

static int cmp_key(const struct kp_port_key *a, const struct kp_port_key *b)
{
	return a->proto != b->proto ? a->proto - b->proto : strcmp(a->name, b->name);
}

static struct kp_port_key key_of(const struct kp_slice_port *p)
{
	return (struct kp_port_key){ p->name, p->proto };
}

void kp_endpoints_merge(const struct kp_slice *const *slices, size_t n, enum kp_family family,
			struct kp_port_key port, struct kp_candidates *ret)
{
	ret->n = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; slices[i]->family == family && p < slices[i]->n_ports; p++) {
			const struct kp_port_key key = key_of(&slices[i]->ports[p]);

			if (slices[i]->ports[p].port && cmp_key(&key, &port) == 0)
				add_slice(ret, slices[i], slices[i]->ports[p].port);
		}
	settle(ret);
}

/* A port of a slice. */
struct feed {
	struct kp_port_key key;
	const struct kp_slice *slice;
	uint16_t port;
	uint32_t seen;
};

static int by_key(const void *pa, const void *pb)
{
	const struct feed *a = pa, *b = pb;
	int r = cmp_key(&a->key, &b->key);

	return r ? r : (a->seen > b->seen) - (a->seen < b->seen);
}

/* All ports of all slices, those of one key side by side: a slice may have 20,000. Caller frees. */
static struct feed *feeds_of(const struct kp_slice *const *slices, size_t n, enum kp_family family, size_t *ret_n)
{
	struct feed *all = NULL;
	size_t n_all = 0, cap = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; slices[i]->family == family && p < slices[i]->n_ports; p++) {
			const struct kp_slice_port *port = &slices[i]->ports[p];

			if (!port->port)
				continue;
			kp_grow(&all, n_all, &cap);
			all[n_all] = (struct feed){ key_of(port), slices[i], port->port, (uint32_t)n_all };
			n_all++;
		}
	if (n_all)
		qsort(all, n_all, sizeof(*all), by_key);
	*ret_n = n_all;
	return all;
}

/* Local ones whose flags among these are exactly those wanted. */
static size_t local_addrs(const struct kp_slice *const *slices, size_t n, enum kp_family family,
			  unsigned among, unsigned wanted, struct kp_candidates *scratch, struct kp_addr **ret)
{
	size_t n_feeds, n_found = 0, cap = 0;
	KP_AUTO(kp_freep) struct feed *feeds = feeds_of(slices, n, family, &n_feeds);
	const struct kp_slice *alone = NULL;
	struct kp_addr *found = NULL;

	for (size_t i = 0, end; i < n_feeds; i = end) {
		scratch->n = 0;
		for (end = i + 1; end < n_feeds && cmp_key(&feeds[end].key, &feeds[i].key) == 0; end++)
			;
		if (end == i + 1 && feeds[i].slice == alone)
			continue;	/* what a port has from one slice is the same for the next */
		alone = end == i + 1 ? feeds[i].slice : NULL;
		for (size_t f = i; f < end; f++)
			add_slice(scratch, feeds[f].slice, feeds[f].port);
		settle(scratch);
		for (size_t c = 0; c < scratch->n; c++)
			if (scratch->items[c].local && (scratch->items[c].flags & among) == wanted) {
				kp_grow(&found, n_found, &cap);
				found[n_found++] = scratch->items[c].addr;
			}
	}
	*ret = found;
	return kp_addrs_distinct(found, n_found);
}

size_t kp_endpoints_local_ready(const struct kp_slice *const *slices, size_t n, enum kp_family family,
				struct kp_candidates *scratch, struct kp_addr **ret)
{
	return local_addrs(slices, n, family, KP_EP_READY, KP_EP_READY, scratch, ret);
}

size_t kp_endpoints_local_terminating(const struct kp_slice *const *slices, size_t n, enum kp_family family,
				      struct kp_candidates *scratch, struct kp_addr **ret)
{
	return local_addrs(slices, n, family, KP_EP_READY | KP_EP_SERVING | KP_EP_TERMINATING,
			   KP_EP_SERVING | KP_EP_TERMINATING, scratch, ret);
}
