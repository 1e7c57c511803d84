#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/thread.h"
#include "proxy/plan/draft.h"
#include "proxy/plan/runner.h"

/* A backend that writes down what it is given, and can be held in the middle of a commit. */
static struct fake {
	pthread_mutex_t gate;		/* held by the test: apply() waits */
	char log[4096];			/* "a b | c-gone | " */
	int fail;			/* that many applies fail */
	uint64_t heavy_ns;		/* what a heavy commit pretends to have taken */
	int fail6;			/* that many applies fail for IPv6; < 0: it is not tried */
	atomic_int n_removed;		/* as another backend */
	int cancel_fd;
	bool has_child;			/* apply() starts a thread */
	bool hangs;			/* apply() waits until it is called off, or for very long */
	atomic_uint n_begun;		/* applies, also those that are held */
	atomic_uint n_retries;
	atomic_int n_processors;	/* on which the last call might run */
	cpu_set_t child_may;		/* and a thread that it starts, */
	bool child_moves;		/* which changes where its creator may */
	atomic_bool closed;
} fake;

static int fake_open(void **ret, const struct dp_options *opt, struct kp_err *err)
{
	(void)err;
	fake.cancel_fd = opt->cancel_fd;
	*ret = &fake;
	return 0;
}

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct dp_change *)a)->key, ((const struct dp_change *)b)->key);
}

static void *see_processors(void *set)
{
	sched_getaffinity(0, sizeof(cpu_set_t), set);
	return NULL;
}

static int n_processors(void)
{
	cpu_set_t may;

	sched_getaffinity(0, sizeof(may), &may);
	return CPU_COUNT(&may);
}

/* Each may have ended before it is heard of here. */
static void start_children(void)
{
	for (int i = 0; i < 50; i++) {
		pthread_t child;

		ck_assert_int_eq(kp_thread_start(&child, "child", see_processors, &fake.child_may), 0);
		pthread_join(child, NULL);
	}
	fake.child_moves |= n_processors() != fake.n_processors;
}

static int fake_apply(void *dp, const struct dp_batch *b, struct dp_result *ret)
{
	struct pollfd cancel = { .fd = fake.cancel_fd, .events = POLLIN };

	fake.n_processors = n_processors();
	if (fake.has_child)
		start_children();
	fake.n_begun++;
	pthread_mutex_lock(&fake.gate);
	if (fake.hangs)
		poll(&cancel, fake.cancel_fd ? 1 : 0, 20000);
	(void)dp;
	*ret = (struct dp_result){ 0 };
	qsort(b->changes, b->n_changes, sizeof(*b->changes), by_key);
	for (size_t i = 0; i < b->n_changes; i++) {
		strcat(fake.log, b->changes[i].key);
		strcat(fake.log, b->changes[i].plan ? " " : "-gone ");
	}
	strcat(fake.log, "| ");
	ret->family[KP_IPV4] = (struct dp_family_result){ .tried = true, .code = fake.fail-- > 0 ? -EIO : 0,
		.heavy_ns = fake.heavy_ns };
	if (fake.fail6 >= 0)
		ret->family[KP_IPV6] = (struct dp_family_result){ .tried = true, .code = fake.fail6-- > 0 ? -EIO : 0 };
	pthread_mutex_unlock(&fake.gate);
	return ret->family[KP_IPV4].code;
}

static int fake_retry(void *dp, struct dp_result *ret)
{
	(void)dp;
	fake.n_processors = n_processors();
	fake.n_retries++;
	*ret = (struct dp_result){ 0 };
	return 0;
}

static int fake_pending(void *dp)
{
	(void)dp;
	return -1;
}

static void fake_close(void *dp)
{
	(void)dp;
	fake.closed = true;
}

static int fake_remove(struct kp_err *err)
{
	(void)err;
	return fake.n_removed++ ? 0 : -EBUSY;
}

static const struct dp_ops fake_ops = {
	.name = "fake", .is_quick = true, .open = fake_open, .apply = fake_apply, .retry = fake_retry,
	.pending_ms = fake_pending, .close = fake_close, .remove = fake_remove,
};
static const struct dp_ops *const former[] = { &fake_ops, NULL };

static struct kp_runner *runner;

static void setup(void)
{
	struct dp_options opt = { .families = { true, true }, .former = former };
	struct kp_err err = { 0 };

	fake = (struct fake){ .gate = PTHREAD_MUTEX_INITIALIZER };
	ck_assert_int_eq(kp_runner_start(&runner, &fake_ops, &opt, &err), 0);
}

static void teardown(void)
{
	runner = kp_runner_stop(runner);
}

