#include <check.h>
#include <errno.h>
#include <stdlib.h>

#include "healthz/state.h"
#include "proxy/base/mem.h"
#include "proxy/health.h"
#include "proxy/plan/draft.h"

/* What the agent lets the health thread say, step by step. Times are plain numbers. */
#define KEY "default/web"
#define STALE 60

static struct kp_health *h;
static uint64_t now;

static void setup(void)
{
	h = kp_health_new((const bool[]){ true, true }, STALE);
	kp_health_node(h, true);
}

static void teardown(void)
{
	kp_health_free(h);
}

/* Ready endpoints in order, each a letter; capitals are of IPv6. */
static bool want_these(const char *key, const char *ready)
{
	KP_AUTO(kp_draft_release) struct kp_draft d = { 0 };
	KP_AUTO(kp_plan_unrefp) struct kp_plan *p = NULL;

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		for (const char *c = ready; *c; c++)
			if ((*c < 'a') == (f == KP_IPV6))
				kp_draft_ready(&d, &(struct kp_addr){ .family = (uint8_t)f, .b = { (uint8_t)*c } });
	p = kp_draft_freeze(&d, key);
	p->health_port = 32000;
	p->has_family[KP_IPV4] = p->has_family[KP_IPV6] = true;
	return kp_health_want(h, key, p);
}

static bool want(const char *key, unsigned n_ready)
{
	return want_these(key, &"abc"[3 - n_ready]);
}

/* The dataplane's word: errno of each family, 1 for "not tried"; refused: NULL or a key, of both. */
static void result(uint64_t generation, int v4, int v6, const char *refused)
{
	struct dp_refusal refusals[] = { { .key = (char *)refused, .family = KP_IPV4 }, { .key = (char *)refused, .family = KP_IPV6 } };
	struct dp_result r = {
		.family = { { .tried = v4 <= 0, .code = v4 }, { .tried = v6 <= 0, .code = v6 } },
		.refused = refusals, .n_refused = refused ? KP_N(refusals) : 0,
	};

	kp_health_result(h, generation, &r, now);
}

/* Local endpoints that the port claims; -1: no port. */
static int claims_of(enum kp_family f)
{
	struct hz_state *s = kp_health_state(h);
	const struct hz_service *svc = s->services && s->services->n ? &s->services->items[0] : NULL;
	int n = svc ? svc->broken[f] ? 0 : (int)svc->local_ready[f] : -1;

	hz_state_free(s);
	return n;
}

static void check_broken_of(enum kp_family f, uint32_t n, const char *why)
{
	struct hz_state *s = kp_health_state(h);
	const struct hz_service *svc = &s->services->items[0];

	ck_assert_str_eq(svc->broken[f], why);
	ck_assert_uint_eq(svc->local_ready[f], n);
	ck_assert(!hz_service_proxy_ok(s, svc, f, now));
	hz_state_free(s);
}

static void check_broken(uint32_t n, const char *why)
{
	check_broken_of(KP_IPV4, n, why);
}

static int claims(void)
{
	return claims_of(KP_IPV4);
}

static bool ready(uint64_t at)
{
	struct hz_state *s = kp_health_state(h);
	bool yes = hz_ready(s, at);

	hz_state_free(s);
	return yes;
}

static void start(uint32_t n)
{
	want(KEY, n);
	kp_health_submitted(h, 1, 1);
	result(1, 0, 0, NULL);
}

/* What may be out of date is in the kernel, and the port says 503 until what is certain is there as well. */
START_TEST(held_until_what_is_certain_is_in_the_kernel)
{
	want(KEY, 2);
	kp_health_submitted(h, 1, 1);
	kp_health_hold(h, true);
	result(1, 0, 0, NULL);
	ck_assert(!ready(1));
	kp_health_node_state(h, NULL, true);
	ck_assert_msg(!ready(1), "lenient");
	kp_health_node_state(h, NULL, false);
	ck_assert_int_eq(claims(), 2);
	want(KEY, 1);
	kp_health_submitted(h, 2, 2);
	kp_health_hold(h, false);
	ck_assert(!ready(2));
	result(2, 0, 1, NULL);
	ck_assert(!ready(2));
	result(2, 1, 0, NULL);
	ck_assert(ready(2));
	kp_health_hold(h, true);	/* nothing was different */
	ck_assert(!ready(2));
	kp_health_hold(h, false);
	kp_health_hold(h, false);
	ck_assert(ready(2));
}
END_TEST

START_TEST(nothing_before_the_first_commit)
{
	ck_assert(!ready(1));
	want(KEY, 2);
	kp_health_submitted(h, 1, 1);
	ck_assert_int_eq(claims(), -1);
	ck_assert(!ready(1));
	result(1, 0, 1, NULL);		/* one family is not enough */
	ck_assert(!ready(1));
	ck_assert_int_eq(claims(), -1);
	result(1, 1, 0, NULL);
	ck_assert(ready(1));
	ck_assert_int_eq(claims(), 2);
}
END_TEST

