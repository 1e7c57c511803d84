#include "proxy/agent_impl.h"

#include <event2/event.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/health.h"
#include "proxy/intake.h"
#include "proxy/model/model.h"
#include "proxy/monitor.h"
#include "proxy/nodestate.h"
#include "proxy/notify.h"
#include "proxy/setup.h"
#include "proxy/snapshot.h"
#include "proxy/source/file.h"
#include "proxy/source/kubeapi.h"
#include "proxy/source/snapfile.h"
#include "proxy/source/status.h"

/* Sources call this after each burst; a loss shows in the health answers at once (O1). */
static void on_flush(void *arg)
{
	struct agent *a = arg;
	const struct kp_node *node = kp_model_node(a->model);

	if (node)
		kp_nodestate_shutdown(a->state, node->shutting_down);
	kp_health_node(a->health, kp_agent_is_eligible(a));
	kp_agent_hand_over(a);
	kp_agent_publish(a);
}

static void note(struct agent *a, enum kp_kind kind, bool changed, uint64_t seen_ns)
{
	kp_monitor_event(a->monitor, kind, changed, seen_ns);
	if (changed)
		kp_snapshot_touch(a->snapshot);
}

static void on_upsert(void *arg, struct kp_object *o)
{
	struct agent *a = arg;
	bool changed;

	if (kp_intake_upsert(&a->intake, o, &changed, &a->failure) < 0)
		event_base_loopbreak(a->base);
	note(a, o->kind, changed, o->seen_ns);
}

static void on_remove(void *arg, enum kp_kind kind, const char *key)
{
	struct agent *a = arg;

	note(a, kind, kp_intake_remove(&a->intake, kind, key), 0);
}

static void on_synced(void *arg)
{
	struct agent *a = arg;

	a->synced = true;
	kp_monitor_synced(a->monitor);
	kp_info("agent", "read %zu Services in %llu ms", kp_model_n_services(a->model),
		(unsigned long long)((kp_now_ns() - a->began_ns) / 1000000));
	if (!kp_model_node(a->model) && !a->intake.needs_node)
		kp_warn("agent", "no Node object named \"%s\": no endpoint is local, and /healthz stays 503", a->node_name);
}

void kp_agent_source_status(void *arg, struct kp_source_status *ret)
{
	const struct agent *a = arg;

	if (a->files)
		kp_file_source_status(a->files, ret);
	if (a->api)
		kp_kube_source_status(a->api, ret);
}

/* Does the source hear what changes? Collections that the server does not have do not count. */
static bool is_live(void *arg)
{
	struct kp_source_status s = { 0 };
	bool live = false;

	kp_agent_source_status(arg, &s);
	for (size_t i = 0; i < s.n; i++)
		live = live || s.rows[i].live;
	kp_source_status_release(&s);
	return live;
}

static bool is_listed(void *arg, enum kp_kind kind)
{
	const struct agent *a = arg;

	return kp_kube_source_has_listed(a->api, kind);
}

void kp_agent_snapshot_status(void *arg, struct kp_snapshot_status *ret)
{
	const struct agent *a = arg;

	kp_snapshot_status(a->snapshot, ret);
}

/*
 * What health counts on is looked after. To ask what the other mode left takes longer than to see that
 * nothing is kept.
 */
static bool finds_no_rules(void *arg)
{
	const struct agent *a = arg;
	KP_AUTO(kp_freep) char *kept = kp_asprintf("%s/" KP_SNAPFILE_NAME, a->cfg->snapshot.path);

	return !kp_health_started(a->health) && !kp_setup_finds_rules(a->backend.ops, &a->backend.opt) &&
	       (access(kept, F_OK) < 0 || !kp_setup_finds_former(&a->backend.opt));
}

/* Whoever is told by the source goes on being told, by way of it. */
static void start_snapshot(struct agent *a, struct kp_sink *sink)
{
	const struct kp_snapshot_view view = {
		.base = a->base, .cfg = a->cfg, .model = a->model, .may_use = finds_no_rules,
		.is_live = is_live, .is_listed = is_listed, .sink = *sink,
	};

	a->snapshot = kp_snapshot_new(&view, sink);
	kp_health_hold(a->health, kp_snapshot_is_unhealthy(a->snapshot));
}

int kp_agent_start_source(struct agent *a, struct kp_err *err)
{
	struct kp_sink sink = { on_upsert, on_remove, on_synced, on_flush, a };
	struct kp_kube_options api = {
		.kubeconfig = a->cfg->kubeconfig, .master = a->job->master, .node_name = a->node_name,
		.servers = (const char *const *)a->cfg->api_servers, .json_only = kp_setup_json_only(a->cfg),
	};
	int r;

	if (a->job->n_objects)
		return kp_file_source_new(&a->files, a->base, a->job->objects, a->job->n_objects, &sink, err);
	start_snapshot(a, &sink);
	r = kp_kube_source_new(&a->api, a->base, &api, &sink, err);
	if (r == 0)
		a->notify = kp_notify_new(a->base, a->api, a->server, a->node_name);
	return r;
}
