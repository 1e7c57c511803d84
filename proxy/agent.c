#include "proxy/agent.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/server.h"
#include "healthz/state.h"
#include "proxy/admin.h"
#include "proxy/backend.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/footprint.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"
#include "proxy/drift.h"
#include "proxy/filewatch.h"
#include "proxy/health.h"
#include "proxy/host.h"
#include "proxy/intake.h"
#include "proxy/model/model.h"
#include "proxy/monitor.h"
#include "proxy/nodestate.h"
#include "proxy/notify.h"
#include "proxy/own_node.h"
#include "proxy/plan/build.h"
#include "proxy/plan/runner.h"
#include "proxy/sandbox.h"
#include "proxy/setup.h"
#include "proxy/snapshot.h"
#include "proxy/source/file.h"
#include "proxy/source/ifaddr.h"
#include "proxy/source/kubeapi.h"
#include "proxy/source/status.h"
#include "proxy/succession.h"
#include "proxy/systemd.h"
#include "proxy/takeover.h"

struct agent {
	/* As long as the process. */
	struct kp_config *cfg;
	const struct kp_agent_job *job;
	struct event_base *base;
	struct event *signals[3];
	struct kp_filewatch *watch;
	struct kp_admin *admin;
	struct kp_nodestate *state;
	struct hz_state *last;		/* published */
	struct kp_succession *place;	/* held as long as we program this network namespace */
	struct kp_systemd *systemd;	/* NULL: not run by it */
	struct hz_server *server;	/* answers also while everything below begins anew */
	struct kp_config *previous;	/* what was in force before the one that made us begin anew */
	bool again, over;		/* to begin anew; to end all the same */
	bool warm;			/* our rules were there when the process started; only what no source has told yet */
	struct kp_err failure;		/* to end with */

	/* One life of it: a node's name and a source. */
	char *node_name;
	struct kp_backend_choice backend;
	struct kp_setup_plan setup;
	struct kp_model *model;
	struct kp_intake intake;
	struct kp_planner *planner;
	struct kp_ifaddr *ifaddr;
	struct kp_runner *runner;
	struct event *results;
	struct kp_health *health;
	struct kp_drift_log drift;
	struct kp_monitor *monitor;
	struct kp_takeover *takeover;
	struct kp_file_source *files;
	struct kp_kube_source *api;	/* this or files */
	struct kp_snapshot *snapshot;	/* between api and us */
	struct kp_notify *notify;	/* with api */
	struct kp_plan_node *node;	/* last handed over */
	bool synced;			/* everything there is at the start has been read */
	const char *waits_for;		/* more of the Node, and said so; NULL: nothing */
	struct event *patience;		/* for that */
	struct kp_said *failures[KP_N_FAMILIES];	/* of commits, said lately */
	uint64_t began_ns;
};

/*
 * After a beginning anew the last word of the former life holds until there is a commit; and
 * while a predecessor answers, its ports are not ours to open.
 */
static void publish(struct agent *a)
{
	if (!a->health || !kp_succession_answers(a->place))
		return;
	if (!a->last || !a->previous || kp_health_committed(a->health)) {
		hz_state_free(a->last);
		a->last = kp_health_state(a->health);
	}
	a->last->node = *kp_nodestate_get(a->state);
	kp_nodestate_started(a->state, a->last->started);
	hz_server_publish(a->server, hz_state_copy(a->last));
	if (a->last->started)
		kp_systemd_started(a->systemd);
}

static void on_node_state(void *arg)
{
	publish(arg);
}

/* The part of the plan that is the same for all Services; NULL: as before. */
static struct kp_plan_node *changed_node(struct agent *a)
{
	const struct kp_addr *addrs;
	size_t n = kp_ifaddr_get(a->ifaddr, &addrs);
	struct kp_plan_node *node = kp_planner_build_node(a->planner, addrs, n);

	if (a->node && kp_plan_node_equal(node, a->node))
		return kp_plan_node_unref(node);
	kp_plan_node_unref(a->node);
	a->node = kp_plan_node_ref(node);
	if (node->nodeport_localhost)
		kp_host_route_localnet();
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

