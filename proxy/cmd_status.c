#include "proxy/commands.h"

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "proxy/adminclient.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/config/flags.h"
#include "proxy/probes.h"
#include "proxy/status.h"

/* "status" and "probes": both print one answer of the running agent. */

struct options {
	const char *socket, *format;
	bool help;
};

static const char *const formats[] = { "text", "json", NULL };

static const struct kp_flag flags[] = {
	{ "output", 'o', KP_FLAG_STRING, offsetof(struct options, format), .arg = "FORMAT", .choices = formats, .help = "text or json" },
	{ "socket", 0, KP_FLAG_STRING, offsetof(struct options, socket), .arg = "PATH", .help = "of the agent; default " KP_STATUS_SOCKET },
	{ "help", 'h', KP_FLAG_BOOL, offsetof(struct options, help), .help = "this text" },
	{ .name = NULL }
};

static bool is_ready(const json_t *status)
{
	return json_is_true(json_object_get(status, "ready"));
}

struct question {
	const char *name, *synopsis, *more, *path;
	void (*text)(const json_t *answer, struct kp_buf *out);
	bool (*is_good)(const json_t *answer);	/* NULL: every answer is */
};

static const struct question status_question = {
	"status", "status [flags]", "Asks the running agent. Exit status: 0 it is ready, 1 it is not, 3 there is none.\n", "/status",
	kp_status_text, is_ready,
}, probes_question = {
	"probes", "probes [flags]", "Asks the running agent who probes this node, how often, and what it is told.\n", "/probes",
	kp_probes_text, NULL,
};

static int usage(FILE *to, const struct question *q, const char *problem)
{
	return kp_flags_usage(to, flags, q->synopsis, q->more, problem);
}

static void print(const struct question *q, const json_t *answer, const char *format)
{
	struct kp_buf text = { 0 };

	if (strcmp(format, "json") == 0) {
		kp_admin_print(answer);
		return;
	}
	q->text(answer, &text);
	fputs(text.data, stdout);
	kp_buf_release(&text);
}

static int ask(const struct question *q, int argc, char **argv)
{
	struct options o = { .socket = KP_STATUS_SOCKET, .format = "text" };
	struct kp_err err = { 0 };
	json_t *answer;
	bool good;

	if (kp_flags_parse(flags, argc, argv, &o, NULL, &err) < 0)
		return usage(stderr, q, err.msg);
	if (o.help)
		return usage(stdout, q, NULL);
	answer = kp_admin_ask(o.socket, "GET", q->path, &err);
	if (!answer) {
		fprintf(stderr, "proxylet %s: %s\n", q->name, err.msg);
		return 3;
	}
	print(q, answer, o.format);
	good = !q->is_good || q->is_good(answer);
	json_decref(answer);
	return good ? 0 : 1;
}

int kp_cmd_status(int argc, char **argv)
{
	return ask(&status_question, argc, argv);
}

int kp_cmd_probes(int argc, char **argv)
{
	return ask(&probes_question, argc, argv);
}
