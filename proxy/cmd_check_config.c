#include "proxy/commands.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/utf8.h"
#include "proxy/config/config.h"
#include "proxy/config/flags.h"

struct options {
	bool help;
	const char *output;
};

static const char *const outputs[] = { "text", "json", NULL };
static const struct kp_flag flags[] = {
	{ "output", 'o', KP_FLAG_STRING, offsetof(struct options, output), .arg = "FORMAT", .choices = outputs,
	  .help = "text or json" },
	{ "help", 'h', KP_FLAG_BOOL, offsetof(struct options, help), .help = "this text" },
	{ .name = NULL }
};

static int usage(FILE *to, const char *problem)
{
	return kp_flags_usage(to, flags, "check-config [flags] FILE...", "", problem);
}

static void print_text(const char *file, const struct kp_config_report *rep)
{
	for (size_t i = 0; i < rep->n; i++) {
		const struct kp_config_problem *p = &rep->items[i];
		KP_AUTO(kp_freep) char *what = kp_config_problem_str(p);

		printf("%s:", file);
		if (p->line)
			printf("%u:", p->line);
		printf(" %s: %s\n", kp_problem_names[p->level], what);
	}
	if (!rep->n_errors)
		printf("%s: ok\n", file);
}

static json_t *as_json(const char *file, const struct kp_config_report *rep)
{
	json_t *problems = json_array();

	for (size_t i = 0; i < rep->n; i++) {
		const struct kp_config_problem *p = &rep->items[i];

		json_array_append_new(problems, json_pack("{s:s, s:o, s:o, s:o, s:s, s:i}", "level",
			kp_problem_names[p->level], "field", kp_json_text(p->field), "value", kp_json_text(p->value),
			"detail", kp_json_text(p->detail), "type", p->type, "line", (int)p->line));
	}
	return json_pack("{s:o, s:b, s:o}", "file", kp_json_text(file), "ok", rep->n_errors == 0, "problems", problems);
}

/* The exit status for this file; what was found is printed, or appended to all. */
static int check_file(const char *file, json_t *all)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = NULL;
	struct kp_config_report rep = { 0 };
	struct kp_err err = { 0 };
	int r = kp_config_load_file(file, &c, &rep, &err), status;

	if (r == 0)
		kp_config_check_mode(c, &rep);
	status = rep.n_errors ? 1 : 0;
	if (r < 0 && !rep.n_errors) {
		fprintf(stderr, "proxylet check-config: %s\n", err.msg);
		status = 2;
	} else if (all) {
		json_array_append_new(all, as_json(file, &rep));
	} else {
		print_text(file, &rep);
	}
	kp_config_report_release(&rep);
	return status;
}

static int check_files(const struct kp_flag_list *files, bool want_json)
{
	json_t *all = want_json ? json_array() : NULL;
	int status = 0;

	for (size_t i = 0; i < files->n; i++) {
		int s = check_file(files->items[i], all);

		status = s > status ? s : status;
	}
	if (all) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(all);
	return status;
}

int kp_cmd_check_config(int argc, char **argv)
{
	struct options o = { 0 };
	struct kp_flag_list files = { 0 };
	struct kp_err err = { 0 };
	int status;

	if (kp_flags_parse(flags, argc, argv, &o, &files, &err) < 0)
		status = usage(stderr, err.msg);
	else if (o.help)
		status = usage(stdout, NULL);
	else if (!files.n)
		status = usage(stderr, "which file?");
	else
		status = check_files(&files, o.output && strcmp(o.output, "json") == 0);
	kp_flag_list_release(&files);
	return status;
}
