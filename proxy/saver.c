#include "proxy/saver.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/thread.h"
#include "proxy/base/wake.h"
#include "proxy/model/model.h"
#include "proxy/source/pack.h"
#include "proxy/source/snapfile.h"

#define PIECE_NS	500000u
#define END_MS		500

/* What the thread works on. Whoever of the two is done last frees it. */
struct job {
	atomic_int refs;
	char *folder;
	struct kp_buf body;
	uint64_t wall_ns;
	int done;		/* eventfd */
	int code;		/* the thread's until done is readable */
	struct kp_err err;
};

struct kp_saver {
	const struct kp_model *model;
	kp_saved_fn *fn;
	void *arg;
	struct event_base *base;
	struct event *step, *done;
	struct job *job;	/* NULL: nothing is under way */
	struct kp_buf keys;	/* still to be packed, from at on */
	size_t at;
};

static void job_unref(struct job *j)
{
	if (atomic_fetch_sub(&j->refs, 1) > 1)
		return;
	kp_buf_release(&j->body);
	close(j->done);
	free(j->folder);
	free(j);
}

/* --- the thread --- */

static void *run(void *arg)
{
	struct job *j = arg;

	kp_snapfile_close(&j->body, j->wall_ns);	/* the checksum takes its time as well */
	j->code = kp_snapfile_write(j->folder, &j->body, &j->err);
	kp_wake_set(j->done);
	job_unref(j);
	return NULL;
}

static int start_thread(struct job *j)
{
	pthread_t thread;
	int r;

	atomic_fetch_add(&j->refs, 1);
	r = kp_thread_start(&thread, "snapshot", run, j);
	if (r == 0)
		pthread_detach(thread);
	else
		job_unref(j);
	return r;
}

/* --- packing --- */

static void pack_cidr(void *arg, const struct kp_service_cidr *c)
{
	kp_pack(arg, KP_KIND_SERVICE_CIDR, c);
}

static void pack_key(struct kp_saver *s, const char *key)
{
	const struct kp_service *service = kp_model_service(s->model, key);
	const struct kp_slice *const *slices;
	size_t n = kp_model_slices(s->model, key, &slices);

	if (service)
		kp_pack(&s->job->body, KP_KIND_SERVICE, service);
	for (size_t i = 0; i < n; i++)
		kp_pack(&s->job->body, KP_KIND_SLICE, slices[i]);
}

static void pack_rest(struct kp_saver *s)
{
	const struct kp_node *node = kp_model_node(s->model);

	if (node)
		kp_pack(&s->job->body, KP_KIND_NODE, node);
	kp_model_each_service_cidr(s->model, pack_cidr, &s->job->body);
	kp_buf_release(&s->keys);
}

/* True: all of it is packed. */
static bool pack_until(struct kp_saver *s, uint64_t until_ns)
{
	while (s->at < s->keys.len) {
		const char *key = s->keys.data + s->at;

		pack_key(s, key);
		s->at += strlen(key) + 1;
		if (kp_now_ns() >= until_ns)
			return false;
	}
	pack_rest(s);
	return true;
}

/* --- from beginning to end --- */

static void end(struct kp_saver *s, int code, const char *why)
{
	struct job *j = kp_steal(&s->job);
	struct kp_saved saved = { code, why, j->wall_ns, j->body.len };

	if (s->done)
		event_free(kp_steal(&s->done));
	kp_buf_release(&s->keys);
	s->fn(s->arg, &saved);
	job_unref(j);
}

static void on_done(evutil_socket_t fd, short what, void *arg)
{
	struct kp_saver *s = arg;

	(void)what;
	kp_wake_clear(fd);
	end(s, s->job->code, s->job->err.msg);
}

static void hand_over(struct kp_saver *s)
{
	int r = s->job->done < 0 ? -EMFILE : start_thread(s->job);

	if (r < 0) {
		end(s, r, strerror(-r));
		return;
	}
	s->done = event_new(s->base, s->job->done, EV_READ, on_done, s);
	event_add(s->done, NULL);
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once;
	struct kp_saver *s = arg;

	(void)fd;
	(void)what;
	if (pack_until(s, kp_now_ns() + PIECE_NS))
		hand_over(s);
	else
		event_add(s->step, &at_once);	/* after everything that is waiting now */
}

static void open_job(struct kp_saver *s, const char *folder)
{
	struct job *j = kp_calloc(1, sizeof(*j));

	atomic_init(&j->refs, 1);
	j->folder = kp_strdup(folder);
	j->wall_ns = kp_wall_ns();
	j->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kp_snapfile_open(&j->body, kp_model_node_name(s->model), kp_snapfile_boot());
	kp_model_keys(s->model, &s->keys);
	s->at = 0;
	s->job = j;
}

bool kp_saver_begin(struct kp_saver *s, const char *folder)
{
	static const struct timeval at_once;

	if (s->job)
		return false;
	open_job(s, folder);
	event_add(s->step, &at_once);
	return true;
}

static void drop(struct kp_saver *s)
{
	event_del(s->step);
	if (s->done)
		event_free(kp_steal(&s->done));
	kp_buf_release(&s->keys);
	if (s->job)
		job_unref(kp_steal(&s->job));
}

/* True: it is done. Else it goes on by itself, as long as the process lives. */
static bool await_thread(struct kp_saver *s)
{
	struct pollfd p = { .fd = s->job->done, .events = POLLIN };
	bool done = poll(&p, 1, END_MS) > 0;

	if (done)
		on_done(p.fd, EV_READ, s);
	else
		end(s, -ETIMEDOUT, "the disk does not answer");
	return done;
}

/* Two threads would be in each other's way. */
void kp_saver_finish(struct kp_saver *s, const char *folder)
{
	if (s->done && !await_thread(s))
		return;
	drop(s);
	open_job(s, folder);
	(void)pack_until(s, UINT64_MAX);
	hand_over(s);
	if (s->done)
		(void)await_thread(s);
}

struct kp_saver *kp_saver_new(struct event_base *base, const struct kp_model *m, kp_saved_fn *fn, void *arg)
{
	struct kp_saver *s = kp_calloc(1, sizeof(*s));

	s->base = base;
	s->model = m;
	s->fn = fn;
	s->arg = arg;
	s->step = evtimer_new(base, on_step, s);
	return s;
}

struct kp_saver *kp_saver_free(struct kp_saver *s)
{
	if (!s)
		return NULL;
	if (s->done)
		(void)await_thread(s);
	drop(s);
	event_free(s->step);
	free(s);
	return NULL;
}
