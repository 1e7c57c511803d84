#ifndef DP_IPT_WRITE_H
#define DP_IPT_WRITE_H

#include "nft/ipt_rules.h"

struct kp_buf;

/* The words of which ipt_service.c and ipt_node.c make rules. */

/* "PXL-SVC-" and 16 characters that stand for what; fewer where the prefix is longer than 12. */
void dp_ipt_hashed(const char *prefix, const char *what, char out[DP_IPT_NAME]);

const char *dp_ipt_proto(uint8_t proto);	/* "tcp" */
/* "-s CIDR" or "-i NAME" for traffic of this cluster's pods, with "! " in front for all other. */
void dp_ipt_from_pods(const struct dp_ipt_env *env, bool negated, struct kp_buf *out);
/* "-j MARK ...": to be masqueraded. */
void dp_ipt_mark(const struct dp_ipt_env *env, struct kp_buf *out);

/* Starts an empty chain and hands its text over when it is complete. */
void dp_ipt_add_chain(struct dp_ipt_rules *r, enum dp_ipt_table t, const char *name, struct kp_buf *text);
__attribute__((format(printf, 5, 6)))
void dp_ipt_add_line(struct dp_ipt_rules *r, enum dp_ipt_table t, const char *chain, char rank, const char *fmt, ...);

/*
 * A rule of a dispatch list: lands in the piece of the list that is for this address, or
 * for node ports near this one, and makes the list lead there.
 */
void dp_ipt_dispatch(struct dp_ipt_rules *r, enum dp_ipt_table t, const char *list, const struct kp_frontend *fe,
		     uint8_t proto, const char *comment, const char *then);

#endif
