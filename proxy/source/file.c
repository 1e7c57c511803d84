#include "proxy/source/file.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/source/file_impl.h"
#include "proxy/source/status.h"

#define TURN_MS 50	/* so long files are read before the loop gets its turn */
/*
 * Editors and scripts replace a file by renaming it away and writing a new one. So long
 * its objects wait for it before they are removed.
 */
#define GRACE_MS 100
static const struct timeval grace = { .tv_usec = (GRACE_MS + 5) * 1000 };
static const struct timeval tick = { .tv_sec = 1 };
static const struct timeval at_once = { 0 };

struct file_list {
	struct kp_file **v;
	size_t n, cap;
};

struct kp_file_source {
	struct event_base *base;	/* NULL: everything is read once */
	struct kp_sink sink;
	struct kp_file_table *table;
	struct kp_file_root *roots;
	size_t n_roots;
	struct file_list queue;		/* files to be read, */
	size_t queue_at;		/* from here on */
	struct file_list gone;		/* files that were missing when we looked last */
	int inotify;			/* -1: there is none */
	struct event *ev_inotify, *ev_work, *ev_grace, *ev_tick;
	bool synced;
	struct kp_ratelimit complaints;
	unsigned n_bad;			/* objects and files, over all time; for reading once */
};

static void append(struct file_list *l, struct kp_file *f)
{
	kp_grow(&l->v, l->n, &l->cap);
	l->v[l->n++] = f;
}

void kp_file_enqueue(struct kp_file *f)
{
	struct kp_file_source *s = f->root->source;

	if (f->queued)
		return;
	f->queued = true;
	append(&s->queue, f);
	if (s->ev_work)
		event_add(s->ev_work, &at_once);
}

void kp_file_missing(struct kp_file *f)
{
	struct kp_file_source *s = f->root->source;

	if (!f->gone_ms)
		f->gone_ms = kp_now_ms();
	if (f->in_gone)
		return;
	f->in_gone = true;
	append(&s->gone, f);
	if (s->ev_grace && !event_pending(s->ev_grace, EV_TIMEOUT, NULL))
		event_add(s->ev_grace, &grace);
}

void kp_file_unwatch(struct kp_file_root *r)
{
	struct kp_file_source *s = r->source;
	bool shared = false;

	for (size_t i = 0; i < s->n_roots; i++)
		shared |= &s->roots[i] != r && s->roots[i].wd == r->wd;
	if (r->wd >= 0 && !shared)
		inotify_rm_watch(s->inotify, r->wd);
	r->wd = -1;
}

/* Once for each text: a file that is written slowly may be read often. */
static void complain(struct kp_file_source *s, struct kp_file *f, const struct kp_err *err)
{
	unsigned suppressed;

	s->n_bad++;
	if (f->complaint && strcmp(f->complaint, err->msg) == 0)
		return;
	free(f->complaint);
	f->complaint = kp_strdup(err->msg);
	if (s->base && !kp_ratelimit_ok(&s->complaints, kp_now_ms(), &suppressed))
		return;
	kp_error("file", "%s: %s%s", f->path, err->msg,
		 kp_map_len(f->items) ? "; its objects stay as they were" : "");
	if (s->base && suppressed)
		kp_error("file", "%u more complaints about files were left out", suppressed);
}

static void settle_complaint(struct kp_file *f)
{
	if (!f->complaint)
		return;
	kp_info("file", "%s: reads well again", f->path);
	free(f->complaint);
	f->complaint = NULL;
}

static void read_file(struct kp_file_source *s, struct kp_file *f)
{
	struct kp_file_draft draft = { 0 };
	struct kp_err err = { 0 };
	int r = kp_file_read(f, &draft, &err);

	if (r == -ENOENT && s->base) {
		kp_file_missing(f);
	} else if (r < 0) {
		f->gone_ms = 0;
		complain(s, f, &err);
	} else {
		f->gone_ms = 0;
		settle_complaint(f);
		s->n_bad += kp_file_table_apply(s->table, f, &draft);
	}
	kp_file_draft_release(&draft);
}

