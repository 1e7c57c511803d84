#include "nft/ipt_watch.h"

#include <libmnl/libmnl.h>
#include <stdlib.h>

#include "nft/held.h"
#include "nft/socket.h"
#include "nft/who.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"

#define MS		1000000ull
#define LOOK_NS		(40 * MS)
#define LOOK_SHARE	10
#define LEARN_NS	(200 * MS)	/* after a write: how it is printed, for comparison later */
#define LISTEN_NS	(60000 * MS)
#define CALM_NS		(60000 * MS)	/* without drift: the next one is the first again */

struct dp_ipt_watch {
	struct dp_ipt_family *const *fams;
	const struct dp_wanted *want;
	struct mnl_socket *nl;		/* for the generation id; NULL: the old way */
	struct dp_who *who;
	uint64_t period_ns, listen_ns;	/* listen: until when */
	uint32_t generation;		/* of the ruleset, as far as it is our doing */
	uint64_t ask_ns, look_ns;	/* when to ask for it next; when a closer look is allowed again */
	bool begun;			/* something of ours may be in the kernel */
	uint64_t learn_ns;		/* when to look after we wrote, 0: no need */
	struct {
		struct dp_drift *open;	/* noticed, not repaired; NULL: none */
		unsigned in_a_row;
		uint64_t last_ns;	/* when the last one was noticed */
	} history[KP_N_FAMILIES];
};

int dp_ipt_watch_new(struct dp_ipt_watch **ret, struct dp_ipt_family *const fams[KP_N_FAMILIES], const struct dp_wanted *want,
		     bool through_nft, unsigned period_ms, struct kp_err *err)
{
	struct dp_ipt_watch *w = kp_calloc(1, sizeof(*w));
	int r;

	*w = (struct dp_ipt_watch){ .fams = fams, .want = want, .period_ns = through_nft ? LOOK_NS : period_ms * MS };
	r = through_nft ? dp_socket_open(&w->nl, err) : 0;
	if (r < 0) {
		free(w);
		return r;
	}
	w->who = dp_who_new();
	*ret = w;
	return 0;
}

struct dp_ipt_watch *dp_ipt_watch_free(struct dp_ipt_watch *w)
{
	if (!w)
		return NULL;
	for (int f = 0; f < KP_N_FAMILIES; f++)
		dp_drift_free(w->history[f].open);
	if (w->nl)
		mnl_socket_close(w->nl);
	dp_who_free(w->who);
	free(w);
	return NULL;
}

struct mnl_socket *dp_ipt_watch_socket(const struct dp_ipt_watch *w)
{
	return w->nl;
}

static void tell(const struct dp_drift *d, struct dp_family_result *ret)
{
	dp_drift_free(ret->drift);
	ret->drift = dp_drift_copy(d);
}

/* What we commit, programs of ours do, whom the kernel names like anybody else. */
static void stop_listening(struct dp_ipt_watch *w)
{
	dp_who_pause(w->who);
}

static void listen_again(struct dp_ipt_watch *w)
{
	if (w->nl && kp_now_ns() < w->listen_ns)
		dp_who_listen(w->who, w->listen_ns);
}

/* Takes what. */
static void notice(struct dp_ipt_watch *w, enum kp_family f, char *what, const char *who, struct dp_result *ret)
{
	struct dp_drift *d = kp_calloc(1, sizeof(*d));
	uint64_t now = kp_now_ns();

	if (now > w->history[f].last_ns + CALM_NS)
		w->history[f].in_a_row = 0;
	*d = (struct dp_drift){ .kind = DP_DRIFT_RULES, .what = what, .noticed_ns = now, .in_a_row = ++w->history[f].in_a_row };
	d->who = who ? kp_strdup(who) : NULL;
	w->history[f].last_ns = now;
	w->history[f].open = d;
	w->listen_ns = now + LISTEN_NS;
	tell(d, &ret->family[f]);
}