	if (a->waits_for && strcmp(a->waits_for, lacks) == 0)
		return;
	kp_warn("agent", "Node \"%s\" %s: waiting for that, nothing is programmed before", a->node_name, lacks);
	a->waits_for = lacks;
	if (a->intake.needs_node && ms && !a->patience) {
		a->patience = evtimer_new(a->base, on_patience_end, a);
		event_add(a->patience, &patience);
	}
}

/* Nothing is programmed or removed before everything is known (SY-3, IN-31). */
static bool may_program(struct agent *a)
{
	bool known = a->synced || kp_snapshot_in_use(a->snapshot);
	const char *lacks = known ? kp_intake_lacks(&a->intake) : NULL;

	if (lacks)
		wait_for_node(a, lacks);
	else if (a->patience)
		event_free(kp_steal(&a->patience));
	return known && !lacks && kp_takeover_may_program(a->takeover) && kp_succession_may_write(a->place);
}

/* Plans for everything that changed, as one batch to the dataplane. */
static void hand_over(struct agent *a)
{
	struct dp_batch b = { .node = NULL };
	uint64_t generation;
	size_t cap = 0;
	char *key;

	if (!may_program(a))
		return;
	b.node = changed_node(a);
	while ((key = kp_model_pop_dirty(a->model))) {
		KP_AUTO(kp_plan_unrefp) struct kp_plan *plan = kp_planner_build(a->planner, key);

		kp_health_want(a->health, key, plan);
		kp_monitor_want(a->monitor, key, plan);
		dp_batch_add(&b, key, plan, &cap);
		free(key);
	}
	if (!b.node && !b.n_changes)
		return;
	generation = kp_runner_submit(a->runner, &b);
	kp_health_submitted(a->health, generation, kp_now_ns());
	kp_monitor_submitted(a->monitor, generation);
}

/* Our rules were made for a Node: until the source has said that there is none, it is there (B.3). */
static bool is_eligible(const struct agent *a)
{
	return kp_intake_eligible(&a->intake) ||
	       (a->warm && !a->synced && !a->intake.node_gone && !kp_model_node(a->model));
}

/* Sources call this after each burst; a loss shows in the health answers at once (O1). */
static void on_flush(void *arg)
{
	struct agent *a = arg;

	kp_model_pop_node_dirty(a->model);
	kp_health_node(a->health, is_eligible(a));
	hand_over(a);
	kp_health_hold(a->health, kp_snapshot_is_unhealthy(a->snapshot));
	publish(a);
}

static void note(struct agent *a, enum kp_kind kind, bool changed)
{
	kp_monitor_event(a->monitor, kind, changed);
	if (changed)
		kp_snapshot_touch(a->snapshot);
}

static void on_upsert(void *arg, struct kp_object *o)
{
	struct agent *a = arg;
	bool changed;

	if (kp_intake_upsert(&a->intake, o, &changed, &a->failure) < 0)
		event_base_loopbreak(a->base);
	note(a, o->kind, changed);
}

