#include "proxy/agent_impl.h"

#include <stdlib.h>
#include <string.h>

#include "healthz/server.h"
#include "healthz/state.h"
#include "proxy/base/clock.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/health.h"
#include "proxy/intake.h"
#include "proxy/model/model.h"
#include "proxy/nodestate.h"
#include "proxy/setup.h"
#include "proxy/snapshot.h"
#include "proxy/succession.h"
#include "proxy/systemd.h"
#include "proxy/takeover.h"

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

/* What a former life promised holds, and so does what was wrong then. */
static void carry_over(const struct hz_state *former, struct hz_state *s)
{
	s->generation = former->generation;
	s->services = former->services ? hz_services_ref(former->services) : NULL;
	memcpy(s->any_address, former->any_address, sizeof(s->any_address));
	free(s->addresses);
	s->addresses = kp_memdup(former->addresses, former->n_addresses * sizeof(*former->addresses));
	s->n_addresses = former->n_addresses;
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		s->family[f].updated_wall_ns = former->family[f].updated_wall_ns;
		s->family[f].oldest_pending_ns = earlier(s->family[f].oldest_pending_ns, former->family[f].oldest_pending_ns);
		s->family[f].drift_due_ns = earlier(s->family[f].drift_due_ns, former->family[f].drift_due_ns);
	}
}

/* While a predecessor answers, its ports are not ours to open. */
void kp_agent_publish(struct agent *a)
{
	if (!a->health || !kp_succession_answers(a->place))
		return;
	hz_state_free(a->last);
	a->last = kp_health_state(a->health);
	if (kp_health_committed(a->health))
		hz_state_free(kp_steal(&a->former));
	else if (a->former && a->last->started)
		carry_over(a->former, a->last);
	kp_nodestate_started(a->state, a->last->started);
	hz_server_publish(a->server, hz_state_copy(a->last));
	if (a->last->started)
		kp_systemd_started(a->systemd);
}

struct hz_state *kp_agent_last_state(void *arg)
{
	const struct agent *a = arg;

	return a->last ? hz_state_copy(a->last) : kp_health_state(a->health);
}

/* Our rules were made for a Node: until the source has said that there is none, it is there (B.3). */
bool kp_agent_is_eligible(const struct agent *a)
{
	bool was = a->former ? a->former->node_eligible : a->warm;

	return kp_intake_eligible(&a->intake) ||
	       (was && !a->synced && !a->intake.node_gone && !kp_model_node(a->model));
}

/* Nobody has programmed yet; from now on as after a start without any. */
void kp_agent_cold(struct agent *a, const char *why)
{
	kp_warn("agent", "the rules of before cannot be counted on any more: %s", why);
	a->warm = false;
	hz_state_free(kp_steal(&a->former));
	kp_health_cold(a->health);
	kp_health_node(a->health, kp_agent_is_eligible(a));
}

struct kp_health *kp_agent_new_health(const struct agent *a)
{
	struct kp_health *h = kp_health_new(a->backend.opt.families, kp_setup_stale_ns(a->cfg, a->backend.mode));

	kp_health_node_state(h, kp_nodestate_get(a->state), a->cfg->startup_compat);
	if (a->former ? a->former->started : a->warm)
		kp_health_warm(h, kp_wall_ns());
	if (!a->former && a->beside)	/* until the first look at its life */
		kp_health_block(h, "takeover", "rules of kube-proxy are here as well");
	return h;
}

/* Before there is a snapshot to ask. */
static bool distrusts_rules(const struct agent *a)
{
	KP_AUTO(kp_freep) char *name = NULL;

	return !a->job->n_objects && kp_setup_node_name(a->cfg->hostname_override, &name, NULL) == 0 &&
	       kp_snapshot_distrusts(a->cfg, name);
}

/*
 * What can be said before anything is read: the rules of an earlier process are in the kernel, or that nobody
 * shall wait for rules, or nothing.
 */
struct hz_state *kp_agent_first_state(struct agent *a)
{
	struct kp_health *h;
	struct hz_state *s;

	a->warm = kp_setup_is_warm(a->backend.ops, &a->backend.opt);
	a->beside = a->warm && kp_takeover_must_watch(a->cfg->takeover);
	if (!a->warm && !a->cfg->startup_compat)
		return NULL;
	if (a->warm && kp_succession_answers(a->place) && !kp_succession_inherited(a->place)->n)
		kp_warn("agent", "no socket of the earlier agent was kept: until now probes of this node were refused");
	h = kp_agent_new_health(a);
	kp_health_node(h, true);
	kp_health_hold(h, a->warm && distrusts_rules(a));
	s = kp_health_state(h);
	kp_health_free(h);
	return s;
}
