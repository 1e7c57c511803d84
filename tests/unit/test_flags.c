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
	struct kp_flag_list fields;
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
	{ "field", .kind = KP_FLAG_FIELD, .offset = offsetof(struct values, fields), .arg = "X", .choices = choices, .help = "last",
	  .field = "f" },
	{ "list", .kind = KP_FLAG_FIELD, .offset = offsetof(struct values, fields), .is_list = true, .field = "l" },
	{ "switch", .kind = KP_FLAG_SWITCH, .offset = offsetof(struct values, fields), .help = "yes", .field = "s" },
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
	{ "--swi_tch", "unknown flag --swi_tch; is --switch meant?" },
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

static const struct {
	const char *in, *field, *list, *yes;	/* kp_flag_given, or the error */
} given[] = {
	{ "", NULL, NULL, NULL },
	{ "--field red --field=green", "green", NULL, NULL },
	{ "--list a --list=b,c --list ''", NULL, "a,b,c,", NULL },
	{ "--list=", NULL, "", NULL },
	{ "--switch --switch=F", NULL, NULL, "false" },
	{ "--switch", NULL, NULL, "true" },
	{ "--switch=1 --field red --list x", "red", "x", "true" },
	{ "--field blue", "--field: want one of red, green, not 'blue'", NULL, NULL },
	{ "--switch=blue", "--switch: want true or false, not 'blue'", NULL, NULL },
};

static void check_given(const char *in, const char *flag, const struct values *v, const char *want)
{
	const struct kp_flag *f = table;
	char *got;

	while (strcmp(f->name, flag) != 0)
		f++;
	got = kp_flag_given(f, &v->fields);
	ck_assert_msg(!got == !want && (!got || strcmp(got, want) == 0), "%s: --%s is '%s'", in, flag, got);
	free(got);
}

START_TEST(given_case)
{
	char line[128], *argv[16];
	struct values v = { 0 };
	struct kp_err err = { 0 };
	int argc;

	snprintf(line, sizeof(line), "%s", given[_i].in);
	argc = split(line, argv);
	if (kp_flags_parse(table, argc, argv, &v, NULL, &err) < 0) {
		ck_assert_str_eq(err.msg, given[_i].field);
	} else {
		check_given(given[_i].in, "field", &v, given[_i].field);
		check_given(given[_i].in, "list", &v, given[_i].list);
		check_given(given[_i].in, "switch", &v, given[_i].yes);
	}
	kp_flag_list_release(&v.fields);
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
		"  -m, --many X                  more\n"
		"      --field X                 last\n"
		"      --switch                  yes\n");	/* deprecated ones have no help */
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
	ck_assert_msg(got.rep.n == 0, "%s: %s", got.rep.items[0].field, got.rep.items[0].detail);
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

/* What a flag does to the fields; "field=value;..." in the order of the file (CF-21 to CF-23). */
static const struct {
	const char *flags, *want;	/* text that has to be in the file written */
} fields[] = {
	{ "--masquerade-all --proxy-mode=iptables", "iptables:\n  localhostNodePorts: true\n  masqueradeAll: true\n" },
	{ "--masquerade-all", "nftables:\n  masqueradeAll: true\n" },
	{ "--masquerade-all=false", "nftables:\n  masqueradeAll: false\n" },
	{ "--iptables-localhost-nodeports=false", "localhostNodePorts: false" },
	{ "--healthz-port=1", "healthzBindAddress: \"0.0.0.0:10256\"" },	/* the default has one already */
	{ "--healthz-port=1 --healthz-bind-address=10.0.0.1", "healthzBindAddress: \"10.0.0.1:1\"" },
	{ "--healthz-bind-address=fd00::1", "healthzBindAddress: \"[fd00::1]:10256\"" },
	{ "--healthz-port=0", "healthzBindAddress: \"\"" },
	{ "--metrics-port=2 --metrics-bind-address=::1", "metricsBindAddress: \"[::1]:2\"" },
	{ "--metrics-port=0 --metrics-bind-address=10.0.0.1:5", "metricsBindAddress: \"\"" },
	{ "--metrics-bind-address=", "metricsBindAddress: \"\"" },
	{ "--iptables-min-sync-period=0", "minSyncPeriod: 0s\n  syncPeriod: 30s\nipvs" },
	{ "--conntrack-tcp-timeout-established=0 --conntrack-tcp-be-liberal", "tcpBeLiberal: true" },
	{ "--conntrack-max-per-core=7 --conntrack-min=8", "maxPerCore: 7\n  min: 8\n" },
	{ "--conntrack-udp-timeout=1m --conntrack-udp-timeout-stream=2m", "udpStreamTimeout: 2m0s\n  udpTimeout: 1m0s" },
	{ "--detect-local-mode=BridgeInterface --pod-bridge-interface=cbr0", "bridgeInterface: cbr0" },
	{ "--ipvs-exclude-cidrs=10.0.0.0/8 --ipvs-exclude-cidrs=11.0.0.0/8", "excludeCIDRs:\n  - \"10.0.0.0/8\"\n  - \"11.0.0.0/8\"" },
	{ "--feature-gates=B=T,A=False --feature-gates C=1", "featureGates:\n  A: false\n  B: true\n  C: true\n" },
	{ "--log_json-split_stream --log-json-info-buffer-size 2Ki", "json:\n      infoBufferSize: \"2Ki\"\n      splitStream: true\n" },
	{ "--oom_score-adj=-7", "oomScoreAdj: -7\n" },
	{ "--feature-gates=B=true,A=false --feature-gates C=true", "featureGates:\n  A: false\n  B: true\n  C: true\n" },
	{ "--vmodule=a=1 --vmodule=b=2", "vmodule:\n  - {\"filePattern\":\"a\",\"verbosity\":1}\n" },
	{ "--kubeconfig=/k --kube-api-qps=7.5 --kube-api-burst=9", "burst: 9\n  contentType: application/vnd.kubernetes.protobuf\n"
	  "  kubeconfig: /k\n  qps: 7.5\n" },
	{ "--oom-score-adj=-5 --profiling --proxy-port-range=1-2", "oomScoreAdj: -5" },
	{ "--log-flush-frequency=2s --log-text-split-stream --log-text-info-buffer-size=1Ki", "splitStream: true" },
	{ "--bind-address=10.0.0.5 --bind-address-hard-fail", "bindAddress: \"10.0.0.5\"\nbindAddressHardFail: true" },
	{ "--config-sync-period=1m --show-hidden-metrics-for-version=1.35", "showHiddenMetricsForVersion: \"1.35\"" },
};