static void on_remove(void *arg, enum kp_kind kind, const char *key)
{
	struct agent *a = arg;

	note(a, kind, kp_intake_remove(&a->intake, kind, key));
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

static void on_addresses(void *arg)
{
	struct agent *a = arg;

	hand_over(a);
	publish(a);
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

static void on_result(evutil_socket_t fd, short what, void *arg)
{
	struct agent *a = arg;
	struct kp_runner_result r;

	(void)fd;
	(void)what;
	while (kp_runner_take(a->runner, &r)) {
		bool first = !kp_health_committed(a->health);

		kp_health_result(a->health, r.generation, &r.result, kp_now_ns());
		kp_monitor_result(a->monitor, r.generation, &r.result);
		kp_drift_log(&a->drift, &r.result, kp_now_ns());
		for (int f = 0; f < KP_N_FAMILIES; f++)
			log_family(a, f, &r.result.family[f], first);
		if (first)
			kp_footprint_shrink();
		dp_result_release(&r.result);
	}
	publish(a);
	if (kp_health_committed(a->health)) {
		kp_takeover_programmed(a->takeover);
		kp_succession_committed(a->place);
	}
}

/* Another proxy came or went. */
static void on_takeover(void *arg)
{
	struct agent *a = arg;

	kp_health_block(a->health, "takeover", kp_takeover_blocked(a->takeover));
	hand_over(a);
	publish(a);
}

static int start_takeover(struct agent *a, struct kp_err *err)
{
	const struct kp_takeover_hooks hooks = { .changed = on_takeover, .arg = a };

	return kp_takeover_start(&a->takeover, a->base, a->cfg->takeover, &hooks, err);
}

static void listen_as_configured(struct agent *a)
{
	KP_AUTO(kp_freep) struct hz_policy *policy = kp_setup_health_policy(a->cfg);
	struct hz_listen listen[KP_SETUP_HEALTH_PORTS];
	size_t n = kp_setup_health_ports(a->cfg, listen);

	hz_server_set_policy(a->server, policy);
	if (!kp_succession_answers(a->place))
		return;
	hz_server_listen(a->server, listen, n);
}

static struct kp_health *new_health(const struct agent *a)
{
	bool families[KP_N_FAMILIES];
	struct kp_health *h;

	kp_setup_families(families);
	h = kp_health_new(families, kp_setup_stale_ns(a->cfg));
	kp_health_node_state(h, kp_nodestate_get(a->state), a->cfg->startup_compat);
	if (a->warm) {
		kp_health_warm(h, kp_wall_ns());
		kp_health_node(h, true);
	}
	return h;
}

/* What can be said before anything is read: the rules of an earlier process are in the kernel, or nothing. */
static struct hz_state *first_state(struct agent *a)
{
	struct kp_health *h;
	struct hz_state *s;

	a->warm = kp_setup_is_warm(a->backend.ops);
	if (!a->warm)
		return NULL;
	if (kp_succession_answers(a->place) && !kp_succession_inherited(a->place)->n)
		kp_warn("agent", "no socket of the earlier agent was kept: until now probes of this node were refused");
	h = new_health(a);
	s = kp_health_state(h);
	kp_health_free(h);
	return s;
}

static int start_server(struct agent *a, struct kp_err *err)
{
	struct hz_listen listen[KP_SETUP_HEALTH_PORTS];
	KP_AUTO(kp_freep) struct hz_policy *policy = kp_setup_health_policy(a->cfg);
	struct hz_options opt = {
		.listen = listen, .hard_fail = a->cfg->bind_address_hard_fail, .policy = *policy, .state = first_state(a),
	};

	if (kp_succession_answers(a->place)) {
		opt.n_listen = kp_setup_health_ports(a->cfg, listen);
		opt.inherited = kp_succession_take_health(a->place);
	}
	return hz_server_start(&a->server, &opt, err);
}

static void source_status(void *arg, struct kp_source_status *ret)
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

	source_status(arg, &s);
	for (size_t i = 0; i < s.n; i++)
		live = live || s.rows[i].live;
	kp_source_status_release(&s);
	return live;
}

static void snapshot_status(void *arg, struct kp_snapshot_status *ret)
{
	const struct agent *a = arg;

	kp_snapshot_status(a->snapshot, ret);
}

static int start_monitor(struct agent *a, struct kp_err *err)
{
	struct kp_inherit *inherited = kp_succession_inherited(a->place);
	struct kp_monitor_view view = {
		.cfg = a->cfg, .node_name = a->node_name, .mode = a->backend.ops->name, .socket = a->job->socket,
		.admin = a->admin, .model = a->model, .health = a->health, .server = a->server, .takeover = a->takeover,
		.sources = source_status, .snapshot = snapshot_status, .arg = a,
	};

	memcpy(view.families, a->setup.opt.families, sizeof(view.families));
	a->monitor = kp_monitor_new(a->base, &view);
	return kp_succession_answers(a->place) ? kp_monitor_open(a->monitor, inherited, err) : 0;
}

static int start_dataplane(struct agent *a, struct kp_err *err)
{
	int r = kp_runner_start(&a->runner, a->backend.ops, &a->backend.opt, err);

	if (r < 0)
		return r;
	a->results = event_new(a->base, kp_runner_fd(a->runner), EV_READ | EV_PERSIST, on_result, a);
	event_add(a->results, NULL);
	return 0;
}

/* Whoever is told by the source goes on being told, by way of it. */
static void start_snapshot(struct agent *a, struct kp_sink *sink)
{
	const struct kp_snapshot_view view = {
		.base = a->base, .cfg = a->cfg, .model = a->model, .may_use = !kp_setup_finds_rules(a->setup.opt.families),
		.is_live = is_live, .sink = *sink,
	};

	a->snapshot = kp_snapshot_new(&view, sink);
	kp_health_hold(a->health, kp_snapshot_is_unhealthy(a->snapshot));
}

static int start_source(struct agent *a, struct kp_err *err)
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

/* --- a new configuration --- */

static void configure_health(struct agent *a)
{
	kp_nodestate_configure(a->state, a->cfg);
	kp_health_set_stale(a->health, kp_setup_stale_ns(a->cfg));
	kp_health_node_state(a->health, kp_nodestate_get(a->state), a->cfg->startup_compat);
	kp_health_node(a->health, is_eligible(a));
	kp_health_hold(a->health, kp_snapshot_is_unhealthy(a->snapshot));
}

/* The objects are the same, but what they mean may be another thing. */
static void renew_plans(struct agent *a)
{
	kp_planner_free(a->planner);
	kp_setup_plan_release(&a->setup);
	kp_setup_plan(a->cfg, a->backend.mode, &a->setup);
	a->planner = kp_planner_new(a->model, &a->setup.opt);
	kp_model_mark_all_dirty(a->model);
	configure_health(a);
	a->waits_for = NULL;
	hand_over(a);
	publish(a);
}

static void on_drained(void *arg)
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

	if (!anew && kp_own_node_fits(kp_model_node(a->model), c, a->setup.opt.families[KP_IPV6], &err) < 0) {
		kp_error("config", "%s; the last good configuration stays in force", err.msg);
		return;
	}
	kp_sandbox_compare(a->cfg, c);
	kp_config_swap(a->cfg, c);
	kp_succession_configured(a->place);
	if (a->cfg->disabled) {
		kp_info("config", "\"enabled\" is false: ending, to remove our rules");
		kp_nodestate_end(a->state, (unsigned)a->cfg->cleanup_drain_s, on_drained);
		return;
	}
	if (!anew) {
		listen_as_configured(a);
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

static void on_config(void *arg)
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

/* --- lives --- */

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
	listen_as_configured(a);
	kp_setup_plan(a->cfg, a->backend.mode, &a->setup);
	a->model = kp_model_new(a->node_name);
	a->intake = (struct kp_intake){
		.model = a->model, .cfg = a->cfg, .node_name = a->node_name,
		.dual_stack = a->setup.opt.families[KP_IPV6], .needs_node = !a->job->n_objects,
	};
	a->planner = kp_planner_new(a->model, &a->setup.opt);
	a->health = new_health(a);
	configure_health(a);
	r = start_takeover(a, err);
	if (r == 0)
		r = start_monitor(a, err);
	if (r == 0)
		r = kp_ifaddr_new(&a->ifaddr, a->base, on_addresses, a, err);
	if (r == 0)
		r = start_dataplane(a, err);
	if (r == 0)
		r = start_source(a, err);
	if (r < 0)
		return r;
	publish(a);
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
	a->takeover = kp_takeover_stop(a->takeover);
	a->runner = kp_runner_stop(a->runner);
	kp_ifaddr_free(kp_steal(&a->ifaddr));
	a->monitor = kp_monitor_free(a->monitor);
	a->health = kp_health_free(a->health);
	a->planner = kp_planner_free(a->planner);
	a->model = kp_model_free(a->model);
	a->node = kp_plan_node_unref(a->node);
	kp_setup_plan_release(&a->setup);
	if (a->results)
		event_free(kp_steal(&a->results));
	for (int f = 0; f < KP_N_FAMILIES; f++)
		kp_said_free(kp_steal(&a->failures[f]));
	free(kp_steal(&a->node_name));
	if (a->patience)
		event_free(kp_steal(&a->patience));
	a->waits_for = NULL;
	a->synced = false;
}

/* One life, until a signal, a failure, or a configuration that asks for another. */
static int live(struct agent *a, struct kp_err *err)
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
	return r;
}

