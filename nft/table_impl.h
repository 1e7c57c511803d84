#ifndef DP_TABLE_IMPL_H
#define DP_TABLE_IMPL_H

#include <libmnl/libmnl.h>

#include "nft/diff.h"
#include "nft/family.h"
#include "nft/netlink.h"
#include "nft/table.h"
#include "nft/who.h"

/* Shared by table.c (writing), table_drift.c (what somebody else did to it) and table_elems.c (and to its elements). */

struct kp_said;

struct dp_table {
	enum kp_family f;
	char *name;
	struct mnl_socket *nl;
	uint32_t *generation;	/* borrowed: see dp_table_new() */
	struct dp_family *fam;
	struct dp_elem *lost;	/* UDP front ends that the kernel had, from whenever, and nobody wants */
	size_t n_lost, cap_lost;
	struct kp_map *good;	/* key -> plan that the kernel acknowledged */
	struct kp_map *refused;	/* key -> struct dp_refusal */
	struct kp_said *said;	/* about refusals, which are tried again and again */
	bool known;		/* fam is what the kernel holds */
	struct dp_gone *gone;	/* NULL: this kernel deletes at once */
	bool owner;
	struct dp_drift *repairing;	/* borrowed while a full write puts it right; NULL: none */
	bool described;			/* its text says all */
	enum dp_set drifted;		/* the set that differs, for drift of elements */
	struct kp_map *suspects;	/* keys of those of its elements that do; NULL: not known */
	unsigned miscounts;		/* in a row: elements seemed to differ, and did not */
	uint64_t grow_ns;		/* a larger table could not be loaded: not again before */
	bool looked_for_next;		/* a crash while replacing leaves a second table */
};

uint32_t dp_table_flags(const struct dp_table *t);
void dp_table_note_result(const struct dp_txn *txn, const struct dp_txn_report *rep, struct dp_family_result *ret);
bool dp_table_is_writable(const struct dp_table *t, const struct dp_held *held);	/* without replacing it */
/* What a write has to put right tells what somebody else did to the elements. Once for each drift; keys by tag - 1. */
void dp_table_describe(struct dp_table *t, struct dp_writer *w, const struct dp_txn *txn, const char **keys);
/* A transaction that is right for the generation of held only. */
bool dp_table_commit_part(struct dp_table *t, struct dp_txn *txn, const struct dp_held *held, struct dp_family_result *ret);
struct dp_writer *dp_table_writer(const struct dp_table *t, struct dp_txn *txn, struct dp_held *held);

/* The elements of t->drifted, or t->suspects among them. False: this does not help, or failed. */
bool dp_table_repair_elements(struct dp_table *t, struct dp_family_result *ret);
/* Is one of those that others wrote not what it should be? 1: in this set; < 0: they could not be read. */
int dp_table_heard_differ(struct dp_table *t, const struct dp_heard *heard, enum dp_set *ret);
/* Elements that others added or deleted show in how many the kernel says there are, if it does (held.h). */
bool dp_table_miscounts(const struct dp_table *t, const struct dp_held *held, enum dp_set *ret);

#endif
