#include "proxy/agent_impl.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/state.h"
#include "proxy/backend.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"
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
#include "proxy/source/file.h"
#include "proxy/source/ifaddr.h"
#include "proxy/source/kubeapi.h"
#include "proxy/succession.h"
#include "proxy/takeover.h"

static int start_monitor(struct agent *a, struct kp_err *err)
{
	struct kp_inherit *inherited = kp_succession_inherited(a->place);
	struct kp_monitor_view view = {
		.cfg = a->cfg, .node_name = a->node_name, .mode = a->backend.ops->name, .socket = a->job->socket,
		.admin = a->admin, .model = a->model, .health = a->health, .server = a->server, .takeover = a->takeover,
		.state = kp_agent_last_state, .sources = kp_agent_source_status, .snapshot = kp_agent_snapshot_status, .arg = a,
	};

	memcpy(view.families, a->setup.opt.families, sizeof(view.families));
	a->monitor = kp_monitor_new(a->base, &view);
	return kp_succession_answers(a->place) ? kp_monitor_open(a->monitor, inherited, err) : 0;
}

static void on_addresses(void *arg)
{
	kp_agent_renew(arg);
}

static int start(struct agent *a, struct kp_err *err)
{
	int r = kp_setup_node_name(a->cfg->hostname_override, &a->node_name, err);

	if (r < 0)
		return r;
	r = kp_backend_choose(a->cfg, &a->backend, err);
	if (r < 0)
		return r;
	a->began_ns = kp_now_ns();
	for (int f = 0; f < KP_N_FAMILIES; f++)
		a->failures[f] = kp_said_new();
	kp_agent_listen(a);
	kp_setup_plan(a->cfg, a->backend.mode, a->backend.opt.families, &a->setup);
	a->model = kp_model_new(a->node_name);
	a->intake = (struct kp_intake){
		.model = a->model, .cfg = a->cfg, .node_name = a->node_name,
		.needs_node = !a->job->n_objects,
		.host = { .dual_stack = a->setup.opt.families[KP_IPV6], .mode = a->backend.mode },
	};
	a->planner = kp_planner_new(a->model, &a->setup.opt);
	a->health = kp_agent_new_health(a);
	kp_agent_configure_health(a);
	r = kp_agent_start_takeover(a, err);
	if (r == 0)
		r = start_monitor(a, err);
	if (r == 0)
		r = kp_ifaddr_new(&a->ifaddr, a->base, on_addresses, a, err);
	if (r == 0)
		r = kp_agent_start_dataplane(a, err);
	if (r == 0)
		r = kp_agent_start_source(a, err);
	if (r < 0)
		return r;
	kp_agent_publish(a);
	kp_host_set_up(a->cfg);	/* now that the modules are loaded */
	kp_info("agent", "proxylet %s runs on node \"%s\" in %s mode", KP_VERSION, a->node_name, a->backend.ops->name);
	return 0;
}

/* Against the flow: sources first, so that nobody is called who is gone. */
static void stop(struct agent *a)
{
	a->files = kp_file_source_free(a->files);
	a->notify = kp_notify_free(a->notify);
	a->api = kp_kube_source_free(a->api);
	a->snapshot = kp_snapshot_free(a->snapshot);
	if (a->results)
		event_free(kp_steal(&a->results));
	a->holding = a->again && a->takeover && kp_takeover_may_program(a->takeover);
	a->takeover = kp_takeover_stop(a->takeover);
	a->runner = a->again ? kp_runner_stop(a->runner) : kp_runner_end(a->runner);
	kp_ifaddr_free(kp_steal(&a->ifaddr));
	a->monitor = kp_monitor_free(a->monitor);
	a->health = kp_health_free(a->health);
	a->planner = kp_planner_free(a->planner);
	a->model = kp_model_free(a->model);
	a->node = kp_plan_node_unref(a->node);
	a->node_stays = false;
	kp_setup_plan_release(&a->setup);
	for (int f = 0; f < KP_N_FAMILIES; f++)
		kp_said_free(kp_steal(&a->failures[f]));
	free(kp_steal(&a->node_name));
	if (a->patience)
		event_free(kp_steal(&a->patience));
	a->waits_for = NULL;
	a->synced = false;
}

/* One life, until a signal, a failure, or a configuration that asks for another. */
int kp_agent_live(struct agent *a, struct kp_err *err)
{
	int r = start(a, err);

	a->again = false;
	if (r == 0) {
		event_base_dispatch(a->base);
		*err = a->failure;
		r = a->failure.code;
	} else if (a->previous) {
		kp_error("config", "%s; back to the last good configuration", err->msg);
		kp_config_swap(a->cfg, a->previous);
		a->previous = kp_config_free(a->previous);
		a->again = true;
	}
	stop(a);
	if (a->last) {
		hz_state_free(a->former);
		a->former = kp_steal(&a->last);
	}
	return r;
}
