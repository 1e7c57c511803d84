#ifndef KP_BASE_CLEANUP_H
#define KP_BASE_CLEANUP_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Release a local when it leaves scope; kp_steal() hands it to the caller. */
#define KP_AUTO(fn) __attribute__((cleanup(fn)))
#define kp_steal(ptr) ({ __auto_type stolen_ = *(ptr); *(ptr) = NULL; stolen_; })

/* KP_DEFINE_AUTO(struct kp_model *, kp_model_free) makes kp_model_freep(). */
#define KP_DEFINE_AUTO(type, fn) \
	static inline void fn##p(type *p) { if (*p) fn(*p); }

static inline void kp_freep(void *p)
{
	void *victim;

	memcpy(&victim, p, sizeof(victim));	/* p is a char **, a struct x **, ... */
	free(victim);
}

static inline void kp_closep(int *fd) { if (*fd >= 0) close(*fd); }

#define KP_N(array) (sizeof(array) / sizeof((array)[0]))

#endif