START_TEST(loss_at_once_gain_after_the_commit)
{
	start(1);
	ck_assert(!want(KEY, 1));
	ck_assert(want(KEY, 0));	/* worth telling before it is handed over */
	ck_assert_int_eq(claims(), 0);
	kp_health_submitted(h, 2, 2);
	result(2, 0, 0, NULL);
	ck_assert(!want(KEY, 3));
	kp_health_submitted(h, 3, 3);
	ck_assert_int_eq(claims(), 0);
	result(2, 0, 0, NULL);		/* an older word says nothing about it */
	ck_assert_int_eq(claims(), 0);
	result(3, 0, 0, NULL);
	ck_assert_int_eq(claims(), 3);
}
END_TEST

/* The loss may be in the kernel although nobody has said so yet. */
START_TEST(gain_over_a_loss_in_flight)
{
	start(2);
	want(KEY, 0);
	kp_health_submitted(h, 2, 2);
	want(KEY, 2);
	kp_health_submitted(h, 3, 3);
	ck_assert_int_eq(claims(), 0);
	result(2, 0, 0, NULL);
	ck_assert_int_eq(claims(), 0);
	result(3, 0, 0, NULL);
	ck_assert_int_eq(claims(), 2);
}
END_TEST

/* As many as before, and none of those that the kernel has. */
static const struct {
	const char *before, *then[3];
	int held[KP_N_FAMILIES], after[KP_N_FAMILIES];
} changes[] = {
	{ "a", { "b" }, { 0, 0 }, { 1, 0 } },
	{ "ab", { "bc" }, { 1, 0 }, { 2, 0 } },
	{ "bd", { "abcde" }, { 2, 0 }, { 5, 0 } },
	{ "aA", { "aB" }, { 1, 0 }, { 1, 1 } },
	{ "aAB", { "bB" }, { 0, 1 }, { 1, 1 } },
	{ "a", { "b", "a" }, { 0, 0 }, { 1, 0 } },
	{ "ab", { "bc", "ab" }, { 1, 0 }, { 2, 0 } },
	{ "ab", { "", "ab", "ab" }, { 0, 0 }, { 2, 0 } },
};

static void check_claims(const int n[KP_N_FAMILIES], const char *when)
{
	ck_assert_msg(claims_of(KP_IPV4) == n[KP_IPV4] && claims_of(KP_IPV6) == n[KP_IPV6], "%s: %d and %d", when,
		      claims_of(KP_IPV4), claims_of(KP_IPV6));
}

START_TEST(others_in_their_place)
{
	const int half[] = { changes[_i].after[KP_IPV4], changes[_i].held[KP_IPV6] };
	uint64_t generation = 1;

	want_these(KEY, changes[_i].before);
	kp_health_submitted(h, 1, 1);
	result(1, 0, 0, NULL);
	for (size_t i = 0; i < KP_N(changes[_i].then) && changes[_i].then[i]; i++) {
		want_these(KEY, changes[_i].then[i]);
		generation++;
		kp_health_submitted(h, generation, generation);
	}
	check_claims(changes[_i].held, "nothing told yet");
	result(generation, -EIO, -EIO, NULL);
	check_claims(changes[_i].held, "failed");
	result(generation, 0, -EIO, NULL);
	check_claims(half, "in one family alone");
	result(generation, 1, 0, KEY);
	check_claims(half, "refused");
	result(generation, 0, 0, NULL);
	check_claims(changes[_i].after, "there");
}
END_TEST

START_TEST(refused_claims_nothing_new)
{
	start(0);
	want(KEY, 1);
	kp_health_submitted(h, 2, 2);
	result(2, 0, 0, KEY);
	ck_assert_int_eq(claims(), 0);
	check_broken(1, "refused");
	ck_assert(ready(2 + STALE));	/* the others are there: the node is healthy */
	result(2, 0, 0, NULL);
	ck_assert_int_eq(claims(), 1);
}
END_TEST

/* What failed names nobody any more, and accepts nobody either. */
START_TEST(refused_and_then_failed)
{
	start(0);
	want(KEY, 1);
	kp_health_submitted(h, 2, 2);
	result(2, 0, 0, KEY);
	result(2, -ENOMEM, 1, NULL);
	ck_assert_int_eq(claims(), 0);
	result(2, 1, 0, NULL);
	ck_assert_int_eq(claims(), 0);
	result(2, 0, 1, NULL);
	ck_assert_int_eq(claims(), 1);
}
END_TEST

