#include "proxy/source/kubeapi.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/said.h"
#include "proxy/source/codec.h"
#include "proxy/source/credentials.h"
#include "proxy/source/kube_events.h"
#include "proxy/source/kube_impl.h"
#include "proxy/source/kubeconfig.h"
#include "proxy/source/pace.h"

#define TICK_MS		2000
#define SILENCE_MS	8000	/* of an HTTP/2 connection, before the server is asked for a sign of life, */
#define ANSWER_MS	10000	/* and what it gets to give one: together with two ticks less than 30 s */

static const struct kp_collection collections[] = {
	{ .name = "services", .path = "/api/v1/services", .kind = KP_KIND_SERVICE,
	  .selector = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
	  .extra_selector = "fieldSelector=spec.clusterIP%21%3DNone" },
	{ .name = "endpointslices", .path = "/apis/discovery.k8s.io/v1/endpointslices", .kind = KP_KIND_SLICE,
	  .selector = "labelSelector=%21service.kubernetes.io%2Fheadless" },
	{ .name = "nodes", .path = "/api/v1/nodes", .kind = KP_KIND_NODE, .is_own_node = true,
	  .selector = "fieldSelector=metadata.name%3D" },
	{ .name = "servicecidrs", .path = "/apis/networking.k8s.io/v1/servicecidrs", .kind = KP_KIND_SERVICE_CIDR,
	  .older_path = "/apis/networking.k8s.io/v1beta1/servicecidrs", .optional = true,
	  .selector = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name" },
};

#define N_COLLECTIONS KP_N(collections)

struct kp_kube_source {
	struct kp_sink sink;
	char *node_name;
	bool json_only;
	struct kp_kubeconfig *config;
	struct kp_credentials *credentials;
	unsigned identity;		/* counts their changes */
	struct kp_httpc *http;
	struct kp_reflector *reflectors[N_COLLECTIONS];
	struct kp_kube_events *events;

	char **servers;
	size_t n_servers, server;	/* in use */
	size_t n_tried;			/* left since one answered last */
	uint64_t down_ms;		/* none answers since; 0: one does */

	struct event *tick;
	struct kp_http_call *probe;
	uint64_t probed_ms;

	uint64_t node_version;		/* of the last list of the own node; 0: none yet */
	bool synced, dirty;		/* dirty: the sink was told something since its last flush */
	struct kp_pace pace;
	struct kp_said *said, *outage;	/* outage: until a server answers */
	struct kp_ratelimit lines;
};

/* --- what is said --- */

static void say(struct kp_kube_source *s, struct kp_said *said, enum kp_log_level level, const char *text)
{
	uint64_t now = kp_now_ms();
	unsigned swallowed;

	if (kp_said_lately(said, text, now)) {
		kp_debug("api", "%s", text);
		return;
	}
	if (!kp_ratelimit_ok(&s->lines, now, &swallowed))
		return;
	if (swallowed)
		kp_warn("api", "%u more lines in the last %llu s", swallowed, (unsigned long long)s->lines.window_ms / 1000);
	kp_log(level, "api", "%s", text);
}

void kp_kube_say(struct kp_kube_source *s, enum kp_log_level level, const char *text)
{
	say(s, s->said, level, text);
}

uint32_t kp_kube_random(void)
{
	uint32_t n = 0;

	(void)!getrandom(&n, sizeof(n), 0);	/* only jitter */
	return n;
}

/* --- servers --- */

bool kp_kube_unreachable(struct kp_kube_source *s, const struct kp_kube_origin *from, const char *why)
{
	KP_AUTO(kp_freep) char *text = kp_asprintf("%s: %s", s->servers[from->server], why);

	if (s->n_servers > 1 && from->server != s->server)
		return true;	/* left already */
	say(s, s->outage, KP_LOG_WARN, text);
	if (++s->n_tried < s->n_servers) {
		s->server = (s->server + 1) % s->n_servers;
		kp_info("api", "going on with %s", s->servers[s->server]);
		return true;
	}
	if (s->n_servers > 1)
		s->server = (s->server + 1) % s->n_servers;
	if (!s->down_ms)
		s->down_ms = kp_now_ms();
	s->n_tried = 0;
	return false;
}

void kp_kube_answered(struct kp_kube_source *s)
{
	s->n_tried = 0;
	if (!s->down_ms)
		return;
	kp_info("api", "%s answers again after %llu ms", s->servers[s->server],
		(unsigned long long)(kp_now_ms() - s->down_ms));
	s->down_ms = 0;
	kp_said_forget(s->outage);	/* the next one is news */
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		kp_reflector_wake(s->reflectors[i]);
}

static void refresh(struct kp_kube_source *s, bool force)
{
	struct kp_err err = { 0 };
	bool changed;

	if (kp_credentials_refresh(s->credentials, force, &changed, &err) < 0)
		kp_kube_say(s, KP_LOG_WARN, err.msg);
	s->identity += changed;
}

bool kp_kube_unauthorized(struct kp_kube_source *s, const struct kp_kube_origin *from)
{
	refresh(s, true);
	return s->identity != from->identity;
}

int kp_kube_get(struct kp_kube_source *s, const char *path, enum kp_body_kind kind, const struct kp_http_handler *handler, void *arg,
		struct kp_kube_origin *ret_origin, struct kp_http_call **ret, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *url = kp_asprintf("%s%s", s->servers[s->server], path);

	refresh(s, false);
	*ret_origin = (struct kp_kube_origin){ s->server, s->identity };
	return kp_httpc_get(s->http, url, kp_codec_accept(kind, s->json_only), kp_credentials_identity(s->credentials),
			    handler, arg, ret, err);
}

int kp_kube_send(struct kp_kube_source *s, const char *path, const struct kp_http_body *body,
		 const struct kp_http_handler *handler, void *arg, struct kp_kube_origin *ret_origin,
		 struct kp_http_call **ret, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *url = kp_asprintf("%s%s", s->servers[s->server], path);

	refresh(s, false);
	*ret_origin = (struct kp_kube_origin){ s->server, s->identity };
	return kp_httpc_send(s->http, url, "application/json", body, kp_credentials_identity(s->credentials), handler, arg,
			     ret, err);
}

bool kp_kube_one_peer(const struct kp_kube_source *s)
{
	return kp_httpc_one_peer(s->http);
}

/* --- signs of life --- */

/*
 * A watch may be silent for as long as nothing happens, also when the server behind it
 * is stuck, or was replaced by something that swallows everything: TCP does not tell.
 * Over HTTP/2 a small request on the same connection does, which everybody may make
 * (/version: role system:public-info-viewer), one in some ten seconds of silence for all
 * watches together.
 *
 * The answer speaks for the watches where one connection leads to one server. Without
 * HTTP/2, and behind a proxy, each of them may have its own fate: there they are short, and
 * the silence of one is enough (reflector.c). A proxy that does not show itself can eat a
 * stream unseen by both; then the bookmarks are missed that a server sends every minute.
 */
static void probe_head(void *arg, const struct kp_http_head *head)
{
	(void)arg;
	(void)head;	/* any answer is one */
}

static int probe_data(void *arg, const char *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
	return 0;
}

static void probe_done(void *arg, int code, const char *why)
{
	struct kp_kube_source *s = arg;

	(void)code;	/* if the connection is broken, the watches hear of it themselves */
	(void)why;
	s->probe = NULL;
}

static void ask_for_life(struct kp_kube_source *s, uint64_t now_ms)
{
	static const struct kp_http_handler handler = { probe_head, probe_data, probe_done };
	struct kp_kube_origin origin;
	struct kp_err err = { 0 };

	s->probed_ms = now_ms;
	if (kp_kube_get(s, "/version", KP_BODY_LIST, &handler, s, &origin, &s->probe, &err) < 0)
		kp_kube_say(s, KP_LOG_WARN, err.msg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kp_kube_source *s = arg;
	uint64_t now = kp_now_ms();

	(void)fd;
	(void)what;
	if (s->probe && now - s->probed_ms >= ANSWER_MS)
		kp_httpc_reset(s->http, "it accepted the connection, but gives no sign of life any more");
	else if (!s->probe && kp_httpc_is_http2(s->http) && now - kp_httpc_heard_ms(s->http) >= SILENCE_MS)
		ask_for_life(s, now);
}

bool kp_kube_reset_mute(struct kp_kube_source *s, uint64_t since_ms, const char *why)
{
	if (kp_httpc_heard_ms(s->http) >= since_ms)
		return false;
	kp_httpc_reset(s->http, why);
	return true;
}

/* --- what is told --- */

void kp_kube_upsert(struct kp_kube_source *s, struct kp_object *o)
{
	if (*o->note)
		kp_debug("api", "%s %s: %s", kp_kind_name(o->kind), o->key, o->note);
	o->seen_ns = kp_httpc_woken_ns(s->http);
	s->sink.upsert(s->sink.arg, o);
	s->dirty = true;
}

void kp_kube_remove(struct kp_kube_source *s, enum kp_kind kind, const char *key)
{
	s->sink.remove(s->sink.arg, kind, key);
	s->dirty = true;
}

void kp_kube_listing_node(struct kp_kube_source *s)
{
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		if (s->reflectors[i] && !collections[i].is_own_node)
			kp_reflector_note_history(s->reflectors[i]);
}

/*
 * A store that was restored from a backup has lower versions than we have seen. A watch
 * from one of those stays open and silent, so the server would never tell us. The same
 * version as last time is no sign of that, and not worth a list of everything.
 */
static void check_history(struct kp_kube_source *s, uint64_t node_version)
{
	bool is_same = node_version == s->node_version;

	s->node_version = node_version;
	if (is_same)
		return;
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		if (!collections[i].is_own_node)
			kp_reflector_check_history(s->reflectors[i], node_version);
}

void kp_kube_listed(struct kp_kube_source *s, uint64_t node_version)
{
	if (node_version)
		check_history(s, node_version);
	if (s->synced)
		return;
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		if (!kp_reflector_is_settled(s->reflectors[i]))
			return;
	s->synced = s->dirty = true;
	s->sink.synced(s->sink.arg);
}

void kp_kube_after_round(void *source)
{
	struct kp_kube_source *s = source;
	unsigned ms;

	if (!s->synced || !s->dirty)
		return;
	s->dirty = false;
	s->sink.flush(s->sink.arg);
	ms = kp_pace_next(&s->pace, kp_now_ns(), kp_httpc_has_more(s->http));
	if (ms)
		kp_httpc_rest(s->http, ms);
}

/* --- begin and end --- */

static int add_server(struct kp_kube_source *s, const char *address, struct kp_err *err)
{
	char *server = kp_kubeconfig_server(s->config, address);

	if (!server)
		return kp_err_set(err, -EINVAL, "API server \"%s\" is not an http or https address", address);
	s->servers = kp_reallocarray(s->servers, s->n_servers + 1, sizeof(*s->servers));
	s->servers[s->n_servers++] = server;
	return 0;
}

static int set_servers(struct kp_kube_source *s, const char *const *given, struct kp_err *err)
{
	int r = 0;

	if (!given || !*given)
		return add_server(s, s->config->server, err);
	for (; *given && r == 0; given++)
		r = add_server(s, *given, err);
	return r;
}

static void start(struct kp_kube_source *s, struct event_base *base)
{
	struct timeval tick = { .tv_sec = TICK_MS / 1000, .tv_usec = TICK_MS % 1000 * 1000 };

	for (size_t i = 0; i < N_COLLECTIONS; i++)
		s->reflectors[i] = kp_reflector_new(s, base, &collections[i], s->node_name);
	s->events = kp_kube_events_new(s, base);
	s->tick = event_new(base, -1, EV_PERSIST, on_tick, s);
	event_add(s->tick, &tick);
	kp_info("api", "reading from %s", s->servers[s->server]);
}

int kp_kube_source_new(struct kp_kube_source **ret, struct event_base *base, const struct kp_kube_options *opt,
		       const struct kp_sink *sink, struct kp_err *err)
{
	struct kp_kube_source *s = kp_calloc(1, sizeof(*s));
	int r;

	s->sink = *sink;
	s->node_name = kp_strdup(opt->node_name);
	s->json_only = opt->json_only;
	s->said = kp_said_new();
	s->outage = kp_said_new();
	s->lines = (struct kp_ratelimit){ .window_ms = 10000, .burst = 20 };
	r = kp_kubeconfig_load(opt->kubeconfig, opt->master, &s->config, err);
	if (r == 0)
		r = kp_credentials_new(&s->credentials, s->config, err);
	if (r == 0)
		r = set_servers(s, opt->servers, err);
	if (r == 0)
		r = kp_httpc_new(&s->http, base, kp_kube_after_round, s, err);
	if (r < 0) {
		kp_kube_source_free(s);
		return r;
	}
	start(s, base);
	*ret = s;
	return 0;
}

struct kp_kube_source *kp_kube_source_free(struct kp_kube_source *s)
{
	if (!s)
		return NULL;
	if (s->tick)
		event_free(s->tick);
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		kp_reflector_free(s->reflectors[i]);
	kp_kube_events_free(s->events);
	kp_httpc_free(s->http);
	kp_credentials_free(s->credentials);
	kp_kubeconfig_free(s->config);
	for (size_t i = 0; i < s->n_servers; i++)
		free(s->servers[i]);
	free(s->servers);
	kp_said_free(s->said);
	kp_said_free(s->outage);
	free(s->node_name);
	free(s);
	return NULL;
}

bool kp_kube_source_has_listed(const struct kp_kube_source *s, enum kp_kind kind)
{
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		if (collections[i].kind == kind)
			return kp_reflector_has_listed(s->reflectors[i]);
	return false;
}

void kp_kube_source_status(const struct kp_kube_source *s, struct kp_source_status *ret)
{
	for (size_t i = 0; i < N_COLLECTIONS; i++)
		kp_reflector_status(s->reflectors[i], ret);
}

void kp_kube_source_tell(struct kp_kube_source *s, const struct kp_notice *n)
{
	kp_kube_events_tell(s->events, n);
}
