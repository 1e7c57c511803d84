#include "proxy/drift.h"

#define FIGHT		5	/* so many in a row are no accident */
#define WINDOW_MS	60000
#define LINES		20	/* in it, about single changes */

static const char *who(const struct dp_drift *d)
{
	return d->who ? d->who : "somebody else";
}

static void log_fight(struct kp_ratelimit *rl, const char *family, const struct dp_drift *d, uint64_t now_ns)
{
	unsigned swallowed;

	if (kp_ratelimit_ok(rl, now_ns / 1000000, &swallowed))
		kp_error("drift", "%s: our rules are changed again and again, %u times without a calm minute, last by %s: %s; "
			 "two programs must not manage the same rules, and repairs are rationed",
			 family, d->in_a_row, who(d), d->what);
}

static void log_one(struct kp_ratelimit *rl, const char *family, const struct dp_family_result *r, uint64_t now_ns)
{
	const struct dp_drift *d = r->drift;
	unsigned swallowed;

	if ((!d->repaired_ns && r->code == 0) || !kp_ratelimit_ok(rl, now_ns / 1000000, &swallowed))
		return;		/* only noticed: the next word tells more */
	if (d->repaired_ns)
		kp_warn("drift", "%s: changed by %s: %s; put right after %llu ms", family, who(d), d->what,
			(unsigned long long)((d->repaired_ns - d->noticed_ns) / 1000000));
	else
		kp_error("drift", "%s: changed by %s: %s; cannot be put right: %s", family, who(d), d->what, r->message);
}

void kp_drift_log(struct kp_drift_log *l, const struct dp_result *res, uint64_t now_ns)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		const struct dp_drift *d = res->family[f].drift;

		l->lines[f].window_ms = l->fights[f].window_ms = WINDOW_MS;
		l->lines[f].burst = LINES;
		l->fights[f].burst = 1;
		if (!d)
			continue;
		log_one(&l->lines[f], kp_family_names[f], &res->family[f], now_ns);
		if (d->in_a_row >= FIGHT)
			log_fight(&l->fights[f], kp_family_names[f], d, now_ns);
	}
}
