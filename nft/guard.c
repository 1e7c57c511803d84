#include "nft/guard.h"

#include <errno.h>
#include <stdlib.h>

#include "nft/held.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define MS		1000000ull
#define ASK_NS		(40 * MS)
#define LOOK_SHARE	10
#define FIRST_NS	(1000 * MS)	/* the first commit is near, and has the processor for itself */
#define PERIOD_MS	30000

struct dp_guard {
	struct dp_options opt;
	const struct dp_ops *own;
	struct mnl_socket *nl;
	uint32_t generation;	/* that was last looked at */
	uint64_t ask_ns;	/* when to ask for it next; 0: it is over */
	uint64_t look_ns;	/* when to look though it did not move */
};

struct dp_guard *dp_guard_new(const struct dp_options *opt, const struct dp_ops *own, struct mnl_socket *nl)
{
	struct dp_guard *g;

	if (!opt->warm)
		return NULL;
	g = kp_calloc(1, sizeof(*g));
	*g = (struct dp_guard){ .opt = *opt, .own = own, .nl = nl };
	g->ask_ns = g->look_ns = kp_now_ns() + FIRST_NS;	/* what happened since others looked is seen then */
	return g;
}

struct dp_guard *dp_guard_free(struct dp_guard *g)
{
	free(g);
	return NULL;
}

int dp_guard_pending_ms(const struct dp_guard *g, uint64_t now_ns)
{
	return g && g->ask_ns ? kp_ms_until(g->ask_ns, now_ns) : -1;
}

/* By us, or by the backend of before: until ours are written those serve. As dp_ops.warm, about our own. */
static int look(const struct dp_guard *g, struct kp_err *err)
{
	int r = g->own->warm(&g->opt, err);
	struct kp_err other = { 0 };

	for (const struct dp_ops *const *o = g->opt.former; r < 0 && o && *o; o++)
		if ((*o)->warm(&g->opt, &other) == 0)
			r = 0;
	return r;
}

static bool has_moved(struct dp_guard *g, uint64_t now)
{
	uint32_t generation = g->generation;

	if (g->nl && dp_genid(g->nl, &generation, NULL) < 0)
		return false;
	if (generation == g->generation && now < g->look_ns)
		return false;
	g->generation = generation;	/* first: what comes while we look is seen next time */
	return true;
}

void dp_guard_step(struct dp_guard *g, struct dp_result *ret)
{
	unsigned period_ms = g && g->opt.period_ms ? g->opt.period_ms : PERIOD_MS;
	uint64_t now = kp_now_ns(), took;
	struct kp_err err = { 0 };
	int r;

	if (dp_guard_pending_ms(g, now) != 0)
		return;
	g->ask_ns = now + (g->nl ? ASK_NS : period_ms * MS);
	if (!has_moved(g, now))
		return;
	r = look(g, &err);
	took = kp_now_ns() - now;
	g->look_ns = now + (r == 0 || r == -ENOENT || r == -EUCLEAN ? period_ms * MS : 0);	/* else it was not seen */
	g->ask_ns += LOOK_SHARE * took;
	if (r != -ENOENT && r != -EUCLEAN)
		return;
	g->ask_ns = 0;
	ret->cold = kp_strdup(err.msg);
}