/* --- the process --- */

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct agent *a = arg;

	(void)what;
	if (signo == SIGHUP) {
		on_config(a);
		return;
	}
	if (kp_succession_has_left(a->place)) {
		event_base_loopbreak(a->base);
		return;
	}
	if (kp_succession_delays_end(a->place)) {
		kp_info("agent", "%s: a successor is on its way; ending when it has taken over", strsignal(signo));
		return;
	}
	kp_info("agent", "%s: ending%s; the rules stay", strsignal(signo), a->cfg->terminate_drain ? ", drained first" : "");
	kp_systemd_stopping(a->systemd);
	if (a->cfg->terminate_drain)
		kp_nodestate_end(a->state, (unsigned)a->cfg->drain_s, on_drained);
	else
		on_drained(a);
}

static int start_loop(struct agent *a, struct kp_err *err)
{
	static const int signos[KP_N(a->signals)] = { SIGTERM, SIGINT, SIGHUP };

	a->base = event_base_new();
	if (!a->base)
		return kp_err_set(err, -ENOMEM, "create the event loop");
	a->admin = kp_admin_new();
	a->state = kp_nodestate_new(a->base, a->admin, on_node_state, a);
	for (size_t i = 0; i < KP_N(signos); i++) {
		a->signals[i] = evsignal_new(a->base, signos[i], on_signal, a);
		event_add(a->signals[i], NULL);
	}
	signal(SIGPIPE, SIG_IGN);
	if (a->job->n_config_files)
		a->watch = kp_filewatch_new(a->base, a->job->config_files, a->job->n_config_files, on_config, a);
	return 0;
}

