#include "nft/watch.h"

#include <stdlib.h>

#include "nft/audit.h"
#include "nft/held.h"
#include "nft/who.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"

#define MS		1000000ull
#define LOOK_NS		(40 * MS)	/* to notice within 50; each wake-up costs ten times what it does */
#define AUDIT_SLOW_NS	(300000 * MS)	/* without cause */
#define AUDIT_SHARE	10		/* audits that find nothing take a tenth of the time at most, */
#define AUDIT_CREDIT_NS	(60000 * MS)	/* but may come in a row, for six seconds in all */
#define RESTARTS	4
#define LISTEN_NS	(60000 * MS)
#define CALM_NS		(60000 * MS)	/* without drift: the next one is the first again */
#define FREE_REPAIRS	20		/* at once, in a row; one more for each second without any */
#define WAIT_MIN_NS	(100 * MS)	/* then this, and twice as long each time, */
#define WAIT_MAX_NS	(5000 * MS)
#define PEACE_NS	(30000 * MS)	/* until so long nothing happened */

/* How it went with a table lately. */
struct history {
	struct dp_drift *open;	/* noticed, not repaired; NULL: none */
	unsigned in_a_row;
	uint64_t last_ns;	/* when the last one was noticed */
	uint64_t full_ns;	/* when all free repairs are there again */
	uint64_t wait_ns;	/* of the last repair that was put off */
};

struct dp_watch {
	struct dp_table *const *tables;
	const struct dp_wanted *want;
	uint32_t *generation;
	struct dp_audit *audit;
	struct dp_who *who;
	struct history history[KP_N_FAMILIES];
	uint64_t look_ns;	/* when to look next; 0: not begun */
	uint64_t audit_ns;	/* when to audit next without cause */
	unsigned restarts;	/* of the audit under way, for commits that came meanwhile */
	bool again;		/* somebody committed during the audit under way */
	bool doubt;		/* something was repaired: is everything else as it should be? */
	char *suspect;		/* who did, as far as the kernel told; NULL: nobody is known */
	struct dp_heard heard;	/* and to which elements, since all were last as they should be */
	uint64_t paid_ns;	/* when all audits up to now are paid for */
};

struct dp_watch *dp_watch_new(struct dp_table *const tables[KP_N_FAMILIES], const struct dp_wanted *want, uint32_t *generation)
{
	struct dp_watch *w = kp_calloc(1, sizeof(*w));

	*w = (struct dp_watch){ .tables = tables, .want = want, .generation = generation };
	w->audit = dp_audit_new(tables);
	w->who = dp_who_new();
	w->heard.complete = true;
	return w;
}

struct dp_watch *dp_watch_free(struct dp_watch *w)
{
	if (!w)
		return NULL;
	for (int f = 0; f < KP_N_FAMILIES; f++)
		dp_drift_free(w->history[f].open);
	free(w->suspect);
	dp_heard_release(&w->heard);
	dp_audit_free(w->audit);
	dp_who_free(w->who);
	free(w);
	return NULL;
}

static struct dp_table *any_table(const struct dp_watch *w)
{
	return w->tables[KP_IPV4] ? w->tables[KP_IPV4] : w->tables[KP_IPV6];
}

struct mnl_socket *dp_watch_socket(const struct dp_watch *w)
{
	return dp_table_socket(any_table(w));
}

/* No table is known yet: the generation of now is ours, everything will be compared with the kernel. */
static void begin(struct dp_watch *w)
{
	uint64_t now = kp_now_ns();

	if (dp_genid(dp_watch_socket(w), w->generation, NULL) < 0)
		*w->generation = 0;	/* one look too many */
	w->look_ns = now + LOOK_NS;
	w->audit_ns = now + AUDIT_SLOW_NS;
}

void dp_watch_large(struct dp_watch *w)
{
	dp_who_pause(w->who);
}

static void tell(const struct dp_drift *d, struct dp_family_result *ret)
{
	dp_drift_free(ret->drift);
	ret->drift = dp_drift_copy(d);
}

/* Until when this repair is put off; 0: not at all, as long as there are not too many. */
static uint64_t penalty(struct history *h, uint64_t now)
{
	const uint64_t second = 1000 * MS;

	if (now >= h->last_ns + PEACE_NS)
		h->wait_ns = 0;
	h->full_ns = (h->full_ns > now ? h->full_ns : now) + second;
	if (!h->wait_ns && h->full_ns <= now + FREE_REPAIRS * second)
		return 0;
	h->wait_ns = h->wait_ns ? 2 * h->wait_ns : WAIT_MIN_NS;
	if (h->wait_ns > WAIT_MAX_NS)
		h->wait_ns = WAIT_MAX_NS;
	return now + h->wait_ns;
}

/* Takes d. */
static void notice(struct dp_watch *w, enum kp_family f, struct dp_drift *d, struct dp_result *ret)
{
	struct history *h = &w->history[f];

	if (d->noticed_ns > h->last_ns + CALM_NS)
		h->in_a_row = 0;
	d->in_a_row = ++h->in_a_row;
	d->wait_ns = penalty(h, d->noticed_ns);
	d->who = w->suspect ? kp_strdup(w->suspect) : NULL;
	h->last_ns = d->noticed_ns;
	h->open = d;
	tell(d, &ret->family[f]);
	dp_who_listen(w->who, d->noticed_ns + LISTEN_NS);
}

static void pay(struct dp_watch *w, uint64_t now)
{
	w->paid_ns = (w->paid_ns > now ? w->paid_ns : now) + AUDIT_SHARE * dp_audit_spent_ns(w->audit);
}

