#include "proxy/monitor.h"

#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "healthz/answer.h"
#include "healthz/conns.h"
#include "healthz/listeners.h"
#include "healthz/policy.h"
#include "healthz/report.h"
#include "healthz/request.h"
#include "healthz/server.h"
#include "healthz/socket.h"
#include "healthz/state.h"
#include "proxy/admin.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/inherit.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/base/unixsock.h"
#include "proxy/config/config.h"
#include "proxy/configz.h"
#include "proxy/handover.h"
#include "proxy/health.h"
#include "proxy/metrics.h"
#include "proxy/metrics_health.h"
#include "proxy/model/model.h"
#include "proxy/probes.h"
#include "proxy/snapshot.h"
#include "proxy/status.h"
#include "proxy/takeover.h"

#define MAX_CONNECTIONS 64	/* scrapers and people; probes have a server of their own */
#define STARVED_MS 100		/* accept pauses when descriptors run out */
#define REPORT_MS 500		/* for the health thread to answer us; it takes well below one */

struct kp_monitor {
	struct kp_monitor_view view;
	struct kp_metrics *metrics;
	struct kp_commits commits;
	bool synced, leaving;
	uint64_t began_wall_ns;
	struct event_base *base;
	struct hz_conns *conns;
	struct hz_listeners *listeners;
	struct kp_unixsock socket;
	struct event *acceptable, *resume;	/* resume: after a pause, for want of descriptors */
	struct hz_port *socket_port;	/* tells its connections from those of the metrics port */
	char *socket_problem;		/* why there is no socket; NULL: there is */
};

/* --- pages --- */

struct now {
	uint64_t ns, wall_ns;
	struct hz_state *state;
	uint64_t pending_ns[KP_N_FAMILIES];
};

/* Everything that depends on the moment; free now.state. */
static struct now look(const struct kp_monitor *m)
{
	struct now n = { .state = m->view.state(m->view.arg) };

	n.ns = kp_now_ns();
	n.wall_ns = kp_wall_ns();
	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		n.pending_ns[f] = hz_pending_ns(n.state, f, n.ns);
	return n;
}

/* What the health thread says about its ports; empty if it says nothing. Free it. */
static struct hz_report *ask_health(const struct kp_monitor *m)
{
	struct hz_report *r = hz_server_report(m->view.server, REPORT_MS);

	return r ? r : kp_calloc(1, sizeof(*r));
}

static void write_sources(const struct kp_monitor *m, uint64_t now_ns, struct kp_buf *out)
{
	struct kp_source_status s = { 0 };

	m->view.sources(m->view.arg, &s);
	kp_metrics_sources(&s, now_ns, out);
	kp_source_status_release(&s);
}

static void metrics_page(struct kp_monitor *m, struct kp_buf *out)
{
	struct kp_metrics_now values = {
		.mode = m->view.mode,
		.n_services = kp_model_n_services(m->view.model),
		.health = hz_server_counters(m->view.server),
		.other_proxy = kp_takeover_view(m->view.takeover).state != KP_OTHER_NONE,
	};
	struct hz_report *health = ask_health(m);
	struct now n = look(m);

	(void)kp_process_read(&values.process);	/* zeros where there is no /proc */
	values.node_eligible = n.state->node_eligible;
	values.node_state = hz_node_state(&n.state->node, n.state->started);
	memcpy(values.pending_ns, n.pending_ns, sizeof(values.pending_ns));
	m->view.snapshot(m->view.arg, &values.snapshot);
	kp_metrics_write(m->metrics, &values, out);
	write_sources(m, n.ns, out);
	kp_metrics_health_ports(health, out);
	kp_metrics_health_state(n.state, n.ns, out);
	hz_report_free(health);
	hz_state_free(n.state);
}

static void mode_page(struct kp_monitor *m, struct kp_buf *out)
{
	kp_buf_puts(out, m->view.mode);
}

