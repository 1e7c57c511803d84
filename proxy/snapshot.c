#include "proxy/snapshot.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/model/model.h"
#include "proxy/saver.h"
#include "proxy/source/pack.h"
#include "proxy/source/snapfile.h"

#define FIRST_MS	5000	/* after the first rules, which have the processor for themselves */
#define REFRESH_PART	8	/* of maxAge: the file is right also when nothing changes, and says so that often */

struct kp_snapshot {
	struct kp_snapshot_view view;
	struct kp_saver *saver;
	struct event *wait, *period;
	uint64_t n_told, n_seen;	/* what the source told, and when the wait began last */
	bool synced;			/* by the source */
	bool inherited;			/* the rules in the kernel are of the snapshot */
	struct kp_map *told[KP_KIND_OTHER];	/* keys that only the snapshot has told; NULL: it is not in use */
	bool changed;			/* since the last file was begun */
	uint64_t wall_ns, n_failed;
	char problem[512];
	struct kp_ratelimit lines;
};

static const struct kp_config_snapshot *config(const struct kp_snapshot *s)
{
	return &s->view.cfg->snapshot;
}

static void set_timer(struct event *timer, uint64_t ms)
{
	struct timeval t = { .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };

	event_add(timer, &t);
}

/* A clock that is not set yet, which is behind, says nothing. */
static uint64_t age_ns(uint64_t wall_ns)
{
	uint64_t now = kp_wall_ns();

	return wall_ns && now > wall_ns ? now - wall_ns : 0;
}

static unsigned long long age_s(uint64_t wall_ns)
{
	return age_ns(wall_ns) / 1000000000u;
}

/* --- writing --- */

/* A folder that is not there is an answer, too: nobody made a place for it. */
static void failed(struct kp_snapshot *s, int code, const char *why)
{
	bool is_same = strcmp(s->problem, why) == 0;
	unsigned swallowed;

	snprintf(s->problem, sizeof(s->problem), "%s", why);
	s->changed = true;
	if (code == -ENOENT) {
		if (!is_same)
			kp_debug("snapshot", "not written: %s", why);
		return;
	}
	s->n_failed++;
	if (kp_ratelimit_ok(&s->lines, kp_now_ms(), &swallowed) || !is_same)
		kp_warn("snapshot", "not written: %s", why);
}

static void on_saved(void *arg, const struct kp_saved *saved)
{
	struct kp_snapshot *s = arg;

	if (saved->code < 0) {
		failed(s, saved->code, saved->why);
		return;
	}
	s->problem[0] = '\0';
	s->wall_ns = saved->wall_ns;
	kp_debug("snapshot", "wrote %zu bytes", saved->len);
}

/* Before the work of packing. */
static bool has_place(struct kp_snapshot *s)
{
	KP_AUTO(kp_freep) char *why = NULL;
	int code;

	if (!*config(s)->path)
		return false;
	if (access(config(s)->path, W_OK) == 0)
		return true;
	code = -errno;
	why = kp_asprintf("%s: %s", config(s)->path, strerror(-code));
	failed(s, code, why);
	return false;
}

static bool is_due(const struct kp_snapshot *s)
{
	uint64_t fresh_ns = (uint64_t)config(s)->max_age_ms * 1000000u / REFRESH_PART;

	if (s->changed)
		return true;
	return age_ns(s->wall_ns) > fresh_ns && s->view.is_live(s->view.sink.arg);
}

static void on_period(evutil_socket_t fd, short what, void *arg)
{
	struct kp_snapshot *s = arg;

	(void)fd;
	(void)what;
	if (is_due(s) && has_place(s) && kp_saver_begin(s->saver, config(s)->path))
		s->changed = false;
	set_timer(s->period, (uint64_t)config(s)->period_ms);
}

void kp_snapshot_touch(struct kp_snapshot *s)
{
	if (s)
		s->changed = true;
}

/* --- using --- */

/* The model has it from the source, who knows better. */
static bool is_known(const struct kp_model *m, const struct kp_object *o)
{
	switch (o->kind) {
	case KP_KIND_SERVICE:
		return kp_model_service(m, o->key) != NULL;
	case KP_KIND_SLICE:
		return kp_model_slice(m, o->key) != NULL;
	case KP_KIND_NODE:
		return kp_model_node(m) != NULL;
	default:
		return kp_model_service_cidr(m, o->key) != NULL;
	}
}

