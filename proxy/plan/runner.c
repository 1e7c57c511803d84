#include "proxy/plan/runner.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/base/thread.h"
#include "proxy/base/wake.h"

/* What another backend left could not be removed: again after this, and twice as long each time. */
#define FORMER_NS	500000000ull
#define FORMER_MAX_NS	(3600 * 1000000000ull)

/*
 * After a commit that changed verdicts the kernel walks the whole ruleset: 1 ms at 10,000
 * Services, eight times that before Linux 6.12 (nft-design 2.4). So ten times as long as
 * the last one took is left between two of them, and what comes meanwhile goes together.
 * Changes of endpoints alone do not wait for that.
 */
#define HEAVY_PAUSE	10
#define HEAVY_PAUSE_MAX	500000000ull

/* Batches that are larger, or come faster, are a burst: both threads work on it at the same time. */
#define SMALL		16	/* changes */
#define BURST_NS	500000

/* How long a commit under way is waited for. */
#define PAUSE_MS	1000
/* Then it is called off, if it can be, and this once more; what is left alone then is a leak to sanitizers. */
#define END_MS		(KP_SANITIZED ? 2500 : 250)

struct pending {
	struct kp_plan *plan;	/* NULL: gone */
	bool heavy;		/* more than endpoints changed */
};

struct kp_runner {
	const struct dp_ops *ops;
	void *dp;			/* NULL: paused */
	struct dp_options opt;
	pthread_t thread;
	atomic_bool idle;	/* the thread has not run since it was asked to */
	atomic_bool ran;	/* since kp_runner_let_go() asked last */
	atomic_bool asleep;	/* it waits for work, and has nothing else to do */
	int cpu;		/* caller only: of kp_thread_near() */
	uint64_t submitted_ns;	/* caller only: the last time */
	int wake, done, cancel;	/* eventfds: work for the thread, results for the caller, an early end */
	uint64_t heavy_after_ns;	/* dataplane thread only */
	const struct dp_ops *const *former;	/* dataplane thread only; NULL: nothing left to remove */
	bool ours[KP_N_FAMILIES];	/* dataplane thread only: our rules are in the kernel */
	uint64_t former_after_ns, former_wait_ns;	/* dataplane thread only: when to try that again, and how long that is */
	struct kp_map *last;	/* caller only: key -> the plan submitted last */
	struct kp_plan_node *last_node;	/* caller only */

	pthread_mutex_t lock;	/* guards what follows */
	bool stop, ended;	/* the thread is told to end; has seen it */
	struct kp_map *pending;	/* key -> struct pending */
	struct kp_plan_node *node;
	size_t n_heavy;		/* of them */
	uint64_t generation;	/* of the last submit */
	uint64_t taken;		/* up to here nothing is pending */
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

static void plan_free(void *p)
{
	kp_plan_unref(p);
}

/* Moves what may go now out of pending. */
static void take_changes(struct kp_runner *r, bool heavy_too, struct dp_batch *b)
{
	size_t cap = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(r->pending, &it);) {
		const struct pending *p = it.value;

		if (p->heavy && !heavy_too)
			continue;
		r->n_heavy -= p->heavy;
		dp_batch_add(b, it.key, p->plan, &cap);
		kp_map_del_at(r->pending, &it);
	}
}

/* Everything that waits and may go now, as one batch. False: nothing does. */
static bool take_pending(struct kp_runner *r, struct dp_batch *b, uint64_t *ret_generation)
{
	bool heavy_too = kp_now_ns() >= r->heavy_after_ns;

	*b = (struct dp_batch){ 0 };
	pthread_mutex_lock(&r->lock);
	b->node = kp_steal(&r->node);
	take_changes(r, heavy_too || b->node, b);
	if (!kp_map_len(r->pending)) {
		r->taken = r->generation;
		kp_map_free(r->pending);	/* it keeps the size of the first batch otherwise */
		r->pending = kp_map_new(pending_free);
	}
	*ret_generation = r->taken;
	pthread_mutex_unlock(&r->lock);
	return b->node || b->n_changes;
}

