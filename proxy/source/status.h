#ifndef KP_SOURCE_STATUS_H
#define KP_SOURCE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kp_file_source;

/* What a source says of itself when somebody asks. Plain values; main thread. */

/* One thing that is read: a path of --objects, a collection of the API server. */
struct kp_source_row {
	char *name;
	size_t n_objects;	/* good ones */
	bool live;		/* changes will be noticed: the path is there, the watch runs */
	bool absent;		/* the server does not have it: there is nothing to hear */
	uint64_t heard_ns;	/* CLOCK_MONOTONIC of the last sign of life (event, bookmark); 0: there is no such thing */
	char *problem;		/* what is wrong, in one line; NULL: nothing */
};

/* Zero-initialise. */
struct kp_source_status {
	struct kp_source_row *rows;
	size_t n, cap;
};
void kp_source_status_release(struct kp_source_status *s);

/* A new row, to be filled in; name is copied. Valid until the next one. */
struct kp_source_row *kp_source_status_add(struct kp_source_status *s, const char *name);

/* One row for each path. Walks over all objects of it. */
void kp_file_source_status(const struct kp_file_source *s, struct kp_source_status *ret);

#endif
