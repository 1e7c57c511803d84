#include "proxy/nodestate.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/request.h"
#include "proxy/admin.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/handover.h"
#include "proxy/nodechecks.h"

struct kp_nodestate {
	struct kp_admin *admin;
	void (*changed)(void *arg);
	void (*done)(void *arg);
	void *arg;
	struct hz_node node;
	struct kp_nodechecks *checks;
	struct event *end;
	bool started;
	bool shutdown;		/* of the node is under way */
	bool drains_itself;	/* because of that, and nobody has said otherwise */
};

/* --- commands --- */

static json_t *checks_json(const struct hz_node *n)
{
	json_t *out = json_array();

	for (size_t i = 0; i < n->n_checks; i++) {
		const struct hz_check *c = &n->checks[i];

		json_array_append_new(out, json_pack("{s:s, s:b, s:o, s:b}", "name", c->name, "ok", c->ok, "value",
				      c->has_value ? json_real(c->value) : json_null(), "healthz", c->for_healthz));
	}
	return out;
}

static int show(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	const struct kp_nodestate *ns = arg;
	const struct hz_node *n = &ns->node;
	json_t *o = json_pack("{s:s, s:b, s:b, s:b, s:o}",
			      "state", hz_node_state_names[hz_node_state(n, ns->started)], "draining", n->draining,
			      "drainingServices", n->draining_services, "ending", n->ending, "checks", checks_json(n));
	KP_AUTO(kp_freep) char *text = json_dumps(o, JSON_INDENT(2) | JSON_REAL_PRECISION(9));

	(void)req;
	kp_buf_puts(out, text);
	json_decref(o);
	return 200;
}

/* After a command: r is what it said. */
static int answer(struct kp_nodestate *ns, int r, const struct kp_err *err, const struct hz_req *req, struct kp_buf *out)
{
	const struct hz_node *n = &ns->node;

	if (r < 0)
		return kp_admin_refuse(out, 409, err->msg);
	ns->drains_itself = false;
	kp_info("node", "told to be %s%s", hz_node_state_names[hz_node_state(n, ns->started)],
		n->draining_services ? ", with its Services" : "");
	ns->changed(ns->arg);
	return show(ns, req, out);
}

static int tell(struct kp_nodestate *ns, enum hz_node_state state, const struct hz_req *req, struct kp_buf *out)
{
	struct kp_err err = { 0 };
	int r = hz_node_tell(&ns->node, state, &err);

	return answer(ns, r, &err, req, out);
}

static int be_busy(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	return tell(arg, HZ_NODE_BUSY, req, out);
}

static int be_ready(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	return tell(arg, HZ_NODE_READY, req, out);
}

static int be_recycling(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	return tell(arg, HZ_NODE_RECYCLING, req, out);
}

static int drain(struct kp_nodestate *ns, bool services, const struct hz_req *req, struct kp_buf *out)
{
	struct kp_err err = { 0 };
	int r = hz_node_drain_start(&ns->node, services, &err);

	return answer(ns, r, &err, req, out);
}

static int drain_node(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	return drain(arg, false, req, out);
}

static int drain_all(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	return drain(arg, true, req, out);
}

static int drain_stop(void *arg, const struct hz_req *req, struct kp_buf *out)
{
	struct kp_nodestate *ns = arg;
	struct kp_err err = { 0 };
	int r = hz_node_drain_stop(&ns->node, &err);

	return answer(ns, r, &err, req, out);
}

static const struct kp_admin_command commands[] = {
	{ "/state",			false, show },
	{ "/state/busy",		true, be_busy },
	{ "/state/ready",		true, be_ready },
	{ "/state/recycling",		true, be_recycling },
	{ "/drain/start",		true, drain_node },
	{ "/drain/start/services",	true, drain_all },
	{ "/drain/stop",		true, drain_stop },
};

/* --- checks --- */

static void on_check(void *arg)
{
	struct kp_nodestate *ns = arg;

	ns->node.n_checks = kp_nodechecks_get(ns->checks, ns->node.checks);
	ns->changed(ns->arg);
}

