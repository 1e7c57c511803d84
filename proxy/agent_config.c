#include "proxy/agent_impl.h"

#include <event2/event.h>

#include "healthz/server.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/health.h"
#include "proxy/host.h"
#include "proxy/model/model.h"
#include "proxy/monitor.h"
#include "proxy/nodestate.h"
#include "proxy/plan/build.h"
#include "proxy/sandbox.h"
#include "proxy/setup.h"
#include "proxy/succession.h"
#include "proxy/systemd.h"

void kp_agent_listen(struct agent *a)
{
	KP_AUTO(kp_freep) struct hz_policy *policy = kp_setup_health_policy(a->cfg);
	struct hz_listen listen[KP_SETUP_HEALTH_PORTS];
	size_t n = kp_setup_health_ports(a->cfg, listen);

	hz_server_set_policy(a->server, policy);
	if (!kp_succession_answers(a->place))
		return;
	hz_server_listen(a->server, listen, n);
}

void kp_agent_configure_health(struct agent *a)
{
	kp_nodestate_configure(a->state, a->cfg);
	kp_health_set_stale(a->health, kp_setup_stale_ns(a->cfg, a->backend.mode));
	kp_health_node_state(a->health, kp_nodestate_get(a->state), a->cfg->startup_compat);
	kp_health_node(a->health, kp_agent_is_eligible(a));
}

/* The objects are the same, but what they mean may be another thing. */
static void renew_plans(struct agent *a)
{
	kp_planner_free(a->planner);
	kp_setup_plan_release(&a->setup);
	kp_setup_plan(a->cfg, a->backend.mode, a->backend.opt.families, &a->setup);
	a->planner = kp_planner_new(a->model, &a->setup.opt);
	kp_model_mark_all_dirty(a->model);
	kp_agent_configure_health(a);
	a->waits_for = NULL;
	kp_agent_renew(a);
}

void kp_agent_on_drained(void *arg)
{
	struct agent *a = arg;

	a->over = true;
	event_base_loopbreak(a->base);
}

static void take_over(struct agent *a, struct kp_config *taken)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = taken;
	bool anew = kp_config_compare(a->cfg, c) == KP_CONFIG_IDENTITY;
	struct kp_err err = { 0 };

	if (!anew && kp_intake_fits(&a->intake, c, &err) < 0) {
		kp_error("config", "%s; the last good configuration stays in force", err.msg);
		return;
	}
	kp_sandbox_compare(a->cfg, c);
	kp_config_swap(a->cfg, c);
	kp_succession_configured(a->place);
	if (a->cfg->disabled) {
		kp_info("config", "\"enabled\" is false: ending, to remove our rules");
		kp_nodestate_end(a->state, (unsigned)a->cfg->cleanup_drain_s, kp_agent_on_drained);
		return;
	}
	if (!anew) {
		kp_agent_listen(a);
		kp_monitor_listen(a->monitor);
		kp_host_set_up(a->cfg);
		renew_plans(a);
		kp_info("config", "the new configuration is in force");
		return;
	}
	kp_config_free(a->previous);
	a->previous = kp_steal(&c);
	a->again = true;
	event_base_loopbreak(a->base);
}

void kp_agent_on_config(void *arg)
{
	struct agent *a = arg;
	struct kp_config *c = NULL;

	if (!a->job->reload || a->again || a->cfg->disabled || kp_succession_is_giving(a->place) ||
	    a->job->reload(a->job->arg, a->cfg, &c) < 0)
		return;
	if (!c)
		return;
	kp_systemd_reloading(a->systemd);
	take_over(a, c);
	kp_systemd_reloaded(a->systemd);
}

/* While we stood by nobody did. False: it says that there is to be no agent. */
bool kp_agent_read_config_again(struct agent *a)
{
	struct kp_config *c = NULL;

	if (a->job->reload && a->job->reload(a->job->arg, a->cfg, &c) == 0 && c) {
		kp_sandbox_compare(a->cfg, c);
		kp_config_swap(a->cfg, c);
		kp_config_free(c);
	}
	return !a->cfg->disabled;
}