/* Their rules serve until ours are complete, so that nothing is ever without. */
static bool may_remove_former(const struct kp_runner *r)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (r->opt.families[f] && !r->ours[f])
			return false;
	return r->former;
}

/* How long to sleep: until the backend or a heavy change has something to do, or another backend's rules. */
static int pause_ms(struct kp_runner *r)
{
	int ms = r->ops->pending_ms(r->dp);
	uint64_t now = kp_now_ns();
	bool waits;

	pthread_mutex_lock(&r->lock);
	waits = r->n_heavy > 0;
	pthread_mutex_unlock(&r->lock);
	if (waits)
		ms = kp_ms_sooner(ms, kp_ms_until(r->heavy_after_ns, now));
	if (may_remove_former(r))
		ms = kp_ms_sooner(ms, kp_ms_until(r->former_after_ns, now));
	return ms;
}

static void note_heavy(struct kp_runner *r, const struct dp_result *res)
{
	uint64_t pause = 0;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (HEAVY_PAUSE * res->family[f].heavy_ns > pause)
			pause = HEAVY_PAUSE * res->family[f].heavy_ns;
	if (pause)
		r->heavy_after_ns = kp_now_ns() + (pause < HEAVY_PAUSE_MAX ? pause : HEAVY_PAUSE_MAX);
}

static void post(struct kp_runner *r, const struct dp_result *res, uint64_t generation)
{
	pthread_mutex_lock(&r->lock);
	kp_grow(&r->results, r->n_results, &r->cap_results);
	r->results[r->n_results] = (struct kp_runner_result){ generation, *res };
	r->results[r->n_results++].result.done_ns = kp_wall_ns();
	pthread_mutex_unlock(&r->lock);
	kp_wake_set(r->done);
}

static void note_ours(struct kp_runner *r, const struct dp_result *res)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		r->ours[f] |= res->family[f].tried && res->family[f].code == 0;
}

static void remove_former(struct kp_runner *r)
{
	struct kp_err err = { 0 };

	if (!may_remove_former(r) || kp_now_ns() < r->former_after_ns)
		return;
	for (; *r->former && (*r->former)->remove(&err) == 0; r->former++)
		r->former_wait_ns = 0;
	if (!*r->former) {
		r->former = NULL;
		return;
	}
	if (!r->former_wait_ns)		/* once: it may be that they cannot even be seen, for lack of a capability */
		kp_warn("dataplane", "cannot remove what mode %s left: %s; will try again", (*r->former)->name, err.msg);
	r->former_wait_ns = r->former_wait_ns ? 2 * r->former_wait_ns : FORMER_NS;
	if (r->former_wait_ns > FORMER_MAX_NS)
		r->former_wait_ns = FORMER_MAX_NS;
	r->former_after_ns = kp_now_ns() + r->former_wait_ns;
}

static bool has_to_end(struct kp_runner *r)
{
	bool end;

	pthread_mutex_lock(&r->lock);
	end = r->ended = r->stop;
	pthread_mutex_unlock(&r->lock);
	return end;
}

static void work(struct kp_runner *r, uint64_t *generation)
{
	struct dp_result res = { 0 };
	struct dp_batch b;

	if (take_pending(r, &b, generation))
		r->ops->apply(r->dp, &b, &res);
	else
		r->ops->retry(r->dp, &res);
	note_heavy(r, &res);
	dp_batch_release(&b);
	note_ours(r, &res);
	if (dp_result_tells(&res))
		post(r, &res, *generation);
	else
		dp_result_release(&res);
	remove_former(r);
}

