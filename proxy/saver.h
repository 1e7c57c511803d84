#ifndef KP_SAVER_H
#define KP_SAVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct kp_err;
struct kp_model;

/*
 * Writes what the model holds to a file (proxy/source/snapfile.h) without keeping anybody
 * waiting: it is packed in pieces between the events of the main loop, half a millisecond
 * each, and a thread of its own waits for the disk. Objects do not depend on each other, so
 * one that changes meanwhile may be in the file as it was or as it is. Main thread.
 */
struct kp_saver;

struct kp_saved {
	int code;		/* 0 or -errno; -ENOENT: the folder is not there */
	const char *why;	/* borrowed, for the call */
	uint64_t wall_ns;	/* when the packing began */
	size_t len;
};
typedef void kp_saved_fn(void *arg, const struct kp_saved *saved);

struct kp_saver *kp_saver_new(struct event_base *base, const struct kp_model *m, kp_saved_fn *fn, void *arg);
/* What the thread has begun gets half a second, and fn is called for it; the rest is given up. */
struct kp_saver *kp_saver_free(struct kp_saver *s);	/* NULL is fine; returns NULL */

/* fn will be called. False: the last time is not over yet. */
bool kp_saver_begin(struct kp_saver *s, const char *folder);
/* At the end: all at once, and the disk gets half a second. fn is called, with -ETIMEDOUT if that was not enough. */
void kp_saver_finish(struct kp_saver *s, const char *folder);

#endif
