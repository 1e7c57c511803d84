#include "proxy/notify.h"

#include <event2/event.h>
#include <stdlib.h>

#include "healthz/server.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/source/kubeapi.h"
#include "proxy/source/notice.h"
#include "proxy/takeover.h"

struct kp_notify {
	struct kp_kube_source *api;
	struct hz_server *server;
	const char *node_name;
	struct event *failures;
};

static void tell_start(const struct kp_notify *n)
{
	const struct kp_notice notice = {
		.kind = "Node", .ns = "", .name = n->node_name, .reason = "Starting", .action = "StartKubeProxy", .text = "",
	};

	kp_kube_source_tell(n->api, &notice);
}

static void tell_failure(const struct kp_notify *n, const struct hz_failure *f)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("node %s: no health check for %s/%s on port %u: %s", n->node_name, f->ns,
						   f->name, f->port, f->why);
	const struct kp_notice notice = {
		.warning = true, .kind = "Service", .ns = f->ns, .name = f->name,
		.reason = "FailedToStartServiceHealthcheck", .action = "Listen", .text = text,
	};

	kp_kube_source_tell(n->api, &notice);
}

void kp_notify_other(struct kp_notify *n, const struct kp_other_view *v)
{
	bool back = v->action == KP_OTHER_ALARM;
	KP_AUTO(kp_freep) char *text = kp_asprintf("%s (found: %s)", back ? "kube-proxy is back: two proxies program this node" :
						   "kube-proxy does not run here any more", v->found);
	const struct kp_notice notice = {
		.warning = back, .kind = "Node", .ns = "", .name = n->node_name,
		.reason = back ? "OtherProxyRuns" : "OtherProxyGone", .action = "WatchOtherProxy", .text = text,
	};

	kp_kube_source_tell(n->api, &notice);
}

static void on_failures(evutil_socket_t fd, short what, void *arg)
{
	const struct kp_notify *n = arg;
	struct hz_failure f;

	(void)fd;
	(void)what;
	while (hz_server_take_failure(n->server, &f))
		tell_failure(n, &f);
}

struct kp_notify *kp_notify_new(struct event_base *base, struct kp_kube_source *api, struct hz_server *server,
				const char *node_name)
{
	struct kp_notify *n = kp_calloc(1, sizeof(*n));

	*n = (struct kp_notify){ .api = api, .server = server, .node_name = node_name };
	n->failures = event_new(base, hz_server_failure_fd(server), EV_READ | EV_PERSIST, on_failures, n);
	event_add(n->failures, NULL);
	tell_start(n);
	return n;
}

struct kp_notify *kp_notify_free(struct kp_notify *n)
{
	if (!n)
		return NULL;
	event_free(n->failures);
	free(n);
	return NULL;
}