/* endpoints 0: without any, which is another treatment. */
static void add(struct dp_batch *b, size_t *cap, const char *key, unsigned endpoints, bool gone)
{
	struct kp_draft d = { 0 };
	struct kp_plan_port *p = kp_draft_port(&d, key, "", IPPROTO_TCP, 80);
	KP_AUTO(kp_plan_unrefp) struct kp_plan *plan = NULL;

	p->has_any = endpoints > 0;
	for (unsigned i = 0; i < endpoints; i++)
		kp_draft_cluster(&d, (struct kp_backend){ .addr = { .b = { 10, 0, 0, (uint8_t)i } }, .port = 80 });
	if (!gone)
		plan = kp_draft_freeze(&d, key);
	dp_batch_add(b, key, plan, cap);
	kp_draft_release(&d);
}

static uint64_t submit(const char *key, unsigned endpoints, bool gone)
{
	struct dp_batch b = { 0 };
	size_t cap = 0;

	add(&b, &cap, key, endpoints, gone);
	return kp_runner_submit(runner, &b);
}

/* Wait for the result that covers this generation. */
static int wait_for(uint64_t generation)
{
	uint64_t deadline = kp_now_ms() + 60000;

	while (kp_now_ms() < deadline) {
		struct pollfd p = { .fd = kp_runner_fd(runner), .events = POLLIN };
		struct kp_runner_result r;

		poll(&p, 1, 100);
		while (kp_runner_take(runner, &r)) {
			int code = r.result.family[KP_IPV4].code;
			bool covers = r.generation >= generation;

			dp_result_release(&r.result);
			if (covers)
				return code;
		}
	}
	ck_abort_msg("no result for generation %llu: %s", (unsigned long long)generation, fake.log);
}

/* A commit that the test holds is under way. */
static void wait_begun(unsigned n)
{
	uint64_t deadline = kp_now_ms() + 60000;

	while (fake.n_begun < n && kp_now_ms() < deadline)
		usleep(1000);
	ck_assert_uint_eq(fake.n_begun, n);
}

START_TEST(latest_plan_wins)
{
	uint64_t last;

	wait_for(submit("a", 1, false));
	pthread_mutex_lock(&fake.gate);		/* the next commit is held */
	submit("b", 1, false);
	wait_begun(2);
	submit("c", 1, false);
	submit("c", 2, false);
	last = submit("c", 1, true);
	pthread_mutex_unlock(&fake.gate);
	ck_assert_int_eq(wait_for(last), 0);
	ck_assert_str_eq(fake.log, "a | b | c-gone | ");
}
END_TEST

START_TEST(failure_is_reported)
{
	fake.fail = 1;
	ck_assert_int_eq(wait_for(submit("a", 1, false)), -EIO);
	ck_assert_int_eq(wait_for(submit("a", 2, false)), 0);
}
END_TEST

/* A heavy commit of 50 ms: the next one comes 500 ms later, endpoints pass by at once. */
START_TEST(heavy_changes_are_collected)
{
	uint64_t began, last;

	wait_for(submit("a", 1, false));
	fake.heavy_ns = 50000000;
	began = kp_now_ms();
	wait_for(submit("b", 1, false));
	fake.heavy_ns = 0;
	submit("c", 1, false);
	submit("a", 2, false);
	submit("d", 1, false);
	last = submit("b", 0, false);
	ck_assert_int_eq(wait_for(last), 0);
	ck_assert_uint_ge(kp_now_ms() - began, 499);
	ck_assert_msg(strcmp(fake.log, "a | b | a | b c d | ") == 0, "%s", fake.log);
}
END_TEST

/* On how many processors so many changes might be made, when nothing else is under way. */
static int processors_for(unsigned n_changes)
{
	struct dp_batch b = { 0 };
	size_t cap = 0;
	char key[16];

	usleep(10000);		/* the thread sleeps again; if not, whoever asks will ask again */
	for (unsigned i = 0; i < n_changes; i++) {
		snprintf(key, sizeof(key), "%u", i);
		add(&b, &cap, key, 1, false);
	}
	wait_for(kp_runner_submit(runner, &b));
	return fake.n_processors;
}

START_TEST(few_changes_are_made_here)
{
	uint64_t deadline = kp_now_ms() + 20000;
	cpu_set_t all;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	while (processors_for(15) != 1)
		ck_assert_msg(kp_now_ms() < deadline, "few are made anywhere");
	fake.has_child = CPU_COUNT(&all) > 1;
	while (processors_for(1) != 1)
		ck_assert_msg(kp_now_ms() < deadline, "few are made anywhere");
	ck_assert(!fake.has_child || CPU_EQUAL(&fake.child_may, &all));
	ck_assert(!fake.child_moves);
	fake.has_child = false;
	while (processors_for(16) != CPU_COUNT(&all))
		ck_assert_msg(kp_now_ms() < deadline, "many are made here");
	while (processors_for(1) != 1)
		ck_assert_msg(kp_now_ms() < deadline, "few are made anywhere afterwards");
}
END_TEST