/* Reads for a turn. The sink gets no flush before everything that exists was reported. */
static void work(struct kp_file_source *s)
{
	uint64_t end = kp_now_ms() + TURN_MS;
	bool reported;

	while (s->queue_at < s->queue.n && (!s->base || kp_now_ms() < end)) {
		struct kp_file *f = s->queue.v[s->queue_at++];

		f->queued = false;
		read_file(s, f);
	}
	if (s->queue_at < s->queue.n) {
		event_add(s->ev_work, &at_once);
		if (!s->synced)
			return;
	} else {
		s->queue_at = s->queue.n = 0;
	}
	reported = kp_file_table_settle(s->table);
	if (!s->synced) {
		s->synced = reported = true;
		s->sink.synced(s->sink.arg);
	}
	if (reported)
		s->sink.flush(s->sink.arg);
}

static void forget(struct kp_file_source *s, struct kp_file *f)
{
	struct kp_file_draft nothing = { 0 };

	f->n_reads++;
	kp_file_table_apply(s->table, f, &nothing);
	kp_map_dels(f->root->files, f->name);
}

static bool is_there(const struct kp_file *f)
{
	struct stat st;

	return stat(f->path, &st) == 0 || errno != ENOENT;
}

/* Files that stayed away are forgotten, with their objects. */
static void on_grace(evutil_socket_t fd, short what, void *arg)
{
	struct kp_file_source *s = arg;
	uint64_t now = kp_now_ms();
	struct file_list was = s->gone;

	(void)fd, (void)what;
	s->gone = (struct file_list){ 0 };
	for (size_t i = 0; i < was.n; i++) {
		struct kp_file *f = was.v[i];

		f->in_gone = false;
		if (!f->gone_ms)
			continue;
		if (f->queued || now - f->gone_ms < GRACE_MS)
			kp_file_missing(f);	/* look again */
		else if (is_there(f))
			kp_file_enqueue(f);
		else
			forget(s, f);
	}
	free(was.v);
	work(s);
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	work(arg);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct kp_file_source *s = arg;
	uint64_t now = kp_now_ms();

	(void)fd, (void)what;
	for (size_t i = 0; i < s->n_roots; i++) {
		kp_file_root_check(&s->roots[i], s->inotify, now);
		kp_file_root_poll(&s->roots[i], now);
	}
}

static void take_event(struct kp_file_source *s, const struct inotify_event *e)
{
	for (size_t i = 0; i < s->n_roots; i++) {
		struct kp_file_root *r = &s->roots[i];

		if (e->mask & IN_Q_OVERFLOW) {		/* anything may have happened */
			kp_file_root_scan(r, false);
		} else if (r->wd != e->wd) {
			continue;
		} else if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) {
			if (e->mask & IN_IGNORED)
				r->wd = -1;
			kp_file_root_check(r, s->inotify, kp_now_ms());
		} else if (e->len) {
			kp_file_root_event(r, e->mask, e->name);
		}
	}
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	struct kp_file_source *s = arg;
	_Alignas(struct inotify_event) char buf[16384];
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)what;
	for (const char *p = buf; n > 0 && p < buf + n;) {
		const struct inotify_event *e = (const void *)p;

		p += sizeof(*e) + e->len;
		if (e->mask & IN_Q_OVERFLOW)
			kp_warn("file", "too many changes at once: everything is read again");
		take_event(s, e);
	}
	work(s);	/* now, not in the next turn: this is what latency is made of */
}

static int add_roots(struct kp_file_source *s, const char *const *paths, size_t n_paths, struct kp_err *err)
{
	s->roots = kp_calloc(n_paths, sizeof(*s->roots));
	for (size_t i = 0; i < n_paths; i++) {
		int r = kp_file_root_init(&s->roots[i], s, paths[i], i, err);

		if (r < 0)
			return r;
		s->n_roots++;
	}
	return 0;
}

