#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/commands.h"
#include "proxy/config/flags.h"
#include "proxy/config/run_flags.h"

struct values {
	bool on;
	int64_t number;
	const char *text, *choice;
	struct kp_flag_list many;
};

static const char *const choices[] = { "red", "green", NULL };
static const struct kp_flag table[] = {
	{ "on", 'o', KP_FLAG_BOOL, offsetof(struct values, on), .help = "switch" },
	{ "number", 'n', KP_FLAG_INT, offsetof(struct values, number), .arg = "N", .help = "count" },
	{ "text", .kind = KP_FLAG_STRING, .offset = offsetof(struct values, text), .arg = "TEXT", .help = "words" },
	{ "choice", .kind = KP_FLAG_STRING, .offset = offsetof(struct values, choice), .arg = "COLOUR", .choices = choices, .help = "colour" },
	{ "many", 'm', KP_FLAG_STRINGS, offsetof(struct values, many), .arg = "X", .help = "more" },
	{ .name = NULL }
};

/* argv in one string, blanks between; "" becomes an empty argument. */
static int split(char *line, char **argv)
{
	int n = 0;

	argv[n++] = (char *)(uintptr_t)"command";
	for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
		if (strcmp(word, "''") == 0)
			*word = '\0';
		argv[n++] = word;
	}
	argv[n] = NULL;
	return n;
}

static const struct {
	const char *in, *want;	/* on number text choice [many] (args), or the error */
} cases[] = {
	{ "", "0 -1 - - [] ()" },
	{ "--on", "1 -1 - - [] ()" },
	{ "-o", "1 -1 - - [] ()" },
	{ "--on=true --on=f", "0 -1 - - [] ()" },
	{ "--on false", "1 -1 - - [] (false)" },	/* a bool takes no further argument */
	{ "--number 5", "0 5 - - [] ()" },
	{ "--number=-5", "0 -5 - - [] ()" },
	{ "--number -5", "0 -5 - - [] ()" },
	{ "-n5", "0 5 - - [] ()" },
	{ "-n 5", "0 5 - - [] ()" },
	{ "-n=5", "0 5 - - [] ()" },
	{ "--text a --text b", "0 -1 b - [] ()" },
	{ "--text=", "0 -1  - [] ()" },
	{ "--text ''", "0 -1  - [] ()" },
	{ "--text=a=b", "0 -1 a=b - [] ()" },
	{ "--text --on", "0 -1 --on - [] ()" },		/* the next argument, whatever it is */
	{ "--choice green", "0 -1 - green [] ()" },
	{ "--many a -m b --many=c -md", "0 -1 - - [a b c d] ()" },
	{ "x --on y", "1 -1 - - [] (x y)" },
	{ "--on -- --text -", "1 -1 - - [] (--text -)" },
	{ "-", "0 -1 - - [] (-)" },
	{ "--number", "--number needs a value" },
	{ "--text", "--text needs a value" },
	{ "-n", "--number needs a value" },
	{ "--number x", "--number: want a whole number, not 'x'" },
	{ "--number=", "--number: want a whole number, not ''" },
	{ "--number 99999999999999999999", "--number: want a whole number, not '99999999999999999999'" },
	{ "--on=maybe", "--on: want true or false, not 'maybe'" },
	{ "--choice blue", "--choice: want one of red, green, not 'blue'" },
	{ "--txt=1", "unknown flag --txt; is --text meant?" },
	{ "--nubmer 5", "unknown flag --nubmer; is --number meant?" },
	{ "--something-else", "unknown flag --something-else" },
	{ "--", "0 -1 - - [] ()" },
	{ "--=x", "unknown flag --" },
	{ "-x", "unknown flag -x in '-x'" },
};

static void print_list(struct kp_buf *b, const struct kp_flag_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		kp_buf_printf(b, "%s%s", i ? " " : "", l->items[i]);
}

