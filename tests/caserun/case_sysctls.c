#include "tests/caserun/caserun.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/sysctl.h"

/* kube-proxy's setters and our files. */
static const struct setter {
	const char *name, *file;
} setters[] = {
	{ "SetMax", "nf_conntrack_max" },
	{ "SetTCPEstablishedTimeout", "nf_conntrack_tcp_timeout_established" },
	{ "SetTCPCloseWaitTimeout", "nf_conntrack_tcp_timeout_close_wait" },
	{ "SetTCPBeLiberal", "nf_conntrack_tcp_be_liberal" },
	{ "SetUDPTimeout", "nf_conntrack_udp_timeout" },
	{ "SetUDPStreamTimeout", "nf_conntrack_udp_timeout_stream" },
};

static void run_max(struct case_run *r, json_t *doc)
{
	json_int_t want = json_integer_value(json_object_get(doc, "expected"));
	int64_t is = kp_sysctl_conntrack_max(json_integer_value(json_object_get(doc, "maxPerCore")),
					     json_integer_value(json_object_get(doc, "min")),
					     (unsigned)json_integer_value(json_object_get(doc, "ncores")));

	case_check(r, is == want, "got %lld, want %lld", (long long)is, (long long)want);
}

/* null: not given, which sets nothing. */
static int64_t duration(json_t *config, const char *key)
{
	const char *text = json_string_value(json_object_get(config, key));
	int64_t ms = 0;

	if (text && !kp_duration_parse(text, &ms))
		abort();
	return ms;
}

static struct kp_config_conntrack conntrack_of(json_t *config)
{
	return (struct kp_config_conntrack){
		.max_per_core = json_integer_value(json_object_get(config, "maxPerCore")),
		.min = json_integer_value(json_object_get(config, "min")),
		.tcp_be_liberal = json_is_true(json_object_get(config, "tcpBeLiberal")),
		.tcp_established_ms = duration(config, "tcpEstablishedTimeout"),
		.tcp_close_wait_ms = duration(config, "tcpCloseWaitTimeout"),
		.udp_ms = duration(config, "udpTimeout"),
		.udp_stream_ms = duration(config, "udpStreamTimeout"),
	};
}

/* "SetUDPTimeout(5)"; of the maximum only that it is set. NULL: not one of kube-proxy's. */
static char *call_of(const struct kp_sysctl *s)
{
	const char *slash = strrchr(s->path, '/');

	for (size_t i = 0; i < KP_N(setters); i++)
		if (strcmp(setters[i].file, slash + 1) == 0)
			return i ? kp_asprintf("%s(%lld)", setters[i].name, (long long)s->value) : kp_strdup("SetMax");
	return NULL;
}

/* What would be set, in order. Where a setter fails kube-proxy stops, and we go on. */
static void compare_calls(struct case_run *r, const struct kp_sysctl *list, size_t n, json_t *want, bool fails)
{
	size_t calls = 0;

	for (size_t i = 0; i < n; i++) {
		KP_AUTO(kp_freep) char *call = call_of(&list[i]);
		const char *theirs = json_string_value(json_array_get(want, calls));

		if (!call || (fails && !theirs))
			continue;
		calls++;
		if (!case_check(r, theirs && strcmp(theirs, call) == 0, "call %zu: got %s, want %s", calls, call,
				theirs ? theirs : "none"))
			return;
	}
	case_check(r, calls == json_array_size(want), "%zu calls, want %zu", calls, json_array_size(want));
}

static void make_parents(const char *path)
{
	KP_AUTO(kp_freep) char *copy = kp_strdup(path);

	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(copy, 0700);
		*slash = '/';
	}
}

/* The file holds 7; where setting shall fail there is a folder in its place. */
static void plant(const char *path, bool fails)
{
	FILE *f;

	make_parents(path);
	if (fails) {
		mkdir(path, 0700);
		return;
	}
	f = fopen(path, "w");
	if (!f || fputs("7\n", f) < 0 || fclose(f) != 0)
		abort();
}

static bool holds(const char *path, int64_t value)
{
	FILE *f = fopen(path, "r");
	long long is = -1;

	if (f) {
		if (fscanf(f, "%lld", &is) != 1)
			is = -1;
		fclose(f);
	}
	return is == value;
}

static void apply_below(struct case_run *r, const char *root, const struct kp_sysctl *list, size_t n, bool fails)
{
	size_t failed;

	for (size_t i = 0; i < n; i++) {
		KP_AUTO(kp_freep) char *path = kp_asprintf("%s%s", root, list[i].path);

		plant(path, fails);
	}
	failed = kp_sysctl_apply(root, list, n);
	case_check(r, failed == (fails ? n : 0), "%zu of %zu failed", failed, n);
	for (size_t i = 0; i < n && !fails; i++) {
		KP_AUTO(kp_freep) char *path = kp_asprintf("%s%s", root, list[i].path);

		case_check(r, holds(path, list[i].at_least && list[i].value < 7 ? 7 : list[i].value), "%s is not written", path);
	}
}

static void run_sysctls(struct case_run *r, json_t *doc)
{
	struct kp_config_conntrack c = conntrack_of(json_object_get(doc, "config"));
	bool fails = json_is_true(json_object_get(doc, "wantErr"));
	char root[] = "/tmp/caserun-sysctl-XXXXXX";
	KP_AUTO(kp_freep) char *remove_tree = NULL;
	struct kp_sysctl list[KP_SYSCTLS_MAX];
	size_t n = kp_sysctl_conntrack(&c, 4, list);

	compare_calls(r, list, n, json_object_get(doc, "expectCalls"), fails);
	if (!mkdtemp(root))
		abort();
	kp_log_set_level(KP_LOG_ERROR);
	apply_below(r, root, list, n, fails);
	kp_log_set_level(KP_LOG_INFO);
	remove_tree = kp_asprintf("rm -rf '%s'", root);
	if (system(remove_tree) != 0)
		abort();
}

void case_sysctls(struct case_run *r, json_t *doc)
{
	if (strcmp(r->sub, "max") == 0)
		run_max(r, doc);
	else
		run_sysctls(r, doc);
}
