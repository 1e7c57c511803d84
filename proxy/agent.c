#include "proxy/agent.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "healthz/server.h"
#include "healthz/state.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/instance.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/health.h"
#include "proxy/model/model.h"
#include "proxy/monitor.h"
#include "proxy/plan/build.h"
#include "proxy/plan/runner.h"
#include "proxy/setup.h"
#include "proxy/source/file.h"
#include "proxy/source/ifaddr.h"
#include "proxy/source/kubeapi.h"
#include "proxy/source/status.h"

#define DRAIN_TAINT "ToBeDeletedByClusterAutoscaler"

struct agent {
	const struct kp_config *cfg;
	struct event_base *base;
	struct event *results, *signals[2];
	char *node_name;
	int instance;			/* held as long as we program this network namespace */
	struct kp_setup_plan setup;
	struct kp_model *model;
	struct kp_planner *planner;
	struct kp_ifaddr *ifaddr;
	struct kp_runner *runner;
	struct kp_health *health;
	struct hz_server *server;
	struct kp_monitor *monitor;
	struct kp_file_source *files;
	struct kp_kube_source *api;	/* this or files */
	struct kp_plan_node *node;	/* last handed over */
	bool synced;			/* everything there is at the start has been read */
	uint64_t began_ns;
};

static void publish(struct agent *a)
{
	hz_server_publish(a->server, kp_health_state(a->health));
}

static bool is_eligible(const struct kp_node *n)
{
	if (!n || n->deleting)
		return false;
	for (char **t = n->taint_keys; t && *t; t++)
		if (strcmp(*t, DRAIN_TAINT) == 0)
			return false;
	return true;
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
	kp_health_plan_node(a->health, node);
	return node;
}

/* Plans for everything that changed, as one batch to the dataplane. */
static void hand_over(struct agent *a)
{
	struct dp_batch b = { .node = changed_node(a) };
	uint64_t generation;
	size_t cap = 0;
	char *key;

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

/* Sources call this after each burst; a loss shows in the health answers at once (O1). */
static void on_flush(void *arg)
{
	struct agent *a = arg;

	kp_model_pop_node_dirty(a->model);
	kp_health_node(a->health, is_eligible(kp_model_node(a->model)));
	if (a->synced)
		hand_over(a);
	publish(a);
}

static void on_upsert(void *arg, struct kp_object *o)
{
	struct agent *a = arg;
	bool changed = false;

	switch (o->kind) {
	case KP_KIND_SERVICE:
		changed = kp_model_put_service(a->model, kp_steal(&o->service));
		break;
	case KP_KIND_SLICE:
		if (o->slice)
			changed = kp_model_put_slice(a->model, kp_steal(&o->slice));
		else	/* no longer one of ours: label or address type changed */
			changed = kp_model_del_slice(a->model, o->key);
		break;
	case KP_KIND_NODE:
		changed = kp_model_put_node(a->model, kp_steal(&o->node));
		break;
	case KP_KIND_SERVICE_CIDR:
		changed = kp_model_put_service_cidr(a->model, kp_steal(&o->cidr));
		break;
	case KP_KIND_OTHER:
		break;
	}
	kp_monitor_event(a->monitor, o->kind, changed);
}

static void on_remove(void *arg, enum kp_kind kind, const char *key)
{
	struct agent *a = arg;
	bool changed = false;

	switch (kind) {
	case KP_KIND_SERVICE:
		changed = kp_model_del_service(a->model, key);
		break;
	case KP_KIND_SLICE:
		changed = kp_model_del_slice(a->model, key);
		break;
	case KP_KIND_NODE:
		changed = kp_model_del_node(a->model, key);
		break;
	case KP_KIND_SERVICE_CIDR:
		changed = kp_model_del_service_cidr(a->model, key);
		break;
	case KP_KIND_OTHER:
		break;
	}
	kp_monitor_event(a->monitor, kind, changed);
}

/* Nothing is programmed or removed before everything is known (SY-3). */
static void on_synced(void *arg)
{
	struct agent *a = arg;

	a->synced = true;
	kp_monitor_synced(a->monitor);
	kp_info("agent", "read %zu Services in %llu ms", kp_model_n_services(a->model),
		(unsigned long long)((kp_now_ns() - a->began_ns) / 1000000));
	if (!kp_model_node(a->model))
		kp_warn("agent", "no Node object named \"%s\": no endpoint is local, and /healthz stays 503", a->node_name);
}

static void on_addresses(void *arg)
{
	struct agent *a = arg;

	if (!a->synced)
		return;
	hand_over(a);
	publish(a);
}

static void log_family(const struct agent *a, int f, const struct dp_family_result *r, bool first)
{
	if (!r->tried)
		return;
	if (r->code < 0)
		kp_error("nft", "%s: %s; the last good rules stay, will try again", kp_family_names[f], r->message);
	else
		kp_log(first ? KP_LOG_INFO : KP_LOG_DEBUG, "nft", "%s: %s added=%u deleted=%u us=%llu since_start_ms=%llu",
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
		bool first = !kp_health_started(a->health);

		kp_health_result(a->health, r.generation, &r.result, kp_now_ns());
		kp_monitor_result(a->monitor, r.generation, &r.result);
		for (int f = 0; f < KP_N_FAMILIES; f++)
			log_family(a, f, &r.result.family[f], first);
		dp_result_release(&r.result);
	}
	publish(a);
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct agent *a = arg;

	(void)what;
	kp_info("agent", "%s: ending; the rules stay", strsignal(signo));
	event_base_loopbreak(a->base);
}

/* Two sockets for each health port, and the probers' connections: as many as we may have. */
static void raise_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		kp_debug("agent", "cannot raise the limit of open files: %s", strerror(errno));
}

