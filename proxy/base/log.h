#ifndef KP_BASE_LOG_H
#define KP_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

/*
 * One line per event on stderr. error: someone must act; warn: we cope, someone
 * may want to know; info: state changes; debug: everything else. Control
 * characters in the message, and bytes that are no UTF-8, are replaced, because
 * names come from outside.
 * Callable from every thread.
 */
enum kp_log_level { KP_LOG_ERROR, KP_LOG_WARN, KP_LOG_INFO, KP_LOG_DEBUG };

/* For all threads, from any thread. */
void kp_log_set_level(enum kp_log_level level);
void kp_log_set_json(bool on);	/* one JSON object per line: ts, level, module, msg */

/* module: "file", "nft", "health", ... */
void kp_log(enum kp_log_level level, const char *module, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define kp_error(module, ...)	kp_log(KP_LOG_ERROR, module, __VA_ARGS__)
#define kp_warn(module, ...)	kp_log(KP_LOG_WARN, module, __VA_ARGS__)
#define kp_info(module, ...)	kp_log(KP_LOG_INFO, module, __VA_ARGS__)
#define kp_debug(module, ...)	kp_log(KP_LOG_DEBUG, module, __VA_ARGS__)

/* At most burst lines in window_ms; zero-initialise the rest. */
struct kp_ratelimit {
	uint64_t window_ms;
	unsigned burst;
	uint64_t window_start;
	unsigned used, suppressed;
};

/* ret_suppressed: how many were swallowed in the window that just ended. */
bool kp_ratelimit_ok(struct kp_ratelimit *rl, uint64_t now_ms, unsigned *ret_suppressed);

#endif
