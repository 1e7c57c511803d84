#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/otherlife.h"

#define SECOND	1000000000ull

static const struct {
	const char *what;
	struct kp_life_signs signs;
	enum kp_other_state state;
	const char *why;	/* NULL: whatever */
} judgements[] = {
	{ "nothing", { .rules = false }, KP_OTHER_NONE, NULL },
	{ "rules went", { .changed = true }, KP_OTHER_NONE, NULL },
	{ "a process, before its first rule", { .pid = 7 }, KP_OTHER_ALIVE, "process 7 runs" },
	{ "a process and rules", { .rules = true, .pid = 7, .quiet_ns = 99 * SECOND }, KP_OTHER_ALIVE, "process 7 runs" },
	{ "a port", { .port = 10256 }, KP_OTHER_ALIVE, "port 10256 answers" },
	{ "a port and quiet rules", { .rules = true, .port = 10249, .quiet_ns = 99 * SECOND }, KP_OTHER_ALIVE, "port 10249 answers" },
	{ "just seen", { .rules = true }, KP_OTHER_UNSURE, NULL },
	{ "nearly long enough", { .rules = true, .quiet_ns = KP_OTHER_QUIET_NS - 1 }, KP_OTHER_UNSURE, NULL },
	{ "long enough", { .rules = true, .quiet_ns = KP_OTHER_QUIET_NS }, KP_OTHER_LEFT, "its rules do not change" },
	{ "a change", { .rules = true, .changed = true }, KP_OTHER_ALIVE, "its rules change" },
	{ "not calm yet", { .rules = true, .changed = true, .quiet_ns = KP_OTHER_CALM_NS - 1 }, KP_OTHER_ALIVE, "its rules change" },
	{ "calm", { .rules = true, .changed = true, .quiet_ns = KP_OTHER_CALM_NS }, KP_OTHER_LEFT, "its rules do not change" },
};

START_TEST(judge_case)
{
	enum kp_other_state state = kp_other_judge(&judgements[_i].signs);
	char why[KP_LIFE_STRLEN];

	ck_assert_msg(state == judgements[_i].state, "%s: %s", judgements[_i].what, kp_other_states[state]);
	if (judgements[_i].why)
		ck_assert_str_eq(kp_life_str(&judgements[_i].signs, why), judgements[_i].why);
}
END_TEST

/* Actions by state: none, unsure, left, alive. */
static const struct {
	enum kp_takeover_mode mode;
	bool holding;
	enum kp_other_action actions[4];
} decisions[] = {
	{ KP_TAKEOVER_AUTO, false, { KP_OTHER_PROGRAM, KP_OTHER_WAIT, KP_OTHER_REPLACE, KP_OTHER_WAIT } },
	{ KP_TAKEOVER_AUTO, true, { KP_OTHER_PROGRAM, KP_OTHER_WATCH, KP_OTHER_REPLACE, KP_OTHER_ALARM } },
	{ KP_TAKEOVER_NEVER, false, { KP_OTHER_PROGRAM, KP_OTHER_BESIDE, KP_OTHER_BESIDE, KP_OTHER_BESIDE } },
	{ KP_TAKEOVER_NEVER, true, { KP_OTHER_PROGRAM, KP_OTHER_BESIDE, KP_OTHER_BESIDE, KP_OTHER_ALARM } },
	{ KP_TAKEOVER_ALWAYS, false, { KP_OTHER_PROGRAM, KP_OTHER_REPLACE, KP_OTHER_REPLACE, KP_OTHER_REPLACE } },
	{ KP_TAKEOVER_ALWAYS, true, { KP_OTHER_PROGRAM, KP_OTHER_WATCH, KP_OTHER_REPLACE, KP_OTHER_ALARM } },
};

START_TEST(decide_case)
{
	for (enum kp_other_state s = KP_OTHER_NONE; s <= KP_OTHER_ALIVE; s++)
		ck_assert_msg(kp_other_decide(decisions[_i].mode, s, decisions[_i].holding) == decisions[_i].actions[s],
			      "mode %d, holding %d, %s", (int)decisions[_i].mode, decisions[_i].holding, kp_other_states[s]);
}
END_TEST

static const struct {
	const char *what;
	uint16_t port;
	const char *answer;
	bool is;
} answers[] = {
	{ "healthy", 10256, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
	  "{\"lastUpdated\":\"x\",\"currentTime\":\"y\",\"nodeEligible\":true}", true },
	{ "unhealthy, of 1.30", 10256, "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"lastUpdated\": \"x\",\"currentTime\": \"y\"}", true },
	{ "ours", 10256, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\n{\"lastUpdated\":\"x\",\"currentTime\":\"y\"}", false },
	{ "another program's ok", 10256, "HTTP/1.1 200 OK\r\n\r\nok", false },
	{ "no HTTP", 10256, "SSH-2.0-x\r\n\r\n\"lastUpdated\" \"currentTime\"", false },
	{ "only in the head", 10256, "HTTP/1.1 200 OK\r\nX: \"lastUpdated\",\"currentTime\"\r\n\r\n", false },
	{ "half a head", 10256, "HTTP/1.1 200 OK\r\nX: ", false },
	{ "nothing", 10256, "", false },
	{ "a mode", 10249, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nipvs", true },
	{ "a word", 10249, "HTTP/1.1 200 OK\r\n\r\nipvsadm", false },
	{ "our mode", 10249, "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\r\nnftables", false },
	{ "not found", 10249, "HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n", false },
};

START_TEST(answer_case)
{
	ck_assert_msg(kp_is_kube_proxy(answers[_i].port, answers[_i].answer) == answers[_i].is, "%s", answers[_i].what);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("otherlife");
	TCase *t = tcase_create("otherlife");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, judge_case, 0, KP_N(judgements));
	tcase_add_loop_test(t, decide_case, 0, KP_N(decisions));
	tcase_add_loop_test(t, answer_case, 0, KP_N(answers));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