static void *run(void *arg)
{
	struct kp_runner *r = arg;
	uint64_t generation = 0;

	while (!has_to_end(r)) {
		struct pollfd p = { .fd = r->wake, .events = POLLIN };

		atomic_store(&r->asleep, true);
		if (poll(&p, 1, pause_ms(r)) > 0)
			kp_wake_clear(r->wake);
		atomic_store(&r->asleep, false);
		atomic_store(&r->idle, false);
		atomic_store(&r->ran, true);
		work(r, &generation);
	}
	r->ops->close(r->dp);	/* here, since that takes its time as well: a walk over conntrack ends first */
	return NULL;
}

static void release(struct kp_runner *r)
{
	for (size_t i = 0; i < r->n_results; i++)
		dp_result_release(&r->results[i].result);
	free(r->results);
	kp_map_free(r->pending);
	kp_map_free(r->last);
	kp_plan_node_unref(r->node);
	kp_plan_node_unref(r->last_node);
	kp_closep(&r->wake);
	kp_closep(&r->done);
	kp_closep(&r->cancel);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static int open_backend(struct kp_runner *r, struct kp_err *err)
{
	int rc = r->ops->open(&r->dp, &r->opt, err);

	if (rc < 0)
		return rc;
	r->stop = r->ended = false;
	r->cpu = -1;
	rc = kp_thread_start(&r->thread, "dataplane", run, r);
	if (rc < 0) {
		r->ops->close(kp_steal(&r->dp));
		return kp_err_set(err, rc, "start the dataplane thread: %s", strerror(-rc));
	}
	return 0;
}

int kp_runner_start(struct kp_runner **ret, const struct dp_ops *ops, const struct dp_options *opt, struct kp_err *err)
{
	struct kp_runner *r = kp_calloc(1, sizeof(*r));
	int rc;

	r->ops = ops;
	r->opt = *opt;
	r->former = opt->former;
	r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->cancel = r->opt.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->pending = kp_map_new(pending_free);
	r->last = kp_map_new_keyed(kp_plan_key, plan_free);
	pthread_mutex_init(&r->lock, NULL);
	rc = r->wake < 0 || r->done < 0 || r->cancel < 0 ? kp_err_set(err, -errno, "create eventfd: %s", strerror(errno)) : 0;
	if (rc == 0)
		rc = open_backend(r, err);
	if (rc < 0) {
		release(r);
		return rc;
	}
	*ret = r;
	return 0;
}

/* Is more than the endpoints new since the last plan of this Service? */
static bool is_heavy(struct kp_runner *r, const struct dp_change *c)
{
	struct kp_plan *last = kp_map_gets(r->last, c->key);
	bool heavy = (c->plan || last) && (!c->plan || !last || !kp_plan_same_but_endpoints(last, c->plan));

	if (c->plan)
		kp_map_puts(r->last, c->key, kp_plan_ref(c->plan));
	else
		kp_map_dels(r->last, c->key);
	return heavy;
}

static void add_pending(struct kp_runner *r, struct dp_change *c)
{
	const struct pending *before = kp_map_gets(r->pending, c->key);
	struct pending *p = kp_calloc(1, sizeof(*p));
	bool was_heavy = before && before->heavy;

	p->heavy = is_heavy(r, c) || was_heavy;
	p->plan = kp_steal(&c->plan);
	r->n_heavy += p->heavy && !was_heavy;
	kp_map_puts(r->pending, c->key, p);
}

/* What is done at once is done here, rather than where nobody runs. -> whether it will be. */
static bool place(struct kp_runner *r, const struct dp_batch *b)
{
	uint64_t now = kp_now_ns();
	bool burst = now - r->submitted_ns < BURST_NS;

	r->submitted_ns = now;
	if (!r->dp || !r->ops->is_quick)
		return false;
	if (b->node || b->n_changes >= SMALL || burst) {
		kp_thread_anywhere(r->thread, &r->cpu);
		return false;
	}
	return atomic_load(&r->asleep) && kp_thread_near(r->thread, &r->cpu);
}

uint64_t kp_runner_submit(struct kp_runner *r, struct dp_batch *batch)
{
	bool here = place(r, batch);
	uint64_t generation;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < batch->n_changes; i++)
		add_pending(r, &batch->changes[i]);
	if (batch->node) {
		kp_plan_node_unref(r->node);
		kp_plan_node_unref(r->last_node);
		r->last_node = kp_plan_node_ref(batch->node);
		r->node = kp_steal(&batch->node);
	}
	generation = ++r->generation;
	pthread_mutex_unlock(&r->lock);
	dp_batch_release(batch);
	kp_wake_set(r->wake);
	if (here)
		sched_yield();	/* and when it is done, nobody has to be woken for the result, on another processor at that */
	return generation;
}

