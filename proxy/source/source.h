#ifndef KP_SOURCE_SOURCE_H
#define KP_SOURCE_SOURCE_H

#include "proxy/source/decode.h"

/*
 * Where objects come from. A source runs on the main loop and reports to a sink; it
 * never learns what becomes of an object.
 */
struct kp_sink {
	/* Takes the object's value (o->service, ...); o itself stays the caller's. */
	void (*upsert)(void *arg, struct kp_object *o);
	void (*remove)(void *arg, enum kp_kind kind, const char *key);
	/* Called once, when everything that exists at the start has been reported. */
	void (*synced)(void *arg);
	/* After each burst of calls: a good moment to build plans. */
	void (*flush)(void *arg);
	void *arg;
};

#endif
