#ifndef KP_FILEWATCH_H
#define KP_FILEWATCH_H

#include <stddef.h>

struct event_base;
struct kp_err;
struct kp_filewatch;

/*
 * Tells when files may have other contents: written, replaced by rename, or reached
 * through another link, as when the kubelet flips the ..data of a ConfigMap volume.
 * Noticed by inotify at once, and within a second where inotify does not see it (links
 * that lead out of the folder); told when nothing has changed for 0.1 s since, so that
 * nobody reads half a file. Told once soon after the start as well: what happened to the
 * files between their being read and being watched is not known.
 */
typedef void kp_filewatch_fn(void *arg);

/* cb is called from the loop of base. Files that do not exist are waited for. */
struct kp_filewatch *kp_filewatch_new(struct event_base *base, const char *const *paths, size_t n,
				      kp_filewatch_fn *cb, void *arg);
struct kp_filewatch *kp_filewatch_free(struct kp_filewatch *w);	/* NULL is fine; returns NULL */

#endif
