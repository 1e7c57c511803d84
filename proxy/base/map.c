#include "proxy/base/map.h"

#include <stdint.h>
#include <stdlib.h>

#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

#define TOMB ((struct entry *)&tomb)

struct entry {
	void *value;
	uint32_t hash, len;
	char key[];
};

/* Linear probing; removed places stay marked until the table is rebuilt. */
struct kp_map {
	struct entry **slots;
	size_t cap, used, live;	/* used counts tombs too */
	void (*free_value)(void *);
};

static const char tomb;

struct kp_map *kp_map_new(void (*free_value)(void *))
{
	struct kp_map *m = kp_calloc(1, sizeof(*m));

	m->free_value = free_value;
	return m;
}

static void free_entry(struct kp_map *m, struct entry *e)
{
	if (m->free_value)
		m->free_value(e->value);
	free(e);
}

struct kp_map *kp_map_free(struct kp_map *m)
{
	if (!m)
		return NULL;
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i] && m->slots[i] != TOMB)
			free_entry(m, m->slots[i]);
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
	return (uint32_t)kp_hash(KP_HASH_INIT, key, len);
}

/* Half full at most, so that the next time is far away. */
static void rebuild(struct kp_map *m)
{
	size_t cap = 16;
	struct entry **old = m->slots;

	while (cap < m->live * 2)
		cap *= 2;
	m->slots = kp_calloc(cap, sizeof(*m->slots));
	for (size_t i = 0; i < m->cap; i++) {
		size_t at;

		if (!old[i] || old[i] == TOMB)
			continue;
		for (at = old[i]->hash & (cap - 1); m->slots[at]; at = (at + 1) & (cap - 1))
			;
		m->slots[at] = old[i];
	}
	free(old);
	m->cap = cap;
	m->used = m->live;
}

static struct entry **find(const struct kp_map *m, const void *key, size_t len, uint32_t hash)
{
	if (!m->cap)
		return NULL;
	for (size_t at = hash & (m->cap - 1); m->slots[at]; at = (at + 1) & (m->cap - 1)) {
		struct entry *e = m->slots[at];

		if (e != TOMB && e->hash == hash && e->len == len && memcmp(e->key, key, len) == 0)
			return &m->slots[at];
	}
	return NULL;
}

void *kp_map_get(const struct kp_map *m, const void *key, size_t len)
{
	struct entry **e = find(m, key, len, hash_of(key, len));

	return e ? (*e)->value : NULL;
}

void kp_map_put(struct kp_map *m, const void *key, size_t len, void *value)
{
	uint32_t hash = hash_of(key, len);
	struct entry **there = find(m, key, len, hash), *e;
	size_t at;

	if (there) {
		if (m->free_value && (*there)->value != value)
			m->free_value((*there)->value);
		(*there)->value = value;
		return;
	}
	if ((m->used + 1) * 4 > m->cap * 3)
		rebuild(m);
	e = kp_malloc(sizeof(*e) + len + 1);
	e->value = value;
	e->hash = hash;
	e->len = (uint32_t)len;
	memcpy(e->key, key, len);
	e->key[len] = '\0';
	for (at = hash & (m->cap - 1); m->slots[at]; at = (at + 1) & (m->cap - 1))
		;
	m->slots[at] = e;
	m->used++;
	m->live++;
}

void *kp_map_take(struct kp_map *m, const void *key, size_t len)
{
	struct entry **e = find(m, key, len, hash_of(key, len));
	void *value;

	if (!e)
		return NULL;
	value = (*e)->value;
	free(*e);
	*e = TOMB;
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
		struct entry *e = m->slots[it->at];

		if (!e || e == TOMB)
			continue;
		it->key = e->key;
		it->len = e->len;
		it->value = e->value;
		it->at++;
		return true;
	}
	return false;
}

void kp_map_del_at(struct kp_map *m, struct kp_map_it *it)
{
	struct entry **e = &m->slots[it->at - 1];

	free_entry(m, *e);
	*e = TOMB;
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
