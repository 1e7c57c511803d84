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

static int usage(FILE *to, const char *problem)
{
	return kp_flags_usage(to, flags, "probes [flags]",
			      "Asks the running agent who probes this node, how often, and what it is told.\n", problem);
}

static void print(const json_t *probes, const char *format)
{
	struct kp_buf text = { 0 };

	if (strcmp(format, "json") == 0) {
		kp_admin_print(probes);
		return;
	}
	kp_probes_text(probes, &text);
	fputs(text.data, stdout);
	kp_buf_release(&text);
}

int kp_cmd_probes(int argc, char **argv)
{
	struct options o = { .socket = KP_STATUS_SOCKET, .format = "text" };
	struct kp_err err = { 0 };
	json_t *probes;

	if (kp_flags_parse(flags, argc, argv, &o, NULL, &err) < 0)
		return usage(stderr, err.msg);
	if (o.help)
		return usage(stdout, NULL);
	probes = kp_admin_ask(o.socket, "GET", "/probes", &err);
	if (!probes) {
		fprintf(stderr, "proxylet probes: %s\n", err.msg);
		return 3;
	}
	print(probes, o.format);
	json_decref(probes);
	return 0;
}