START_TEST(failure_makes_stale)
{
	start(1);
	kp_health_submitted(h, 2, 10);
	kp_health_submitted(h, 3, 20);
	result(3, -EIO, 0, NULL);
	ck_assert(ready(10 + STALE - 1));
	ck_assert(!ready(10 + STALE));
	result(2, 0, 1, NULL);		/* the older one is in: the younger counts from its own time */
	ck_assert(ready(20 + STALE - 1));
	ck_assert(!ready(20 + STALE));
	result(3, 0, 1, NULL);
	ck_assert(ready(1000));
}
END_TEST

/* A family that never acknowledges while the other one does: each has its own oldest. */
START_TEST(many_in_flight)
{
	const uint64_t last = 1000;
	struct hz_state *s;

	start(1);
	for (uint64_t g = 2; g <= last; g++) {
		kp_health_submitted(h, g, g * 10);
		if (g < last - 1)
			result(g, 0, -EIO, NULL);
	}
	s = kp_health_state(h);
	ck_assert_uint_eq(s->family[KP_IPV4].oldest_pending_ns, (last - 1) * 10);
	ck_assert_uint_eq(s->family[KP_IPV6].oldest_pending_ns, 20);
	hz_state_free(s);
	result(last, 0, 0, NULL);
	ck_assert(ready(UINT64_MAX));
}
END_TEST

/* A repair that fails: nothing was handed over, and still the rules are not what they should be. */
START_TEST(broken_without_a_change)
{
	start(1);
	now = 100;
	result(1, -EIO, 0, NULL);
	now = 110;
	result(1, -EIO, 0, NULL);
	ck_assert(ready(100 + STALE - 1));
	ck_assert(!ready(100 + STALE));
	result(1, 0, 1, NULL);
	ck_assert(ready(1000));
}
END_TEST

static void drifted(struct dp_drift d, int code)
{
	struct dp_result r = { .family = { { .drift = &d, .tried = code <= 0, .code = code <= 0 ? code : 0 } } };

	kp_health_result(h, 1, &r, now);
}

#define GRACE 1000000000u

START_TEST(drift_is_told_when_it_lasts)
{
	kp_health_set_stale(h, 60 * (uint64_t)GRACE);
	start(1);
	now = 100;
	drifted((struct dp_drift){ .kind = DP_DRIFT_TABLE, .noticed_ns = 100 }, 1);
	ck_assert(ready(100 + GRACE - 1));
	ck_assert(!ready(100 + GRACE));
	drifted((struct dp_drift){ .kind = DP_DRIFT_TABLE, .noticed_ns = 100, .repaired_ns = 200 }, 0);
	ck_assert(ready(100 + GRACE));
}
END_TEST

START_TEST(drift_is_told_at_once_when_it_stays)
{
	start(1);
	now = 100;
	drifted((struct dp_drift){ .kind = DP_DRIFT_RULES, .noticed_ns = 90 }, -EPERM);
	ck_assert(!ready(100));
	ck_assert_int_eq(claims(), 1);		/* the port says 503 with the node */
	result(1, 0, 1, NULL);
	ck_assert(ready(100));
	drifted((struct dp_drift){ .kind = DP_DRIFT_TABLE, .noticed_ns = 95, .wait_ns = 500 }, 1);
	ck_assert(!ready(100));
}
END_TEST

/* Elements of too many Services to name, or before a repair has shown whose: of any. */
static const struct {
	uint64_t wait_ns;
	int code;	/* 1: no repair yet */
	uint64_t due;
} nameless[] = { { 0, 1, 100 + GRACE }, { 0, -ENOMEM, 150 }, { 5000, 1, 150 } };

START_TEST(drift_of_elements_of_nobody_knows_whom)
{
	struct dp_drift d = { .kind = DP_DRIFT_ELEMENTS, .noticed_ns = 100, .wait_ns = nameless[_i].wait_ns };
	char *other[] = { (char *)"default/other" };

	kp_health_set_stale(h, 60 * (uint64_t)GRACE);
	start(2);
	now = 150;
	drifted(d, nameless[_i].code);
	ck_assert(ready(nameless[_i].due - 1));
	ck_assert(!ready(nameless[_i].due));
	d.keys = other;
	d.n_keys = 1;
	drifted(d, -EIO);		/* now it is known */
	ck_assert(ready(nameless[_i].due));
	ck_assert_int_eq(claims(), 2);
}
END_TEST

