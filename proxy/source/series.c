#include "proxy/source/series.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define SERIES_MS	360000		/* of silence end a series, as in client-go's tools/events */
#define UPDATE_MS	300000
#define BURST		25		/* and its tools/record, for one object */
#define REFILL_MS	300000
#define MAX_SERIES	500
#define MAX_OBJECTS	2000
#define MAX_TRIES	12
#define MAX_NAME	253

struct bucket {
	double tokens;
	uint64_t at_ms;
};

struct kp_series_table {
	struct kp_map *series;	/* what is said of what -> struct kp_series */
	struct kp_map *buckets;	/* object -> struct bucket */
};

static void series_free(void *p)
{
	struct kp_series *s = p;

	free(s->ns);
	free(s->event_name);
	free(s->kind);
	free(s->object_ns);
	free(s->object_name);
	free(s->reason);
	free(s->action);
	free(s->text);
	free(s);
}

struct kp_series_table *kp_series_new(void)
{
	struct kp_series_table *t = kp_calloc(1, sizeof(*t));

	t->series = kp_map_new(series_free);
	t->buckets = kp_map_new(free);
	return t;
}

struct kp_series_table *kp_series_free(struct kp_series_table *t)
{
	if (!t)
		return NULL;
	kp_map_free(t->series);
	kp_map_free(t->buckets);
	free(t);
	return NULL;
}

static bool is_over(const struct kp_series *s, uint64_t now_ms)
{
	return s->state == KP_SERIES_KNOWN && now_ms - s->last_ms > SERIES_MS;
}

static void refill(struct bucket *b, uint64_t now_ms)
{
	b->tokens += (double)(now_ms - b->at_ms) / REFILL_MS;
	if (b->tokens > BURST)
		b->tokens = BURST;
	b->at_ms = now_ms;
}

/* What says nothing any more. */
static void forget(struct kp_series_table *t, uint64_t now_ms)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(t->series, &it);)
		if (is_over(it.value, now_ms))
			kp_map_del_at(t->series, &it);
	for (struct kp_map_it it = { 0 }; kp_map_next(t->buckets, &it);) {
		refill(it.value, now_ms);
		if (((const struct bucket *)it.value)->tokens >= BURST)
			kp_map_del_at(t->buckets, &it);
	}
}

static bool take_token(struct kp_series_table *t, const struct kp_notice *n, uint64_t now_ms)
{
	KP_AUTO(kp_freep) char *key = kp_asprintf("%s %s/%s", n->kind, n->ns, n->name);
	struct bucket *b = kp_map_gets(t->buckets, key);

	if (!b && kp_map_len(t->buckets) >= MAX_OBJECTS)
		return false;
	if (!b) {
		b = kp_calloc(1, sizeof(*b));
		*b = (struct bucket){ BURST, now_ms };
		kp_map_puts(t->buckets, key, b);
	}
	refill(b, now_ms);
	if (b->tokens < 1)
		return false;
	b->tokens--;
	return true;
}

/* As client-go's, but what would be too long for a name is cut where a label may end. */
static char *event_name(const char *object, uint64_t wall_ns)
{
	char tail[24];
	int room = MAX_NAME - snprintf(tail, sizeof(tail), ".%llx", (unsigned long long)wall_ns);
	size_t len = strnlen(object, (size_t)room);

	while (len && !isalnum((unsigned char)object[len - 1]))
		len--;
	return kp_asprintf("%.*s%s", (int)len, object, tail);
}

static struct kp_series *begin(const struct kp_notice *n, uint64_t now_ms, uint64_t wall_ns)
{
	struct kp_series *s = kp_calloc(1, sizeof(*s));

	*s = (struct kp_series){
		.ns = kp_strdup(*n->ns ? n->ns : "default"), .event_name = event_name(n->name, wall_ns),
		.kind = kp_strdup(n->kind), .object_ns = kp_strdup(n->ns), .object_name = kp_strdup(n->name),
		.reason = kp_strdup(n->reason), .action = kp_strdup(n->action), .text = kp_strdup(n->text),
		.warning = n->warning, .first_wall_ns = wall_ns, .state = KP_SERIES_CREATE, .due_ms = now_ms,
	};
	return s;
}

static void again(struct kp_series *s, uint64_t now_ms)
{
	if (s->state != KP_SERIES_KNOWN)
		return;		/* it goes along with what is to be told anyway */
	s->state = KP_SERIES_UPDATE;
	s->due_ms = s->count == 1 ? now_ms : s->asked_ms + UPDATE_MS;
}

bool kp_series_note(struct kp_series_table *t, const struct kp_notice *n, uint64_t now_ms, uint64_t wall_ns)
{
	KP_AUTO(kp_freep) char *key = kp_asprintf("%s %s/%s %s %s %d", n->kind, n->ns, n->name, n->reason, n->action, n->warning);
	struct kp_series *s = kp_map_gets(t->series, key);

	if (s && !is_over(s, now_ms)) {
		again(s, now_ms);
	} else {
		forget(t, now_ms);
		if (kp_map_len(t->series) >= MAX_SERIES || !take_token(t, n, now_ms))
			return false;
		s = begin(n, now_ms, wall_ns);
		kp_map_puts(t->series, key, s);
	}
	s->count++;
	s->last_ms = now_ms;
	s->last_wall_ns = wall_ns;
	return true;
}

static struct kp_series *next(const struct kp_series_table *t)
{
	struct kp_series *best = NULL;

	for (struct kp_map_it it = { 0 }; kp_map_next(t->series, &it);) {
		struct kp_series *s = it.value;

		if (s->state != KP_SERIES_KNOWN && (!best || s->due_ms < best->due_ms))
			best = s;
	}
	return best;
}

struct kp_series *kp_series_due(struct kp_series_table *t, uint64_t now_ms)
{
	struct kp_series *s = next(t);

	if (!s || s->due_ms > now_ms)
		return NULL;
	s->asked_ms = now_ms;
	return s;
}

int kp_series_pending_ms(const struct kp_series_table *t, uint64_t now_ms)
{
	const struct kp_series *s = next(t);

	if (!s)
		return -1;
	return s->due_ms <= now_ms ? 0 : (int)(s->due_ms - now_ms);
}

void kp_series_told(struct kp_series *s, unsigned count, uint64_t now_ms)
{
	s->n_failed = 0;
	s->state = s->count > count ? KP_SERIES_UPDATE : KP_SERIES_KNOWN;
	s->due_ms = count == 1 ? now_ms : s->asked_ms + UPDATE_MS;
}

bool kp_series_failed(struct kp_series_table *t, struct kp_series *s, uint64_t after_ms, uint64_t now_ms)
{
	if (++s->n_failed >= MAX_TRIES) {
		kp_series_drop(t, s);
		return false;
	}
	s->due_ms = now_ms + after_ms;
	return true;
}

void kp_series_drop(struct kp_series_table *t, struct kp_series *s)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(t->series, &it);)
		if (it.value == s) {
			kp_map_del_at(t->series, &it);
			return;
		}
}
