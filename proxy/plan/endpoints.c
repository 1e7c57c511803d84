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

static bool feeds(const struct kp_slice_port *p, struct kp_port_key key)
{
	return p->port && p->proto == key.proto && strcmp(p->name, key.name) == 0;
}

static void add_slice(struct kp_candidates *list, const struct kp_slice *s, struct kp_port_key key)
{
	for (size_t i = 0; i < s->n_ports; i++) {
		if (!feeds(&s->ports[i], key))
			continue;
		for (size_t e = 0; e < s->n_endpoints; e++)
			if (s->endpoints[e].addr.family == s->family)
				add(list, &s->endpoints[e], s->ports[i].port);
	}
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

void kp_endpoints_merge(const struct kp_slice *const *slices, size_t n, enum kp_family family,
			struct kp_port_key port, struct kp_candidates *ret)
{
	ret->n = 0;
	for (size_t i = 0; i < n; i++)
		if (slices[i]->family == family)
			add_slice(ret, slices[i], port);
	if (ret->n < 2)
		return;
	qsort(ret->items, ret->n, sizeof(*ret->items), by_text);
	settle_duplicates(ret);
}

static bool listed(const struct kp_port_key *keys, size_t n, const struct kp_slice_port *p)
{
	for (size_t i = 0; i < n; i++)
		if (feeds(p, keys[i]))
			return true;
	return false;
}

size_t kp_endpoints_ports(const struct kp_slice *const *slices, size_t n, enum kp_family family,
			  struct kp_port_key **ret)
{
	struct kp_port_key *keys = NULL;
	size_t n_keys = 0, cap = 0;

	for (size_t i = 0; i < n; i++) {
		const struct kp_slice *s = slices[i];

		for (size_t p = 0; s->family == family && p < s->n_ports; p++) {
			if (!s->ports[p].port || listed(keys, n_keys, &s->ports[p]))
				continue;
			kp_grow(&keys, n_keys, &cap);
			keys[n_keys++] = (struct kp_port_key){ s->ports[p].name, s->ports[p].proto };
		}
	}
	*ret = keys;
	return n_keys;
}

/* Local ones whose flags among these are exactly those wanted. */
static size_t local_addrs(const struct kp_slice *const *slices, size_t n, enum kp_family family,
			  unsigned among, unsigned wanted, struct kp_candidates *scratch, struct kp_addr **ret)
{
	KP_AUTO(kp_freep) struct kp_port_key *keys = NULL;
	size_t n_keys = kp_endpoints_ports(slices, n, family, &keys), n_found = 0, cap = 0;
	struct kp_addr *found = NULL;

	for (size_t k = 0; k < n_keys; k++) {
		kp_endpoints_merge(slices, n, family, keys[k], scratch);
		for (size_t i = 0; i < scratch->n; i++) {
			const struct kp_candidate *c = &scratch->items[i];

			if (!c->local || (c->flags & among) != wanted)
				continue;
			kp_grow(&found, n_found, &cap);
			found[n_found++] = c->addr;
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
