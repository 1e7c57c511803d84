#include "proxy/base/said.h"

#include <stdlib.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define AGAIN_MS	600000
#define MAX_LINES	200

struct kp_said {
	struct kp_map *lines;	/* -> uint64_t, when */
};

struct kp_said *kp_said_new(void)
{
	struct kp_said *s = kp_calloc(1, sizeof(*s));

	s->lines = kp_map_new(free);
	return s;
}

struct kp_said *kp_said_free(struct kp_said *s)
{
	if (!s)
		return NULL;
	kp_map_free(s->lines);
	free(s);
	return NULL;
}

void kp_said_forget(struct kp_said *s)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(s->lines, &it);)
		kp_map_del_at(s->lines, &it);
}

bool kp_said_lately(struct kp_said *s, const char *text, uint64_t now_ms)
{
	uint64_t *when = kp_map_gets(s->lines, text);

	if (when && now_ms - *when < AGAIN_MS)
		return true;
	if (!when) {
		if (kp_map_len(s->lines) >= MAX_LINES)
			kp_said_forget(s);
		when = kp_malloc(sizeof(*when));
		kp_map_puts(s->lines, text, when);
	}
	*when = now_ms;
	return false;
}
