#include "proxy/commands.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/unixsock.h"
#include "proxy/config/flags.h"
#include "proxy/status.h"

#define TIMEOUT_MS 5000
#define MAX_ANSWER (64u << 20)

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
	return kp_flags_usage(to, flags, "status [flags]",
			      "Asks the running agent. Exit status: 0 it is ready, 1 it is not, 3 there is none.\n", problem);
}

static int read_all(int fd, struct kp_buf *to, struct kp_err *err)
{
	ssize_t n;

	do {
		n = recv(fd, kp_buf_reserve(to, 16384), 16384, 0);
		to->len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && to->len < MAX_ANSWER) || (n < 0 && errno == EINTR));
	if (n < 0)
		return kp_err_set(err, -errno, "read the answer: %s", errno == EAGAIN ? "the agent takes too long" : strerror(errno));
	kp_buf_puts(to, "");	/* ends the text */
	return 0;
}

/* The body of the one answer we asked for, which ends with the connection. */
static json_t *parse(const struct kp_buf *answer, struct kp_err *err)
{
	const char *body = strstr(answer->data, "\r\n\r\n"), *status = strchr(answer->data, ' ');
	json_error_t where;
	json_t *value;

	if (!body || !status || strncmp(status, " 200 ", 5) != 0) {
		kp_err_set(err, -EPROTO, "the agent answers '%.*s'", (int)strcspn(answer->data, "\r\n"), answer->data);
		return NULL;
	}
	value = json_loads(body + 4, 0, &where);
	if (!value)
		kp_err_set(err, -EPROTO, "the agent's answer is no JSON: line %d: %s", where.line, where.text);
	return value;
}

static json_t *ask(const char *path, struct kp_err *err)
{
	static const char request[] = "GET /status HTTP/1.0\r\n\r\n";
	KP_AUTO(kp_closep) int fd = kp_unixsock_connect(path, TIMEOUT_MS, err);
	struct kp_buf answer = { 0 };
	json_t *value = NULL;

	if (fd < 0)
		return NULL;
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
		kp_err_set(err, -errno, "ask the agent: %s", strerror(errno));
	else if (read_all(fd, &answer, err) == 0)
		value = parse(&answer, err);
	kp_buf_release(&answer);
	return value;
}

static void print(const json_t *status, const char *format)
{
	struct kp_buf text = { 0 };

	if (strcmp(format, "json") == 0) {
		json_dumpf(status, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
		putchar('\n');
		return;
	}
	kp_status_text(status, &text);
	fputs(text.data, stdout);
	kp_buf_release(&text);
}

int kp_cmd_status(int argc, char **argv)
{
	struct options o = { .socket = KP_STATUS_SOCKET, .format = "text" };
	struct kp_err err = { 0 };
	json_t *status;
	bool ready;

	if (kp_flags_parse(flags, argc, argv, &o, NULL, &err) < 0)
		return usage(stderr, err.msg);
	if (o.help)
		return usage(stdout, NULL);
	status = ask(o.socket, &err);
	if (!status) {
		fprintf(stderr, "proxylet status: %s%s\n", err.msg,
			err.code == -ENOENT || err.code == -ECONNREFUSED ? "; no agent runs, or with another --socket" : "");
		return 3;
	}
	print(status, o.format);
	ready = json_is_true(json_object_get(status, "ready"));
	json_decref(status);
	return ready ? 0 : 1;
}
