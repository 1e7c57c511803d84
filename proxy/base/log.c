#include "proxy/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/utf8.h"

#define LINE_MAX_LEN 2048

/* The only process-wide state there is; atomic. */
static enum kp_log_level max_level = KP_LOG_INFO;
static bool as_json;

void kp_log_set_level(enum kp_log_level level)
{
	__atomic_store_n(&max_level, level, __ATOMIC_RELAXED);
}

void kp_log_set_json(bool on)
{
	__atomic_store_n(&as_json, on, __ATOMIC_RELAXED);
}

/* Control characters, and what is no UTF-8: a terminal, journald and JSON each have their trouble with it. */
static void mask(char *s)
{
	for (size_t left = strlen(s), len; left; s += len, left -= len) {
		len = kp_utf8_len(s, left);
		if (!len || (unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?', len = 1;
	}
}

static size_t quote(char *out, size_t room, const char *in)
{
	size_t n = 0;

	for (; *in && n + 2 < room; in++) {
		if (*in == '"' || *in == '\\')
			out[n++] = '\\';
		out[n++] = *in;
	}
	out[n] = '\0';
	return n;
}

void kp_log(enum kp_log_level level, const char *module, const char *fmt, ...)
{
	static const char *const name[] = { "error", "warn", "info", "debug" };
	char msg[LINE_MAX_LEN], quoted[2 * LINE_MAX_LEN], line[2 * LINE_MAX_LEN + 128], when[32];
	struct timespec now;
	struct tm tm;
	va_list ap;
	int n;

	if (level > __atomic_load_n(&max_level, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	mask(msg);
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%FT%T", &tm);
	if (__atomic_load_n(&as_json, __ATOMIC_RELAXED)) {
		quote(quoted, sizeof(quoted), msg);
		n = snprintf(line, sizeof(line), "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\",\"module\":\"%s\",\"msg\":\"%s\"}\n",
			     when, now.tv_nsec / 1000000, name[level], module, quoted);
	} else {
		n = snprintf(line, sizeof(line), "%s.%03ldZ %s %s: %s\n",
			     when, now.tv_nsec / 1000000, name[level], module, msg);
	}
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	/* One write: lines of two threads never mix. Nothing can be done if it fails. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

bool kp_ratelimit_ok(struct kp_ratelimit *rl, uint64_t now_ms, unsigned *ret_suppressed)
{
	*ret_suppressed = 0;
	if (now_ms - rl->window_start >= rl->window_ms) {
		*ret_suppressed = rl->suppressed;
		rl->window_start = now_ms;
		rl->used = rl->suppressed = 0;
	}
	if (rl->used < rl->burst) {
		rl->used++;
		return true;
	}
	rl->suppressed++;
	return false;
}