void kp_nodestate_configure(struct kp_nodestate *ns, const struct kp_config *c)
{
	kp_nodechecks_configure(ns->checks, c->checks);
	ns->node.n_checks = kp_nodechecks_get(ns->checks, ns->node.checks);
}

/* --- the end --- */

static void on_end(evutil_socket_t fd, short what, void *arg)
{
	struct kp_nodestate *ns = arg;

	(void)fd, (void)what;
	ns->done(ns->arg);
}

void kp_nodestate_end(struct kp_nodestate *ns, unsigned seconds, void (*done)(void *arg))
{
	const struct timeval later = { .tv_sec = (time_t)seconds };
	bool again = ns->node.ending;

	hz_node_end(&ns->node);
	ns->done = done;
	ns->changed(ns->arg);
	if (again || !seconds)
		done(ns->arg);
	else
		event_add(ns->end, &later);
}

/* --- shutdown of the node --- */

void kp_nodestate_shutdown(struct kp_nodestate *ns, bool on)
{
	struct kp_err err = { 0 };

	if (on == ns->shutdown)
		return;
	ns->shutdown = on;
	if (on && !ns->node.draining) {
		ns->drains_itself = hz_node_drain_start(&ns->node, false, &err) == 0;
	} else if (!on && ns->drains_itself) {
		ns->drains_itself = false;
		(void)hz_node_drain_stop(&ns->node, &err);	/* an end of ours that has begun goes on */
	} else {
		return;
	}
	kp_info("node", "the kubelet says that the node %s: %s", on ? "is shutting down" : "does not shut down any more",
		hz_node_state_names[hz_node_state(&ns->node, ns->started)]);
	ns->changed(ns->arg);
}

/* --- hand-over --- */

enum { DRAIN_NODE = 1, DRAIN_SERVICES = 2 };	/* bits */

void kp_nodestate_give(struct kp_nodestate *ns, struct kp_handover_node *ret)
{
	const struct hz_node *n = &ns->node;

	ret->node_state = (int)n->told;
	ret->drain = n->draining && !n->ending && !ns->drains_itself ? DRAIN_NODE | (n->draining_services ? DRAIN_SERVICES : 0) : 0;
	ret->n_checks = kp_nodechecks_get(ns->checks, ret->checks);
	kp_admin_hold(ns->admin, "a successor is taking over: try again");
}

void kp_nodestate_keep(struct kp_nodestate *ns)
{
	kp_admin_hold(ns->admin, NULL);
}

void kp_nodestate_inherit(struct kp_nodestate *ns, const struct kp_handover_node *from)
{
	struct kp_err err = { 0 };
	int r = 0;

	kp_nodechecks_inherit(ns->checks, from->checks, from->n_checks);
	ns->node.n_checks = kp_nodechecks_get(ns->checks, ns->node.checks);
	if (from->node_state >= 0 && from->node_state < HZ_NODE_STOPPING)
		r = hz_node_tell(&ns->node, (enum hz_node_state)from->node_state, &err);
	if (r == 0 && (from->drain & DRAIN_NODE))
		r = hz_node_drain_start(&ns->node, from->drain & DRAIN_SERVICES, &err);
	if (r < 0)
		kp_warn("node", "what the predecessor was told does not hold here: %s", err.msg);
}

/* --- all of it --- */

struct kp_nodestate *kp_nodestate_new(struct event_base *base, struct kp_admin *admin, void (*changed)(void *arg),
				      void *arg)
{
	struct kp_nodestate *ns = kp_calloc(1, sizeof(*ns));

	ns->admin = admin;
	ns->changed = changed;
	ns->arg = arg;
	ns->checks = kp_nodechecks_new(base, on_check, ns);
	ns->end = evtimer_new(base, on_end, ns);
	kp_admin_add(admin, commands, KP_N(commands), ns);
	return ns;
}

struct kp_nodestate *kp_nodestate_free(struct kp_nodestate *ns)
{
	if (!ns)
		return NULL;
	kp_nodechecks_free(ns->checks);
	event_free(ns->end);
	free(ns);
	return NULL;
}

const struct hz_node *kp_nodestate_get(const struct kp_nodestate *ns)
{
	return &ns->node;
}

void kp_nodestate_started(struct kp_nodestate *ns, bool started)
{
	ns->started = started;
}
