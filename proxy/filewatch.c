#include "proxy/filewatch.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"

#define SETTLED_MS 100
#define POLL_MS 1000
/* The flip of ..data is a rename in the folder; a link that is replaced is created. */
#define WATCHED (IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE)

/* What a path led to; all zero: no file. No padding: compared as bytes. */
struct look {
	uint64_t dev, ino, size;
	int64_t sec, nsec;
};

struct file {
	char *path;
	struct look look;
};

struct kp_filewatch {
	struct file *files;
	size_t n;
	bool restless;		/* the last look was different; the next decides */
	bool soon;		/* the timer is set for that */
	int fd;
	struct event readable, timer;
	kp_filewatch_fn *cb;
	void *arg;
};

static struct look look_at(const char *path)
{
	struct look l = { 0 };
	struct stat st;

	if (stat(path, &st) == 0 && S_ISREG(st.st_mode))	/* a pipe can be read only once */
		l = (struct look){ st.st_dev, st.st_ino, (uint64_t)st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec };
	return l;
}

/* True: some file is not what it was the last time. */
static bool look_again(struct kp_filewatch *w)
{
	bool changed = false;

	for (size_t i = 0; i < w->n; i++) {
		struct look now = look_at(w->files[i].path);

		changed |= memcmp(&now, &w->files[i].look, sizeof(now)) != 0;
		w->files[i].look = now;
	}
	return changed;
}

static void set_timer(struct kp_filewatch *w, unsigned ms)
{
	const struct timeval t = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_add(&w->timer, &t);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct kp_filewatch *w = arg;
	bool changed = look_again(w), tell = w->restless && !changed;

	(void)fd, (void)what;
	w->restless = changed;
	w->soon = changed;
	set_timer(w, changed ? SETTLED_MS : POLL_MS);
	if (tell)
		w->cb(w->arg);
}

/* Only that something happened: the look says what. Not put off by more of them, there may be many. */
static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct kp_filewatch *w = arg;
	char events[4096];

	(void)what;
	while (read(fd, events, sizeof(events)) > 0)
		;
	if (!w->soon)
		set_timer(w, SETTLED_MS);
	w->soon = true;
}

static void watch_folder(struct kp_filewatch *w, const char *path)
{
	const char *slash = strrchr(path, '/');
	KP_AUTO(kp_freep) char *dir = slash ? kp_strndup(path, (size_t)(slash - path) + 1) : kp_strdup(".");

	(void)inotify_add_watch(w->fd, dir, WATCHED);	/* without it the timer has to do */
}

struct kp_filewatch *kp_filewatch_new(struct event_base *base, const char *const *paths, size_t n,
				      kp_filewatch_fn *cb, void *arg)
{
	struct kp_filewatch *w = kp_calloc(1, sizeof(*w));

	w->files = kp_calloc(n, sizeof(*w->files));
	w->n = n;
	w->cb = cb;
	w->arg = arg;
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	for (size_t i = 0; i < n; i++) {
		w->files[i].path = kp_strdup(paths[i]);
		watch_folder(w, paths[i]);
	}
	w->restless = w->soon = look_again(w);
	evtimer_assign(&w->timer, base, on_timer, w);
	set_timer(w, SETTLED_MS);
	if (w->fd < 0)
		return w;
	event_assign(&w->readable, base, w->fd, EV_READ | EV_PERSIST, on_event, w);
	event_add(&w->readable, NULL);
	return w;
}

struct kp_filewatch *kp_filewatch_free(struct kp_filewatch *w)
{
	if (!w)
		return NULL;
	event_del(&w->timer);
	if (w->fd >= 0) {
		event_del(&w->readable);
		close(w->fd);
	}
	for (size_t i = 0; i < w->n; i++)
		free(w->files[i].path);
	free(w->files);
	free(w);
	return NULL;
}
