#include "proxy/source/kube_events.h"

#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/utf8.h"
#include "proxy/source/kube_impl.h"
#include "proxy/source/series.h"
#include "proxy/source/watch.h"

#define CONTROLLER	"kube-proxy"	/* what people and alerts look for */
#define ANSWER_MS	30000
#define RETRY_MS	10000		/* as client-go */
#define MAX_TEXT	1000		/* the server takes 1024 bytes of a note */
#define MAX_REFUSAL	(16u << 10)

struct kp_kube_events {
	struct kp_kube_source *s;
	struct kp_series_table *table;
	struct event *timer;
	char *instance;
	bool refused;		/* and that was said */

	/* The request under way. */
	struct kp_http_call *call;
	struct kp_kube_origin origin;
	struct kp_series *asked;
	unsigned count;		/* of it */
	uint64_t until_ms;
	struct kp_http_head head;	/* without its content_type */
	struct kp_buf answer;
};

static void arm(struct kp_kube_events *e)
{
	uint64_t now = kp_now_ms();
	int ms = e->call ? (int)(e->until_ms > now ? e->until_ms - now : 0) : kp_series_pending_ms(e->table, now);
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (ms < 0)
		event_del(e->timer);
	else
		event_add(e->timer, &tv);
}

/* --- what is sent --- */

/* MicroTime */
static json_t *stamp(uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / 1000000000u);
	char text[40];
	struct tm tm;
	size_t len;

	gmtime_r(&seconds, &tm);
	len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + len, sizeof(text) - len, ".%06uZ", (unsigned)(wall_ns / 1000 % 1000000));
	return json_string(text);
}

static json_t *series_of(const struct kp_series *s)
{
	return json_pack("{s:i, s:o}", "count", (int)s->count, "lastObservedTime", stamp(s->last_wall_ns));
}

/* As kube-proxy refers to it: it does not know the true UID. */
static json_t *regarding(const struct kp_series *s)
{
	json_t *r = json_pack("{s:s, s:s, s:s}", "kind", s->kind, "name", s->object_name, "uid", s->object_name);
	KP_AUTO(kp_freep) char *key = kp_asprintf("%s/%s", s->object_ns, s->object_name);

	if (*s->object_ns) {
		json_object_set_new(r, "namespace", json_string(s->object_ns));
		json_object_set_new(r, "uid", json_string(key));
	}
	return r;
}

static json_t *whole_event(const struct kp_kube_events *e, const struct kp_series *s)
{
	json_t *o = json_pack("{s:s, s:s, s:{s:s, s:s}, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:s}",
			      "kind", "Event", "apiVersion", "events.k8s.io/v1",
			      "metadata", "name", s->event_name, "namespace", s->ns,
			      "eventTime", stamp(s->first_wall_ns), "reportingController", CONTROLLER,
			      "reportingInstance", e->instance, "action", s->action, "reason", s->reason,
			      "regarding", regarding(s), "note", kp_json_textn(s->text, strnlen(s->text, MAX_TEXT)),
			      "type", s->warning ? "Warning" : "Normal");

	if (o && s->count > 1)
		json_object_set_new(o, "series", series_of(s));
	return o;
}

static char *path_of(const struct kp_series *s)
{
	KP_AUTO(kp_freep) char *ns = kp_http_escape(s->ns);
	KP_AUTO(kp_freep) char *name = kp_http_escape(s->event_name);
	bool update = s->state == KP_SERIES_UPDATE;

	return kp_asprintf("/apis/events.k8s.io/v1/namespaces/%s/events%s%s", ns, update ? "/" : "", update ? name : "");
}

/* --- the answer --- */

static void on_head(void *arg, const struct kp_http_head *head)
{
	struct kp_kube_events *e = arg;

	e->head = *head;
	e->head.content_type = NULL;
}

static int on_data(void *arg, const char *p, size_t n)
{
	struct kp_kube_events *e = arg;

	if (e->answer.len + n <= MAX_REFUSAL)
		kp_buf_add(&e->answer, p, n);
	return 0;
}

static void try_again(struct kp_kube_events *e, uint64_t after_ms)
{
	if (!kp_series_failed(e->table, e->asked, after_ms, kp_now_ms()))
		kp_debug("api", "an event is dropped: it was tried often enough");
}

