#include "proxy/agent_impl.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/state.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/footprint.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"
#include "proxy/drift.h"
#include "proxy/health.h"
#include "proxy/host.h"
#include "proxy/intake.h"
#include "proxy/model/model.h"
#include "proxy/monitor.h"
#include "proxy/notify.h"
#include "proxy/plan/build.h"
#include "proxy/plan/runner.h"
#include "proxy/setup.h"
#include "proxy/snapshot.h"
#include "proxy/source/ifaddr.h"
#include "proxy/succession.h"
#include "proxy/takeover.h"

/* The part of the plan that is the same for all Services; NULL: as before. */
static struct kp_plan_node *changed_node(struct agent *a)
{
	const struct kp_addr *addrs;
	struct kp_plan_node *node;
	size_t n;

	if (!kp_model_pop_node_dirty(a->model) && a->node_stays)
		return NULL;
	n = kp_ifaddr_get(a->ifaddr, &addrs);
	node = kp_planner_build_node(a->planner, addrs, n);
	a->node_stays = true;
	if (a->node && kp_plan_node_equal(node, a->node))
		return kp_plan_node_unref(node);
	kp_plan_node_unref(a->node);
	a->node = kp_plan_node_ref(node);
	kp_health_plan_node(a->health, node);
	return node;
}

/* kube-proxy ends as well: whoever started us may know better on which node. */
static void on_patience_end(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;

	(void)fd;
	(void)what;
	kp_err_set(&a->failure, -ETIMEDOUT, "Node \"%s\" %s, and was waited for long enough", a->node_name, a->waits_for);
	event_base_loopbreak(a->base);
}

static void wait_for_node(struct agent *a, const char *lacks)
{
	const int64_t ms = a->cfg->node_timeout_ms;
	const struct timeval patience = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	KP_AUTO(kp_freep) char *why = NULL;

	if (a->waits_for && strcmp(a->waits_for, lacks) == 0)
		return;
	why = kp_asprintf("Node \"%s\" %s", a->node_name, lacks);
	kp_warn("agent", "%s: waiting for that, nothing is programmed before", why);
	kp_health_block(a->health, "node", why);
	a->waits_for = lacks;
	if (a->intake.needs_node && ms && !a->patience) {
		a->patience = evtimer_new(a->base, on_patience_end, a);
		event_add(a->patience, &patience);
	}
}

static void go_on_with_node(struct agent *a)
{
	kp_health_block(a->health, "node", NULL);
	if (a->patience)
		event_free(kp_steal(&a->patience));
}

/* Nothing is programmed or removed before everything is known (SY-3, IN-31). */
static bool may_program(struct agent *a)
{
	bool known = a->synced || kp_snapshot_in_use(a->snapshot);
	const char *lacks = known ? kp_intake_lacks(&a->intake) : NULL;

	if (lacks)
		wait_for_node(a, lacks);
	else
		go_on_with_node(a);
	return known && !lacks && kp_takeover_may_program(a->takeover) && kp_succession_may_write(a->place);
}

/* Plans for everything that changed, as one batch to the dataplane. */
static void submit(struct agent *a)
{
	struct dp_batch b = { .node = NULL };
	const struct kp_plan_node *node;
	uint64_t generation;
	bool lost = false;
	size_t cap = 0;
	char *key;

	node = b.node = changed_node(a);
	while ((key = kp_model_pop_dirty(a->model))) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *plan = kp_planner_build(a->planner, key);

		lost |= kp_health_want(a->health, key, plan);
		kp_monitor_want(a->monitor, key, plan);
		dp_batch_add(&b, key, plan, &cap);
		free(key);
	}
	if (!b.node && !b.n_changes) {
		kp_monitor_not_submitted(a->monitor);
		return;
	}
	if (lost)
		kp_agent_publish(a);	/* health ports say 503, then the rules change */
	generation = kp_runner_submit(a->runner, &b);
	if (node)
		a->localnet = node->nodeport_localhost ? generation : 0;
	kp_health_submitted(a->health, generation, kp_now_ns());
	kp_monitor_submitted(a->monitor, generation);
}

