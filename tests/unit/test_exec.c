#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "nft/exec.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

static int sh(const char *script, const struct kp_buf *in, struct kp_buf *out, struct kp_buf *complaint, unsigned ms, struct kp_err *err)
{
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };

	return dp_exec(argv, in, ms, -1, out, complaint, err);
}

#define SH(text)	{ "/bin/sh", "-c", text, NULL }

static const struct {
	const char *what, *argv[4], *input;
	unsigned deadline_ms;
	bool cancel;
	int code;
	const char *out, *err;
} runs[] = {
	{ "output", SH("echo a; echo b"), NULL, 60000, false, 0, "a\nb\n", "" },
	{ "input comes back", { "/bin/cat" }, "one\ntwo\n", 60000, false, 0, "one\ntwo\n", "" },
	{ "no input is an end", { "/bin/cat" }, NULL, 60000, false, 0, "", "" },
	{ "input that nobody reads", { "/bin/true" }, "one\n", 60000, false, 0, "", "" },
	{ "says why", SH("echo first >&2; echo second >&2; exit 4"), NULL, 60000, false, -EIO, "",
	  "/bin/sh: exit status 4: first" },
	{ "fails silently", { "/bin/false" }, NULL, 60000, false, -EIO, "", "/bin/false: exit status 1" },
	{ "a signal", SH("kill -9 $$"), NULL, 60000, false, -EIO, "", "/bin/sh: killed by signal 9" },
	{ "ignored here, not there", SH("kill -PIPE $$; exit 3"), NULL, 60000, false, -EIO, "", "/bin/sh: killed by signal 13" },
	{ "not there", { "/no/such/program" }, "x", 5000, false, -ENOENT, "",
	  "/no/such/program: cannot be started: No such file or directory" },
	{ "too slow", { "/bin/sleep", "100" }, NULL, 50, false, -ETIMEDOUT, "", "/bin/sleep: no end after 50 ms, killed" },
	{ "called off", { "/bin/sleep", "100" }, NULL, 60000, true, -ECANCELED, "", "/bin/sleep: Operation canceled" },
	{ "a bare environment", SH("echo $HOME$LC_ALL"), NULL, 60000, false, 0, "C\n", "" },
	{ "no descriptor but three", SH("for i in 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$i ] || echo $i; done"), NULL,
	  60000, false, 0, "", "" },
};

START_TEST(run_case)
{
	KP_AUTO(kp_closep) int fd = eventfd(runs[_i].cancel, EFD_CLOEXEC);
	uint64_t began = kp_now_ms();
	struct kp_err err = { 0 };
	struct kp_buf in = { 0 }, out = { 0 };
	int r;

	if (runs[_i].input)
		kp_buf_puts(&in, runs[_i].input);
	r = dp_exec(runs[_i].argv, &in, runs[_i].deadline_ms, fd, &out, NULL, &err);
	ck_assert_msg(r == runs[_i].code, "%s: %d, %s", runs[_i].what, r, err.msg);
	ck_assert_msg(strcmp(out.data, runs[_i].out) == 0, "%s: %s", runs[_i].what, out.data);
	ck_assert_msg(strcmp(err.msg, runs[_i].err) == 0, "%s: %s", runs[_i].what, err.msg);
	ck_assert_msg(kp_now_ms() - began < 40000, "%s: took long", runs[_i].what);
	kp_buf_release(&in);
	kp_buf_release(&out);
}
END_TEST

/* More than any pipe holds, in both directions at once, with complaints between. */
START_TEST(much_of_everything)
{
	struct kp_buf in = { 0 }, out = { 0 }, complaint = { 0 };
	struct kp_err err = { 0 };

	memset(kp_buf_reserve(&in, 4 << 20), 'x', 4 << 20);
	in.len = 4 << 20;
	ck_assert_int_eq(sh("head -c 300000 /dev/zero >&2; cat; head -c 300000 /dev/zero >&2", &in, &out, &complaint, 200000, &err), 0);
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
	ck_assert_int_eq(sh("echo no >&2; exit 2", &in, NULL, &complaint, 200000, &err), -EIO);
	ck_assert_str_eq(err.msg, "/bin/sh: exit status 2: no");
	ck_assert_str_eq(complaint.data, "no\n");
	kp_buf_release(&in);
	kp_buf_release(&complaint);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("exec");
	TCase *tc = tcase_create("exec");
	SRunner *r = srunner_create(s);
	int failed;

	signal(SIGPIPE, SIG_IGN);	/* as the agent has it */
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, run_case, 0, KP_N(runs));
	tcase_add_test(tc, much_of_everything);
	tcase_add_test(tc, input_that_nobody_reads);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