/* What we committed ourselves raises the generation, too; if it rose by more, somebody was between. */
static void note_own_commits(struct dp_ipt_watch *w)
{
	uint32_t now, ours = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (w->fams[f])
			ours += dp_ipt_family_take_commits(w->fams[f]);
	if (ours)
		w->learn_ns = kp_now_ns() + LEARN_NS;
	if (w->nl && dp_genid(w->nl, &now, NULL) == 0 && now - w->generation <= ours)
		w->generation = now;
}

static bool is_due(const struct dp_ipt_watch *w, int f)
{
	return w->history[f].open && dp_ipt_family_is_known(w->fams[f]);	/* not known: the repair failed, retries are on */
}

/* False: there is nothing to repair. */
static bool repair(struct dp_ipt_watch *w, struct dp_result *ret)
{
	uint64_t began = kp_now_ns();
	bool any = false;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (!is_due(w, f))
			continue;
		stop_listening(w);
		dp_ipt_family_full(w->fams[f], w->want, &ret->family[f]);
		any = true;
	}
	if (any)
		w->look_ns = kp_now_ns() + LOOK_SHARE * (kp_now_ns() - began);
	return any;
}

/* self: our pid, as the kernel counts. */
static void look_closer(struct dp_ipt_watch *w, uint32_t self, struct dp_result *ret)
{
	uint64_t began = kp_now_ns();
	char *who = dp_who_take(w->who, self);

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++) {
		char *what = NULL;

		if (!w->fams[f] || w->history[f].open)
			continue;
		if (dp_ipt_family_look(w->fams[f], &what) < 0)
			--w->generation;	/* not seen: it is not the one we know */
		if (what)
			notice(w, f, what, who, ret);
	}
	free(who);
	listen_again(w);
	w->look_ns = kp_now_ns() + LOOK_SHARE * (kp_now_ns() - began);
}

static void look(struct dp_ipt_watch *w, struct dp_result *ret)
{
	uint32_t generation = w->generation, self = 0;
	uint64_t now = kp_now_ns();

	if (now < w->ask_ns)
		return;
	w->ask_ns = now + w->period_ns;
	dp_who_tick(w->who, now);
	if (w->nl && dp_genid(w->nl, &generation, &self) < 0)
		return;
	if (now < w->look_ns || (w->nl && generation == w->generation && !(w->learn_ns && now >= w->learn_ns)))
		return;
	w->learn_ns = 0;
	w->generation = generation;	/* first: what comes while we look is seen next time */
	look_closer(w, self, ret);
}

void dp_ipt_watch_step(struct dp_ipt_watch *w, struct dp_result *ret)
{
	if (!repair(w, ret))
		look(w, ret);
}

void dp_ipt_watch_before_write(struct dp_ipt_watch *w, struct dp_result *ret)
{
	if (w->begun) {
		look(w, ret);
		repair(w, ret);
	} else if (w->nl) {
		(void)dp_genid(w->nl, &w->generation, NULL);	/* what was before our first write does not matter */
	}
	w->begun = true;
	stop_listening(w);
}

/* A drift is told with each try to repair it, until one puts it right. */
static void settle(struct dp_ipt_watch *w, int f, struct dp_family_result *ret)
{
	struct dp_drift *d = w->history[f].open;

	if (!d || !ret->tried)
		return;
	if (ret->code == 0)
		d->repaired_ns = kp_now_ns();
	tell(d, ret);
	if (ret->code == 0)
		w->history[f].open = dp_drift_free(d);
}

void dp_ipt_watch_after_write(struct dp_ipt_watch *w, struct dp_result *ret)
{
	note_own_commits(w);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		settle(w, f, &ret->family[f]);
	listen_again(w);
}

int dp_ipt_watch_pending_ms(const struct dp_ipt_watch *w, uint64_t now_ns)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (is_due(w, f))
			return 0;
	return w->begun ? kp_ms_until(w->ask_ns, now_ns) : -1;
}