START_TEST(drift_of_elements_concerns_their_service)
{
	char *other[] = { (char *)"default/other" }, *own[] = { (char *)KEY };

	start(2);
	now = 100;
	drifted((struct dp_drift){ .kind = DP_DRIFT_ELEMENTS, .noticed_ns = 100, .keys = other, .n_keys = 1 }, -EIO);
	ck_assert_int_eq(claims(), 2);
	drifted((struct dp_drift){ .kind = DP_DRIFT_ELEMENTS, .noticed_ns = 100, .keys = own, .n_keys = 1 }, -EIO);
	ck_assert_int_eq(claims(), 0);
	check_broken(2, "drift");
	ck_assert(ready(100));
	ck_assert(!ready(100 + STALE));		/* but not for ever */
	drifted((struct dp_drift){ .kind = DP_DRIFT_ELEMENTS, .noticed_ns = 100, .repaired_ns = 150 }, 0);
	ck_assert_int_eq(claims(), 2);
}
END_TEST

static void refused_by(enum kp_family f, uint64_t generation, bool gone)
{
	struct dp_refusal refusal = { .key = (char *)KEY, .family = (uint8_t)f, .gone = gone };
	struct dp_result r = { .family = { { .tried = true }, { .tried = true } }, .refused = &refusal, .n_refused = 1 };

	kp_health_result(h, generation, &r, now);
}

START_TEST(refused_altogether)
{
	start(2);
	refused_by(KP_IPV4, 1, true);
	ck_assert_int_eq(claims(), 0);
	check_broken(2, "refused");
	result(1, 0, 0, NULL);
	ck_assert_int_eq(claims(), 2);
}
END_TEST

/* Each family has its load balancer, and what serves in one is not held up by the other. */
START_TEST(refused_in_one_family)
{
	const enum kp_family f = (enum kp_family)_i, other = f == KP_IPV4 ? KP_IPV6 : KP_IPV4;
	const char *update[] = { "bcBC", "cdCD", "deDE" };

	want_these(KEY, "abAB");
	kp_health_submitted(h, 1, 1);
	refused_by(f, 1, true);
	check_broken_of(f, 2, "refused");
	ck_assert_int_eq(claims_of(other), 2);
	result(1, 0, 0, NULL);
	for (uint64_t g = 2; g < 2 + KP_N(update); g++) {
		want_these(KEY, update[g - 2]);
		kp_health_submitted(h, g, g);
		refused_by(f, g, false);
		ck_assert_int_eq(claims_of(other), 2);
	}
	check_broken_of(f, 2, "refused");	/* all that its last good rules lead to is gone by now */
	ck_assert(ready(1 + STALE));
	result(4, 0, 0, NULL);
	ck_assert_int_eq(claims_of(f), 2);
}
END_TEST

START_TEST(port_goes_with_the_service)
{
	start(1);
	ck_assert(kp_health_want(h, KEY, NULL));
	ck_assert(!kp_health_want(h, KEY, NULL));
	ck_assert_int_eq(claims(), -1);
	want(KEY, 1);
	ck_assert_int_eq(claims(), 0);	/* it is a new one */
}
END_TEST

/* However good the rules of before are. */
START_TEST(test_blocked)
{
	want(KEY, 2);
	kp_health_submitted(h, 1, 10);
	result(1, 0, 0, NULL);
	ck_assert(ready(11));
	ck_assert_ptr_null(kp_health_blocked(h));
	kp_health_block(h, "takeover", "a process runs");
	kp_health_block(h, "takeover", "a port answers");
	ck_assert_str_eq(kp_health_blocked(h), "a port answers");
	ck_assert(!ready(11));
	ck_assert_int_eq(claims(), -1);
	kp_health_block(h, "takeover", NULL);
	kp_health_block(h, "takeover", NULL);
	ck_assert_ptr_null(kp_health_blocked(h));
	ck_assert(ready(11));
	ck_assert_int_eq(claims(), 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("health");
	TCase *tc = tcase_create("health");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, held_until_what_is_certain_is_in_the_kernel);
	tcase_add_test(tc, nothing_before_the_first_commit);
	tcase_add_test(tc, loss_at_once_gain_after_the_commit);
	tcase_add_test(tc, gain_over_a_loss_in_flight);
	tcase_add_loop_test(tc, others_in_their_place, 0, KP_N(changes));
	tcase_add_test(tc, refused_claims_nothing_new);
	tcase_add_test(tc, refused_and_then_failed);
	tcase_add_test(tc, failure_makes_stale);
	tcase_add_test(tc, many_in_flight);
	tcase_add_test(tc, broken_without_a_change);
	tcase_add_test(tc, drift_is_told_when_it_lasts);
	tcase_add_test(tc, drift_is_told_at_once_when_it_stays);
	tcase_add_loop_test(tc, drift_of_elements_of_nobody_knows_whom, 0, KP_N(nameless));
	tcase_add_test(tc, drift_of_elements_concerns_their_service);
	tcase_add_test(tc, refused_altogether);
	tcase_add_loop_test(tc, refused_in_one_family, KP_IPV4, KP_N_FAMILIES);
	tcase_add_test(tc, port_goes_with_the_service);
	tcase_add_test(tc, test_blocked);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