static void add_events(struct kp_file_source *s)
{
	s->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->inotify >= 0) {
		s->ev_inotify = event_new(s->base, s->inotify, EV_READ | EV_PERSIST, on_inotify, s);
		event_add(s->ev_inotify, NULL);
	} else {
		kp_warn("file", "inotify: %s; files are looked at every second instead", strerror(errno));
	}
	s->ev_work = event_new(s->base, -1, 0, on_work, s);
	s->ev_grace = event_new(s->base, -1, 0, on_grace, s);
	s->ev_tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
	event_add(s->ev_work, &at_once);
	event_add(s->ev_tick, &tick);
}

static struct kp_file_source *new_source(struct event_base *base, const struct kp_sink *sink)
{
	struct kp_file_source *s = kp_calloc(1, sizeof(*s));

	s->base = base;
	s->sink = *sink;
	s->inotify = -1;
	s->complaints = (struct kp_ratelimit){ .window_ms = 10000, .burst = 50 };
	s->table = kp_file_table_new(sink, kp_file_enqueue);
	return s;
}

int kp_file_source_new(struct kp_file_source **ret, struct event_base *base, const char *const *paths,
		       size_t n_paths, const struct kp_sink *sink, struct kp_err *err)
{
	struct kp_file_source *s = new_source(base, sink);
	int r = add_roots(s, paths, n_paths, err);

	if (r < 0) {
		kp_file_source_free(s);
		return r;
	}
	add_events(s);
	for (size_t i = 0; i < s->n_roots; i++)
		kp_file_root_check(&s->roots[i], s->inotify, kp_now_ms());
	*ret = s;
	return 0;
}

static void free_event(struct event *e)
{
	if (e)
		event_free(e);
}

struct kp_file_source *kp_file_source_free(struct kp_file_source *s)
{
	if (!s)
		return NULL;
	free_event(s->ev_inotify);
	free_event(s->ev_work);
	free_event(s->ev_grace);
	free_event(s->ev_tick);
	if (s->inotify >= 0)
		close(s->inotify);
	for (size_t i = 0; i < s->n_roots; i++)
		kp_file_root_release(&s->roots[i]);
	free(s->roots);
	kp_file_table_free(s->table);
	free(s->queue.v);
	free(s->gone.v);
	free(s);
	return NULL;
}

static void file_status(const struct kp_file *f, struct kp_source_row *row, unsigned *n_refused)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(f->items, &it);) {
		const struct kp_file_item *i = it.value;

		row->n_objects += i->state == KP_FILE_GOOD;
		*n_refused += i->state == KP_FILE_REFUSED;
	}
	if (f->complaint && !row->problem)
		row->problem = kp_asprintf("%s: %s", f->path, f->complaint);
}

void kp_file_source_status(const struct kp_file_source *s, struct kp_source_status *ret)
{
	for (size_t r = 0; r < s->n_roots; r++) {
		const struct kp_file_root *root = &s->roots[r];
		struct kp_source_row *row = kp_source_status_add(ret, root->path);
		unsigned n_refused = 0;

		row->live = !root->gone_ms && !root->unlisted;
		for (struct kp_map_it it = { 0 }; kp_map_next(root->files, &it);)
			file_status(it.value, row, &n_refused);
		if (!row->problem && n_refused)
			row->problem = kp_asprintf("%u %s refused, see the log", n_refused, n_refused == 1 ? "object" : "objects");
		if (!row->problem && !row->live)
			row->problem = kp_strdup(root->gone_ms ? "is not there" : strerror(root->unlisted));
	}
}

int kp_file_read_once(const char *const *paths, size_t n_paths, const struct kp_sink *sink, struct kp_err *err)
{
	struct kp_file_source *s = new_source(NULL, sink);
	int r = add_roots(s, paths, n_paths, err);

	for (size_t i = 0; r == 0 && i < s->n_roots; i++) {
		s->roots[i].pipes = s->roots[i].only;
		kp_file_root_scan(&s->roots[i], false);
		s->n_bad += s->roots[i].unlisted != 0;
	}
	if (r == 0)
		work(s);
	if (r == 0 && s->n_bad)
		r = kp_err_set(err, -EINVAL, "%u %s above", s->n_bad, s->n_bad == 1 ? "error" : "errors");
	kp_file_source_free(s);
	return r;
}
