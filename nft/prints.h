#ifndef DP_PRINTS_H
#define DP_PRINTS_H

#include <stdbool.h>

#include "nft/schema.h"

/*
 * Fingerprints of all elements that a set should have, eight bytes each, and which of them
 * were seen: to compare a dump with what was written without keeping either.
 */
struct dp_prints;

/* Of an element: its key and its value (dp_elem_value()). */
uint64_t dp_elem_print(enum dp_set set, const uint8_t *key, size_t key_len, const void *value, size_t len);

struct dp_prints *dp_prints_new(size_t n);	/* room for n */
struct dp_prints *dp_prints_free(struct dp_prints *p);	/* NULL is fine; returns NULL */
void dp_prints_add(struct dp_prints *p, uint64_t print);
bool dp_prints_see(struct dp_prints *p, uint64_t print);	/* marks it; false: it is not among them */
bool dp_prints_seen(const struct dp_prints *p, uint64_t print);
void dp_prints_unsee(struct dp_prints *p);	/* all */

#endif
