#include "proxy/commands.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "proxy/adminclient.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/config/flags.h"
#include "proxy/status.h"

/* "drain" and "state": both ask for the node's state, or for another one, and print it. */

struct options {
	const char *socket, *format;
	bool services, help;
};

static const char *const formats[] = { "text", "json", NULL };

#define OUTPUT	{ "output", 'o', KP_FLAG_STRING, offsetof(struct options, format), .arg = "FORMAT", .choices = formats, \
		  .help = "text or json" }
#define SOCKET	{ "socket", 0, KP_FLAG_STRING, offsetof(struct options, socket), .arg = "PATH", \
		  .help = "of the agent; default " KP_STATUS_SOCKET }
#define HELP	{ "help", 'h', KP_FLAG_BOOL, offsetof(struct options, help), .help = "this text" }

static const struct kp_flag state_flags[] = { OUTPUT, SOCKET, HELP, { .name = NULL } };
static const struct kp_flag drain_flags[] = {
	{ "include-services", 0, KP_FLAG_BOOL, offsetof(struct options, services),
	  .help = "the health ports of Services answer 503 as well" },
	OUTPUT, SOCKET, HELP, { .name = NULL }
};

static const struct command {
	const char *name, *synopsis, *more;
	const struct kp_flag *flags;
} state_command = {
	"state", "state [busy|ready|recycling] [flags]",
	"Prints the node's state, or sets it: what /agent says to guest agents. ready: as things are by themselves.\n"
	"Exit status: 0 fine, 1 the agent refuses, 3 there is none.\n", state_flags,
}, drain_command = {
	"drain", "drain start [--include-services] | stop [flags]",
	"/healthz and /agent answer 503, so that load balancers take the node out; the rules stay.\n"
	"Exit status: 0 fine, 1 the agent refuses, 3 there is none.\n", drain_flags,
};

/* What can be asked for. */
static const struct verb {
	const struct command *of;
	const char *word;	/* NULL: none */
	bool services;
	const char *method, *path;
} verbs[] = {
	{ &state_command, NULL,		false,	"GET",	"/state" },
	{ &state_command, "busy",	false,	"POST",	"/state/busy" },
	{ &state_command, "ready",	false,	"POST",	"/state/ready" },
	{ &state_command, "recycling",	false,	"POST",	"/state/recycling" },
	{ &drain_command, "start",	false,	"POST",	"/drain/start" },
	{ &drain_command, "start",	true,	"POST",	"/drain/start/services" },
	{ &drain_command, "stop",	false,	"POST",	"/drain/stop" },
};

static int usage(FILE *to, const struct command *c, const char *problem)
{
	return kp_flags_usage(to, c->flags, c->synopsis, c->more, problem);
}

static const struct verb *find(const struct command *c, const struct kp_flag_list *words, bool services)
{
	const char *word = words->n ? words->items[0] : NULL;

	for (const struct verb *v = verbs; v < verbs + KP_N(verbs); v++)
		if (words->n <= 1 && v->of == c && v->services == services &&
		    (word && v->word ? strcmp(word, v->word) == 0 : word == v->word))
			return v;
	return NULL;
}

static void print_text(const json_t *state)
{
	const json_t *checks = json_object_get(state, "checks"), *one;
	size_t i;

	printf("%s%s\n", json_string_value(json_object_get(state, "state")),
	       json_is_true(json_object_get(state, "drainingServices")) ? ", with its Services" : "");
	json_array_foreach(checks, i, one) {
		printf("check %s: %s\n", json_string_value(json_object_get(one, "name")),
		       json_is_true(json_object_get(one, "ok")) ? "ok" : "fails");
	}
}

static int ask(const struct verb *v, const struct options *o)
{
	struct kp_err err = { 0 };
	json_t *state = kp_admin_ask(o->socket, v->method, v->path, &err);

	if (!state) {
		fprintf(stderr, "proxylet %s: %s\n", v->of->name, err.msg);
		return err.code == -EPERM ? 1 : 3;
	}
	if (strcmp(o->format, "json") == 0)
		kp_admin_print(state);
	else
		print_text(state);
	json_decref(state);
	return 0;
}

static int run(const struct command *c, int argc, char **argv)
{
	struct options o = { .socket = KP_STATUS_SOCKET, .format = "text" };
	struct kp_flag_list words = { 0 };
	struct kp_err err = { 0 };
	const struct verb *v;
	int status;

	if (kp_flags_parse(c->flags, argc, argv, &o, &words, &err) < 0)
		status = usage(stderr, c, err.msg);
	else if (o.help)
		status = usage(stdout, c, NULL);
	else if (!(v = find(c, &words, o.services)))
		status = usage(stderr, c, !words.n ? "what is to be done?" : find(c, &words, false) ?
			       "--include-services goes with start" : "there is no such command");
	else
		status = ask(v, &o);
	kp_flag_list_release(&words);
	return status;
}

int kp_cmd_state(int argc, char **argv)
{
	return run(&state_command, argc, argv);
}

int kp_cmd_drain(int argc, char **argv)
{
	return run(&drain_command, argc, argv);
}
