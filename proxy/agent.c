#include "proxy/agent.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <string.h>

#include "healthz/server.h"
#include "healthz/state.h"
#include "proxy/admin.h"
#include "proxy/agent_impl.h"
#include "proxy/backend.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/footprint.h"
#include "proxy/base/log.h"
#include "proxy/filewatch.h"
#include "proxy/host.h"
#include "proxy/nodestate.h"
#include "proxy/plan/runner.h"
#include "proxy/sandbox.h"
#include "proxy/setup.h"
#include "proxy/succession.h"
#include "proxy/systemd.h"

static void on_node_state(void *arg)
{
	kp_agent_publish(arg);
}

static int start_server(struct agent *a, struct kp_err *err)
{
	struct hz_listen listen[KP_SETUP_HEALTH_PORTS];
	KP_AUTO(kp_freep) struct hz_policy *policy = kp_setup_health_policy(a->cfg);
	struct hz_options opt = {
		.listen = listen, .hard_fail = a->cfg->bind_address_hard_fail, .policy = *policy, .state = kp_agent_first_state(a),
	};

	if (kp_succession_answers(a->place)) {
		opt.n_listen = kp_setup_health_ports(a->cfg, listen);
		opt.inherited = kp_succession_take_health(a->place);
	}
	return hz_server_start(&a->server, &opt, err);
}

static void on_signal(evutil_socket_t signo, short what, void *arg)
{
	struct agent *a = arg;

	(void)what;
	if (signo == SIGHUP) {
		kp_agent_on_config(a);
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
		kp_nodestate_end(a->state, (unsigned)a->cfg->drain_s, kp_agent_on_drained);
	else
		kp_agent_on_drained(a);
}

/* Not for a moment in which the loop has much to do, but for one in which it waits where it should not: for a full log. */
static void on_second(evutil_socket_t fd, short what, void *arg)
{
	const struct agent *a = arg;

	(void)fd;
	(void)what;
	if (a->server)
		hz_server_alive(a->server, kp_now_ns());
	if (a->runner)
		kp_runner_let_go(a->runner);
}

static int start_loop(struct agent *a, struct kp_err *err)
{
	static const struct timeval second = { .tv_sec = 1 };
	static const int signos[KP_N(a->signals)] = { SIGTERM, SIGINT, SIGHUP };

	a->base = event_base_new();
	if (!a->base)
		return kp_err_set(err, -ENOMEM, "create the event loop");
	for (size_t i = 0; i < KP_N(signos); i++) {
		a->signals[i] = evsignal_new(a->base, signos[i], on_signal, a);
		event_add(a->signals[i], NULL);
	}
	a->alive = event_new(a->base, -1, EV_PERSIST, on_second, a);
	event_add(a->alive, &second);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);	/* ignored by whoever started us it would hide how children end */
	if (a->job->n_config_files)
		a->watch = kp_filewatch_new(a->base, a->job->config_files, a->job->n_config_files, kp_agent_on_config, a);
	return 0;
}

/* What was said and checked as well: the successor has it, and while we stand by it may have been told otherwise. */
static void forget_lives(struct agent *a)
{
	hz_state_free(kp_steal(&a->last));
	hz_state_free(kp_steal(&a->former));
	a->previous = kp_config_free(a->previous);
	a->holding = false;
	a->state = kp_nodestate_free(a->state);
	a->admin = kp_admin_free(a->admin);
}

static void end(struct agent *a)
{
	kp_filewatch_free(a->watch);
	for (size_t i = 0; i < KP_N(a->signals); i++)
		if (a->signals[i])
			event_free(a->signals[i]);
	if (a->alive)
		event_free(a->alive);
	if (a->base)
		event_base_free(a->base);
}

/* While there is one thread, and after what needs more than is kept. */
static int give_up_rights(struct agent *a, struct kp_err *err)
{
	int r = kp_backend_choose(a->cfg, &a->backend, err);

	kp_host_raise_descriptors();
	kp_host_set_oom_score(a->cfg->oom_score_adj);
	return r < 0 ? r : kp_sandbox_enter(a->cfg, a->backend.mode, err);
}

static void on_open(void *arg)
{
	kp_agent_listen(arg);
	kp_agent_publish(arg);	/* last: what inherited sockets no listener wants by then is closed */
}

/* Also after a successor that failed: a configuration that came meanwhile has waited. */
static void on_write(void *arg)
{
	kp_agent_hand_over(arg);
	kp_agent_publish(arg);
	kp_agent_on_config(arg);
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
	int r;

	a->admin = kp_admin_new();
	a->state = kp_nodestate_new(a->base, a->admin, on_node_state, a);
	r = take_place(a, err);
	a->systemd = kp_systemd_new(a->base, &view);
	if (r == 0)
		r = start_server(a, err);
	if (r == 0)
		do {
			r = kp_agent_live(a, err);
		} while (a->again && !a->over);
	a->server = hz_server_stop(a->server);
	a->systemd = kp_systemd_free(a->systemd);
	forget_lives(a);
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
		again = again && kp_agent_read_config_again(&a);
	}
	end(&a);
	return r;
}