/* Everybody can live without events, so one line for all of them, until one is taken. */
static void give_up(struct kp_kube_events *e)
{
	KP_AUTO(kp_freep) char *text = kp_watch_refusal(e->answer.data ? e->answer.data : "", e->answer.len);

	kp_log(e->refused ? KP_LOG_DEBUG : KP_LOG_INFO, "api", "events: %ld: %s; going on without", e->head.status, text);
	e->refused = true;
	kp_series_drop(e->table, e->asked);
}

static void judge(struct kp_kube_events *e)
{
	long status = e->head.status;
	uint64_t now = kp_now_ms();

	if (status / 100 == 2 || (status == 409 && e->asked->state == KP_SERIES_CREATE)) {
		e->refused = false;
		kp_series_told(e->asked, e->count, now);
	} else if (status == 404 && e->asked->state == KP_SERIES_UPDATE) {
		e->asked->state = KP_SERIES_CREATE;	/* it was too old to be kept */
		try_again(e, 0);
	} else if (status == 401 && kp_kube_unauthorized(e->s, &e->origin)) {
		try_again(e, 0);
	} else if (status == 401 || status == 429 || status >= 500) {
		try_again(e, e->head.retry_after_ms ? e->head.retry_after_ms : RETRY_MS);
	} else {
		give_up(e);
	}
}

static void on_done(void *arg, int code, const char *why)
{
	struct kp_kube_events *e = arg;

	e->call = NULL;
	if (code == 0)
		judge(e);
	else
		try_again(e, RETRY_MS);	/* that a server is away, the watches say */
	if (why)
		kp_debug("api", "events: %s", why);
	kp_buf_release(&e->answer);
	e->asked = NULL;
	arm(e);
}

static void send_series(struct kp_kube_events *e, struct kp_series *s)
{
	static const struct kp_http_handler handler = { on_head, on_data, on_done };
	bool update = s->state == KP_SERIES_UPDATE;
	json_t *o = update ? json_pack("{s:o}", "series", series_of(s)) : whole_event(e, s);
	KP_AUTO(kp_freep) char *text = json_dumps(o, JSON_COMPACT);
	KP_AUTO(kp_freep) char *path = path_of(s);
	struct kp_http_body body = { .data = text, .len = text ? strlen(text) : 0 };
	struct kp_err err = { 0 };

	body.method = update ? "PATCH" : "POST";
	body.content_type = update ? "application/strategic-merge-patch+json" : "application/json";
	json_decref(o);
	e->asked = s;
	e->count = s->count;
	e->until_ms = kp_now_ms() + ANSWER_MS;
	e->head = (struct kp_http_head){ 0 };
	if (!text)	/* a name that is not UTF-8 */
		kp_series_drop(e->table, s);
	else if (kp_kube_send(e->s, path, &body, &handler, e, &e->origin, &e->call, &err) < 0)
		try_again(e, RETRY_MS);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kp_kube_events *e = arg;
	struct kp_series *s;

	(void)fd;
	(void)what;
	if (e->call) {
		e->call = kp_httpc_cancel(e->call);
		try_again(e, RETRY_MS);
		kp_buf_release(&e->answer);
	} else {
		s = kp_series_due(e->table, kp_now_ms());
		if (s)
			send_series(e, s);
	}
	arm(e);
}

/* --- the outside --- */

struct kp_kube_events *kp_kube_events_new(struct kp_kube_source *s, struct event_base *base)
{
	struct kp_kube_events *e = kp_calloc(1, sizeof(*e));
	char host[100] = "";	/* the server takes 128 bytes for both */

	(void)gethostname(host, sizeof(host) - 1);	/* only for people */
	e->s = s;
	e->table = kp_series_new();
	e->timer = evtimer_new(base, on_timer, e);
	e->instance = kp_asprintf("%s-%s", CONTROLLER, host);
	return e;
}

struct kp_kube_events *kp_kube_events_free(struct kp_kube_events *e)
{
	if (!e)
		return NULL;
	kp_httpc_cancel(e->call);
	event_free(e->timer);
	kp_series_free(e->table);
	kp_buf_release(&e->answer);
	free(e->instance);
	free(e);
	return NULL;
}

void kp_kube_events_tell(struct kp_kube_events *e, const struct kp_notice *n)
{
	if (!kp_series_note(e->table, n, kp_now_ms(), kp_wall_ns()))
		kp_debug("api", "an event is dropped: %s about %s %s: too many", n->reason, n->kind, n->name);
	arm(e);
}
