#include "proxy/base/json_room.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "proxy/base/mem.h"

#define ROOM	(256u << 10)
#define ALIGN	(_Alignof(max_align_t) - 1)

/* jansson hands nothing on to its allocator. */
static _Thread_local struct {
	char *bytes;
	size_t used, live;	/* live: values in it that are not freed yet */
	bool open, whole;	/* whole: what is in it is all that was made since it was opened */
} room;

static void *take(size_t n)
{
	size_t at = room.used;

	n = (n + ALIGN) & ~ALIGN;
	if (!room.open || n > ROOM - at) {
		room.whole &= !room.open;
		return kp_malloc(n);
	}
	room.used += n;
	room.live++;
	return room.bytes + at;
}

static void give_back(void *p)
{
	if (!room.bytes || (uintptr_t)p - (uintptr_t)room.bytes >= ROOM)
		free(p);
	else if (--room.live == 0)
		room.used = 0;
}

/* A sanitizer that looks for values used after their end sees only those of the heap. */
void kp_json_room_begin(void)
{
	if (KP_SANITIZED)
		return;
	if (!room.bytes) {
		room.bytes = kp_malloc(ROOM);
		json_set_alloc_funcs(take, give_back);
	}
	room.open = true;
	room.whole = room.used == 0;
}

void kp_json_room_end(void)
{
	room.open = false;
}

void kp_json_room_forget(json_t *v)
{
	if (v && room.whole && room.live)
		room.used = room.live = 0;
	else
		json_decref(v);
}