void kp_runner_let_go(struct kp_runner *r)
{
	if (!atomic_exchange(&r->ran, false) && r->dp)
		kp_thread_anywhere(r->thread, &r->cpu);
}

int kp_runner_fd(const struct kp_runner *r)
{
	return r->done;
}

bool kp_runner_take(struct kp_runner *r, struct kp_runner_result *ret)
{
	bool any;

	kp_wake_clear(r->done);
	pthread_mutex_lock(&r->lock);
	any = r->n_results > 0;
	if (any) {
		*ret = r->results[0];
		memmove(r->results, r->results + 1, --r->n_results * sizeof(*r->results));
	}
	pthread_mutex_unlock(&r->lock);
	return any;
}

static void tell_to_stop(struct kp_runner *r)
{
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_mutex_unlock(&r->lock);
	kp_wake_set(r->wake);
}

/* False: it has seen it already. */
static bool tell_to_go_on(struct kp_runner *r)
{
	bool ended;

	pthread_mutex_lock(&r->lock);
	ended = r->ended;
	r->stop = ended;
	pthread_mutex_unlock(&r->lock);
	return !ended;
}

int kp_runner_pause(struct kp_runner *r, struct kp_err *err)
{
	if (!r->dp)
		return 0;
	tell_to_stop(r);
	if (!kp_thread_join(r->thread, PAUSE_MS)) {
		if (tell_to_go_on(r))
			return kp_err_set(err, -EBUSY, "waits for the kernel: a commit is under way");
		pthread_join(r->thread, NULL);
	}
	r->dp = NULL;
	return 0;
}

/* There is no thread: the lock is nobody else's. */
int kp_runner_resume(struct kp_runner *r, struct kp_err *err)
{
	bool began = r->last_node != NULL;

	if (r->dp)
		return 0;
	kp_map_free(r->pending);
	r->pending = kp_map_new(pending_free);
	r->n_heavy = 0;
	for (struct kp_map_it it = { 0 }; began && kp_map_next(r->last, &it);) {
		struct pending *p = kp_calloc(1, sizeof(*p));

		p->plan = kp_plan_ref(it.value);
		kp_map_puts(r->pending, it.key, p);
	}
	if (began) {
		kp_plan_node_unref(r->node);
		r->node = kp_plan_node_ref(r->last_node);
		kp_wake_set(r->wake);
	}
	return open_backend(r, err);
}

bool kp_runner_has_run(struct kp_runner *r)
{
	bool was_idle = atomic_exchange(&r->idle, true);

	kp_wake_set(r->wake);
	return !was_idle || !r->dp;
}

struct kp_runner *kp_runner_stop(struct kp_runner *r)
{
	if (!r)
		return NULL;
	if (r->dp) {
		tell_to_stop(r);
		pthread_join(r->thread, NULL);
	}
	release(r);
	return NULL;
}

struct kp_runner *kp_runner_end(struct kp_runner *r)
{
	if (!r)
		return NULL;
	if (r->dp) {
		bool ended;

		tell_to_stop(r);
		ended = kp_thread_join(r->thread, END_MS);
		if (!ended) {
			kp_wake_set(r->cancel);
			ended = kp_thread_join(r->thread, END_MS);
		}
		if (!ended) {
			kp_warn("dataplane", "the kernel does not answer: ending while a commit is under way");
			return NULL;
		}
	}
	release(r);
	return NULL;
}
