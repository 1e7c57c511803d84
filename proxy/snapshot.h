#ifndef KP_SNAPSHOT_H
#define KP_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/source/source.h"

struct event_base;
struct kp_config;
struct kp_model;

/*
 * What was last known of the cluster, kept in a file, so that a node that boots while no
 * API server answers has its Services. It stands between the source and whoever listens to
 * it, and looks like either to the other:
 *
 *	source -> struct kp_sink -> snapshot -> struct kp_sink -> agent
 *
 * Written once the source has told everything, then at most once a period when something
 * changed, and at the end. Used when the source has told nothing for a while, and only if
 * the kernel holds no rules; never over anything that the source has told, nor of a kind that
 * it has listed: what is not there is gone. Its objects are told as if by the source; when
 * that one is complete, those of them are removed that it did not tell itself. Main thread.
 */
struct kp_snapshot;

struct kp_snapshot_view {
	struct event_base *base;
	const struct kp_config *cfg;	/* proxylet.snapshot; read again each time. Borrowed, as all of this */
	struct kp_model *model;
	bool (*may_use)(void *arg);	/* does the kernel hold no rules of ours? Asked at first, and each time that the wait is over */
	bool (*is_live)(void *arg);	/* would the source know of changes? */
	bool (*is_listed)(void *arg, enum kp_kind kind);	/* has the source told all of them that there are? */
	struct kp_sink sink;		/* arg is also that of the three */
};

/*
 * Are rules that are in the kernel before there is a kp_snapshot those of the snapshot, and does the
 * configuration say that nobody shall count on such a node? See kp_snapshot_is_unhealthy.
 */
bool kp_snapshot_distrusts(const struct kp_config *c, const char *node_name);

/* *ret_sink is for the source. */
struct kp_snapshot *kp_snapshot_new(const struct kp_snapshot_view *view, struct kp_sink *ret_sink);
/* Writes what is not written yet; without calling anybody. */
struct kp_snapshot *kp_snapshot_free(struct kp_snapshot *s);	/* NULL is fine; returns NULL */

/* The rest takes NULL: there is none. */
void kp_snapshot_touch(struct kp_snapshot *s);	/* the model is another one now */
/* The model holds the snapshot's objects, and the source has not told everything yet. */
bool kp_snapshot_in_use(const struct kp_snapshot *s);
/*
 * The configuration says that nobody shall count on such a node: with the snapshot in use, or
 * with rules in the kernel that an agent before us had from it (they are of this boot, and the
 * file is not: since the boot nobody had anything better), until the source has told everything.
 */
bool kp_snapshot_is_unhealthy(const struct kp_snapshot *s);

struct kp_snapshot_status {
	const char *folder;	/* borrowed; NULL: there is no snapshot */
	bool in_use;
	uint64_t wall_ns;	/* when what is in the file, or in use, was known to be right; 0: there is none yet */
	uint64_t age_ns;
	uint64_t n_failed;	/* attempts to write it */
	const char *problem;	/* of the last attempt, or why the file was not used. NULL: none. Borrowed */
};
void kp_snapshot_status(const struct kp_snapshot *s, struct kp_snapshot_status *ret);

#endif
