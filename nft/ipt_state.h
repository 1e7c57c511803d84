#ifndef DP_IPT_STATE_H
#define DP_IPT_STATE_H

#include <stdbool.h>

#include "nft/ipt_rules.h"
#include "proxy/base/cleanup.h"
#include "proxy/plan/dataplane.h"

struct dp_ipt_held;
struct kp_buf;

/*
 * The chains of one family: what is wanted in them, and which of them differ, as far as
 * known, from the kernel's. Owners say what they want; the difference is the input of
 * iptables-restore, which rewrites the chains that changed and no others. Pure.
 *
 *	dp_ipt_state_put(), for each owner that changed
 *	dp_ipt_state_write() -> iptables-restore -> dp_ipt_state_written()
 */
struct dp_ipt_state;

struct dp_ipt_state *dp_ipt_state_new(void);
struct dp_ipt_state *dp_ipt_state_free(struct dp_ipt_state *s);
KP_DEFINE_AUTO(struct dp_ipt_state *, dp_ipt_state_free)

/* What an owner wants from now on; empty: nothing. Takes the contents of rules. */
void dp_ipt_state_put(struct dp_ipt_state *s, const char *owner, struct dp_ipt_rules *rules);

/* This is what the kernel holds: everything is written anew, and what is not wanted removed. */
void dp_ipt_state_assume(struct dp_ipt_state *s, const struct dp_ipt_held *held);

/* Only the ways to our chains: after a failure, when one table may have been committed and the next not. */
void dp_ipt_state_jumps(struct dp_ipt_state *s, const struct dp_ipt_held *held);

/* The difference, appended to out. Returns how many rules it writes; *ret_removed: chains it removes. */
uint32_t dp_ipt_state_write(struct dp_ipt_state *s, struct kp_buf *out, uint32_t *ret_removed);
void dp_ipt_state_written(struct dp_ipt_state *s);
void dp_ipt_state_count(const struct dp_ipt_state *s, struct dp_rule_counts *ret);	/* as of the last write */

/*
 * iptables-restore stopped at this line (from 1) of what was written. Returns the owner
 * who wants it, borrowed, or NULL. A chain that cannot be removed, since somebody else's
 * rule leads there, has none: it stays, empty, and *ret_kept is true.
 */
const char *dp_ipt_state_blame(struct dp_ipt_state *s, const char *text, unsigned line, bool *ret_kept);

/*
 * Does the kernel hold what was written? Chains, the number of their rules and the ways
 * to them, and, once seen, the text of the rules as iptables-save or netlink prints it (which
 * is why it cannot be compared with what was written). *ret_what: the difference, for the log,
 * the caller's; untouched if there is none. Chains that are to be written are not compared.
 */
bool dp_ipt_state_matches(struct dp_ipt_state *s, const struct dp_ipt_held *held, char **ret_what);

#endif