START_TEST(parse_case)
{
	char line[128], *argv[16];
	struct values v = { .number = -1 };
	struct kp_flag_list args = { 0 };
	struct kp_err err = { 0 };
	struct kp_buf got = { 0 };
	int argc;

	snprintf(line, sizeof(line), "%s", cases[_i].in);
	argc = split(line, argv);
	if (kp_flags_parse(table, argc, argv, &v, &args, &err) < 0) {
		kp_buf_puts(&got, err.msg);
	} else {
		kp_buf_printf(&got, "%d %d %s %s [", v.on, (int)v.number, v.text ? v.text : "-", v.choice ? v.choice : "-");
		print_list(&got, &v.many);
		kp_buf_puts(&got, "] (");
		print_list(&got, &args);
		kp_buf_puts(&got, ")");
	}
	ck_assert_msg(strcmp(got.data, cases[_i].want) == 0, "%s: got '%s', want '%s'", cases[_i].in, got.data, cases[_i].want);
	kp_flag_list_release(&v.many);
	kp_flag_list_release(&args);
	kp_buf_release(&got);
}
END_TEST

START_TEST(arguments_unwanted)
{
	char *argv[] = { (char[]){ "run" }, (char[]){ "x" }, NULL };
	struct values v = { 0 };
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_flags_parse(table, 2, argv, &v, NULL, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "unexpected argument 'x'");
}
END_TEST

START_TEST(help)
{
	struct kp_buf b = { 0 };

	kp_flags_help(table, &b);
	ck_assert_str_eq(b.data,
		"  -o, --on                      switch\n"
		"  -n, --number N                count\n"
		"      --text TEXT               words\n"
		"      --choice COLOUR           colour\n"
		"  -m, --many X                  more\n");
	kp_buf_release(&b);
}
END_TEST

/* --- the flags of run --- */

struct run {
	struct kp_config *c;
	struct kp_config_report rep;
	struct kp_err err;
	int r;
};

static struct run run(const char *flags)
{
	char line[512], *argv[32];
	struct kp_run_flags f;
	struct run got = { 0 };

	snprintf(line, sizeof(line), "%s", flags);
	got.r = kp_run_flags_parse(&f, split(line, argv), argv, &got.err);
	if (got.r == 0)
		got.r = kp_run_config(&f, &got.c, &got.rep, &got.err);
	kp_run_flags_release(&f);
	return got;
}

static void run_release(struct run *got)
{
	kp_config_report_release(&got->rep);
	kp_config_free(got->c);
}

START_TEST(flags_alone)
{
	struct run got = run("--hostname-override Node-1 --healthz-bind-address= --proxy-mode nftables -v 3 --logging-format json "
			     "--cluster-cidr 10.0.0.0/8 --nodeport-addresses 10.0.0.0/8,11.0.0.0/8 --nodeport-addresses=12.0.0.0/8");

	ck_assert_msg(got.r == 0, "%s", got.err.msg);
	ck_assert_uint_eq(got.rep.n, 0);
	ck_assert_str_eq(got.c->hostname_override, "node-1");
	ck_assert_str_eq(got.c->healthz_bind_address, "");
	ck_assert_int_eq(got.c->mode, KP_MODE_NFTABLES);
	ck_assert_int_eq(got.c->log_verbosity, 3);
	ck_assert(got.c->log_json);
	ck_assert_str_eq(got.c->cluster_cidr, "10.0.0.0/8");
	ck_assert_str_eq(got.c->nodeport_addresses[0], "10.0.0.0/8");
	ck_assert_str_eq(got.c->nodeport_addresses[2], "12.0.0.0/8");
	ck_assert_ptr_null(got.c->nodeport_addresses[3]);
	run_release(&got);
}
END_TEST

static const struct {
	const char *flags, *err;	/* from parsing, or the first problem */
} refused[] = {
	{ "--healthz-bind-address 10.0.0.1:x", "healthzBindAddress: must be a valid port (got 'x')" },
	{ "--cluster-cidr x", "clusterCIDR[0]: must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48) (got 'x')" },
	{ "--nodeport-addresses primary,10.0.0.0/8", "nodePortAddresses[0]: can't use both 'primary' and CIDRs (got 'primary')" },
	{ "--proxy-mode userspace", "--proxy-mode: want one of nftables, iptables, ipvs, \"\", not 'userspace'" },
	{ "--hostname-override=\t", "--hostname-override: must not be blank" },
	{ "--config=/does/not/exist", "open '/does/not/exist': No such file or directory" },
	{ "--object x", "unknown flag --object; is --objects meant?" },
	{ "extra", "unexpected argument 'extra'" },
};