static void end(struct agent *a)
{
	kp_nodestate_free(a->state);
	kp_admin_free(a->admin);
	hz_state_free(a->last);
	kp_filewatch_free(a->watch);
	for (size_t i = 0; i < KP_N(a->signals); i++)
		if (a->signals[i])
			event_free(a->signals[i]);
	if (a->base)
		event_base_free(a->base);
	kp_config_free(a->previous);
}

/* While there is one thread, and after what needs more than is kept. */
static int give_up_rights(struct agent *a, struct kp_err *err)
{
	int r = kp_backend_choose(a->cfg, &a->backend, err);

	kp_host_raise_descriptors();
	kp_host_set_oom_score(a->cfg->oom_score_adj);
	return r < 0 ? r : kp_sandbox_enter(a->cfg, a->backend.mode, err);
}

/* --- hand-over --- */

static void on_open(void *arg)
{
	listen_as_configured(arg);
	publish(arg);	/* last: what inherited sockets no listener wants by then is closed */
}

/* Also after a successor that failed: a configuration that came meanwhile has waited. */
static void on_write(void *arg)
{
	hand_over(arg);
	publish(arg);
	on_config(arg);
}

static void on_end(void *arg, const struct kp_err *err)
{
	struct agent *a = arg;

	if (err)
		a->failure = *err;
	event_base_loopbreak(a->base);
}

static int take_place(struct agent *a, struct kp_err *err)
{
	const struct kp_succession_view view = {
		.base = a->base, .cfg = a->cfg, .server = &a->server, .monitor = &a->monitor, .runner = &a->runner,
		.node_name = &a->node_name, .state = a->state, .open = on_open, .write = on_write, .end = on_end, .arg = a,
	};
	KP_AUTO(kp_freep) char *name = NULL;
	int r = kp_setup_node_name(a->cfg->hostname_override, &name, err);

	return r < 0 ? r : kp_succession_new(&a->place, name, kp_systemd_inherit(), &view, err);
}

/* From taking the place to leaving it. */
static int serve(struct agent *a, struct kp_err *err)
{
	const struct kp_systemd_view view = { &a->server, &a->monitor, &a->runner };
	int r = take_place(a, err);

	a->systemd = kp_systemd_new(a->base, &view);
	if (r == 0)
		r = start_server(a, err);
	if (r == 0)
		do {
			r = live(a, err);
		} while (a->again && !a->over);
	a->server = hz_server_stop(a->server);
	a->systemd = kp_systemd_free(a->systemd);
	return r;
}

int kp_agent_run(struct kp_config *cfg, const struct kp_agent_job *job, struct kp_err *err)
{
	struct agent a = { .cfg = cfg, .job = job };
	bool again = true;
	int r = start_loop(&a, err);

	if (r == 0)
		r = give_up_rights(&a, err);
	kp_footprint_shrink();
	while (r == 0 && again) {
		r = serve(&a, err);
		again = r == 0 && kp_succession_stand_by(a.place);
		a.place = kp_succession_free(a.place);
	}
	end(&a);
	return r;
}
