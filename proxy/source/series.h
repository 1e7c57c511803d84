#ifndef KP_SOURCE_SERIES_H
#define KP_SOURCE_SERIES_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/source/notice.h"

/*
 * Which notices become which requests: a pure table, told the time. Equal ones (all but the
 * text) within six minutes are one series; the first is created, the second and then what
 * came up to five minutes later is an update of its count.
 */
struct kp_series_table;

enum kp_series_state { KP_SERIES_CREATE, KP_SERIES_UPDATE, KP_SERIES_KNOWN };

struct kp_series {
	char *ns, *event_name;		/* of the event itself */
	char *kind, *object_ns, *object_name, *reason, *action, *text;
	bool warning;
	unsigned count;
	uint64_t first_wall_ns, last_wall_ns;
	enum kp_series_state state;	/* what the server is to be told next */
	uint64_t due_ms;		/* and when */
	uint64_t last_ms, asked_ms;
	unsigned n_failed;		/* in a row */
};

struct kp_series_table *kp_series_new(void);
struct kp_series_table *kp_series_free(struct kp_series_table *t);	/* NULL is fine; returns NULL */

/* False: dropped, since its object or everything together said too much. */
bool kp_series_note(struct kp_series_table *t, const struct kp_notice *n, uint64_t now_ms, uint64_t wall_ns);

/* The one that has waited longest among those due; NULL: none. Valid until it is dropped or the table is freed. */
struct kp_series *kp_series_due(struct kp_series_table *t, uint64_t now_ms);
/* Milliseconds until one is; -1: nothing waits. */
int kp_series_pending_ms(const struct kp_series_table *t, uint64_t now_ms);

/* The server has it, with as many as it had when it was asked. */
void kp_series_told(struct kp_series *s, unsigned count, uint64_t now_ms);
/* Again later. False: it was tried often enough, and is dropped. */
bool kp_series_failed(struct kp_series_table *t, struct kp_series *s, uint64_t after_ms, uint64_t now_ms);
void kp_series_drop(struct kp_series_table *t, struct kp_series *s);

#endif