static void tell(struct kp_snapshot *s, struct kp_object *o)
{
	if (s->view.is_listed(s->view.sink.arg, o->kind) || is_known(s->view.model, o))
		return;
	kp_map_puts(s->told[o->kind], o->key, s);
	s->view.sink.upsert(s->view.sink.arg, o);
}

/* 0, or -EBADMSG; fn may be NULL. */
static int each(const struct kp_buf *b, size_t at, void (*fn)(struct kp_snapshot *s, struct kp_object *o), struct kp_snapshot *s)
{
	struct kp_object o;
	int r;

	while ((r = kp_unpack(b->data, b->len, &at, &o)) > 0) {
		if (fn)
			fn(s, &o);
		kp_object_release(&o);
	}
	return r;
}

static int check(const struct kp_snapshot *s, const struct kp_buf *b, struct kp_snapfile_head *ret, struct kp_err *err)
{
	int r = kp_snapfile_check(b->data, b->len, kp_model_node_name(s->view.model), ret, err);

	if (r < 0)
		return r;
	if (age_ns(ret->wall_ns) / 1000000u >= (uint64_t)config(s)->max_age_ms)
		return kp_err_set(err, -ESTALE, "it is %llu s old, and proxylet.snapshot.maxAge is less", age_s(ret->wall_ns));
	if (each(b, ret->at, NULL, NULL) < 0)
		return kp_err_set(err, -EBADMSG, "it holds what no object is like");
	return 0;
}

static void use(struct kp_snapshot *s, const struct kp_buf *b, size_t at)
{
	for (int kind = 0; kind < KP_KIND_OTHER; kind++)
		s->told[kind] = kp_map_new(NULL);
	(void)each(b, at, tell, s);
	kp_warn("snapshot", "no news of an API server for %lld ms: until there is, %zu Services are as they were %llu s ago, by %s/%s",
		(long long)config(s)->wait_ms, kp_model_n_services(s->view.model), age_s(s->wall_ns), config(s)->path,
		KP_SNAPFILE_NAME);
	s->view.sink.flush(s->view.sink.arg);
}

static void try_to_use(struct kp_snapshot *s)
{
	struct kp_snapfile_head head;
	struct kp_err err = { 0 };
	struct kp_buf b = { 0 };
	int r = kp_snapfile_read(config(s)->path, &b, &err);

	if (r == -ENOENT) {
		kp_debug("snapshot", "there is none: %s", err.msg);
		return;
	}
	if (r == 0)
		r = check(s, &b, &head, &err);
	if (r == 0) {
		s->wall_ns = head.wall_ns;
		use(s, &b, head.at);
	} else {
		snprintf(s->problem, sizeof(s->problem), "%s", err.msg);
		kp_warn("snapshot", "%s/%s is not used: %s", config(s)->path, KP_SNAPFILE_NAME, err.msg);
	}
	kp_buf_release(&b);
}

static bool is_of_earlier_boot(const char *folder, const char *node_name)
{
	uint64_t now = kp_snapfile_boot();
	struct kp_snapfile_head head;
	struct kp_buf b = { 0 };
	bool earlier;

	earlier = *folder && kp_snapfile_read(folder, &b, NULL) == 0 &&
		  kp_snapfile_check(b.data, b.len, node_name, &head, NULL) == 0 &&
		  now && head.boot && head.boot != now;
	kp_buf_release(&b);
	return earlier;
}

bool kp_snapshot_distrusts(const struct kp_config *c, const char *node_name)
{
	return !c->snapshot.healthy && is_of_earlier_boot(c->snapshot.path, node_name);
}

/* A list that takes its time is on its way: only silence counts. Rules may go while we wait. */
static void on_wait(evutil_socket_t fd, short what, void *arg)
{
	struct kp_snapshot *s = arg;
	bool silent = s->n_told == s->n_seen;

	(void)fd;
	(void)what;
	s->n_seen = s->n_told;
	if (!silent || !s->view.may_use(s->view.sink.arg))
		set_timer(s->wait, (uint64_t)config(s)->wait_ms);
	else if (*config(s)->path)
		try_to_use(s);
}

