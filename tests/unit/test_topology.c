#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/model/objects.h"
#include "proxy/plan/topology.h"

/*
 * Endpoints are words of letters: R ready, S serving, T terminating, L on this node;
 * after them hints: "@me" and "@it" name this node and another, "+z" and "+y" this
 * zone and another. We are node "me" in zone "z". Sets are given by position.
 */
static const struct {
	const char *name, *eps, *uses;	/* C, L: the sets that the Service needs */
	const char *cluster, *local;
	bool has_any;
} cases[] = {
	{ "none",			"",			"CL",	"",	"",	false },
	{ "ready ones",			"RS RSL S",		"C",	"01",	"",	true },
	{ "not asked for",		"RS RSL",		"L",	"",	"1",	true },
	{ "both",			"RS RSL",		"CL",	"01",	"1",	true },
	{ "ready without serving",	"R ST",			"C",	"0",	"",	true },
	{ "ready while terminating",	"RST ST",		"C",	"0",	"",	true },
	{ "last resort",		"ST STL T S",		"C",	"01",	"",	true },
	{ "terminating but dead",	"T TL",			"CL",	"",	"",	false },
	{ "only unready",		"S SL",			"CL",	"",	"",	false },
	{ "local last resort beside remote ready", "RS STL",	"CL",	"0",	"1",	true },
	{ "local ready beside local last resort", "STL RSL",	"L",	"",	"1",	true },
	{ "local wanted, all elsewhere", "RS RS",		"L",	"",	"",	true },
	{ "local wanted, dying elsewhere", "ST",		"L",	"",	"",	true },

	{ "zone",			"RS+z RS+y RS+z",	"C",	"02",	"",	true },
	{ "zone among several",		"RS+y+z RS+y",		"C",	"0",	"",	true },
	{ "zone, one has no hint",	"RS+z RS+y RS",		"C",	"012",	"",	true },
	{ "zone, none for us",		"RS+y RS+y",		"C",	"01",	"",	true },
	{ "zone, unready does not count", "RS+z S RS+y",	"C",	"0",	"",	true },
	{ "zone, only unready for us",	"S+z RS+y",		"C",	"1",	"",	true },
	{ "zone, last resort ignores it", "ST+z ST+y",		"C",	"01",	"",	true },
	{ "zone, local ignores it",	"RSL+y RS+z",		"CL",	"1",	"0",	true },
	{ "node",			"RS@me+y RS@it+z",	"C",	"0",	"",	true },
	{ "node none for us, then zone", "RS@it+z RS@it+y",	"C",	"0",	"",	true },
	{ "node missing once, then zone", "RS@me+z RS+z RS@it+y", "C",	"01",	"",	true },
	{ "node and zone for others",	"RS@it+y RS@it+y",	"C",	"01",	"",	true },
};

static char me[] = "me", it[] = "it", z[] = "z", y[] = "y", nothing[] = "";

struct hints {
	char *node[4], *zone[4];
};

static void parse_one(const char *s, struct kp_candidate *c, struct kp_endpoint *e, struct hints *h)
{
	size_t nodes = 0, zones = 0;

	*c = (struct kp_candidate){ .from = e };
	for (; *s; s++)
		switch (*s) {
		case 'R':
			c->flags |= KP_EP_READY;
			break;
		case 'S':
			c->flags |= KP_EP_SERVING;
			break;
		case 'T':
			c->flags |= KP_EP_TERMINATING;
			break;
		case 'L':
			c->local = true;
			break;
		case '@':
			h->node[nodes++] = s[1] == 'm' ? me : it;
			s += 2;
			break;
		case '+':
			h->zone[zones++] = *++s == 'z' ? z : y;
			break;
		default:
			ck_abort_msg("'%s'", s);
		}
	e->node_hints = nodes ? h->node : NULL;
	e->zone_hints = zones ? h->zone : NULL;
}

static size_t parse(const char *text, struct kp_candidate *c, struct kp_endpoint *e, struct hints *h)
{
	char copy[128], *save, *s;
	size_t n = 0;

	strcpy(copy, text);
	for (s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save), n++)
		parse_one(s, &c[n], &e[n], &h[n]);
	return n;
}

START_TEST(topology_case)
{
	struct kp_candidate c[8];
	struct kp_endpoint e[8] = { 0 };
	struct hints h[8] = { 0 };
	struct kp_viewpoint here = { strchr(cases[_i].uses, 'C'), strchr(cases[_i].uses, 'L'), "me", "z" };
	size_t n = parse(cases[_i].eps, c, e, h), n_cluster = 0, n_local = 0;
	bool has_any = kp_topology_select(c, n, &here);
	char cluster[9] = "", local[9] = "";

	for (size_t i = 0; i < n; i++) {
		if (c[i].in_cluster)
			cluster[n_cluster++] = (char)('0' + i);
		if (c[i].in_local)
			local[n_local++] = (char)('0' + i);
	}
	ck_assert_msg(strcmp(cluster, cases[_i].cluster) == 0, "%s: cluster %s", cases[_i].name, cluster);
	ck_assert_msg(strcmp(local, cases[_i].local) == 0, "%s: local %s", cases[_i].name, local);
	ck_assert_msg(has_any == cases[_i].has_any, "%s: has_any %d", cases[_i].name, has_any);
}
END_TEST

/* A zone that we do not know is never ours, not even when a hint is as empty as our label. */
START_TEST(unknown_zone)
{
	static const char *const zones[] = { NULL, "" };
	char *hint[] = { nothing, NULL }, *other[] = { y, NULL };
	struct kp_endpoint e[2] = { { .zone_hints = hint }, { .zone_hints = other } };

	for (size_t i = 0; i < KP_N(zones); i++) {
		struct kp_candidate c[2] = { { .flags = KP_EP_READY, .from = &e[0] }, { .flags = KP_EP_READY, .from = &e[1] } };
		struct kp_viewpoint here = { true, false, "me", zones[i] };

		ck_assert(kp_topology_select(c, 2, &here));
		ck_assert(c[0].in_cluster && c[1].in_cluster);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("topology");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, topology_case, 0, KP_N(cases));
	tcase_add_test(tc, unknown_zone);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