/* What somebody has decided about the main thread holds for the dataplane as well. */
START_TEST(many_are_made_where_the_main_thread_may)
{
	uint64_t deadline = kp_now_ms() + 20000;
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	while (processors_for(1) != 1)
		ck_assert_msg(kp_now_ms() < deadline, "few are made anywhere");
	ck_assert_int_eq(processors_for(16), 1);
}
END_TEST

/* Whatever it has been doing, it has done once since. */
static void poke(void)
{
	unsigned seen = fake.n_retries;
	uint64_t deadline = kp_now_ms() + 20000;

	for (kp_runner_has_run(runner); fake.n_retries == seen; usleep(1000))
		ck_assert_msg(kp_now_ms() < deadline, "it does not wake");
}

START_TEST(who_does_not_run_is_not_held)
{
	uint64_t deadline = kp_now_ms() + 20000;
	cpu_set_t all;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	while (processors_for(1) != 1)
		ck_assert_msg(kp_now_ms() < deadline, "few are made anywhere");
	for (int i = 0; i < 3; i++) {
		kp_runner_let_go(runner);
		poke();		/* which may have been under way */
		poke();
		ck_assert_int_eq(fake.n_processors, 1);
	}
	for (deadline = kp_now_ms() + 20000; fake.n_processors != CPU_COUNT(&all); poke()) {
		ck_assert_msg(kp_now_ms() < deadline, "it is held for ever");
		kp_runner_let_go(runner);
		kp_runner_let_go(runner);
	}
}
END_TEST

/* The successor is told to come again; the runner goes on as if nothing had been. */
START_TEST(pause_in_a_commit_that_lasts)
{
	struct kp_err err = { 0 };
	uint64_t last;

	pthread_mutex_lock(&fake.gate);
	last = submit("a", 1, false);
	wait_begun(1);
	ck_assert_int_eq(kp_runner_pause(runner, &err), -EBUSY);
	pthread_mutex_unlock(&fake.gate);
	ck_assert_int_eq(wait_for(last), 0);
	ck_assert_int_eq(wait_for(submit("b", 1, false)), 0);
	ck_assert_int_eq(kp_runner_pause(runner, &err), 0);
	ck_assert_int_eq(kp_runner_resume(runner, &err), 0);
}
END_TEST

START_TEST(end_in_a_commit_that_lasts)
{
	uint64_t began;

	pthread_mutex_lock(&fake.gate);
	submit("a", 1, false);
	wait_begun(1);
	began = kp_now_ms();
	runner = kp_runner_end(runner);
	ck_assert_uint_lt(kp_now_ms() - began, 9000);
}
END_TEST

/* What another backend left serves until both families are in; that there is nothing to say of one is no success. */
START_TEST(former_rules_go_last)
{
	uint64_t deadline = kp_now_ms() + 60000;

	fake.fail6 = 2;
	wait_for(submit("a", 1, false));
	ck_assert_int_eq(fake.n_removed, 0);
	wait_for(submit("a", 2, false));
	ck_assert_int_eq(fake.n_removed, 0);
	fake.fail6 = -1;
	wait_for(submit("a", 3, false));
	ck_assert_int_eq(fake.n_removed, 0);
	fake.fail6 = 0;
	wait_for(submit("a", 4, false));
	while (fake.n_removed < 2 && kp_now_ms() < deadline)	/* the first time fails; nothing else happens here */
		poll(NULL, 0, 1);
	ck_assert_int_eq(fake.n_removed, 2);
}
END_TEST

START_TEST(stop_while_working)
{
	for (unsigned i = 0; i < 200; i++)
		submit(i % 2 ? "a" : "b", i % 5, false);
}
END_TEST

/* What takes longer is called off, and the thread is not left behind. */
START_TEST(end_calls_off)
{
	fake.hangs = true;
	submit("a", 1, false);
	wait_begun(1);
	runner = kp_runner_end(runner);
	for (uint64_t deadline = kp_now_ms() + 60000; !fake.closed && kp_now_ms() < deadline;)
		usleep(1000);
	ck_assert(fake.closed);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("runner");
	TCase *tc = tcase_create("runner");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, end_calls_off);
	tcase_add_test(tc, latest_plan_wins);
	tcase_add_test(tc, failure_is_reported);
	tcase_add_test(tc, heavy_changes_are_collected);
	tcase_add_test(tc, few_changes_are_made_here);
	tcase_add_test(tc, many_are_made_where_the_main_thread_may);
	tcase_add_test(tc, who_does_not_run_is_not_held);
	tcase_add_test(tc, pause_in_a_commit_that_lasts);
	tcase_add_test(tc, end_in_a_commit_that_lasts);
	tcase_add_test(tc, former_rules_go_last);
	tcase_add_test(tc, stop_while_working);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