START_TEST(field_case)
{
	struct run got = run(fields[_i].flags);
	struct kp_buf text = { 0 };

	ck_assert_msg(got.r == 0, "%s: %s", fields[_i].flags, got.err.msg);
	kp_config_write(got.c, &text, &got.rep);
	ck_assert_msg(strstr(text.data, fields[_i].want) != NULL, "%s: no '%s' in\n%s", fields[_i].flags, fields[_i].want, text.data);
	kp_buf_release(&text);
	run_release(&got);
}
END_TEST

/* Each mirrored field exists, whatever its flag is given: kp_config_set asserts it. */
START_TEST(every_field_flag)
{
	for (const struct kp_flag *f = kp_run_flag_table; f->name; f++) {
		struct kp_config_field field;
		bool there = !f->field;

		for (size_t i = 0; !there && kp_config_field(i, &field); i++)
			there = strcmp(field.path, f->field) == 0;
		ck_assert_msg(there, "--%s stands for '%s', which is no field", f->name, f->field);
	}
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
	{ "--detect-local-mode Guess", "--detect-local-mode: want one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix, \"\","
	  " not 'Guess'" },
	{ "--conntrack-min x", "conntrack.min: must be a whole number (got 'x')" },
	{ "--conntrack-min=-1", "conntrack.min: must be greater than or equal to 0 (got '-1')" },
	{ "--conntrack-udp-timeout 5", "conntrack.udpTimeout: must be a duration such as 30s or 1m30s (got '5')" },
	{ "--feature-gates A=tRUE", "featureGates: must be a mapping of names to true or false (got 'A=tRUE')" },
	{ "--feature-gates A", "featureGates: must be a mapping of names to true or false (got 'A')" },
	{ "--masquerade-al", "unknown flag --masquerade-al; is --masquerade-all meant?" },
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

START_TEST(patterns_of_flag_and_file)
{
	char path[] = "/tmp/test-flags-XXXXXX", flags[256];
	struct run got;

	write_config(path, "logging: {vmodule: [{filePattern: b, verbosity: 2}]}\n");
	snprintf(flags, sizeof(flags), "--config %s --vmodule a=1 --healthz-port 0 --kubeconfig x", path);
	got = run(flags);
	unlink(path);
	ck_assert_msg(got.r == 0, "%s", got.err.msg);
	ck_assert_str_eq(got.c->log_vmodule[0], "a=1");
	ck_assert_str_eq(got.c->log_vmodule[1], "b=2");
	ck_assert_str_eq(got.c->healthz_bind_address, "0.0.0.0:10256");
	ck_assert_str_eq(got.c->kubeconfig, "");
	run_release(&got);
}
END_TEST

/* On top of what the file says, and the file of another form alone. */
START_TEST(aks_on_top)
{
	char path[] = "/tmp/test-flags-XXXXXX", other[] = "/tmp/test-flags-XXXXXX", flags[256];
	int fd = mkstemp(other);
	struct run got;

	dprintf(fd, "{\"mode\": \"NFTABLES\"}");
	close(fd);
	write_config(path, "mode: iptables\nclusterCIDR: 10.0.0.0/8\n");
	snprintf(flags, sizeof(flags), "--config %s --kube-proxy-config %s", path, other);
	got = run(flags);
	ck_assert_msg(got.r == 0, "%s", got.err.msg);
	ck_assert_int_eq(got.c->mode, KP_MODE_NFTABLES);
	ck_assert_str_eq(got.c->cluster_cidr, "10.0.0.0/8");
	run_release(&got);
	snprintf(flags, sizeof(flags), "--config %s", other);
	got = run(flags);
	ck_assert(got.r == 0 && got.c->mode == KP_MODE_NFTABLES);
	run_release(&got);
	unlink(path);
	unlink(other);
}
END_TEST

/* Also on top of the flags; and the whole is looked at, not only the file. */
START_TEST(what_lies_on_top)
{
	static const struct {
		const char *file, *json, *flags, *want;	/* the mode, or the first error; file NULL: none */
	} rows[] = {
		{ NULL, "{\"mode\": \"IPTABLES\"}", "--proxy-mode nftables", "iptables" },
		{ NULL, "{}", "--proxy-mode nftables", "iptables" },
		{ NULL, "{\"mode\": \"IPVS\"}", "--ipvs-sync-period=-5s", "ipvs.syncPeriod: must be greater than 0 (got '-5s')" },
		{ "mode: nftables\nipvs: {syncPeriod: -5s}\n", "{\"mode\": \"NFTABLES\"}", "", "nftables" },
		{ "mode: nftables\nipvs: {syncPeriod: -5s}\n", "{\"mode\": \"IPVS\"}", "",
		  "ipvs.syncPeriod: must be greater than 0 (got '-5s')" },
		{ "mode: nftables\n", "{\"mode\": \"NFTABLES\"}", "-v -3", "logging.verbosity: must be within the range [0, 4294967295] (got '-3')" },
	};
	static const char *const modes[] = { "", "nftables", "iptables", "ipvs" };

	for (size_t i = 0; i < KP_N(rows); i++) {
		char path[] = "/tmp/test-flags-XXXXXX", json[] = "/tmp/test-flags-XXXXXX", flags[256];
		KP_AUTO(kp_freep) char *first = NULL;
		int fd = mkstemp(json);
		struct run got;

		dprintf(fd, "%s", rows[i].json);
		close(fd);
		write_config(path, rows[i].file ? rows[i].file : "");
		snprintf(flags, sizeof(flags), "--kube-proxy-config %s %s %s %s", json, rows[i].flags, rows[i].file ? "--config" : "",
			 rows[i].file ? path : "");
		got = run(flags);
		for (size_t p = 0; p < got.rep.n && !first; p++)
			if (got.rep.items[p].level == KP_PROBLEM_ERROR)
				first = kp_config_problem_str(&got.rep.items[p]);
		ck_assert_str_eq(got.r < 0 ? first : modes[got.c->mode], rows[i].want);
		run_release(&got);
		unlink(path);
		unlink(json);
	}
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

	snprintf(args, sizeof(args), "-o json %s\xe9", path);	/* no UTF-8 */
	ck_assert_int_eq(rename(path, strchr(args, '/')), 0);
	ck_assert_int_eq(check_config(args, out, sizeof(out)), 1);
	ck_assert_ptr_nonnull(strstr(out, "\"line\": 4"));
	unlink(strchr(args, '/'));

	strcpy(path, "/tmp/test-flags-XXXXXX");
	write_config(path, "unknown: 1\n");
	snprintf(want, sizeof(want), "%s:3: warning: unknown: unknown field, ignored\n%s: ok\n", path, path);
	ck_assert_int_eq(check_config(path, out, sizeof(out)), 0);
	ck_assert_str_eq(out, want);
	unlink(path);

	strcpy(path, "/tmp/test-flags-XXXXXX");
	write_config(path, "mode: ipvs\n");
	ck_assert_int_eq(check_config(path, out, sizeof(out)), 1);
	ck_assert_ptr_nonnull(strstr(out, "error: mode: is not built yet, only nftables and iptables are; with proxylet.fallback"));
	ck_assert_ptr_null(strstr(out, ": ok\n"));
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
	tcase_add_loop_test(tc, given_case, 0, KP_N(given));
	tcase_add_test(tc, arguments_unwanted);
	tcase_add_test(tc, help);
	tcase_add_test(tc, flags_alone);
	tcase_add_loop_test(tc, field_case, 0, KP_N(fields));
	tcase_add_test(tc, every_field_flag);
	tcase_add_loop_test(tc, flags_refused, 0, KP_N(refused));
	tcase_add_test(tc, flags_and_file);
	tcase_add_test(tc, patterns_of_flag_and_file);
	tcase_add_test(tc, aks_on_top);
	tcase_add_test(tc, what_lies_on_top);
	tcase_add_test(tc, check_config_command);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
