#include "proxy/source/file_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define MAX_LOGGED 100	/* refusals a reading; the rest is counted */

/* One object, with everything that defines it. */
struct kp_file_entry {
	enum kp_kind kind;
	struct kp_file_item *items;
	struct kp_file_item *shown;	/* whose value the sink has; NULL: of one that is gone, or it has none */
	bool published;			/* the sink has it */
	bool emptied;			/* in the table's list of that name */
	char id[];			/* digit of the kind, then the key */
};

struct kp_file_table {
	struct kp_sink sink;
	void (*again)(struct kp_file *f);
	struct kp_map *entries;			/* id -> struct kp_file_entry */
	struct kp_file_entry **emptied;		/* published, at some time without definition: see settle */
	size_t n_emptied, cap_emptied;
	bool reported;				/* something since they were settled */
	struct kp_ratelimit seconds;		/* lines about second definitions in other files */
};

struct kp_file_table *kp_file_table_new(const struct kp_sink *sink, void (*again)(struct kp_file *f))
{
	struct kp_file_table *t = kp_calloc(1, sizeof(*t));

	t->sink = *sink;
	t->again = again;
	t->seconds = (struct kp_ratelimit){ .window_ms = 10000, .burst = 50 };
	t->entries = kp_map_new(free);
	return t;
}

struct kp_file_table *kp_file_table_free(struct kp_file_table *t)
{
	if (!t)
		return NULL;
	kp_map_free(t->entries);
	free(t->emptied);
	free(t);
	return NULL;
}

static struct kp_file_entry *entry_of(struct kp_file_table *t, enum kp_kind kind, const char *key)
{
	char id[sizeof(((struct kp_object *)0)->key) + 1];
	int len = snprintf(id, sizeof(id), "%d%s", kind, key);
	struct kp_file_entry *e = kp_map_get(t->entries, id, (size_t)len);

	if (e)
		return e;
	e = kp_calloc(1, sizeof(*e) + (size_t)len + 1);
	e->kind = kind;
	memcpy(e->id, id, (size_t)len);
	kp_map_put(t->entries, id, (size_t)len, e);
	return e;
}

static const char *key_of(const struct kp_file_entry *e)
{
	return e->id + 1;
}

static void drop_if_unused(struct kp_file_table *t, struct kp_file_entry *e)
{
	if (!e->items && !e->published)
		kp_map_dels(t->entries, e->id);
}

/* Files that are there come before those that may return, then in order of the paths, then of the names. */
static bool before(const struct kp_file *a, const struct kp_file *b)
{
	if (!a->gone_ms != !b->gone_ms)
		return !a->gone_ms;
	if (a->root->index != b->root->index)
		return a->root->index < b->root->index;
	return strcmp(a->name, b->name) < 0;
}

/* The definition that counts, or NULL. */
static struct kp_file_item *best_of(const struct kp_file_entry *e)
{
	struct kp_file_item *best = NULL;

	for (struct kp_file_item *i = e->items; i; i = i->next)
		if (i->state == KP_FILE_GOOD && (!best || before(i->file, best->file)))
			best = i;
	return best;
}

static struct kp_file_item *add_item(struct kp_file *f, struct kp_file_entry *e, enum kp_file_state state)
{
	struct kp_file_item *i = kp_calloc(1, sizeof(*i));

	i->file = f;
	i->state = state;
	i->entry = e;
	if (e) {
		i->next = e->items;
		e->items = i;
	}
	return i;
}

static void note_found(struct kp_file_item *i, const struct kp_file_find *find)
{
	memcpy(i->hash, find->hash, sizeof(i->hash));
	i->line = find->line;
	i->seen = i->file->n_reads;
	i->again = false;
	kp_map_put(i->file->items, i->hash, sizeof(i->hash), i);
}

/* Takes the item out of its entry. The file's map owns it. */
static void unlink_item(struct kp_file_table *t, struct kp_file_item *i)
{
	struct kp_file_entry *e = i->entry;
	struct kp_file_item *best, **p;

	if (!e)
		return;
	for (p = &e->items; *p && *p != i; p = &(*p)->next)
		;
	if (*p)
		*p = i->next;
	if (e->shown == i)
		e->shown = NULL;
	best = best_of(e);
	if (best && !e->shown) {
		best->again = true;
		t->again(best->file);
	}
	if (!best && e->published && !e->emptied) {
		e->emptied = true;
		kp_grow(&t->emptied, t->n_emptied, &t->cap_emptied);
		t->emptied[t->n_emptied++] = e;
	}
	drop_if_unused(t, e);
}

static void free_value(enum kp_kind kind, void *value)
{
	struct kp_object o = { .kind = kind, .value = value };

	kp_object_release(&o);
}

static void warn_second(struct kp_file_table *t, const struct kp_file_item *loser,
			const struct kp_file_item *winner)
{
	unsigned suppressed;

	if (!kp_ratelimit_ok(&t->seconds, kp_now_ms(), &suppressed))
		return;
	if (suppressed)
		kp_warn("file", "%u more objects are defined in two files", suppressed);
	kp_warn("file", "%s:%u: %s %s: not used, %s:%u comes first", loser->file->path, loser->line,
		kp_kind_name(loser->entry->kind), key_of(loser->entry), winner->file->path, winner->line);
}