/* As kube-proxy: without the right to it, the kernel's choice stands. */
static void set_oom_score(int64_t score)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	if (!f || fprintf(f, "%d", (int)score) < 0 || fflush(f) != 0)
		kp_debug("agent", "cannot set oomScoreAdj to %d: %s", (int)score, strerror(errno));
	if (f)
		(void)fclose(f);	/* what mattered was the flush */
}

static int start_loop(struct agent *a, struct kp_err *err)
{
	static const int signos[] = { SIGTERM, SIGINT };

	a->base = event_base_new();
	if (!a->base)
		return kp_err_set(err, -ENOMEM, "create the event loop");
	for (size_t i = 0; i < KP_N(signos); i++) {
		a->signals[i] = evsignal_new(a->base, signos[i], on_signal, a);
		event_add(a->signals[i], NULL);
	}
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

static bool listen_at(const char *text, const char *name, struct hz_listen *ret)
{
	*ret = (struct hz_listen){ .name = name };
	return *text && kp_hostport_parse(text, &ret->addr, &ret->port);
}

static int start_health(struct agent *a, struct kp_err *err)
{
	struct hz_listen listen[2];
	struct hz_options opt = { .listen = listen, .hard_fail = a->cfg->bind_address_hard_fail };

	opt.n_listen += listen_at(a->cfg->healthz_bind_address, "main", &listen[opt.n_listen]);
	opt.n_listen += listen_at(a->cfg->shared_healthz_bind_address, "shared", &listen[opt.n_listen]);
	a->health = kp_health_new(a->setup.opt.families, 2 * (uint64_t)a->cfg->nftables.sync_period_ms * 1000000u);
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

static int start_monitor(struct agent *a, const char *socket, struct kp_err *err)
{
	struct kp_monitor_view view = {
		.cfg = a->cfg, .node_name = a->node_name, .mode = dp_nftables_ops.name, .socket = socket,
		.model = a->model, .health = a->health, .server = a->server, .sources = source_status, .arg = a,
	};

	memcpy(view.families, a->setup.opt.families, sizeof(view.families));
	return kp_monitor_new(&a->monitor, a->base, &view, err);
}

static int start_dataplane(struct agent *a, struct kp_err *err)
{
	const struct dp_ops *ops = &dp_nftables_ops;
	struct dp_options opt = { 0 };
	int r;

	memcpy(opt.families, a->setup.opt.families, sizeof(opt.families));
	r = ops->probe(opt.families, err);
	if (r == 0)
		r = kp_runner_start(&a->runner, ops, &opt, err);
	if (r < 0)
		return r;
	a->results = event_new(a->base, kp_runner_fd(a->runner), EV_READ | EV_PERSIST, on_result, a);
	event_add(a->results, NULL);
	return 0;
}

static int start_source(struct agent *a, const struct kp_agent_source *from, struct kp_err *err)
{
	struct kp_sink sink = { on_upsert, on_remove, on_synced, on_flush, a };
	struct kp_kube_options api = {
		.kubeconfig = a->cfg->kubeconfig, .master = from->master, .node_name = a->node_name,
		.servers = (const char *const *)a->cfg->api_servers,
	};

	if (from->n_objects)
		return kp_file_source_new(&a->files, a->base, from->objects, from->n_objects, &sink, err);
	return kp_kube_source_new(&a->api, a->base, &api, &sink, err);
}

static int start(struct agent *a, const struct kp_agent_source *from, const char *socket, struct kp_err *err)
{
	int r = kp_setup_node_name(a->cfg->hostname_override, &a->node_name, err);

	if (r == 0)
		r = kp_instance_take(&a->instance, err);
	if (r == 0)
		r = start_loop(a, err);
	if (r < 0)
		return r;
	raise_descriptors();
	set_oom_score(a->cfg->oom_score_adj);
	kp_setup_plan(a->cfg, &a->setup);
	a->model = kp_model_new(a->node_name);
	a->planner = kp_planner_new(a->model, &a->setup.opt);
	r = start_health(a, err);
	if (r == 0)
		r = start_monitor(a, socket, err);
	if (r == 0)
		r = kp_ifaddr_new(&a->ifaddr, a->base, on_addresses, a, err);
	if (r == 0)
		r = start_dataplane(a, err);
	if (r == 0)
		r = start_source(a, from, err);
	return r;
}

/* Against the flow: sources first, so that nobody is called who is gone. */
static void stop(struct agent *a)
{
	a->files = kp_file_source_free(a->files);
	a->api = kp_kube_source_free(a->api);
	kp_runner_stop(a->runner);
	kp_ifaddr_free(a->ifaddr);
	kp_monitor_free(a->monitor);
	if (a->server)
		hz_server_stop(a->server);
	kp_health_free(a->health);
	kp_planner_free(a->planner);
	kp_model_free(a->model);
	kp_plan_node_unref(a->node);
	kp_setup_plan_release(&a->setup);
	if (a->results)
		event_free(a->results);
	for (size_t i = 0; i < KP_N(a->signals); i++)
		if (a->signals[i])
			event_free(a->signals[i]);
	if (a->base)
		event_base_free(a->base);
	kp_closep(&a->instance);
	free(a->node_name);
}

int kp_agent_run(const struct kp_config *cfg, const struct kp_agent_source *from, const char *socket, struct kp_err *err)
{
	struct agent a = { .cfg = cfg, .instance = -1, .began_ns = kp_now_ns() };
	int r = start(&a, from, socket, err);

	if (r == 0) {
		kp_info("agent", "proxylet %s runs on node \"%s\" in nftables mode", KP_VERSION, a.node_name);
		event_base_dispatch(a.base);
	}
	stop(&a);
	return r;
}
