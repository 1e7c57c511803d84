#include "healthz/history.h"

#include <stdlib.h>

#include "proxy/base/mem.h"

struct hz_history {
	struct hz_probe probes[HZ_HISTORY_LEN];
	uint64_t n;			/* ever; the next one's place is n % HZ_HISTORY_LEN */
	struct hz_peer_summary peers[HZ_HISTORY_PEERS];
	size_t n_peers;
};

struct hz_history *hz_history_new(void)
{
	return kp_calloc(1, sizeof(struct hz_history));
}

struct hz_history *hz_history_free(struct hz_history *h)
{
	free(h);
	return NULL;
}

/* Its summary, perhaps in the place of another peer's. */
static struct hz_peer_summary *find_peer(struct hz_history *h, const struct kp_addr *addr)
{
	struct hz_peer_summary *oldest = &h->peers[0];

	for (size_t i = 0; i < h->n_peers; i++) {
		if (kp_addr_cmp(&h->peers[i].addr, addr) == 0)
			return &h->peers[i];
		if (h->peers[i].last_wall_ns < oldest->last_wall_ns)
			oldest = &h->peers[i];
	}
	if (h->n_peers < HZ_HISTORY_PEERS)
		oldest = &h->peers[h->n_peers++];
	*oldest = (struct hz_peer_summary){ .addr = *addr };
	return oldest;
}

void hz_history_add(struct hz_history *h, const struct hz_probe *p)
{
	struct hz_peer_summary *s = find_peer(h, &p->peer.addr);

	h->probes[h->n++ % HZ_HISTORY_LEN] = *p;
	if (!s->count++)
		s->first_wall_ns = p->wall_ns;
	s->last_wall_ns = p->wall_ns;
	s->last_status = p->status;
	s->last_outcome = p->outcome;
}

uint64_t hz_peer_interval_ns(const struct hz_peer_summary *p)
{
	/* The wall clock may have been set back. */
	return p->count > 1 && p->last_wall_ns > p->first_wall_ns ? (p->last_wall_ns - p->first_wall_ns) / (p->count - 1) : 0;
}

size_t hz_history_probes(const struct hz_history *h, struct hz_probe **ret)
{
	size_t n = h->n < HZ_HISTORY_LEN ? (size_t)h->n : HZ_HISTORY_LEN;

	*ret = kp_calloc(n + 1, sizeof(**ret));
	for (size_t i = 0; i < n; i++)
		(*ret)[i] = h->probes[(h->n - n + i) % HZ_HISTORY_LEN];
	return n;
}

static int by_count(const void *a, const void *b)
{
	const struct hz_peer_summary *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	return kp_addr_cmp(&x->addr, &y->addr);
}

size_t hz_history_peers(const struct hz_history *h, struct hz_peer_summary **ret)
{
	*ret = kp_calloc(h->n_peers + 1, sizeof(**ret));
	for (size_t i = 0; i < h->n_peers; i++)
		(*ret)[i] = h->peers[i];
	qsort(*ret, h->n_peers, sizeof(**ret), by_count);
	return h->n_peers;
}

void hz_printable(char *out, size_t room, const char *src, size_t len)
{
	size_t n = len < room - 1 ? len : room - 1;

	for (size_t i = 0; src && i < n; i++)
		out[i] = src[i] >= ' ' && src[i] < 0x7f ? src[i] : '?';
	out[src ? n : 0] = '\0';
}
