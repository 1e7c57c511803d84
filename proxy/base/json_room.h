#ifndef KP_BASE_JSON_ROOM_H
#define KP_BASE_JSON_ROOM_H

#include <jansson.h>

#include "proxy/base/cleanup.h"

/*
 * Room for jansson's values that are made by the hundred for one object and thrown away
 * before the next comes: 250 for a slice of ten endpoints. Scattered over the heap they cost
 * more than reading the text does. Side by side they do not, and what is left of them is
 * forgotten when the last one is freed. One that is kept longer, or does not fit, does no
 * harm: those after it come from the heap.
 *
 * Everything made by jansson in this thread between begin and end; it has to be freed in the
 * same thread. Not nested.
 */
void kp_json_room_begin(void);
void kp_json_room_end(void);

/*
 * Instead of json_decref() for what was made between the last begin and end, if nobody else has a reference
 * to any of it and nothing was added since: where all of it is in the room, nothing is stepped through. NULL is nothing.
 */
void kp_json_room_forget(json_t *v);
KP_DEFINE_AUTO(json_t *, kp_json_room_forget)

#endif