START_TEST(flags_refused)
{
	struct run got = run(refused[_i].flags);
	char *first = got.rep.n ? kp_config_problem_str(&got.rep.items[0]) : NULL;

	ck_assert_int_lt(got.r, 0);
	ck_assert_ptr_null(got.c);
	ck_assert_str_eq(first ? first : got.err.msg, refused[_i].err);
	free(first);
	run_release(&got);
}
END_TEST

static void write_config(char *path, const char *more)
{
	int fd = mkstemp(path);

	dprintf(fd, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n%s", more);
	close(fd);
}

/* Next to a file only the name and the logging flags count. */
START_TEST(flags_and_file)
{
	char path[] = "/tmp/test-flags-XXXXXX", flags[256];
	struct run got;

	write_config(path, "mode: iptables\nhostnameOverride: foo\nlogging: {verbosity: 1}\n");
	snprintf(flags, sizeof(flags), "--proxy-mode nftables --config %s --healthz-bind-address= --hostname-override bar -v 5", path);
	got = run(flags);
	unlink(path);
	ck_assert_msg(got.r == 0, "%s", got.err.msg);
	ck_assert_int_eq(got.c->mode, KP_MODE_IPTABLES);
	ck_assert_str_eq(got.c->healthz_bind_address, "0.0.0.0:10256");
	ck_assert_str_eq(got.c->hostname_override, "bar");
	ck_assert_int_eq(got.c->log_verbosity, 5);
	ck_assert_uint_eq(got.rep.n, 2);
	ck_assert_uint_eq(got.rep.n_errors, 0);
	ck_assert_str_eq(got.rep.items[0].field, "--healthz-bind-address");
	ck_assert_str_eq(got.rep.items[1].field, "--proxy-mode");
	run_release(&got);
}
END_TEST

/* --- check-config --- */

static int check_config(const char *args, char *out, size_t room)
{
	char line[256], *argv[16];
	int saved = dup(STDOUT_FILENO), p[2], argc, status;
	ssize_t n;

	snprintf(line, sizeof(line), "%s", args);
	argc = split(line, argv);
	ck_assert_int_eq(pipe(p), 0);
	fflush(stdout);
	dup2(p[1], STDOUT_FILENO);
	close(p[1]);
	status = kp_cmd_check_config(argc, argv);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	n = read(p[0], out, room - 1);
	out[n > 0 ? n : 0] = '\0';
	close(p[0]);
	return status;
}

START_TEST(check_config_command)
{
	char path[] = "/tmp/test-flags-XXXXXX", args[128], out[2048], want[256];

	write_config(path, "iptables:\n  masqueradeBit: 32\n");
	snprintf(want, sizeof(want), "%s:4: error: iptables.masqueradeBit: must be within the range [0, 31] (got '32')\n", path);
	ck_assert_int_eq(check_config(path, out, sizeof(out)), 1);
	ck_assert_str_eq(out, want);
	snprintf(args, sizeof(args), "-o json %s", path);
	ck_assert_int_eq(check_config(args, out, sizeof(out)), 1);
	ck_assert_ptr_nonnull(strstr(out, "\"line\": 4"));
	unlink(path);

	strcpy(path, "/tmp/test-flags-XXXXXX");
	write_config(path, "unknown: 1\n");
	snprintf(want, sizeof(want), "%s:3: warning: unknown: unknown field, ignored\n%s: ok\n", path, path);
	ck_assert_int_eq(check_config(path, out, sizeof(out)), 0);
	ck_assert_str_eq(out, want);
	unlink(path);

	ck_assert_int_eq(check_config(path, out, sizeof(out)), 2);	/* gone */
	ck_assert_int_eq(check_config("", out, sizeof(out)), 2);
	ck_assert_int_eq(check_config("--bad", out, sizeof(out)), 2);
	ck_assert_int_eq(check_config("--help", out, sizeof(out)), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("flags");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, parse_case, 0, KP_N(cases));
	tcase_add_test(tc, arguments_unwanted);
	tcase_add_test(tc, help);
	tcase_add_test(tc, flags_alone);
	tcase_add_loop_test(tc, flags_refused, 0, KP_N(refused));
	tcase_add_test(tc, flags_and_file);
	tcase_add_test(tc, check_config_command);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
