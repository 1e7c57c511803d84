#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipt_exec.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

static int sh(const char *script, const struct kp_buf *in, struct kp_buf *out, struct kp_buf *complaint, unsigned ms, struct kp_err *err)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };

	return dp_ipt_exec(argv, in, out, complaint, ms, err);
}

/* More than any pipe holds, in both directions at once, with complaints between. */
START_TEST(much_of_everything)
{
	struct kp_buf in = { 0 }, out = { 0 }, complaint = { 0 };
	struct kp_err err = { 0 };

	memset(kp_buf_reserve(&in, 4 << 20), 'x', 4 << 20);
	in.len = 4 << 20;
	ck_assert_int_eq(sh("head -c 300000 /dev/zero >&2; cat; head -c 300000 /dev/zero >&2", &in, &out, &complaint, 20000, &err), 0);
	ck_assert_uint_eq(out.len, in.len);
	ck_assert_uint_eq(complaint.len, 600000);
	ck_assert_int_eq(memcmp(in.data, out.data, in.len), 0);
	kp_buf_release(&in);
	kp_buf_release(&out);
	kp_buf_release(&complaint);
}
END_TEST

START_TEST(input_that_nobody_reads)
{
	struct kp_buf in = { 0 }, complaint = { 0 };
	struct kp_err err = { 0 };

	memset(kp_buf_reserve(&in, 1 << 20), 'x', 1 << 20);
	in.len = 1 << 20;
	ck_assert_int_eq(sh("echo no >&2; exit 2", &in, NULL, &complaint, 20000, &err), -EIO);
	ck_assert_msg(strstr(err.msg, "exit status 2") != NULL, "%s", err.msg);
	ck_assert_uint_eq(complaint.len, 3);
	kp_buf_release(&in);
	kp_buf_release(&complaint);
}
END_TEST

START_TEST(deadline)
{
	struct kp_err err = { 0 };
	uint64_t began = kp_now_ms();

	ck_assert_int_eq(sh("exec sleep 60", NULL, NULL, NULL, 100, &err), -ETIMEDOUT);
	ck_assert_uint_lt(kp_now_ms() - began, 5000);
	ck_assert_msg(strstr(err.msg, "killed") != NULL, "%s", err.msg);
}
END_TEST

static const struct {
	const char *script, *want;
} endings[] = {
	{ "kill -9 $$", "signal 9" }, { "exit 7", "exit status 7" },
	{ "kill -PIPE $$; exit 3", "signal 13" },	/* ignored here, not there */
};

START_TEST(ending)
{
	struct kp_err err = { 0 };

	ck_assert_int_eq(sh(endings[_i].script, NULL, NULL, NULL, 5000, &err), -EIO);
	ck_assert_msg(strstr(err.msg, endings[_i].want) != NULL, "%s: %s", endings[_i].script, err.msg);
}
END_TEST

START_TEST(no_such_program)
{
	const char *const argv[] = { "/nonexistent/iptables-restore", NULL };
	struct kp_err err = { 0 };

	ck_assert_int_eq(dp_ipt_exec(argv, NULL, NULL, NULL, 5000, &err), -EIO);
	ck_assert_msg(strstr(err.msg, "/nonexistent/iptables-restore") != NULL, "%s", err.msg);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ipt_exec");
	TCase *tc = tcase_create("ipt_exec");
	SRunner *r = srunner_create(s);
	int failed;

	signal(SIGPIPE, SIG_IGN);	/* as the agent has it */
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, much_of_everything);
	tcase_add_test(tc, input_that_nobody_reads);
	tcase_add_test(tc, deadline);
	tcase_add_loop_test(tc, ending, 0, sizeof(endings) / sizeof(endings[0]));
	tcase_add_test(tc, no_such_program);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
