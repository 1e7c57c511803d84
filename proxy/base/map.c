#include "proxy/base/map.h"

#include <stdint.h>
#include <stdlib.h>

#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

/* What stands for a value that does not hold its key. */
struct entry {
	void *value;
	uint32_t len;
	char key[];
};

/* In the place of a hash. What is gone stays marked until the table is rebuilt. */
enum { EMPTY, GONE };

/* Linear probing. A key is looked at only where the hash is the same: it is in no cache, most likely. */
struct kp_map {
	uint32_t *hashes;
	void **slots;		/* struct entry, or the values themselves if they are asked for their keys */
	size_t cap, used, live;	/* used counts what is gone too */
	const void *(*key_of)(const void *value, size_t *ret_len);
	void (*free_value)(void *);
};

struct kp_map *kp_map_new(void (*free_value)(void *))
{
	return kp_map_new_keyed(NULL, free_value);
}

struct kp_map *kp_map_new_keyed(const void *(*key_of)(const void *value, size_t *ret_len), void (*free_value)(void *))
{
	struct kp_map *m = kp_calloc(1, sizeof(*m));

	m->key_of = key_of;
	m->free_value = free_value;
	return m;
}

/* Places of the table; those that are asked about are in use. */

static const void *key_at(const struct kp_map *m, size_t at, size_t *ret_len)
{
	const struct entry *e = m->slots[at];

	if (m->key_of)
		return m->key_of(e, ret_len);
	*ret_len = e->len;
	return e->key;
}

static void *value_at(const struct kp_map *m, size_t at)
{
	return m->key_of ? m->slots[at] : ((const struct entry *)m->slots[at])->value;
}

/* Empties the place; the value is the caller's. */
static void *take_at(struct kp_map *m, size_t at)
{
	void *value = value_at(m, at);

	if (!m->key_of)
		free(m->slots[at]);
	m->hashes[at] = GONE;
	m->live--;
	return value;
}

static void free_at(struct kp_map *m, size_t at)
{
	void *value = take_at(m, at);

	if (m->free_value)
		m->free_value(value);
}

struct kp_map *kp_map_free(struct kp_map *m)
{
	if (!m)
		return NULL;
	for (size_t at = 0; at < m->cap; at++)
		if (m->hashes[at] > GONE)
			free_at(m, at);
	free(m->hashes);
	free(m->slots);
	free(m);
	return NULL;
}

size_t kp_map_len(const struct kp_map *m)
{
	return m->live;
}

static uint32_t hash_of(const void *key, size_t len)
{
	uint32_t hash = (uint32_t)kp_hash(KP_HASH_INIT, key, len);

	return hash > GONE ? hash : hash + GONE + 1;
}

static size_t next(const struct kp_map *m, size_t at)
{
	return (at + 1) & (m->cap - 1);
}

static void fill(struct kp_map *m, uint32_t hash, void *slot)
{
	size_t at = hash & (m->cap - 1);

	while (m->hashes[at] != EMPTY)
		at = next(m, at);
	m->hashes[at] = hash;
	m->slots[at] = slot;
}

/* Half full at most, so that the next time is far away. */
static void rebuild(struct kp_map *m)
{
	struct kp_map old = *m;

	for (m->cap = 16; m->cap < m->live * 2; m->cap *= 2)
		;
	m->hashes = kp_calloc(m->cap, sizeof(*m->hashes));
	m->slots = kp_reallocarray(NULL, m->cap, sizeof(*m->slots));
	for (size_t at = 0; at < old.cap; at++)
		if (old.hashes[at] > GONE)
			fill(m, old.hashes[at], old.slots[at]);
	free(old.hashes);
	free(old.slots);
	m->used = m->live;
}

static bool is_at(const struct kp_map *m, size_t at, const void *key, size_t len)
{
	size_t there_len;
	const void *there = key_at(m, at, &there_len);

	return there_len == len && memcmp(there, key, len) == 0;
}

static bool find(const struct kp_map *m, const void *key, size_t len, uint32_t hash, size_t *ret)
{
	if (!m->cap)
		return false;
	for (*ret = hash & (m->cap - 1); m->hashes[*ret] != EMPTY; *ret = next(m, *ret))
		if (m->hashes[*ret] == hash && is_at(m, *ret, key, len))
			return true;
	return false;
}

void *kp_map_get(const struct kp_map *m, const void *key, size_t len)
{
	size_t at;

	return find(m, key, len, hash_of(key, len), &at) ? value_at(m, at) : NULL;
}

static struct entry *new_entry(const void *key, size_t len, void *value)
{
	struct entry *e = kp_malloc(sizeof(*e) + len + 1);

	e->value = value;
	e->len = (uint32_t)len;
	memcpy(e->key, key, len);
	e->key[len] = '\0';
	return e;
}

static void replace_at(struct kp_map *m, size_t at, void *value)
{
	void *old = value_at(m, at);

	if (m->key_of)
		m->slots[at] = value;
	else
		((struct entry *)m->slots[at])->value = value;
	if (m->free_value && old != value)
		m->free_value(old);
}

void kp_map_put(struct kp_map *m, const void *key, size_t len, void *value)
{
	uint32_t hash = hash_of(key, len);
	size_t at;

	if (find(m, key, len, hash, &at)) {
		replace_at(m, at, value);
		return;
	}
	if ((m->used + 1) * 4 > m->cap * 3)
		rebuild(m);
	fill(m, hash, m->key_of ? value : new_entry(key, len, value));
	m->used++;
	m->live++;
}

void *kp_map_take(struct kp_map *m, const void *key, size_t len)
{
	size_t at;

	return find(m, key, len, hash_of(key, len), &at) ? take_at(m, at) : NULL;
}

bool kp_map_del(struct kp_map *m, const void *key, size_t len)
{
	size_t at;

	if (!find(m, key, len, hash_of(key, len), &at))
		return false;
	free_at(m, at);
	return true;
}

bool kp_map_next(const struct kp_map *m, struct kp_map_it *it)
{
	for (; it->at < m->cap; it->at++) {
		if (m->hashes[it->at] <= GONE)
			continue;
		it->key = key_at(m, it->at, &it->len);
		it->value = value_at(m, it->at);
		it->at++;
		return true;
	}
	return false;
}

void kp_map_del_at(struct kp_map *m, struct kp_map_it *it)
{
	free_at(m, it->at - 1);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

const char **kp_map_sorted_keys(const struct kp_map *m)
{
	const char **keys = kp_calloc(m->live, sizeof(*keys));
	size_t n = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(m, &it);)
		keys[n++] = it.key;
	qsort(keys, n, sizeof(*keys), by_text);
	return keys;
}