/* A definition with its value at hand: the sink gets it if it is the one that counts. */
static void offer(struct kp_file_table *t, struct kp_file_item *i, void *value)
{
	struct kp_file_entry *e = i->entry;
	const struct kp_file_item *best = best_of(e);
	struct kp_object o = { .kind = e->kind, .value = value };

	if (best != i) {
		warn_second(t, i, best);
		free_value(e->kind, value);
		return;
	}
	if (e->shown && e->shown != i && !e->shown->file->gone_ms)
		warn_second(t, e->shown, i);
	e->shown = i;
	e->published = true;
	t->reported = true;
	snprintf(o.key, sizeof(o.key), "%s", key_of(e));
	t->sink.upsert(t->sink.arg, &o);
}

static struct kp_file_item *own_definition(const struct kp_file_entry *e, const struct kp_file *f)
{
	for (struct kp_file_item *i = e->items; i; i = i->next)
		if (i->file == f && i->state == KP_FILE_GOOD)
			return i;
	return NULL;
}

/* False: the file defines the object further up. */
static bool take_good(struct kp_file_table *t, struct kp_file *f, struct kp_file_find *find)
{
	struct kp_file_entry *e = entry_of(t, find->kind, find->key);
	struct kp_file_item *own = own_definition(e, f);
	bool twice = own && own->seen == f->n_reads && !own->again;

	if (twice)
		kp_error("file", "%s:%u: %s %s: defined a second time; the definition in line %u stays", f->path,
			 own->line > find->line ? own->line : find->line, kp_kind_name(e->kind), find->key,
			 own->line > find->line ? find->line : own->line);
	if (twice && own->line < find->line)
		return false;
	if (own)
		kp_map_take(f->items, own->hash, sizeof(own->hash));
	else
		own = add_item(f, e, KP_FILE_GOOD);
	note_found(own, find);
	offer(t, own, find->value);
	find->value = NULL;
	return !twice;
}

static void take_other(struct kp_file_table *t, struct kp_file *f, const struct kp_file_find *find)
{
	struct kp_file_item *i = kp_map_get(f->items, find->hash, sizeof(find->hash));

	if (i)		/* the same bytes twice in the file */
		return;
	i = add_item(f, find->state == KP_FILE_REFUSED && find->key ? entry_of(t, find->kind, find->key) : NULL,
		     find->state);
	note_found(i, find);
}

/* The object of the item was found in the file, but refused: what we have of it stays. */
static bool refused_now(const struct kp_file_item *good)
{
	for (const struct kp_file_item *i = good->entry->items; i; i = i->next)
		if (i->file == good->file && i->state == KP_FILE_REFUSED && i->seen == i->file->n_reads)
			return true;
	return false;
}

/* Something was refused of which we do not know what it is: it may be any object that we miss. */
static bool any_unknown(const struct kp_file *f)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(f->items, &it);) {
		const struct kp_file_item *i = it.value;

		if (i->state == KP_FILE_REFUSED && !i->entry && i->seen == f->n_reads)
			return true;
	}
	return false;
}

static void sweep(struct kp_file_table *t, struct kp_file *f)
{
	bool keep_good = any_unknown(f), again = false;

	/* Refusals at the end, as they protect definitions. */
	for (int pass = 0; pass < 2; pass++)
		for (struct kp_map_it it = { 0 }; kp_map_next(f->items, &it);) {
			struct kp_file_item *i = it.value;
			bool good = i->state == KP_FILE_GOOD;

			if (good != !pass)
				continue;
			if (i->seen != f->n_reads && !(good && (keep_good || refused_now(i)))) {
				unlink_item(t, i);
				kp_map_del_at(f->items, &it);
			} else if (good && i->entry->shown != i && best_of(i->entry) == i) {
				i->again = again = true;	/* a file that returned */
			}
		}
	if (again)
		t->again(f);
}

unsigned kp_file_table_apply(struct kp_file_table *t, struct kp_file *f, struct kp_file_draft *draft)
{
	unsigned refused = 0;

	for (size_t k = 0; k < draft->n; k++) {
		struct kp_file_find *find = &draft->finds[k];

		if (find->state == KP_FILE_GOOD) {
			refused += !take_good(t, f, find);
			continue;
		}
		take_other(t, f, find);
		if (find->state == KP_FILE_REFUSED && refused++ < MAX_LOGGED)
			kp_error("file", "%s:%u: %s", f->path, find->message_line, find->message);
	}
	if (refused > MAX_LOGGED)
		kp_error("file", "%s: %u more objects refused", f->path, refused - MAX_LOGGED);
	sweep(t, f);
	return refused;
}

bool kp_file_table_settle(struct kp_file_table *t)
{
	bool reported;

	for (size_t k = 0; k < t->n_emptied; k++) {
		struct kp_file_entry *e = t->emptied[k];

		e->emptied = false;
		if (best_of(e))
			continue;
		t->reported = true;
		t->sink.remove(t->sink.arg, e->kind, key_of(e));
		e->published = false;
		drop_if_unused(t, e);
	}
	t->n_emptied = 0;
	reported = t->reported;
	t->reported = false;
	return reported;
}
