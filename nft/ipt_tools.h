#ifndef DP_IPT_TOOLS_H
#define DP_IPT_TOOLS_H

#include <stdbool.h>

#include "proxy/base/addr.h"

struct dp_ipt_held;
struct kp_buf;
struct kp_err;

/* iptables writes either through nf_tables or the old way; what one variant wrote the other does not see. */
enum dp_ipt_variant { DP_IPT_NFT, DP_IPT_LEGACY, DP_IPT_PLAIN, DP_IPT_N_VARIANTS };
extern const char *const dp_ipt_variant_names[DP_IPT_N_VARIANTS];	/* "nft", "legacy", "" */

/* One variant's programs. The plain one, without a suffix, counts only where there is neither other. */
struct dp_ipt_tools {
	enum dp_ipt_variant variant;
	bool through_nft;			/* it writes through nf_tables */
	bool random_fully;			/* knows --random-fully */
	char restore[KP_N_FAMILIES][64], save[KP_N_FAMILIES][64];	/* absolute paths */
	int cancel_fd;				/* see exec.h; -1 unless the caller sets it */
};

/* False: not installed. Runs one of them to ask for its version. */
bool dp_ipt_tools_find(enum dp_ipt_variant v, struct dp_ipt_tools *ret);
bool dp_ipt_tools_any(void);	/* any variant is installed; runs nothing */

/*
 * Which one to use. name: "nft", "legacy", or "auto": as the iptables-wrappers of
 * Kubernetes decide, the one in which the kubelet's chains KUBE-IPTABLES-HINT or
 * KUBE-KUBELET-CANARY are, else legacy if it has more rules, else nft. One that this kernel
 * does not know is out of question. -EACCES: that depends on rules that we may not see.
 */
int dp_ipt_tools_choose(const char *name, struct dp_ipt_tools *ret, struct kp_err *err);

/* Would it work on this kernel? May load modules, leaves no rules behind. */
int dp_ipt_tools_check(const struct dp_ipt_tools *t, enum kp_family f, struct kp_err *err);

/* The one that writes the old way, or -ENOENT. */
int dp_ipt_tools_legacy(struct dp_ipt_tools *ret, struct kp_err *err);
/* The old way is in use in this network namespace. Also if that cannot be known: only root may ask. */
bool dp_ipt_legacy_in_use(enum kp_family f);
/* Of either way. Runs nothing, and loads no module. */
bool dp_ipt_in_use(const struct dp_ipt_tools *t, enum kp_family f);

/*
 * iptables-save of one family, all tables that exist; NUL-terminated. -EUCLEAN: there is one that
 * iptables-nft cannot read, as others added rules to it with nft.
 */
int dp_ipt_tools_save(const struct dp_ipt_tools *t, enum kp_family f, struct kp_buf *ret, struct kp_err *err);
/* What of it is ours; where that cannot be read over netlink, which says less of each rule (xtnft.h). */
int dp_ipt_tools_held(const struct dp_ipt_tools *t, enum kp_family f, struct dp_ipt_held **ret, struct kp_err *err);

/*
 * iptables-restore --noflush. When the input is refused: -EIO, err is its first word on
 * that, and *ret_line the line that it is about, 0 if it does not tell.
 */
int dp_ipt_tools_restore(const struct dp_ipt_tools *t, enum kp_family f, const struct kp_buf *in, unsigned *ret_line,
			 struct kp_err *err);

#endif
