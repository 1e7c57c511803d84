#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/base/map.h"
#include "tests/caserun/caserun.h"

static const struct {
	const char *dir;
	case_fn *run;
} families[] = {
	{ "topology",		case_topology },
	{ "slices",		case_slices },
	{ "services",		case_services },
	{ "nodeport-addresses",	case_nodeport_addresses },
	{ "conntrack",		case_conntrack },
	{ "health",		case_health },
	{ "config",		case_config },
	{ "metrics",		case_metrics },
};

static struct kp_map *skips;	/* reason -> count */

void case_pass(struct case_run *r)
{
	r->passed++;
}

static void __attribute__((format(printf, 2, 0))) vfail(struct case_run *r, const char *fmt, va_list ap)
{
	r->failed++;
	printf("FAIL %s: ", r->file);
	vprintf(fmt, ap);
	putchar('\n');
}

void case_fail(struct case_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfail(r, fmt, ap);
	va_end(ap);
}

int case_check(struct case_run *r, int cond, const char *fmt, ...)
{
	va_list ap;

	if (cond) {
		case_pass(r);
		return 1;
	}
	va_start(ap, fmt);
	vfail(r, fmt, ap);
	va_end(ap);
	return 0;
}

void case_skip(struct case_run *r, const char *why)
{
	unsigned *n = kp_map_gets(skips, why);

	r->skipped++;
	if (!n) {
		n = calloc(1, sizeof(*n));
		kp_map_puts(skips, why, n);
	}
	(*n)++;
}

static void run_file(struct case_run *r, case_fn *fn, const char *path, const char *sub)
{
	json_error_t where;
	json_t *doc = json_load_file(path, 0, &where);

	r->file = path;
	r->sub = sub;
	if (doc)
		fn(r, doc);
	else
		case_fail(r, "line %d: %s", where.line, where.text);
	json_decref(doc);
}

static void run_folder(struct case_run *r, case_fn *fn, const char *path, const char *sub)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		const char *name = names[i]->d_name, *dot = strrchr(name, '.');
		char child[4096];
		struct stat st;

		snprintf(child, sizeof(child), "%s/%s", path, name);
		if (name[0] == '.' || stat(child, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			run_folder(r, fn, child, name);
		else if (dot && strcmp(dot, ".json") == 0)
			run_file(r, fn, child, sub);
	}
	for (int i = 0; i < n; i++)
		free(names[i]);
	if (n >= 0)
		free(names);
}

/* run DIR...: every family found in each DIR. Last line: the plain count. */
int main(int argc, char **argv)
{
	struct case_run total = { 0 };

	skips = kp_map_new(free);
	for (int a = 1; a < argc; a++)
		for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++) {
			struct case_run r = { 0 };
			char path[4096];
			struct stat st;

			snprintf(path, sizeof(path), "%s/%s", argv[a], families[f].dir);
			if (stat(path, &st) < 0)
				continue;
			run_folder(&r, families[f].run, path, "");
			printf("%-20s %u passed, %u failed, %u skipped\n", families[f].dir, r.passed, r.failed, r.skipped);
			total.passed += r.passed;
			total.failed += r.failed;
			total.skipped += r.skipped;
		}
	for (struct kp_map_it it = { 0 }; kp_map_next(skips, &it);)
		printf("skipped %u: %s\n", *(unsigned *)it.value, (const char *)it.key);
	kp_map_free(skips);
	printf("%u passed, %u failed, %u skipped\n", total.passed, total.failed, total.skipped);
	return total.failed || !total.passed;
}