/* That the process answers, and no more: whether it does its work is told on the health ports. */
static void ping_page(struct kp_monitor *m, struct kp_buf *out)
{
	(void)m;
	kp_buf_puts(out, "ok");
}

static int add_bytes(const char *p, size_t len, void *out)
{
	kp_buf_add(out, p, len);
	return 0;
}

/* Takes the value. */
static void json_page(json_t *value, size_t flags, struct kp_buf *out)
{
	json_dump_callback(value, add_bytes, out, flags);
	json_decref(value);
}

static void probes_page(struct kp_monitor *m, struct kp_buf *out)
{
	struct hz_report *health = ask_health(m);

	json_page(kp_probes_json(health), JSON_INDENT(2) | JSON_REAL_PRECISION(9), out);
	hz_report_free(health);
}

static void configz_page(struct kp_monitor *m, struct kp_buf *out)
{
	json_page(kp_configz(m->view.cfg, m->view.mode), JSON_COMPACT, out);
}

static void add_listener(struct kp_status *s, const char *name, const char *address, const char *problem)
{
	if (*address)
		s->listeners[s->n_listeners++] = (struct kp_status_listener){ name, address, problem };
}

static void status_page(struct kp_monitor *m, struct kp_buf *out)
{
	const struct kp_monitor_view *v = &m->view;
	struct hz_report *health = ask_health(m);
	struct now n = look(m);
	struct kp_status s = {
		.node_name = v->node_name, .mode = v->mode,
		.state = hz_node_state_names[m->leaving ? HZ_NODE_RECYCLING : hz_node_state(&n.state->node, n.state->started)],
		.began_wall_ns = m->began_wall_ns, .now_wall_ns = n.wall_ns,
		.now_ns = n.ns, .started = n.state->started, .synced = m->synced, .healthy = hz_healthy(n.state, n.ns),
		.ready = hz_ready(n.state, n.ns), .node_eligible = n.state->node_eligible,
		.n_pending = kp_metrics_pending(m->metrics), .n_services = kp_model_n_services(v->model),
		.commits = &m->commits, .health = health,
		.blocked = kp_health_blocked(v->health), .other = kp_takeover_view(v->takeover),
	};

	memcpy(s.families, v->families, sizeof(s.families));
	memcpy(s.pending_ns, n.pending_ns, sizeof(s.pending_ns));
	add_listener(&s, "status", v->socket, m->socket_problem);
	v->sources(v->arg, &s.sources);
	v->snapshot(v->arg, &s.snapshot);
	json_page(kp_status_json(&s), JSON_INDENT(2) | JSON_REAL_PRECISION(9), out);
	kp_source_status_release(&s.sources);
	hz_report_free(health);
	hz_state_free(n.state);
}

static const struct page {
	const char *path, *type;
	bool on_socket, on_tcp;
	void (*write)(struct kp_monitor *m, struct kp_buf *out);
} pages[] = {
	{ "/metrics",	"text/plain; version=0.0.4; charset=utf-8", true, true, metrics_page },
	{ "/proxyMode",	"text/plain; charset=utf-8",		    true, true, mode_page },
	{ "/healthz",	"text/plain; charset=utf-8",		    true, true, ping_page },
	{ "/configz",	"application/json",			    true, true, configz_page },
	{ "/status",	"application/json",			    true, false, status_page },
	{ "/probes",	"application/json",			    true, false, probes_page },
};

static const struct page *page_of(const struct kp_monitor *m, const struct hz_port *port, const struct hz_req *req)
{
	bool local = port == m->socket_port;

	for (size_t i = 0; i < KP_N(pages); i++)
		if ((local ? pages[i].on_socket : pages[i].on_tcp) && hz_req_is_path(req, pages[i].path))
			return &pages[i];
	return NULL;
}

static void on_request(void *arg, const struct hz_port *port, enum kp_family family, const struct hz_req *req,
		       struct hz_answer *ret)
{
	struct kp_monitor *m = arg;
	const struct page *p = req->status ? NULL : page_of(m, port, req);
	const char *type = p ? p->type : "application/json";
	struct kp_buf body = { 0 };
	int status = p ? 200 : 404;

