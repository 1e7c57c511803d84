#ifndef DP_WRITER_H
#define DP_WRITER_H

#include "nft/rule.h"
#include "nft/schema.h"

/*
 * Where a ruleset, or a change of one, is written to: a netlink transaction (netlink.h)
 * or text (text.h). Calls may come in any order; a writer puts them into the order
 * that the kernel needs. Nothing is done before the writer is committed or printed.
 */
struct dp_writer;

struct dp_writer_ops {
	/* Create a set or map. name: only for DP_AFF. size 0: no limit. */
	void (*set)(struct dp_writer *w, enum dp_set set, const char *name, uint32_t size);
	/* Create a chain with its rules; exists: replace the rules of one that is there. */
	void (*chain)(struct dp_writer *w, const struct dp_chain *c, bool exists);
	void (*elem)(struct dp_writer *w, bool add, const struct dp_elem *e);
	void (*del_chain)(struct dp_writer *w, const char *name);
	void (*del_set)(struct dp_writer *w, const char *name);
	/*
	 * What the kernel is known to hold under this element's key: fills to/to_port, or
	 * chain (borrowed). False: nothing, or nothing is known. May be NULL.
	 */
	bool (*peek)(struct dp_writer *w, struct dp_elem *e);
};

struct dp_writer {
	const struct dp_writer_ops *ops;
	enum kp_family f;
	uint32_t tag;		/* the object that the next calls are for; 0: none */
};

#endif
