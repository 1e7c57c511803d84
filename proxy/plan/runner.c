#include "proxy/plan/runner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct pending {
	struct kp_plan *plan;	/* NULL: gone */
};

struct kp_runner {
	const struct dp_ops *ops;
	void *dp;
	pthread_t thread;
	atomic_bool stop;
	int wake, done;		/* eventfds: work for the thread, results for the caller */

	pthread_mutex_t lock;	/* guards what follows */
	struct kp_map *pending;	/* key -> struct pending */
	struct kp_plan_node *node;
	uint64_t generation;	/* of the last submit */
	struct kp_runner_result *results;
	size_t n_results, cap_results;
};

void dp_batch_add(struct dp_batch *b, const char *key, struct kp_plan *plan, size_t *cap)
{
	kp_grow(&b->changes, b->n_changes, cap);
	b->changes[b->n_changes++] = (struct dp_change){ kp_strdup(key), plan ? kp_plan_ref(plan) : NULL };
}

void dp_batch_release(struct dp_batch *b)
{
	for (size_t i = 0; i < b->n_changes; i++) {
		free(b->changes[i].key);
		kp_plan_unref(b->changes[i].plan);
	}
	free(b->changes);
	kp_plan_node_unref(b->node);
	*b = (struct dp_batch){ 0 };
}

static void pending_free(void *p)
{
	struct pending *x = p;

	kp_plan_unref(x->plan);
	free(x);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return;		/* EAGAIN: it is readable already */
}

static void clear_fd(int fd)
{
	uint64_t n;

	if (read(fd, &n, sizeof(n)) < 0)
		return;		/* EAGAIN: nothing there */
}

/* Everything that waits, as one batch. False: nothing does. */
static bool take_pending(struct kp_runner *r, struct dp_batch *b, uint64_t *ret_generation)
{
	struct kp_map *pending;
	size_t cap = 0;

	pthread_mutex_lock(&r->lock);
	pending = r->pending;
	r->pending = kp_map_new(pending_free);
	*b = (struct dp_batch){ 0 };
	b->node = kp_steal(&r->node);
	*ret_generation = r->generation;
	pthread_mutex_unlock(&r->lock);
	for (struct kp_map_it it = { 0 }; kp_map_next(pending, &it);)
		dp_batch_add(b, it.key, ((const struct pending *)it.value)->plan, &cap);
	kp_map_free(pending);
	return b->node || b->n_changes;
}

static void post(struct kp_runner *r, const struct dp_result *res, uint64_t generation)
{
	pthread_mutex_lock(&r->lock);
	kp_grow(&r->results, r->n_results, &r->cap_results);
	r->results[r->n_results++] = (struct kp_runner_result){ generation, *res };
	pthread_mutex_unlock(&r->lock);
	signal_fd(r->done);
}

static bool was_tried(const struct dp_result *res)
{
	return res->family[KP_IPV4].tried || res->family[KP_IPV6].tried;
}

static void *run(void *arg)
{
	struct kp_runner *r = arg;
	uint64_t generation = 0;

	while (!atomic_load(&r->stop)) {
		struct pollfd p = { .fd = r->wake, .events = POLLIN };
		struct dp_result res = { 0 };
		struct dp_batch b;

		poll(&p, 1, r->ops->pending_ms(r->dp));
		clear_fd(r->wake);
		if (take_pending(r, &b, &generation))
			r->ops->apply(r->dp, &b, &res);
		else
			r->ops->retry(r->dp, &res);
		dp_batch_release(&b);
		if (was_tried(&res))
			post(r, &res, generation);
		else
			dp_result_release(&res);
	}
	return NULL;
}

/* Signals are the main thread's. */
static int start_thread(struct kp_runner *r)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&r->thread, NULL, run, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		pthread_setname_np(r->thread, "dataplane");
	return -rc;
}

static void release(struct kp_runner *r)
{
	for (size_t i = 0; i < r->n_results; i++)
		dp_result_release(&r->results[i].result);
	free(r->results);
	kp_map_free(r->pending);
	kp_plan_node_unref(r->node);
	kp_closep(&r->wake);
	kp_closep(&r->done);
	if (r->dp)
		r->ops->close(r->dp);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int kp_runner_start(struct kp_runner **ret, const struct dp_ops *ops, const struct dp_options *opt, struct kp_err *err)
{
	struct kp_runner *r = kp_calloc(1, sizeof(*r));
	int rc;

	r->ops = ops;
	r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->pending = kp_map_new(pending_free);
	pthread_mutex_init(&r->lock, NULL);
	rc = r->wake < 0 || r->done < 0 ? kp_err_set(err, -errno, "create eventfd: %s", strerror(errno)) : 0;
	if (rc == 0)
		rc = ops->open(&r->dp, opt, err);
	if (rc == 0) {
		rc = start_thread(r);
		if (rc < 0)
			kp_err_set(err, rc, "start the dataplane thread: %s", strerror(-rc));
	}
	if (rc < 0) {
		release(r);
		return rc;
	}
	*ret = r;
	return 0;
}

uint64_t kp_runner_submit(struct kp_runner *r, struct dp_batch *batch)
{
	uint64_t generation;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < batch->n_changes; i++) {
		struct pending *p = kp_calloc(1, sizeof(*p));

		p->plan = kp_steal(&batch->changes[i].plan);
		kp_map_puts(r->pending, batch->changes[i].key, p);
	}
	if (batch->node) {
		kp_plan_node_unref(r->node);
		r->node = kp_steal(&batch->node);
	}
	generation = ++r->generation;
	pthread_mutex_unlock(&r->lock);
	dp_batch_release(batch);
	signal_fd(r->wake);
	return generation;
}

int kp_runner_fd(const struct kp_runner *r)
{
	return r->done;
}

bool kp_runner_take(struct kp_runner *r, struct kp_runner_result *ret)
{
	bool any;

	clear_fd(r->done);
	pthread_mutex_lock(&r->lock);
	any = r->n_results > 0;
	if (any) {
		*ret = r->results[0];
		memmove(r->results, r->results + 1, --r->n_results * sizeof(*r->results));
	}
	pthread_mutex_unlock(&r->lock);
	return any;
}

struct kp_runner *kp_runner_stop(struct kp_runner *r)
{
	if (!r)
		return NULL;
	atomic_store(&r->stop, true);
	signal_fd(r->wake);
	pthread_join(r->thread, NULL);
	release(r);
	return NULL;
}