/* What is out of date is told at once; that it is not any more, when what is new has been handed over. */
void kp_agent_hand_over(struct agent *a)
{
	bool unhealthy = kp_snapshot_is_unhealthy(a->snapshot);

	if (may_program(a)) {
		submit(a);
		kp_health_hold(a->health, unhealthy);
	} else if (unhealthy) {
		kp_health_hold(a->health, true);
	}
}

void kp_agent_renew(struct agent *a)
{
	a->node_stays = false;
	kp_agent_hand_over(a);
	kp_agent_publish(a);
}

static void log_failure(struct agent *a, int f, const struct dp_family_result *r)
{
	kp_log(kp_said_lately(a->failures[f], r->message, kp_now_ms()) ? KP_LOG_DEBUG : KP_LOG_ERROR, a->backend.ops->name,
	       "%s: %s; the last good rules stay, will try again", kp_family_names[f], r->message);
}

static void log_family(struct agent *a, int f, const struct dp_family_result *r, bool first)
{
	if (!r->tried)
		return;
	if (r->code < 0) {
		log_failure(a, f, r);
		return;
	}
	kp_said_forget(a->failures[f]);
	kp_log(first ? KP_LOG_INFO : KP_LOG_DEBUG, a->backend.ops->name, "%s: %s added=%u deleted=%u us=%llu since_start_ms=%llu",
	       kp_family_names[f], r->wrote ? "committed" : "nothing to change", r->elements_added, r->elements_deleted,
	       (unsigned long long)(r->took_ns / 1000), (unsigned long long)((kp_now_ns() - a->began_ns) / 1000000));
}

/* Not before the rule is in the kernel that keeps others from what listens there (CVE-2020-8558). */
static void route_localnet(struct agent *a, uint64_t generation, const struct dp_family_result *ipv4)
{
	if (!a->localnet || generation < a->localnet || !ipv4->tried || ipv4->code < 0)
		return;
	a->localnet = 0;
	kp_host_route_localnet();
}

static void on_result(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	struct kp_runner_result r;

	(void)fd;
	(void)what;
	while (kp_runner_take(a->runner, &r)) {
		bool first = !kp_health_committed(a->health);

		if (r.result.cold)
			kp_agent_cold(a, r.result.cold);
		kp_health_result(a->health, r.generation, &r.result, kp_now_ns());
		kp_monitor_result(a->monitor, r.generation, &r.result);
		kp_drift_log(&a->drift, &r.result, kp_now_ns());
		route_localnet(a, r.generation, &r.result.family[KP_IPV4]);
		for (int f = 0; f < KP_N_FAMILIES; f++)
			log_family(a, f, &r.result.family[f], first);
		if (first)
			kp_footprint_shrink();
		dp_result_release(&r.result);
	}
	kp_agent_publish(a);
	if (kp_health_committed(a->health)) {
		kp_takeover_programmed(a->takeover);
		kp_succession_committed(a->place);
	}
}

int kp_agent_start_dataplane(struct agent *a, struct kp_err *err)
{
	int r;

	a->backend.opt.warm = kp_health_started(a->health);
	r = kp_runner_start(&a->runner, a->backend.ops, &a->backend.opt, err);

	if (r < 0)
		return r;
	a->results = event_new(a->base, kp_runner_fd(a->runner), EV_READ | EV_PERSIST, on_result, a);
	event_add(a->results, NULL);
	return 0;
}

/* Another proxy came or went. */
static void on_takeover(void *arg)
{
	struct agent *a = arg;

	kp_health_block(a->health, "takeover", kp_takeover_blocked(a->takeover));
	kp_agent_hand_over(a);
	kp_agent_publish(a);
}

/* It came back, or went again. */
static void on_other(void *arg, const struct kp_other_view *v)
{
	struct agent *a = arg;

	if (a->notify)
		kp_notify_other(a->notify, v);
}

int kp_agent_start_takeover(struct agent *a, struct kp_err *err)
{
	const struct kp_takeover_hooks hooks = { .changed = on_takeover, .other = on_other, .arg = a };

	return kp_takeover_start(&a->takeover, a->base, a->cfg->takeover, a->holding, &hooks, err);
}
