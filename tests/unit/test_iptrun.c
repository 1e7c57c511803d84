#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "nft/iptrun.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"

#define SH(text)	{ "sh", "-c", text, NULL }

static const struct {
	const char *what, *argv[4], *input;
	unsigned deadline_ms;
	bool cancel;
	int code;
	const char *out, *err;
} runs[] = {
	{ "output", SH("echo a; echo b"), NULL, 5000, false, 0, "a\nb\n", "" },
	{ "input comes back", { "cat" }, "one\ntwo\n", 5000, false, 0, "one\ntwo\n", "" },
	{ "no input is an end", { "cat" }, NULL, 5000, false, 0, "", "" },
	{ "input that nobody reads", { "true" }, "one\n", 5000, false, 0, "", "" },
	{ "says why", SH("echo first >&2; echo second >&2; exit 4"), NULL, 5000, false, -EIO, "", "sh: exit status 4: first" },
	{ "fails silently", { "false" }, NULL, 5000, false, -EIO, "", "false: exit status 1: " },
	{ "a signal", SH("kill -9 $$"), NULL, 5000, false, -EIO, "", "sh: ended by signal 9" },
	{ "not there", { "no-such-program" }, "x", 5000, false, -ENOENT, "", "no-such-program: No such file or directory" },
	{ "too slow", { "sleep", "20" }, NULL, 50, false, -ETIMEDOUT, "", "sleep: Connection timed out" },
	{ "called off", { "sleep", "20" }, NULL, 5000, true, -ECANCELED, "", "sleep: Operation canceled" },
	{ "a bare environment", SH("echo $HOME$LC_ALL"), NULL, 5000, false, 0, "C\n", "" },
};

START_TEST(run_case)
{
	KP_AUTO(kp_closep) int fd = eventfd(runs[_i].cancel, EFD_CLOEXEC);
	uint64_t began = kp_now_ms();
	struct kp_err err = { 0 };
	struct kp_buf out = { 0 };
	int r = dp_run(runs[_i].argv, runs[_i].input, runs[_i].deadline_ms, fd, &out, &err);

	kp_buf_add(&out, "", 1);
	ck_assert_msg(r == runs[_i].code, "%s: %d, %s", runs[_i].what, r, err.msg);
	ck_assert_msg(strcmp(out.data, runs[_i].out) == 0, "%s: %s", runs[_i].what, out.data);
	ck_assert_msg(strcmp(err.msg, runs[_i].err) == 0, "%s: %s", runs[_i].what, err.msg);
	ck_assert_msg(kp_now_ms() - began < 4000, "%s: took long", runs[_i].what);
	kp_buf_release(&out);
}
END_TEST

/* More than any pipe holds, both ways at once. */
START_TEST(large)
{
	static const char *const argv[] = { "cat", NULL };
	const size_t len = 3 << 20;
	char *input = malloc(len + 1);
	struct kp_buf out = { 0 };
	struct kp_err err = { 0 };

	for (size_t i = 0; i < len; i++)
		input[i] = (char)('a' + i % 23);
	input[len] = '\0';
	ck_assert_int_eq(dp_run(argv, input, 20000, -1, &out, &err), 0);
	ck_assert_uint_eq(out.len, len);
	ck_assert(memcmp(out.data, input, len) == 0);
	kp_buf_release(&out);
	free(input);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("iptrun");
	TCase *t = tcase_create("iptrun");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, run_case, 0, KP_N(runs));
	tcase_add_test(t, large);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
