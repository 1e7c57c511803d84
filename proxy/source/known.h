#ifndef KP_SOURCE_KNOWN_H
#define KP_SOURCE_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which objects of a collection exist, by key, and in which version they were seen
 * last: so that after a new list only those that are gone are removed (mark and sweep),
 * and a late, older event does not undo a newer one.
 */
struct kp_known;

struct kp_known *kp_known_new(void);
struct kp_known *kp_known_free(struct kp_known *k);	/* NULL is fine; returns NULL */
size_t kp_known_len(const struct kp_known *k);

/* Notes that the object exists, and that the list that is being read has it. */
void kp_known_put(struct kp_known *k, const char *key, const char *version);
/* It exists although this version of it is no good. Unknown keys are left alone. */
void kp_known_keep(struct kp_known *k, const char *key);
/* False: it was not known. */
bool kp_known_del(struct kp_known *k, const char *key);
/* A resourceVersion as the number it is (KEP-5504); 0: it is none. */
uint64_t kp_version_number(const char *version);
/* Is this version older than the one we have? What is no number is never older. */
bool kp_known_is_stale(const struct kp_known *k, const char *key, const char *version);

/* A list begins. It may be broken off, and another begin. */
void kp_known_begin(struct kp_known *k);
/* The list is complete: gone is called for each object that was not in it, which is then forgotten. */
size_t kp_known_sweep(struct kp_known *k, void (*gone)(void *arg, const char *key), void *arg);

#endif
