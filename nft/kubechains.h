#ifndef DP_KUBECHAINS_H
#define DP_KUBECHAINS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kp_buf;

/*
 * The iptables chains of kube-proxy, in its modes iptables and ipvs (kube-proxy-behaviour
 * 5.1, IT-10, IV-13, CF-42). Pure functions over names and over what iptables-save prints.
 * The kubelet's own (KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT, KUBE-MARK-DROP)
 * and container runtimes' (KUBE-HOSTPORTS, KUBE-HP-) are not among them.
 */
enum dp_kube_chain {
	DP_CHAIN_FOREIGN,
	DP_CHAIN_KUBE_PROXY,
	DP_CHAIN_SHARED,	/* older kubelets and container runtimes use it too: KUBE-MARK-MASQ, KUBE-POSTROUTING */
};
enum dp_kube_chain dp_kube_chain(const char *name);

/* What one iptables-save has of them. */
struct dp_kube_rules {
	uint32_t n_chains;	/* of kube-proxy, shared ones not counted */
	uint64_t print;		/* another number as soon as its rules are others */
};
struct dp_kube_rules dp_kube_rules(const char *save);

/*
 * Input for "iptables-restore --noflush" that takes chains away, for what one iptables-save
 * printed: chains emptied, rules that lead to them from elsewhere deleted, chains deleted;
 * nothing else is named. Appended, "" if there is none. A chain that a rule of somebody else's
 * chain still leads to is left as it is, with all that it leads to.
 */
void dp_chain_removal(const char *save, bool (*ours)(const char *chain), struct kp_buf *out);
/* Of kube-proxy. KUBE-POSTROUTING stays with KUBE-MARK-MASQ, since one has no meaning without the other. */
void dp_kube_removal(const char *save, struct kp_buf *out);

#endif