	(void)family;
	if (p)
		p->write(m, &body);
	else if (port == m->socket_port && !req->status)
		status = kp_admin_run(m->view.admin, hz_conns_asking(m->conns), req, &body);
	if (status == 404) {
		type = "text/plain; charset=utf-8";
		kp_buf_puts(&body, "404 page not found\n");
	}
	hz_answer_page(req, status, type, &body, kp_wall_ns(), ret);
}

/* --- listening --- */

/* Or the loop would spin on what it cannot accept. */
static void pause_accept(struct kp_monitor *m)
{
	const struct timeval soon = { .tv_usec = STARVED_MS * 1000 };

	(void)hz_conns_evict(m->conns);	/* none to drop: the pause has to do */
	event_del(m->acceptable);
	event_add(m->resume, &soon);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct kp_monitor *m = arg;

	(void)fd, (void)what;
	event_add(m->acceptable, NULL);
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct kp_monitor *m = arg;
	int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (peer >= 0)
		hz_conns_add(m->conns, peer, m->socket_port, KP_IPV4, NULL);
	else if (hz_socket_is_starved(errno))
		pause_accept(m);
}

/* The predecessor's socket is ours if its lock is that of our path: in another container it is another file. */
static bool adopt_socket(struct kp_monitor *m, struct kp_inherit *inherited)
{
	int fd = kp_inherit_take_named(inherited, KP_HANDOVER_SOCKET);
	int lock = kp_inherit_take_named(inherited, KP_HANDOVER_LOCK);

	return kp_unixsock_adopt(&m->socket, m->view.socket, fd, lock);
}

static void open_socket(struct kp_monitor *m, struct kp_inherit *inherited)
{
	struct kp_err err = { 0 };

	if (!*m->view.socket)
		return;
	if (!adopt_socket(m, inherited) && kp_unixsock_listen(&m->socket, m->view.socket, &err) < 0) {
		m->socket_problem = kp_strdup(err.msg);
		kp_warn("monitor", "no socket for \"proxylet status\": %s", err.msg);
		return;
	}
	m->acceptable = event_new(m->base, m->socket.fd, EV_READ | EV_PERSIST, on_acceptable, m);
	event_add(m->acceptable, NULL);
	m->resume = evtimer_new(m->base, on_resume, m);
}

static void close_events(struct kp_monitor *m)
{
	if (!m->acceptable)
		return;
	event_free(kp_steal(&m->acceptable));
	event_free(kp_steal(&m->resume));
}

/* How many: one or none. */
static size_t where(const struct kp_monitor *m, struct hz_listen *ret)
{
	const char *text = m->view.cfg->metrics_bind_address;

	*ret = (struct hz_listen){ .name = KP_MONITOR_METRICS, .proxy = HZ_PROXY_OFF };
	return *text && kp_hostport_parse(text, &ret->addr, &ret->port);
}

static int open_port(struct kp_monitor *m, struct kp_err *err)
{
	struct kp_err why = { 0 };
	struct hz_listen at;
	int r;

	if (!where(m, &at))
		return 0;
	r = hz_listeners_add(m->listeners, &at, &why);
	if (r < 0 && m->view.cfg->bind_address_hard_fail)
		return kp_err_set(err, r, "metrics: %s", why.msg);
	if (r < 0)
		kp_warn("monitor", "%s, for metrics; retrying", why.msg);
	return 0;
}

void kp_monitor_listen(struct kp_monitor *m)
{
	struct hz_listen at;
	size_t n = where(m, &at);

	hz_listeners_set(m->listeners, &at, n);
}

int kp_monitor_open(struct kp_monitor *m, struct kp_inherit *inherited, struct kp_err *err)
{
	int r;

	hz_listeners_inherit(m->listeners, kp_inherit_split(inherited, KP_MONITOR_METRICS));
	r = open_port(m, err);
	hz_listeners_drop_inherited(m->listeners);
	if (r == 0)
		open_socket(m, inherited);
	return r;
}

