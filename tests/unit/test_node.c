#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "healthz/node.h"
#include "healthz/state.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

/*
 * Each letter is something that happens: b busy, r ready, y recycling, d drain, D drain with
 * Services, s drain stop, e end, ! rules are there. A letter that is refused stands in want.
 */
static const struct {
	const char *events, *refused;
	enum hz_node_state state;
	bool services;
} rows[] = {
	{ "",		"",	HZ_NODE_BUSY,		false },
	{ "!",		"",	HZ_NODE_READY,		false },
	{ "r",		"",	HZ_NODE_BUSY,		false },	/* nobody is ready without rules */
	{ "b!",		"",	HZ_NODE_BUSY,		false },
	{ "!b",		"",	HZ_NODE_BUSY,		false },
	{ "!br",	"",	HZ_NODE_READY,		false },
	{ "!y",		"",	HZ_NODE_RECYCLING,	false },
	{ "!d",		"",	HZ_NODE_STOPPING,	false },
	{ "d",		"",	HZ_NODE_STOPPING,	false },
	{ "!D",		"",	HZ_NODE_STOPPING,	true },
	{ "!Dd",	"",	HZ_NODE_STOPPING,	false },
	{ "!dbyr",	"byr",	HZ_NODE_STOPPING,	false },
	{ "!Ds",	"",	HZ_NODE_READY,		false },
	{ "!yds",	"",	HZ_NODE_RECYCLING,	false },
	{ "ds",		"",	HZ_NODE_BUSY,		false },
	{ "!s",		"",	HZ_NODE_READY,		false },
	{ "!esd",	"sd",	HZ_NODE_STOPPING,	true },
	{ "!de",	"",	HZ_NODE_STOPPING,	true },
};

static int happen(struct hz_node *n, char what, bool *started)
{
	struct kp_err err = { 0 };

	switch (what) {
	case 'b': return hz_node_tell(n, HZ_NODE_BUSY, &err);
	case 'r': return hz_node_tell(n, HZ_NODE_READY, &err);
	case 'y': return hz_node_tell(n, HZ_NODE_RECYCLING, &err);
	case 'd': return hz_node_drain_start(n, false, &err);
	case 'D': return hz_node_drain_start(n, true, &err);
	case 's': return hz_node_drain_stop(n, &err);
	case 'e': hz_node_end(n); break;
	case '!': *started = true; break;
	}
	return 0;
}

START_TEST(machine)
{
	struct hz_node n = { 0 };
	char refused[16] = "";
	bool started = false;

	for (const char *e = rows[_i].events; *e; e++) {
		int r = happen(&n, *e, &started);

		ck_assert_msg(r == 0 || r == -EBUSY, "%s: %c: %d", rows[_i].events, *e, r);
		if (r < 0)
			strncat(refused, e, 1);
	}
	ck_assert_str_eq(refused, rows[_i].refused);
	ck_assert_msg(hz_node_state(&n, started) == rows[_i].state, "%s: %s", rows[_i].events,
		      hz_node_state_names[hz_node_state(&n, started)]);
	ck_assert_msg(n.draining_services == rows[_i].services, "%s: services", rows[_i].events);
}
END_TEST

/* What /healthz and /agent make of it; '+' and '-' are checks of /agent alone, 'P' and 'F' of both. */
static const struct {
	const char *name, *events, *checks;
	bool eligible, lenient, healthz, agent;
} verdicts[] = {
	{ "ready",		"!",	"",	true, false, true, true },
	{ "not started",	"",	"",	true, false, false, false },
	{ "compat",		"",	"",	true, true, true, false },
	{ "compat, drained",	"d",	"",	true, true, false, false },
	{ "compat, not eligible", "",	"",	false, true, false, false },
	{ "not eligible",	"!",	"",	false, false, false, true },
	{ "busy",		"!b",	"",	true, false, true, false },
	{ "recycling",		"!y",	"",	true, false, true, false },
	{ "drained",		"!d",	"P",	true, false, false, false },
	{ "checks pass",	"!",	"+P",	true, false, true, true },
	{ "one of /agent fails", "!",	"+P-",	true, false, true, false },
	{ "one of both fails",	"!",	"+F",	true, false, false, false },
};

START_TEST(verdict)
{
	struct hz_state s = { .node_eligible = verdicts[_i].eligible, .lenient = verdicts[_i].lenient };

	for (const char *e = verdicts[_i].events; *e; e++)
		ck_assert(happen(&s.node, *e, &s.started) == 0);
	for (const char *c = verdicts[_i].checks; *c; c++)
		s.node.checks[s.node.n_checks++] = (struct hz_check){ .ok = strchr("+P", *c), .for_healthz = strchr("PF", *c) };
	ck_assert_msg(hz_ready(&s, 1) == verdicts[_i].healthz, "%s: /healthz", verdicts[_i].name);
	ck_assert_msg(hz_agent_ready(&s, 1) == verdicts[_i].agent, "%s: /agent", verdicts[_i].name);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("node");
	TCase *tc = tcase_create("tables");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, machine, 0, KP_N(rows));
	tcase_add_loop_test(tc, verdict, 0, KP_N(verdicts));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
