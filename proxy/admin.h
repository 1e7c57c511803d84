#ifndef KP_ADMIN_H
#define KP_ADMIN_H

#include <stdbool.h>
#include <stddef.h>

struct hz_req;
struct kp_buf;

/*
 * The commands of the UNIX socket, beside the pages that the monitor has itself: tables of
 * paths, each from a module that knows the answer. HTTP with answers in JSON; a command
 * that changes something takes POST, from root or from the user that the agent runs as.
 * Main thread.
 */
struct kp_admin;

/* Returns the status; on one that is not 200, out is {"error": "..."} (kp_admin_refuse). */
typedef int kp_admin_fn(void *arg, const struct hz_req *req, struct kp_buf *out);

struct kp_admin_command {
	const char *path;
	bool changes;
	kp_admin_fn *run;
};

struct kp_admin *kp_admin_new(void);
struct kp_admin *kp_admin_free(struct kp_admin *a);	/* NULL is fine; returns NULL */
/* The table stays the caller's; it and arg outlive a, and paths are not taken twice. */
void kp_admin_add(struct kp_admin *a, const struct kp_admin_command *table, size_t n, void *arg);
/* fd: of the peer, whose credentials count. 404: nobody has this path, and out is empty. */
int kp_admin_run(const struct kp_admin *a, int fd, const struct hz_req *req, struct kp_buf *out);

/* From now on what changes something gets 409 and this (a constant); NULL: it is done again. */
void kp_admin_hold(struct kp_admin *a, const char *why);

/* For a kp_admin_fn: says why, returns the status. */
int kp_admin_refuse(struct kp_buf *out, int status, const char *why);

#endif
