#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/checks.h"
#include "proxy/cpuload.h"

#define EXEC "\"type\":\"exec\",\"command\":[\"/bin/x\"]"
#define CPU "\"type\":\"cpuPercentMax\",\"value\":90"

/* want: "name type healthz numbers", or the error. */
static const struct {
	const char *in, *want;
} rows[] = {
	{ "{" CPU "}",					"cpu cpu agent 90 30" },
	{ "{" CPU ",\"forSeconds\":600,\"name\":\"load\"}", "load cpu agent 90 600" },
	{ "{" EXEC "}",					"x exec agent 10 5" },
	{ "{" EXEC ",\"intervalSeconds\":3600,\"timeoutSeconds\":60,\"appliesTo\":[\"agent\",\"healthz\"]}",
							"x exec healthz 3600 60" },
	{ "{" EXEC ",\"appliesTo\":[\"healthz\"]}",	"appliesTo must be [agent] or [agent, healthz]" },
	{ "{" EXEC ",\"appliesTo\":\"agent\"}",		"appliesTo must be [agent] or [agent, healthz]" },
	{ "{" EXEC ",\"appliesTo\":[\"agent\",\"x\"]}",	"appliesTo must be [agent] or [agent, healthz]" },
	{ "{" EXEC ",\"appliesTo\":[\"agent\",1]}",	"appliesTo must be [agent] or [agent, healthz]" },
	{ "{" EXEC ",\"appliesTo\":[]}",		"appliesTo must be [agent] or [agent, healthz]" },
	{ "{}",						"type must be \"cpuPercentMax\" or \"exec\"" },
	{ "{\"type\":\"memory\"}",			"type must be \"cpuPercentMax\" or \"exec\"" },
	{ "{\"type\":\"cpuPercentMax\"}",		"value must be a whole number from 1 to 100" },
	{ "{\"type\":\"cpuPercentMax\",\"value\":0}",	"value must be a whole number from 1 to 100" },
	{ "{\"type\":\"cpuPercentMax\",\"value\":101}",	"value must be a whole number from 1 to 100" },
	{ "{\"type\":\"cpuPercentMax\",\"value\":4294967386}", "value must be a whole number from 1 to 100" },
	{ "{\"type\":\"cpuPercentMax\",\"value\":\"90\"}", "value must be a whole number from 1 to 100" },
	{ "{" CPU ",\"forSeconds\":0}",			"forSeconds must be a whole number from 1 to 600" },
	{ "{" CPU ",\"forSeconds\":601}",		"forSeconds must be a whole number from 1 to 600" },
	{ "{" CPU ",\"command\":[\"/x\"]}",		"\"command\" is no key of a check of type cpuPercentMax" },
	{ "{" EXEC ",\"value\":1}",			"\"value\" is no key of a check of type exec" },
	{ "{" EXEC ",\"intervalSeconds\":3601}",	"intervalSeconds must be a whole number from 1 to 3600" },
	{ "{" EXEC ",\"timeoutSeconds\":61}",		"timeoutSeconds must be a whole number from 1 to 60" },
	{ "{" EXEC ",\"timeoutSeconds\":11}",		"timeoutSeconds must not be more than intervalSeconds" },
	{ "{" EXEC ",\"name\":\"a b\"}",		"name must have 1 to 31 letters, digits, '.', '_' or '-'" },
	{ "{" EXEC ",\"name\":\"\"}",			"name must have 1 to 31 letters, digits, '.', '_' or '-'" },
	{ "{" EXEC ",\"name\":7}",			"name must have 1 to 31 letters, digits, '.', '_' or '-'" },
	{ "{\"type\":\"exec\"}",			"command must be a list of 1 to 64 strings, the first an absolute path" },
	{ "{\"type\":\"exec\",\"command\":[]}",		"command must be a list of 1 to 64 strings, the first an absolute path" },
	{ "{\"type\":\"exec\",\"command\":[\"x\"]}",	"command must be a list of 1 to 64 strings, the first an absolute path" },
	{ "{\"type\":\"exec\",\"command\":[\"/x\",1]}",	"command must be a list of strings" },
	{ "{\"type\":\"exec\",\"command\":[\"/x/\"]}",	"name must have 1 to 31 letters, digits, '.', '_' or '-'" },
};

START_TEST(entries)
{
	KP_AUTO(kp_check_freep) struct kp_check *c = NULL;
	KP_AUTO(kp_freep) char *got = NULL;
	struct kp_err err = { 0 };
	int r = kp_check_parse(rows[_i].in, &c, &err);

	ck_assert_msg(r == 0 || r == -EINVAL, "%s: %d", rows[_i].in, r);
	if (r == 0)
		got = kp_asprintf("%s %s %s %d %d", c->name, c->type == KP_CHECK_CPU ? "cpu" : "exec",
				  c->for_healthz ? "healthz" : "agent", c->type == KP_CHECK_CPU ? c->percent : c->interval_s,
				  c->type == KP_CHECK_CPU ? c->for_s : c->timeout_s);
	ck_assert_msg(strcmp(got ? got : err.msg, rows[_i].want) == 0, "%s: got '%s'", rows[_i].in, got ? got : err.msg);
}
END_TEST

static const struct {
	const char *line;
	bool good;
	uint64_t busy, total;
} stats[] = {
	{ "cpu  1 2 3 100 50 4 5 6 1000 1000\n", true, 21, 171 },
	{ "cpu0 1 2 3 100 50 4 5 6 0 0\n", false, 0, 0 },
	{ "cpu  1 2 3\n", false, 0, 0 },
	{ "", false, 0, 0 },
};

START_TEST(stat_line)
{
	uint64_t busy = 0, total = 0;

	ck_assert_msg(kp_cpuload_parse(stats[_i].line, &busy, &total) == stats[_i].good, "'%s'", stats[_i].line);
	ck_assert_msg(busy == stats[_i].busy && total == stats[_i].total, "'%s': %llu of %llu", stats[_i].line,
		      (unsigned long long)busy, (unsigned long long)total);
}
END_TEST

/* B-25: 30 s at 100 % after a quiet minute; over 90 % from the 27th second to the third after its end. */
START_TEST(window)
{
	KP_AUTO(kp_freep) struct kp_cpuload *l = kp_calloc(1, sizeof(*l));
	uint64_t busy = 0, total = 0;
	int first = 0, last = 0;
	double mean;

	l->window = 30;
	for (int second = -60; second < 120; second++) {
		bool full;

		kp_cpuload_add(l, busy, total);
		full = kp_cpuload_mean(l, &mean);
		ck_assert_msg(full == (second >= -30), "second %d", second);
		if (full && mean > 90) {
			first = first ? first : second;
			last = second;
		}
		busy += second >= 0 && second < 60 ? 200 : 4;
		total += 200;
	}
	ck_assert_int_eq(first, 27);
	ck_assert_int_eq(last, 63);
	ck_assert(mean > 1.99 && mean < 2.01);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("checks");
	TCase *tc = tcase_create("tables");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, entries, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_loop_test(tc, stat_line, 0, sizeof(stats) / sizeof(stats[0]));
	tcase_add_test(tc, window);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
