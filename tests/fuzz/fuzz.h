#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

/*
 * A fuzz target is a file tests/fuzz/fuzz_NAME.c with one function, and a folder
 * tests/fuzz/corpus/NAME with inputs to begin from. Inputs are what would come from
 * outside, byte for byte: a recording is a seed as it is. A target states a property
 * besides "does not crash"; what it needs to choose follows from a hash of the input.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines about what is wrong with an input cost more than to read it. */
__attribute__((constructor)) static inline void fuzz_be_quiet(void)
{
	kp_log_set_level(KP_LOG_ERROR);
}

#define FUZZ_CHECK(cond) \
	do { \
		if (!(cond)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort(); \
		} \
	} while (0)

/* A copy of exactly this size, so that a read beyond it is seen. Free it. */
static inline void *fuzz_copy(const void *p, size_t n)
{
	void *copy = malloc(n ? n : 1);

	FUZZ_CHECK(copy);
	return n ? memcpy(copy, p, n) : copy;
}

/* Numbers that the input chooses. */
struct fuzz_choice {
	uint64_t state;
};

static inline struct fuzz_choice fuzz_choice(const uint8_t *data, size_t size)
{
	return (struct fuzz_choice){ kp_hash(KP_HASH_INIT, data, size) };
}

/* 0 to n - 1. */
static inline size_t fuzz_below(struct fuzz_choice *c, size_t n)
{
	c->state = kp_hash(c->state, &c->state, sizeof(c->state));
	return (size_t)(c->state % n);
}

/* Length of the next piece of what is left: often one byte, seldom all. */
static inline size_t fuzz_piece(struct fuzz_choice *c, size_t left)
{
	size_t n = 1 + fuzz_below(c, (size_t)1 << fuzz_below(c, 14));

	return n < left ? n : left;
}

static inline bool fuzz_same(const struct kp_buf *a, const struct kp_buf *b)
{
	return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}

#endif
