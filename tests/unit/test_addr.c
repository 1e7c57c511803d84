#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

static const struct {
	const char *in, *want;	/* NULL: refused */
} addrs[] = {
	{ "10.0.0.1", "10.0.0.1" },
	{ "0.0.0.0", "0.0.0.0" },
	{ "255.255.255.255", "255.255.255.255" },
	{ "010.001.000.009", "10.1.0.9" },	/* decimal, not octal */
	{ "000000000010.0.0.1", "10.0.0.1" },
	{ "::", "::" },
	{ "fd00::1", "fd00::1" },
	{ "FD00:0:0:0:0:0:0:1", "fd00::1" },
	{ "::ffff:10.0.0.1", "10.0.0.1" },	/* mapped addresses are IPv4 */
	{ "::ffff:a00:1", "10.0.0.1" },
	{ "64:ff9b::10.0.0.1", "64:ff9b::a00:1" },
	{ "", NULL },
	{ "10.0.0", NULL },
	{ "10.0.0.", NULL },
	{ "10.0.0.1.", NULL },
	{ "10.0.0.256", NULL },
	{ "10.0.0.99999999999999999999", NULL },
	{ "10.0.0.-1", NULL },
	{ "10.0.0.1 ", NULL },
	{ " 10.0.0.1", NULL },
	{ "10.0.0.1/8", NULL },
	{ "0x0a.0.0.1", NULL },
	{ "fe80::1%eth0", NULL },
	{ "[::1]", NULL },
	{ "1:2:3:4:5:6:7", NULL },
	{ "1:2:3:4:5:6:7:8:9", NULL },
	{ "::1::2", NULL },
	{ "host", NULL },
};

START_TEST(addr_text)
{
	struct kp_addr a;
	char out[KP_ADDR_STRLEN];
	bool ok = kp_addr_parse(addrs[_i].in, &a);

	ck_assert_msg(ok == (addrs[_i].want != NULL), "'%s': %d", addrs[_i].in, ok);
	if (ok)
		ck_assert_msg(strcmp(kp_addr_str(&a, out), addrs[_i].want) == 0, "'%s': %s", addrs[_i].in, out);
}
END_TEST

static const struct {
	const char *in, *want;
} cidrs[] = {
	{ "10.0.0.0/8", "10.0.0.0/8" },
	{ "10.1.2.3/8", "10.0.0.0/8" },
	{ "10.1.2.3/13", "10.0.0.0/13" },
	{ "10.255.255.255/31", "10.255.255.254/31" },
	{ "10.1.2.3/32", "10.1.2.3/32" },
	{ "10.1.2.3/0", "0.0.0.0/0" },
	{ "fd00:1:2:ffff::1/49", "fd00:1:2:8000::/49" },
	{ "::1/128", "::1/128" },
	{ "::/0", "::/0" },
	{ "10.0.0.0/008", "10.0.0.0/8" },
	{ "10.0.0.0", NULL },
	{ "10.0.0.0/", NULL },
	{ "10.0.0.0/33", NULL },
	{ "::/129", NULL },
	{ "10.0.0.0/-1", NULL },
	{ "10.0.0.0/+8", NULL },
	{ "10.0.0.0/8 ", NULL },
	{ "10.0.0.0/8/8", NULL },
	{ "10.0.0.0/0008", NULL },
	{ "::ffff:10.0.0.0/104", NULL },	/* which of the two lengths would it be? */
	{ "/8", NULL },
	{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa/8", NULL },
};

START_TEST(cidr_text)
{
	struct kp_cidr c;
	char out[KP_CIDR_STRLEN];
	bool ok = kp_cidr_parse(cidrs[_i].in, &c);

	ck_assert_msg(ok == (cidrs[_i].want != NULL), "'%s': %d", cidrs[_i].in, ok);
	if (ok)
		ck_assert_msg(strcmp(kp_cidr_str(&c, out), cidrs[_i].want) == 0, "'%s': %s", cidrs[_i].in, out);
}
END_TEST

static const struct {
	const char *cidr, *addr;
	bool want;
} inside[] = {
	{ "10.0.0.0/8", "10.255.0.1", true },
	{ "10.0.0.0/8", "11.0.0.0", false },
	{ "10.8.0.0/13", "10.15.255.255", true },
	{ "10.8.0.0/13", "10.16.0.0", false },
	{ "0.0.0.0/0", "1.2.3.4", true },
	{ "0.0.0.0/0", "::1", false },
	{ "::/0", "1.2.3.4", false },
	{ "::/0", "ffff::", true },
	{ "1.2.3.4/32", "1.2.3.4", true },
	{ "1.2.3.4/32", "1.2.3.5", false },
	{ "fd00::/65", "fd00::7fff:0:0:1", true },
	{ "fd00::/65", "fd00::8000:0:0:1", false },
};

START_TEST(containment)
{
	struct kp_cidr c;
	struct kp_addr a;

	ck_assert(kp_cidr_parse(inside[_i].cidr, &c) && kp_addr_parse(inside[_i].addr, &a));
	ck_assert_msg(kp_cidr_contains(&c, &a) == inside[_i].want, "%s in %s", inside[_i].addr, inside[_i].cidr);
}
END_TEST

static struct kp_addr addr(const char *s)
{
	struct kp_addr a;

	ck_assert(kp_addr_parse(s, &a));
	return a;
}

START_TEST(kinds_and_order)
{
	struct kp_addr a = addr("127.8.9.1"), b = addr("::1"), c = addr("::2"), zero4 = addr("0.0.0.0"), zero6 = addr("::");

	ck_assert(kp_addr_is_loopback(&a) && kp_addr_is_loopback(&b));
	ck_assert(!kp_addr_is_loopback(&c) && !kp_addr_is_loopback(&zero4));
	ck_assert(kp_addr_is_zero(&zero4) && kp_addr_is_zero(&zero6) && !kp_addr_is_zero(&a));
	ck_assert_int_lt(kp_addr_cmp(&a, &b), 0);	/* IPv4 first */
	ck_assert_int_lt(kp_addr_cmp(&b, &c), 0);
	ck_assert_int_eq(kp_addr_cmp(&b, &b), 0);
	ck_assert_int_ne(kp_addr_cmp(&zero4, &zero6), 0);
}
END_TEST

START_TEST(failure_leaves_the_result_alone)
{
	struct kp_addr a = addr("10.0.0.1"), before = a;
	struct kp_cidr c, c_before;

	ck_assert(!kp_addr_parse("10.0.0.x", &a));
	ck_assert_mem_eq(&a, &before, sizeof(a));
	memset(&c, 0x5a, sizeof(c));
	c_before = c;
	ck_assert(!kp_cidr_parse("10.0.0.0/99", &c));
	ck_assert_mem_eq(&c, &c_before, sizeof(c));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("addr");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, addr_text, 0, KP_N(addrs));
	tcase_add_loop_test(tc, cidr_text, 0, KP_N(cidrs));
	tcase_add_loop_test(tc, containment, 0, KP_N(inside));
	tcase_add_test(tc, kinds_and_order);
	tcase_add_test(tc, failure_leaves_the_result_alone);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
