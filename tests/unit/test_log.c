#include <check.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/log.h"

static char out[1 << 20];
static int saved, from_stderr[2];

/* stderr goes into a pipe between these two; out holds what came. */
static void capture(void)
{
	saved = dup(STDERR_FILENO);
	ck_assert_int_eq(pipe(from_stderr), 0);
	dup2(from_stderr[1], STDERR_FILENO);
	close(from_stderr[1]);
}

static void captured(void)
{
	size_t len = 0;
	ssize_t n;

	dup2(saved, STDERR_FILENO);
	close(saved);
	while ((n = read(from_stderr[0], out + len, sizeof(out) - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
	close(from_stderr[0]);
	kp_log_set_level(KP_LOG_INFO);
	kp_log_set_json(false);
}

static bool ends_with(const char *s, const char *tail)
{
	return strlen(s) >= strlen(tail) && strcmp(s + strlen(s) - strlen(tail), tail) == 0;
}

START_TEST(text_line)
{
	capture();
	kp_warn("file", "read '%s': %d", "a.yaml", 7);
	captured();
	ck_assert_msg(ends_with(out, "Z warn file: read 'a.yaml': 7\n"), "%s", out);
	ck_assert_uint_eq(strspn(out, "0123456789-T:.Z"), strlen("2026-01-01T00:00:00.000Z"));
}
END_TEST

START_TEST(levels)
{
	static const unsigned want[] = {
		[KP_LOG_ERROR] = 1, [KP_LOG_WARN] = 2, [KP_LOG_INFO] = 3, [KP_LOG_DEBUG] = 4,
	};
	unsigned lines = 0;

	capture();
	kp_log_set_level((enum kp_log_level)_i);
	kp_error("m", "e");
	kp_warn("m", "w");
	kp_info("m", "i");
	kp_debug("m", "d");
	captured();
	for (const char *p = out; *p; p++)
		lines += *p == '\n';
	ck_assert_uint_eq(lines, want[_i]);
}
END_TEST

/* Names come from outside: one event stays one line, and no terminal is driven. */
START_TEST(control_characters)
{
	capture();
	kp_info("m", "a\nb\tc\x1b[31m\x7f");
	captured();
	ck_assert_msg(ends_with(out, " info m: a?b?c?[31m?\n"), "%s", out);
}
END_TEST

START_TEST(json_line)
{
	json_error_t where;
	json_t *line;

	capture();
	kp_log_set_json(true);
	kp_error("m", "say \"hi\" to C:\\ and \n");
	captured();
	line = json_loads(out, 0, &where);
	ck_assert_msg(line != NULL, "%s: %s", where.text, out);
	ck_assert_str_eq(json_string_value(json_object_get(line, "level")), "error");
	ck_assert_str_eq(json_string_value(json_object_get(line, "module")), "m");
	ck_assert_str_eq(json_string_value(json_object_get(line, "msg")), "say \"hi\" to C:\\ and ?");
	json_decref(line);
}
END_TEST

/* Any length: cut, never past a buffer, still one whole line (and JSON stays JSON). */
START_TEST(long_message)
{
	static char text[10000];
	json_t *line;

	memset(text, _i ? '"' : 'x', sizeof(text) - 1);
	capture();
	kp_log_set_json(true);
	kp_info("m", "%s", text);
	captured();
	ck_assert_ptr_eq(strchr(out, '\n'), out + strlen(out) - 1);
	line = json_loads(out, 0, NULL);
	ck_assert_ptr_nonnull(line);
	json_decref(line);
}
END_TEST

/* A path may be any bytes, and what is too long may be cut within a character. */
START_TEST(no_utf8)
{
	static char text[10000] = "caf\xe9 xyz";	/* an even number, so that the cut is within one */
	json_t *line;
	const char *msg;

	for (size_t i = strlen(text); i < sizeof(text) - 2; i += 2)
		memcpy(text + i, "\xc3\xa9", 2);
	capture();
	kp_log_set_json(true);
	kp_info("m", "%s", text);
	captured();
	line = json_loads(out, 0, NULL);
	ck_assert_ptr_nonnull(line);
	msg = json_string_value(json_object_get(line, "msg"));
	ck_assert_msg(strncmp(msg, "caf? xyz\xc3\xa9", 10) == 0 && ends_with(msg, "\xc3\xa9?"), "%s", msg);
	json_decref(line);
}
END_TEST

static void *talk(void *arg)
{
	for (int i = 0; i < 150; i++)
		kp_info("m", "%s", (const char *)arg);
	return NULL;
}

START_TEST(threads_do_not_mix)
{
	static char a[100], b[100];
	unsigned lines = 0;
	pthread_t t;

	memset(a, 'a', sizeof(a) - 1);
	memset(b, 'b', sizeof(b) - 1);
	capture();
	pthread_create(&t, NULL, talk, a);
	talk(b);
	pthread_join(t, NULL);
	captured();
	for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n"), lines++)
		ck_assert(ends_with(line, a) || ends_with(line, b));
	ck_assert_uint_eq(lines, 300);
}
END_TEST

START_TEST(rate_limit)
{
	struct kp_ratelimit rl = { .window_ms = 1000, .burst = 2 };
	unsigned suppressed;

	ck_assert(kp_ratelimit_ok(&rl, 5000, &suppressed));
	ck_assert(kp_ratelimit_ok(&rl, 5001, &suppressed));
	ck_assert(!kp_ratelimit_ok(&rl, 5002, &suppressed));
	ck_assert(!kp_ratelimit_ok(&rl, 5999, &suppressed));
	ck_assert_uint_eq(suppressed, 0);
	ck_assert(kp_ratelimit_ok(&rl, 6000, &suppressed));
	ck_assert_uint_eq(suppressed, 2);
	ck_assert(kp_ratelimit_ok(&rl, 6001, &suppressed));
	ck_assert_uint_eq(suppressed, 0);
	ck_assert(!kp_ratelimit_ok(&rl, 6002, &suppressed));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_test(tc, text_line);
	tcase_add_loop_test(tc, levels, KP_LOG_ERROR, KP_LOG_DEBUG + 1);
	tcase_add_test(tc, control_characters);
	tcase_add_test(tc, json_line);
	tcase_add_loop_test(tc, long_message, 0, 2);
	tcase_add_test(tc, no_utf8);
	tcase_add_test(tc, threads_do_not_mix);
	tcase_add_test(tc, rate_limit);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
