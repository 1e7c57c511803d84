#ifndef DP_TEXT_H
#define DP_TEXT_H

#include "nft/writer.h"

struct kp_buf;

/* A writer that makes nft text: what "nft -f" loads into an empty table. */
struct dp_writer *dp_text_new(enum kp_family f, const char *table);
/* Prints the whole table and frees the writer. */
void dp_text_finish(struct dp_writer *w, struct kp_buf *out);

#endif
