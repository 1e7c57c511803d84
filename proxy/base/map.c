#include "proxy/base/map.h"

#include <stdint.h>
#include <stdlib.h>

#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

#define TOMB ((void *)&tomb)

struct entry {
	void *value;
	uint32_t hash, len;
	char key[];
};

/* Linear probing; removed places stay marked until the table is rebuilt. */
struct kp_map {
	void **slots;		/* struct entry, or the values themselves if they are asked for their keys */
	size_t cap, used, live;	/* used counts tombs too */
	const void *(*key_of)(const void *value, size_t *ret_len);
	void (*free_value)(void *);
};

static const char tomb;

struct kp_map *kp_map_new(void (*free_value)(void *))
{
	struct kp_map *m = kp_calloc(1, sizeof(*m));

	m->free_value = free_value;
	return m;
}

struct kp_map *kp_map_new_keyed(const void *(*key_of)(const void *value, size_t *ret_len), void (*free_value)(void *))
{
	struct kp_map *m = kp_map_new(free_value);

	m->key_of = key_of;
	return m;
}

static uint32_t hash_of(const void *key, size_t len)
{
	return (uint32_t)kp_hash(KP_HASH_INIT, key, len);
}

/* What is in a place of the table that is neither empty nor a tomb. */

static const void *key_at(const struct kp_map *m, const void *place, size_t *ret_len)
{
	const struct entry *e = place;

	if (m->key_of)
		return m->key_of(place, ret_len);
	*ret_len = e->len;
	return e->key;
}

static uint32_t hash_at(const struct kp_map *m, const void *place)
{
	size_t len;
	const void *key;

	if (!m->key_of)
		return ((const struct entry *)place)->hash;
	key = m->key_of(place, &len);
	return hash_of(key, len);
}

static void *value_at(const struct kp_map *m, void *place)
{
	return m->key_of ? place : ((struct entry *)place)->value;
}

static bool is_at(const struct kp_map *m, const void *place, const void *key, size_t len, uint32_t hash)
{
	size_t there_len;
	const void *there;

	if (!m->key_of && ((const struct entry *)place)->hash != hash)
		return false;
	there = key_at(m, place, &there_len);
	return there_len == len && memcmp(there, key, len) == 0;
}

/* The entry goes, the value stays. */
static void *unwrap(const struct kp_map *m, void *place)
{
	void *value = value_at(m, place);

	if (!m->key_of)
		free(place);
	return value;
}

static void free_at(const struct kp_map *m, void *place)
{
	void *value = unwrap(m, place);

	if (m->free_value)
		m->free_value(value);
}

struct kp_map *kp_map_free(struct kp_map *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i] && m->slots[i] != TOMB)
			free_at(m, m->slots[i]);
	free(m->slots);
	free(m);
	return NULL;
}

size_t kp_map_len(const struct kp_map *m)
{
	return m->live;
}

/* Half full at most, so that the next time is far away. */
static void rebuild(struct kp_map *m)
{
	size_t cap = 16;
	void **old = m->slots;

	while (cap < m->live * 2)
		cap *= 2;
	m->slots = kp_calloc(cap, sizeof(*m->slots));
	for (size_t i = 0; i < m->cap; i++) {
		size_t at;

		if (!old[i] || old[i] == TOMB)
			continue;
		for (at = hash_at(m, old[i]) & (cap - 1); m->slots[at]; at = (at + 1) & (cap - 1))
			;
		m->slots[at] = old[i];
	}
	free(old);
	m->cap = cap;
	m->used = m->live;
}

static void **find(const struct kp_map *m, const void *key, size_t len, uint32_t hash)
{
	if (!m->cap)
		return NULL;
	for (size_t at = hash & (m->cap - 1); m->slots[at]; at = (at + 1) & (m->cap - 1))
		if (m->slots[at] != TOMB && is_at(m, m->slots[at], key, len, hash))
			return &m->slots[at];
	return NULL;
}

void *kp_map_get(const struct kp_map *m, const void *key, size_t len)
{
	void **there = find(m, key, len, hash_of(key, len));

	return there ? value_at(m, *there) : NULL;
}

static void *new_entry(const void *key, size_t len, uint32_t hash, void *value)
{
	struct entry *e = kp_malloc(sizeof(*e) + len + 1);

	e->value = value;
	e->hash = hash;
	e->len = (uint32_t)len;
	memcpy(e->key, key, len);
	e->key[len] = '\0';
	return e;
}

static void replace(const struct kp_map *m, void **there, void *value)
{
	void *old = value_at(m, *there);

	if (m->key_of)
		*there = value;
	else
		((struct entry *)*there)->value = value;
	if (m->free_value && old != value)
		m->free_value(old);
}

void kp_map_put(struct kp_map *m, const void *key, size_t len, void *value)
{
	uint32_t hash = hash_of(key, len);
	void **there = find(m, key, len, hash);
	size_t at;

	if (there) {
		replace(m, there, value);
		return;
	}
	if ((m->used + 1) * 4 > m->cap * 3)
		rebuild(m);
	for (at = hash & (m->cap - 1); m->slots[at]; at = (at + 1) & (m->cap - 1))
		;
	m->slots[at] = m->key_of ? value : new_entry(key, len, hash, value);
	m->used++;
	m->live++;
}

void *kp_map_take(struct kp_map *m, const void *key, size_t len)
{
	void **there = find(m, key, len, hash_of(key, len));
	void *value;

	if (!there)
		return NULL;
	value = unwrap(m, *there);
	*there = TOMB;
	m->live--;
	return value;
}

bool kp_map_del(struct kp_map *m, const void *key, size_t len)
{
	void *value = kp_map_take(m, key, len);

	if (value && m->free_value)
		m->free_value(value);
	return value != NULL;
}

bool kp_map_next(const struct kp_map *m, struct kp_map_it *it)
{
	for (; it->at < m->cap; it->at++) {
		void *place = m->slots[it->at];

		if (!place || place == TOMB)
			continue;
		it->key = key_at(m, place, &it->len);
		it->value = value_at(m, place);
		it->at++;
		return true;
	}
	return false;
}

void kp_map_del_at(struct kp_map *m, struct kp_map_it *it)
{
	void **there = &m->slots[it->at - 1];

	free_at(m, *there);
	*there = TOMB;
	m->live--;
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
