#include "nft/audit.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>

#include "nft/family.h"
#include "nft/held.h"
#include "nft/table.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define SLICE_NS	3000000u
#define PATIENCE	3	/* dumps of a set that commits may interrupt; after that it is read in one go, */
#define GIVE_UP		8	/* and after that left to the next audit */

/* Small ones first, and those that decide whether a Service answers at all. */
static const uint8_t order[] = {
	DP_SVC, DP_NP, DP_CLUSTER_IPS, DP_NODE_IPS, DP_NODEPORT_IPS, DP_HAIRPIN, DP_AFFREC, DP_AFFRECNP, DP_NPEPS, DP_EPS,
};

struct dp_audit {
	struct dp_table *const *tables;
	struct mnl_socket *nl;	/* NULL: opened when needed */
	bool running, dumping;
	unsigned at;		/* first set of each family, second set of each ... */
	unsigned interrupted;	/* dumps of this set */
	uint32_t genid;		/* from which it is dumped */
	struct dp_sum sum;	/* of it so far */
	uint64_t spent_ns;
};

struct dp_audit *dp_audit_new(struct dp_table *const tables[KP_N_FAMILIES])
{
	struct dp_audit *a = kp_calloc(1, sizeof(*a));

	a->tables = tables;
	return a;
}

/* What an unfinished dump would still send goes with the socket. */
static void close_dump(struct dp_audit *a)
{
	if (a->dumping)
		mnl_socket_close(kp_steal(&a->nl));
	a->dumping = false;
}

struct dp_audit *dp_audit_free(struct dp_audit *a)
{
	if (a && a->nl)
		mnl_socket_close(a->nl);
	free(a);
	return NULL;
}

void dp_audit_start(struct dp_audit *a)
{
	close_dump(a);
	a->running = true;
	a->at = a->interrupted = 0;
	a->spent_ns = 0;
}

bool dp_audit_is_running(const struct dp_audit *a)
{
	return a->running;
}

uint64_t dp_audit_spent_ns(const struct dp_audit *a)
{
	return a->spent_ns;
}

static enum kp_family family(const struct dp_audit *a)
{
	return (enum kp_family)(a->at % KP_N_FAMILIES);
}

static enum dp_set set(const struct dp_audit *a)
{
	return (enum dp_set)order[a->at / KP_N_FAMILIES];
}

static int begin(struct dp_audit *a)
{
	struct kp_err err = { 0 };
	int r = a->nl ? 0 : dp_socket_open(&a->nl, &err);

	a->sum = (struct dp_sum){ 0 };
	a->dumping = r == 0;
	if (r == 0)
		r = dp_genid(a->nl, &a->genid, NULL);
	return r < 0 ? r : dp_held_sum_begin(a->nl, family(a), dp_table_name(a->tables[family(a)]), set(a));
}

/* The dump is at its end. We ourselves may have committed between its parts. */
static int end(struct dp_audit *a)
{
	uint32_t genid;
	int r = dp_genid(a->nl, &genid, NULL);

	a->dumping = r < 0;
	return r < 0 ? r : genid == a->genid ? 0 : -EINTR;
}

static void next_set(struct dp_audit *a)
{
	close_dump(a);
	a->at++;
	a->interrupted = 0;
	a->running = a->at < KP_N_FAMILIES * KP_N(order);
}

/* One part of one set. 1: there is more of it, 0: it is summed. */
static int read_some(struct dp_audit *a)
{
	int r = a->dumping ? 0 : begin(a);

	if (r == 0)
		r = dp_held_sum_more(a->nl, family(a), set(a), &a->sum);
	if (r == 0)
		r = end(a);
	if (r < 0) {
		close_dump(a);
		a->interrupted++;
	}
	return r;
}

static bool can_audit(const struct dp_audit *a)
{
	const struct dp_table *t = a->tables[family(a)];

	return t && dp_table_is_known(t);	/* else everything is compared anyway */
}

/* 1: out of time, 0: the set is summed. -ENOENT is a set that is gone: the look at the structure tells. */
static int sum_set(struct dp_audit *a, uint64_t until_ns)
{
	int r;

	do {
		r = read_some(a);
	} while (r == 1 && (kp_now_ns() < until_ns || a->interrupted >= PATIENCE));
	return r;
}

static bool differs(const struct dp_audit *a)
{
	const struct dp_sum *want = dp_family_sum(dp_table_family(a->tables[family(a)]), set(a));

	return want->n != a->sum.n || want->sum != a->sum.sum;
}

bool dp_audit_step(struct dp_audit *a, enum kp_family *ret_f, enum dp_set *ret_set)
{
	uint64_t began = kp_now_ns();
	bool found = false;

	while (a->running && !found && kp_now_ns() < began + SLICE_NS) {
		int r = can_audit(a) ? sum_set(a, began + SLICE_NS) : -ENOENT;

		*ret_f = family(a);
		*ret_set = set(a);
		found = r == 0 && differs(a);
		if (r == 0 || r == -ENOENT || a->interrupted >= GIVE_UP)
			next_set(a);
	}
	if (found)
		a->running = false;
	a->spent_ns += kp_now_ns() - began;
	return found;
}
