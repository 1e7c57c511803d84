#ifndef DP_OTHERPROXY_H
#define DP_OTHERPROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct kp_buf;
struct kp_err;
struct mnl_socket;

/* iptables has two lives: rules in nf_tables, and in the kernel's older tables. */
enum dp_xt { DP_XT_NFT, DP_XT_LEGACY, DP_N_XT };
extern const char *const dp_xt_names[DP_N_XT];	/* "iptables-nft", "iptables-legacy" */

/*
 * What kube-proxy has left, or keeps, in the kernel of this network namespace, in all its
 * modes (kube-proxy-behaviour 4.2, 5, 6). Looking changes nothing, and costs a handful of
 * questions when there is nothing.
 */
struct dp_other {
	bool table[KP_N_FAMILIES];			/* nftables: "kube-proxy" */
	uint32_t chains[DP_N_XT][KP_N_FAMILIES];	/* iptables: its KUBE-* chains */
	bool link;					/* IPVS: kube-ipvs0 */
	uint32_t servers;				/* IPVS: virtual servers, whoever made them */
	bool unseen;		/* legacy tables are in use, and iptables-legacy-save cannot be had */
	uint64_t legacy_print[KP_N_FAMILIES];	/* part of: */
	uint64_t print;		/* another number as soon as its rules are others: somebody is at work */
};

#define DP_OTHER_TABLE	"kube-proxy"
#define DP_OTHER_LINK	"kube-ipvs0"

/*
 * Blocks. legacy: also through iptables-legacy-save, where legacy tables are in use (cancel_fd:
 * see exec.h); else what *ret says of them stays as it is. keep: a socket for the next look, opened when it is
 * NULL, to be closed by the caller (see socket.h); or NULL: there is no next look.
 */
int dp_other_look(struct dp_other *ret, struct mnl_socket **keep, bool legacy, int cancel_fd, struct kp_err *err);
bool dp_other_any(const struct dp_other *o);
/* "nftables table kube-proxy (IPv4), 12 iptables-nft chains (IPv4)"; "nothing". Appended. */
void dp_other_describe(const struct dp_other *o, struct kp_buf *out);

#endif
