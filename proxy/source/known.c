#include "proxy/source/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct known {
	uint64_t version;	/* 0: not a number */
	uint32_t list;		/* the last list that had it */
	char key[];
};

struct kp_known {
	struct kp_map *objects;	/* key -> struct known */
	uint32_t list;
};

static const void *key_of(const void *v, size_t *ret_len)
{
	const struct known *o = v;

	*ret_len = strlen(o->key);
	return o->key;
}

struct kp_known *kp_known_new(void)
{
	struct kp_known *k = kp_calloc(1, sizeof(*k));

	k->objects = kp_map_new_keyed(key_of, free);
	return k;
}

struct kp_known *kp_known_free(struct kp_known *k)
{
	if (!k)
		return NULL;
	kp_map_free(k->objects);
	free(k);
	return NULL;
}

size_t kp_known_len(const struct kp_known *k)
{
	return kp_map_len(k->objects);
}

uint64_t kp_version_number(const char *version)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(version, &end, 10);
	return *version >= '0' && *version <= '9' && !*end && !errno ? n : 0;
}

void kp_known_put(struct kp_known *k, const char *key, const char *version)
{
	struct known *o = kp_map_gets(k->objects, key);

	if (!o) {
		size_t len = strlen(key) + 1;

		o = kp_calloc(1, sizeof(*o) + len);
		memcpy(o->key, key, len);
		kp_map_puts(k->objects, key, o);
	}
	o->version = kp_version_number(version);
	o->list = k->list;
}

void kp_known_keep(struct kp_known *k, const char *key)
{
	struct known *o = kp_map_gets(k->objects, key);

	if (o)
		o->list = k->list;
}

bool kp_known_del(struct kp_known *k, const char *key)
{
	return kp_map_dels(k->objects, key);
}

bool kp_known_is_stale(const struct kp_known *k, const char *key, const char *version)
{
	const struct known *o = kp_map_gets(k->objects, key);
	uint64_t n = kp_version_number(version);

	return o && n && n < o->version;
}

void kp_known_begin(struct kp_known *k)
{
	k->list++;
}

size_t kp_known_sweep(struct kp_known *k, void (*gone)(void *arg, const char *key), void *arg)
{
	size_t n = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(k->objects, &it);) {
		const struct known *o = it.value;

		if (o->list == k->list)
			continue;
		gone(arg, it.key);
		kp_map_del_at(k->objects, &it);
		n++;
	}
	return n;
}