/* Small sets first, again and again, but the large ones get their turn. */
static void want_audit(struct dp_watch *w, uint64_t now)
{
	if (dp_audit_is_running(w->audit) && w->restarts >= RESTARTS) {
		w->again = true;
	} else if (dp_audit_is_running(w->audit)) {
		w->restarts++;
		pay(w, now);
		dp_audit_start(w->audit);
	} else if (w->paid_ns < now + AUDIT_CREDIT_NS) {
		dp_audit_start(w->audit);
	} else if (w->audit_ns > w->paid_ns - AUDIT_CREDIT_NS) {
		w->audit_ns = w->paid_ns - AUDIT_CREDIT_NS;
	}
}

static void forget_suspect(struct dp_watch *w)
{
	free(w->suspect);
	w->suspect = NULL;
}

/* Somebody committed: chains, rules, sets and how much is in them at once, each element next. */
static void look_closer(struct dp_watch *w, struct dp_result *ret)
{
	bool found = false, open = false;

	w->doubt = false;
	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_drift *d = NULL;

		open |= w->history[f].open != NULL;
		if (!w->tables[f] || w->history[f].open)
			continue;
		if (dp_table_look(w->tables[f], &w->heard, &d) < 0) {
			--*w->generation;	/* not seen: it is not the one we know */
			w->heard.complete = false;
		}
		found |= d != NULL;
		if (d)
			notice(w, f, d, ret);
	}
	if (found)
		return;
	if (!w->heard.complete)
		want_audit(w, kp_now_ns());
	if (open)
		return;		/* what was heard of that family is looked at when it is repaired */
	dp_heard_release(&w->heard);
	w->heard.complete = true;
}

static void look(struct dp_watch *w, struct dp_result *ret)
{
	uint32_t generation, self;
	uint64_t now = kp_now_ns();

	w->look_ns = now + LOOK_NS;
	dp_who_tick(w->who, now);
	if (dp_genid(dp_watch_socket(w), &generation, &self) < 0)
		return;
	if (generation != *w->generation) {
		const struct dp_span span = { .from = *w->generation, .to = generation, .self = self };

		*w->generation = generation;	/* first: what comes while we look is seen next time */
		forget_suspect(w);
		w->suspect = dp_who_hear(w->who, dp_table_name(any_table(w)), &span, &w->heard);
		look_closer(w, ret);
	} else if (w->doubt) {
		look_closer(w, ret);
	} else if (now >= w->audit_ns) {
		forget_suspect(w);
		want_audit(w, now);
		w->audit_ns = now + AUDIT_SLOW_NS;
	}
}

static void audit(struct dp_watch *w, struct dp_result *ret)
{
	enum dp_set set;
	enum kp_family f;
	uint64_t now;

	if (dp_audit_step(w->audit, &f, &set)) {
		if (!w->history[f].open)
			notice(w, f, dp_table_elements_differ(w->tables[f], set), ret);
	} else if (!dp_audit_is_running(w->audit)) {
		now = kp_now_ns();
		pay(w, now);
		w->restarts = 0;
		if (w->again)
			want_audit(w, now);
		w->again = false;
	}
}

static void repair(struct dp_watch *w, enum kp_family f, struct dp_result *ret)
{
	struct dp_drift *d = w->history[f].open;

	dp_who_pause(w->who);
	dp_table_repair(w->tables[f], w->want, d, &ret->family[f]);
	tell(d, &ret->family[f]);
	dp_who_listen(w->who, kp_now_ns() + LISTEN_NS);
}

static bool is_due(const struct dp_watch *w, enum kp_family f, uint64_t now)
{
	const struct dp_drift *d = w->history[f].open;

	return d && dp_table_is_known(w->tables[f]) && now >= d->wait_ns;	/* not known: the repair failed, retries are on */
}

/* Repairs all that is due. False: nothing is. */
static bool repair_due(struct dp_watch *w, uint64_t now, struct dp_result *ret)
{
	bool any = false;

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		if (is_due(w, f, now)) {
			repair(w, f, ret);
			any = true;
		}
	return any;
}

void dp_watch_step(struct dp_watch *w, struct dp_result *ret)
{
	if (repair_due(w, kp_now_ns(), ret))
		return;
	if (kp_now_ns() >= w->look_ns)
		look(w, ret);
	else if (dp_audit_is_running(w->audit))
		audit(w, ret);
}

void dp_watch_before_write(struct dp_watch *w, struct dp_result *ret)
{
	if (!w->look_ns)
		begin(w);
	else
		look(w, ret);
	repair_due(w, UINT64_MAX, ret);
}

void dp_watch_settle(struct dp_watch *w, struct dp_result *ret)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct dp_drift *d = w->history[f].open;

		if (!d || !ret->family[f].tried || ret->family[f].code < 0)
			continue;
		d->repaired_ns = kp_now_ns();
		d->wait_ns = 0;
		tell(d, &ret->family[f]);
		if (d->kind != DP_DRIFT_TABLE) {	/* only what was found is repaired; there may be more */
			w->doubt = true;
			w->look_ns = d->repaired_ns;
		}
		w->history[f].open = dp_drift_free(d);
	}
}

int dp_watch_pending_ms(const struct dp_watch *w, uint64_t now_ns)
{
	int best = dp_audit_is_running(w->audit) ? 0 : kp_ms_until(w->look_ns, now_ns);

	if (!w->look_ns)
		return -1;
	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++) {
		const struct dp_drift *d = w->history[f].open;
		int ms = d && dp_table_is_known(w->tables[f]) ? kp_ms_until(d->wait_ns, now_ns) : best;

		best = ms < best ? ms : best;
	}
	return best;
}