struct kp_monitor *kp_monitor_new(struct event_base *base, const struct kp_monitor_view *view)
{
	const struct hz_policy policy = { .limits.max_connections = MAX_CONNECTIONS };
	struct kp_monitor *m = kp_calloc(1, sizeof(*m));

	m->view = *view;
	m->base = base;
	m->socket = (struct kp_unixsock)KP_UNIXSOCK_NONE;
	m->began_wall_ns = kp_wall_ns();
	m->metrics = kp_metrics_new(view->families);
	m->socket_port = hz_port_new_node("status", 0, HZ_PROXY_OFF);
	m->conns = hz_conns_new(base, &policy, NULL, on_request, m);
	m->listeners = hz_listeners_new(base, m->conns);
	kp_model_track_triggers(view->model, m->began_wall_ns);
	return m;
}

struct kp_monitor *kp_monitor_free(struct kp_monitor *m)
{
	if (!m)
		return NULL;
	hz_listeners_free(m->listeners);	/* may still accept and answer */
	close_events(m);
	hz_conns_free(m->conns);
	kp_unixsock_close(&m->socket);
	hz_port_unref(m->socket_port);
	kp_metrics_free(m->metrics);
	kp_commits_release(&m->commits);
	free(m->socket_problem);
	free(m);
	return NULL;
}

/* --- hand-over --- */

void kp_monitor_give(const struct kp_monitor *m, struct kp_inherit *to)
{
	struct kp_err err = { 0 };

	hz_listeners_give(m->listeners, to);
	if (m->socket.path && (kp_inherit_add_copy(to, KP_HANDOVER_SOCKET, m->socket.fd, &err) < 0 ||
			       kp_inherit_add_copy(to, KP_HANDOVER_LOCK, m->socket.lock, &err) < 0))
		kp_warn("monitor", "%s", err.msg);
}

void kp_monitor_leave(struct kp_monitor *m)
{
	m->leaving = true;
	hz_listeners_leave(m->listeners);
	close_events(m);
	kp_unixsock_leave(&m->socket);
	hz_conns_last_answers(m->conns);
}

void kp_monitor_close_idle(struct kp_monitor *m)
{
	hz_conns_close_idle(m->conns);
}

size_t kp_monitor_n_left(const struct kp_monitor *m)
{
	return hz_conns_count(m->conns);
}

/* --- what happens --- */

void kp_monitor_event(struct kp_monitor *m, enum kp_kind kind, bool changed, uint64_t seen_ns)
{
	if (changed && seen_ns)
		kp_metrics_seen(m->metrics, seen_ns);
	if (kind == KP_KIND_SERVICE)
		kp_metrics_service_event(m->metrics, changed);
	else if (kind == KP_KIND_SLICE)
		kp_metrics_slice_event(m->metrics, changed);
}

void kp_monitor_synced(struct kp_monitor *m)
{
	m->synced = true;
}

void kp_monitor_want(struct kp_monitor *m, const char *key, const struct kp_plan *plan)
{
	KP_AUTO(kp_freep) uint64_t *triggers = NULL;
	size_t n = kp_model_take_triggers(m->view.model, key, &triggers);

	kp_metrics_want(m->metrics, key, plan, triggers, n);
}

void kp_monitor_submitted(struct kp_monitor *m, uint64_t generation)
{
	kp_metrics_submitted(m->metrics, generation, kp_wall_ns());
}

void kp_monitor_not_submitted(struct kp_monitor *m)
{
	kp_metrics_not_submitted(m->metrics);
}

void kp_monitor_result(struct kp_monitor *m, uint64_t generation, const struct dp_result *res)
{
	kp_metrics_result(m->metrics, generation, res, res->done_ns);
	kp_commits_note(&m->commits, res, res->done_ns);
}
