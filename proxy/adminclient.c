#include "proxy/adminclient.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/unixsock.h"

#define TIMEOUT_MS 5000
#define MAX_ANSWER (64u << 20)

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

/* Why the agent says no. */
static void refused(const json_t *value, const char *line, struct kp_err *err)
{
	const char *why = json_string_value(json_object_get(value, "error"));

	if (why)
		kp_err_set(err, -EPERM, "%s", why);
	else
		kp_err_set(err, -EPROTO, "the agent answers '%.*s'", (int)strcspn(line, "\r\n"), line);
}

/* The body of the one answer we asked for, which ends with the connection. */
static json_t *parse(const struct kp_buf *answer, struct kp_err *err)
{
	const char *body = strstr(answer->data, "\r\n\r\n"), *status = strchr(answer->data, ' ');
	json_error_t where = { .text = "there is no head" };
	json_t *value = body ? json_loads(body + 4, 0, &where) : NULL;

	if (!status || strncmp(status, " 200 ", 5) != 0) {
		refused(value, answer->data, err);
		json_decref(value);
		return NULL;
	}
	if (!value)
		kp_err_set(err, -EPROTO, "the agent's answer is no JSON: line %d: %s", where.line, where.text);
	return value;
}

static int request(int fd, const char *method, const char *path, struct kp_err *err)
{
	char text[256];
	int len = snprintf(text, sizeof(text), "%s %s HTTP/1.0\r\n\r\n", method, path);

	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) == len)
		return 0;
	return kp_err_set(err, -errno, "ask the agent: %s", strerror(errno));
}

json_t *kp_admin_ask(const char *socket, const char *method, const char *path, struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = kp_unixsock_connect(socket, TIMEOUT_MS, err);
	struct kp_buf answer = { 0 };
	json_t *value = NULL;

	if (fd == -ENOENT || fd == -ECONNREFUSED) {
		const struct kp_err why = *err;

		kp_err_set(err, fd, "%s; no agent runs, or with another --socket", why.msg);
	}
	if (fd < 0)
		return NULL;
	if (request(fd, method, path, err) == 0 && read_all(fd, &answer, err) == 0)
		value = parse(&answer, err);
	kp_buf_release(&answer);
	return value;
}

void kp_admin_print(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	putchar('\n');
}
