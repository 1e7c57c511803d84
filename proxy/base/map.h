#ifndef KP_BASE_MAP_H
#define KP_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Hash map from byte strings (copied) to pointers (never NULL). Iteration is in
 * no particular order: sort before anything is emitted. Deleting the entry that
 * the iterator stands on is allowed (kp_map_del_at), adding while iterating is not.
 */
struct kp_map;

/* free_value may be NULL: the values are then not owned. */
struct kp_map *kp_map_new(void (*free_value)(void *));
/*
 * For values that hold their own key, under which they have to be put, and which stays as it is
 * while they are there. Nothing is copied: an element takes no more than its place in the table.
 */
struct kp_map *kp_map_new_keyed(const void *(*key_of)(const void *value, size_t *ret_len), void (*free_value)(void *));
struct kp_map *kp_map_free(struct kp_map *m);	/* NULL is fine; returns NULL */
size_t kp_map_len(const struct kp_map *m);

void *kp_map_get(const struct kp_map *m, const void *key, size_t len);
/* Insert or replace; a replaced value is freed unless it is the same pointer. */
void kp_map_put(struct kp_map *m, const void *key, size_t len, void *value);
/* Remove and free the value. False: there was none. */
bool kp_map_del(struct kp_map *m, const void *key, size_t len);
/* Remove and hand the value to the caller; NULL: there was none. */
void *kp_map_take(struct kp_map *m, const void *key, size_t len);

/* for (struct kp_map_it it = { 0 }; kp_map_next(m, &it);) it.key, it.len, it.value */
struct kp_map_it {
	const void *key;	/* if copied, NUL-terminated after len bytes, so a string key is a string */
	size_t len;
	void *value;
	size_t at;
};
bool kp_map_next(const struct kp_map *m, struct kp_map_it *it);
void kp_map_del_at(struct kp_map *m, struct kp_map_it *it);

/* All string keys, sorted bytewise; free the array, not the strings (they belong to the map or its values). */
const char **kp_map_sorted_keys(const struct kp_map *m);

#include <string.h>
static inline void *kp_map_gets(const struct kp_map *m, const char *key) { return kp_map_get(m, key, strlen(key)); }
static inline void kp_map_puts(struct kp_map *m, const char *key, void *v) { kp_map_put(m, key, strlen(key), v); }
static inline bool kp_map_dels(struct kp_map *m, const char *key) { return kp_map_del(m, key, strlen(key)); }
static inline void *kp_map_takes(struct kp_map *m, const char *key) { return kp_map_take(m, key, strlen(key)); }

#endif
