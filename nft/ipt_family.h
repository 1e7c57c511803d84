#ifndef DP_IPT_FAMILY_H
#define DP_IPT_FAMILY_H

#include "nft/ipt_tools.h"
#include "nft/wanted.h"

/*
 * Keeps the chains of one family equal to what is wanted: the changed ones as changes
 * come, and everything over iptables-save at the start, after a failure, or when somebody
 * else changed them. A Service that is refused keeps its last good rules, the others go on.
 */
struct dp_ipt_family;

struct dp_ipt_family *dp_ipt_family_new(enum kp_family f, const struct dp_ipt_tools *tools);	/* tools: borrowed */
struct dp_ipt_family *dp_ipt_family_free(struct dp_ipt_family *fam);

/* Write the changes (already part of want), or everything if the state of the kernel is not known. */
int dp_ipt_family_apply(struct dp_ipt_family *fam, const struct dp_wanted *want, const struct dp_batch *batch,
			struct dp_family_result *ret);
/* Everything; also tries the refused again. */
int dp_ipt_family_full(struct dp_ipt_family *fam, const struct dp_wanted *want, struct dp_family_result *ret);
/* Only the refused again. */
int dp_ipt_family_retry(struct dp_ipt_family *fam, const struct dp_wanted *want, struct dp_family_result *ret);

/*
 * A look at the kernel. *ret_what: what is not there or not as we wrote it, the caller's; untouched
 * if there is nothing. < 0: it could not be seen, which is logged once; look again.
 */
int dp_ipt_family_look(struct dp_ipt_family *fam, char **ret_what);

bool dp_ipt_family_is_known(const struct dp_ipt_family *fam);	/* the last write succeeded */
uint32_t dp_ipt_family_take_commits(struct dp_ipt_family *fam);	/* tables committed since the last call */
const struct kp_map *dp_ipt_family_refused(const struct dp_ipt_family *fam);	/* key -> struct dp_refusal */

#endif
