#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/plan/build.h"

/* Lists are separated by blanks; addresses here: those of one node. */
static const char here[] = "127.0.0.1 192.0.2.10 198.51.100.10 ::1 2001:db8::10 fe80::10";

static const struct {
	const char *cidrs;
	bool all[KP_N_FAMILIES];
	const char *ips[KP_N_FAMILIES];
} cases[] = {
	{ "",				{ true, true },
	  { "127.0.0.1 192.0.2.10 198.51.100.10 ", "::1 2001:db8::10 fe80::10 " } },
	{ "192.0.2.0/24",		{ false, true },
	  { "192.0.2.10 ", "::1 2001:db8::10 fe80::10 " } },
	{ "192.0.2.0/24 2001:db8::/32",	{ false, false },	{ "192.0.2.10 ", "2001:db8::10 " } },
	{ "192.0.2.0/24 0.0.0.0/0 ::1/128", { true, false },
	  { "127.0.0.1 192.0.2.10 198.51.100.10 ", "::1 " } },
	{ "203.0.113.0/24 ::/0",	{ false, true },	{ "", "::1 2001:db8::10 fe80::10 " } },
	{ "198.51.100.10/32 192.0.2.10/32", { false, true },
	  { "192.0.2.10 198.51.100.10 ", "::1 2001:db8::10 fe80::10 " } },
};

static size_t split_cidrs(const char *text, struct kp_cidr *ret)
{
	char copy[256], *save, *s;
	size_t n = 0;

	strcpy(copy, text);
	for (s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save))
		ck_assert(kp_cidr_parse(s, &ret[n++]));
	return n;
}

static size_t split_addrs(const char *text, struct kp_addr *ret)
{
	char copy[256], *save, *s;
	size_t n = 0;

	strcpy(copy, text);
	for (s = strtok_r(copy, " ", &save); s; s = strtok_r(NULL, " ", &save))
		ck_assert(kp_addr_parse(s, &ret[n++]));
	return n;
}

START_TEST(nodeport_case)
{
	struct kp_cidr cidrs[8];
	struct kp_addr addrs[8];
	size_t n = split_cidrs(cases[_i].cidrs, cidrs), n_addrs = split_addrs(here, addrs);

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		KP_AUTO(kp_freep) struct kp_addr *found = NULL;
		size_t n_found = kp_nodeport_select(cidrs, n, f, addrs, n_addrs, &found);
		char text[256] = "", ip[KP_ADDR_STRLEN];

		for (size_t i = 0; i < n_found; i++)
			strcat(strcat(text, kp_addr_str(&found[i], ip)), " ");
		ck_assert_msg(kp_nodeport_match_all(cidrs, n, f) == cases[_i].all[f], "'%s' %s", cases[_i].cidrs,
			      kp_family_names[f]);
		ck_assert_msg(strcmp(text, cases[_i].ips[f]) == 0, "'%s' %s: %s", cases[_i].cidrs, kp_family_names[f], text);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nodeport");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, nodeport_case, 0, KP_N(cases));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
