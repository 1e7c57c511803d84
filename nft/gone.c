#include "nft/gone.h"

#include <errno.h>
#include <stdlib.h>

#include "nft/writer.h"
#include "proxy/base/clock.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define LATER_NS 1000000000u	/* the kernel waits for an RCU grace period, some 30 ms */

struct entry {
	bool set;
	uint64_t due_ns;
};

struct dp_gone {
	struct kp_map *names;	/* -> struct entry; no map of ours is named as a chain */
	uint64_t first_ns;	/* when the first of them is due, or before; UINT64_MAX: none */
};

struct dp_gone *dp_gone_new(void)
{
	struct dp_gone *g = kp_calloc(1, sizeof(*g));

	g->names = kp_map_new(free);
	g->first_ns = UINT64_MAX;
	return g;
}

struct dp_gone *dp_gone_free(struct dp_gone *g)
{
	if (g)
		kp_map_free(g->names);
	free(g);
	return NULL;
}

void dp_gone_put(struct dp_gone *g, bool set, const char *name, uint64_t now_ns)
{
	struct entry *e = kp_calloc(1, sizeof(*e));

	*e = (struct entry){ set, now_ns + LATER_NS };
	kp_map_puts(g->names, name, e);
	g->first_ns = e->due_ns < g->first_ns ? e->due_ns : g->first_ns;
}

void dp_gone_del(struct dp_gone *g, const char *name)
{
	kp_map_dels(g->names, name);
}

void dp_gone_clear(struct dp_gone *g)
{
	kp_map_free(g->names);
	g->names = kp_map_new(free);
	g->first_ns = UINT64_MAX;
}

int dp_gone_pending_ms(const struct dp_gone *g, uint64_t now_ns)
{
	return g->first_ns == UINT64_MAX ? -1 : kp_ms_until(g->first_ns, now_ns);
}

void dp_gone_write(const struct dp_gone *g, struct dp_writer *w, uint64_t now_ns)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(g->names, &it);) {
		const struct entry *e = it.value;

		if (e->due_ns <= now_ns)
			(e->set ? w->ops->del_set : w->ops->del_chain)(w, it.key);
	}
}

void dp_gone_settle(struct dp_gone *g, int code, uint64_t now_ns)
{
	g->first_ns = UINT64_MAX;
	for (struct kp_map_it it = { 0 }; kp_map_next(g->names, &it);) {
		struct entry *e = it.value;

		if (e->due_ns <= now_ns && code != -EBUSY) {
			kp_map_del_at(g->names, &it);
			continue;
		}
		if (e->due_ns <= now_ns)
			e->due_ns = now_ns + LATER_NS;
		g->first_ns = e->due_ns < g->first_ns ? e->due_ns : g->first_ns;
	}
}
