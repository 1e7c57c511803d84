#ifndef DP_CARRY_H
#define DP_CARRY_H

#include "nft/schema.h"

struct dp_family;
struct dp_held;
struct dp_txn;
struct mnl_socket;

/*
 * Session affinity across the replacement of a table: the remembered choices of the old
 * one, with the time they have left, to be written into the new one (nft-design 6.2).
 */
struct dp_carry;

/* Reads the private maps that held names. What cannot be read is not carried. */
struct dp_carry *dp_carry_read(struct mnl_socket *nl, enum kp_family f, const char *table, const struct dp_held *held);
/* Adds to the transaction what still has a map in the new table. */
void dp_carry_write(const struct dp_carry *c, const struct dp_family *fam, struct dp_txn *txn);
struct dp_carry *dp_carry_free(struct dp_carry *c);	/* NULL is fine; returns NULL */

#endif
