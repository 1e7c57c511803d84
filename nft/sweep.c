#include "nft/sweep.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>

#include "nft/family.h"
#include "nft/netlink.h"
#include "nft/program.h"
#include "nft/table.h"
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define AGAIN_NS	1000000000u
#define AT_ONCE		50	/* entries of a transaction: with more, each takes longer */

struct due {
	uint64_t at_ns;
	bool again;		/* this is the first of two */
};

struct dp_sweep {
	struct kp_map *due;	/* Service key -> struct due */
	uint64_t first_ns;	/* of them; UINT64_MAX: none */
};

struct dp_sweep *dp_sweep_new(void)
{
	struct dp_sweep *s = kp_calloc(1, sizeof(*s));

	s->due = kp_map_new(free);
	s->first_ns = UINT64_MAX;
	return s;
}

struct dp_sweep *dp_sweep_free(struct dp_sweep *s)
{
	if (!s)
		return NULL;
	kp_map_free(s->due);
	free(s);
	return NULL;
}

static bool contains(const struct kp_backend *v, uint32_t n, const struct kp_addr *addr, uint16_t port)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i].port == port && kp_addr_cmp(&v[i].addr, addr) == 0)
			return true;
	return false;
}

static bool lost(const struct kp_backend *was, uint32_t n_was, const struct kp_backend *is, uint32_t n_is)
{
	for (uint32_t i = 0; i < n_was; i++)
		if (!contains(is, n_is, &was[i].addr, was[i].port))
			return true;
	return false;
}

static const struct kp_plan_port *same_port(const struct kp_plan *p, const struct kp_plan_port *port)
{
	for (uint32_t i = 0; p && i < p->n_ports; i++)
		if (p->ports[i].family == port->family && strcmp(p->ports[i].id, port->id) == 0)
			return &p->ports[i];
	return NULL;
}

void dp_sweep_note(struct dp_sweep *s, const char *key, const struct kp_plan *was, const struct kp_plan *is, uint64_t now_ns)
{
	bool needed = false;

	for (uint32_t i = 0; is && i < is->n_ports; i++) {
		const struct kp_plan_port *port = &is->ports[i], *old = same_port(was, port);

		if (!port->affinity_seconds)
			continue;
		needed |= !was || (old && (lost(old->cluster, old->n_cluster, port->cluster, port->n_cluster) ||
					   lost(old->local, old->n_local, port->local, port->n_local)));
	}
	if (needed) {
		struct due *d = kp_calloc(1, sizeof(*d));

		*d = (struct due){ now_ns, true };
		kp_map_puts(s->due, key, d);
		s->first_ns = now_ns < s->first_ns ? now_ns : s->first_ns;
	}
}

int dp_sweep_pending_ms(const struct dp_sweep *s, uint64_t now_ns)
{
	return s->first_ns == UINT64_MAX ? -1 : kp_ms_until(s->first_ns, now_ns);
}

/* Keys whose remembered endpoint is not among the valid ones. */
struct stale {
	enum kp_family f;
	const struct kp_backend *valid;
	uint32_t n_valid;
	uint8_t (*keys)[16];
	size_t n, cap;
};

static void on_entry(void *arg, const uint8_t *key, const uint8_t *data, size_t len, uint64_t expires_ms)
{
	struct stale *st = arg;
	size_t addr = kp_addr_len((uint8_t)st->f);
	struct kp_addr to = { .family = (uint8_t)st->f };

	(void)expires_ms;
	if (len < addr + 2)
		return;
	memcpy(to.b, data, addr);
	if (contains(st->valid, st->n_valid, &to, (uint16_t)(data[addr] << 8 | data[addr + 1])))
		return;
	kp_grow(&st->keys, st->n, &st->cap);
	memcpy(st->keys[st->n++], key, addr);
}

static int delete_some(struct dp_table *t, const struct stale *st, const char *map, size_t at, size_t n)
{
	struct dp_txn *txn = dp_txn_new(st->f, dp_table_name(t));
	struct dp_txn_report rep;
	int r;

	dp_netlink_del_entries(txn, map, (const uint8_t (*)[16])&st->keys[at], n, kp_addr_len((uint8_t)st->f));
	r = dp_table_commit(t, txn, NULL, &rep);
	dp_txn_report_release(&rep);
	dp_txn_free(txn);
	return r;
}

/* An entry may expire meanwhile, and ENOENT fails the whole of its transaction: then by halves. */
static void delete_entries(struct dp_table *t, const struct stale *st, const char *map, size_t at, size_t n)
{
	if (delete_some(t, st, map, at, n) == -ENOENT && n > 1) {
		delete_entries(t, st, map, at, n / 2);
		delete_entries(t, st, map, at + n / 2, n - n / 2);
	}
}

static void sweep_map(struct dp_table *t, const struct kp_plan_port *port, bool local)
{
	struct stale st = {
		.f = (enum kp_family)port->family,
		.valid = local ? port->local : port->cluster,
		.n_valid = local ? port->n_local : port->n_cluster,
	};
	char map[DP_CHAIN_NAME];

	dp_affinity_map(port, local, map);
	if (dp_held_entries(dp_table_socket(t), st.f, dp_table_name(t), map, on_entry, &st) == 0 && st.n) {
		for (size_t at = 0; at < st.n; at += AT_ONCE)
			delete_entries(t, &st, map, at, st.n - at < AT_ONCE ? st.n - at : AT_ONCE);
		kp_debug("nft", "%s: %zu remembered choices of %s pointed at endpoints that left",
			 kp_family_names[st.f], st.n, port->label);
	}
	free(st.keys);
}

static void sweep_service(struct dp_table *t, const struct kp_plan *plan, enum kp_family f)
{
	for (uint32_t i = 0; plan && i < plan->n_ports; i++) {
		const struct kp_plan_port *port = &plan->ports[i];

		if (port->family != f || !port->affinity_seconds || !port->has_any)
			continue;
		if (dp_uses_cluster(port))
			sweep_map(t, port, false);
		if (dp_uses_local(port))
			sweep_map(t, port, true);
	}
}

static void sweep_tables(struct dp_table *const tables[KP_N_FAMILIES], const char *key)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (tables[f] && dp_table_is_known(tables[f]))
			sweep_service(tables[f], dp_family_plan(dp_table_family(tables[f]), key), (enum kp_family)f);
}

void dp_sweep_run(struct dp_sweep *s, struct dp_table *const tables[KP_N_FAMILIES], uint64_t now_ns)
{
	uint64_t first_ns = UINT64_MAX;

	if (now_ns < s->first_ns)
		return;
	for (struct kp_map_it it = { 0 }; kp_map_next(s->due, &it);) {
		struct due *d = it.value;

		if (d->at_ns <= now_ns) {
			sweep_tables(tables, it.key);
			if (!d->again) {
				kp_map_del_at(s->due, &it);
				continue;
			}
			*d = (struct due){ now_ns + AGAIN_NS, false };
		}
		first_ns = d->at_ns < first_ns ? d->at_ns : first_ns;
	}
	s->first_ns = first_ns;
}