bool kp_snapshot_in_use(const struct kp_snapshot *s)
{
	return s && s->told[0];
}

bool kp_snapshot_is_unhealthy(const struct kp_snapshot *s)
{
	return (kp_snapshot_in_use(s) || (s && s->inherited && !s->synced)) && !config(s)->healthy;
}

/* --- the source --- */

static void forget(struct kp_snapshot *s, enum kp_kind kind, const char *key)
{
	s->n_told++;
	if (kp_snapshot_in_use(s) && kind < KP_KIND_OTHER)
		kp_map_dels(s->told[kind], key);
}

static void on_upsert(void *arg, struct kp_object *o)
{
	struct kp_snapshot *s = arg;

	forget(s, o->kind, o->key);
	s->view.sink.upsert(s->view.sink.arg, o);
}

static void on_remove(void *arg, enum kp_kind kind, const char *key)
{
	struct kp_snapshot *s = arg;

	forget(s, kind, key);
	s->view.sink.remove(s->view.sink.arg, kind, key);
}

static size_t sweep(struct kp_snapshot *s, enum kp_kind kind)
{
	size_t n = kp_map_len(s->told[kind]);

	for (struct kp_map_it it = { 0 }; kp_map_next(s->told[kind], &it);)
		s->view.sink.remove(s->view.sink.arg, kind, it.key);
	s->told[kind] = kp_map_free(s->told[kind]);
	return n;
}

static void on_synced(void *arg)
{
	struct kp_snapshot *s = arg;
	bool was_in_use = kp_snapshot_in_use(s);
	size_t gone = 0;

	for (int kind = 0; was_in_use && kind < KP_KIND_OTHER; kind++)
		gone += sweep(s, (enum kp_kind)kind);
	if (was_in_use)
		kp_info("snapshot", "the API server has told everything; %zu objects of the snapshot are gone", gone);
	event_del(s->wait);
	s->synced = s->changed = true;
	s->view.sink.synced(s->view.sink.arg);
	set_timer(s->period, (uint64_t)(config(s)->period_ms < FIRST_MS ? config(s)->period_ms : FIRST_MS));
}

static void on_flush(void *arg)
{
	struct kp_snapshot *s = arg;

	s->view.sink.flush(s->view.sink.arg);
}

/* --- begin and end --- */

struct kp_snapshot *kp_snapshot_new(const struct kp_snapshot_view *view, struct kp_sink *ret_sink)
{
	struct kp_snapshot *s = kp_calloc(1, sizeof(*s));

	s->view = *view;
	s->lines = (struct kp_ratelimit){ .window_ms = 600000, .burst = 1 };
	s->saver = kp_saver_new(view->base, view->model, on_saved, s);
	s->wait = evtimer_new(view->base, on_wait, s);
	s->period = evtimer_new(view->base, on_period, s);
	s->inherited = !view->may_use(view->sink.arg) && is_of_earlier_boot(config(s)->path, kp_model_node_name(view->model));
	set_timer(s->wait, (uint64_t)config(s)->wait_ms);
	*ret_sink = (struct kp_sink){ on_upsert, on_remove, on_synced, on_flush, s };
	return s;
}

struct kp_snapshot *kp_snapshot_free(struct kp_snapshot *s)
{
	if (!s)
		return NULL;
	if (s->synced && s->changed && has_place(s))
		kp_saver_finish(s->saver, config(s)->path);
	kp_saver_free(s->saver);
	event_free(s->wait);
	event_free(s->period);
	for (int kind = 0; kind < KP_KIND_OTHER; kind++)
		kp_map_free(s->told[kind]);
	free(s);
	return NULL;
}

void kp_snapshot_status(const struct kp_snapshot *s, struct kp_snapshot_status *ret)
{
	*ret = (struct kp_snapshot_status){ .folder = NULL };
	if (!s || !*config(s)->path)
		return;
	*ret = (struct kp_snapshot_status){ config(s)->path, kp_snapshot_in_use(s), s->wall_ns, age_ns(s->wall_ns),
					      s->n_failed, *s->problem ? s->problem : NULL };
}
