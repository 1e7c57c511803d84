#ifndef DP_IPT_RULES_H
#define DP_IPT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/plan/plan.h"

/*
 * The rules of mode iptables, as text of iptables-restore (kube-proxy-behaviour 5). Pure:
 * nothing here knows what the kernel holds. Compared with kube-proxy's layout there are
 * fewer rules and far fewer chains, because iptables-nft takes quadratic time in the
 * number of chains: an endpoint is one rule (with affinity two) and no chain, hairpin is
 * decided after the choice and once per endpoint address, and the dispatch lists are
 * cut into pieces by /24 (/120) or by 64 node ports, so that a change rewrites one piece
 * and a packet passes few rules.
 *
 *	nat	PXL-SERVICES -> PXL-SERVICES-10.96.0 -> PXL-SVC-*, PXL-SVL-*, PXL-EXT-*, PXL-FW-*
 *		PXL-NODEPORTS -> PXL-NODEPORTS-tcp-30016 -> PXL-EXT-*
 *		PXL-POSTROUTING -> PXL-HAIRPIN
 *	filter	PXL-SERVICES, PXL-EXTERNAL, PXL-FIREWALL (in pieces as well), PXL-NODEPORTS,
 *		PXL-FORWARD -> PXL-HAIRPIN, PXL-LOCALNET
 */
#define DP_IPT_PREFIX "PXL-"
#define DP_IPT_NAME 29		/* XT_EXTENSION_MAXNAMELEN */

/* In the order in which they are committed: what rejects is there before the translation goes. */
enum dp_ipt_table { DP_IPT_FILTER, DP_IPT_NAT, DP_IPT_MANGLE, DP_IPT_N_TABLES };
extern const char *const dp_ipt_tables[DP_IPT_N_TABLES];

/* A chain of one owner. rules: in order, one a line, without "-A NAME". */
struct dp_ipt_chain {
	uint8_t table;
	char name[DP_IPT_NAME];
	char *rules;
};

/*
 * A rule in a chain that several share. The chain is sorted by rank, then by text, and
 * exists as long as somebody wants a line of it; equal lines of several owners are one.
 */
struct dp_ipt_line {
	uint8_t table;
	char chain[DP_IPT_NAME];
	char *rule;		/* one digit, the rank, and the text */
};

/* What one owner, a Service or the node, wants. */
struct dp_ipt_rules {
	struct dp_ipt_chain *chains;
	struct dp_ipt_line *lines;
	size_t n_chains, n_lines, cap_chains, cap_lines;
};
void dp_ipt_rules_release(struct dp_ipt_rules *r);

/* What is the same for all Services. */
struct dp_ipt_env {
	enum kp_family f;
	const struct kp_plan_node *node;
	bool random_fully;	/* iptables knows --random-fully (1.6.2) */
	bool liberal;		/* nf_conntrack_tcp_be_liberal: INVALID packets pass */
};
void dp_ipt_service(const struct dp_ipt_env *env, const struct kp_plan *plan, struct dp_ipt_rules *ret);
void dp_ipt_node(const struct dp_ipt_env *env, struct dp_ipt_rules *ret);

/* The shared chains that are always there, also empty. */
struct dp_ipt_fixed {
	uint8_t table;
	const char *name;
};
extern const struct dp_ipt_fixed dp_ipt_fixed[];
extern const size_t dp_ipt_n_fixed;

/* How packets get there: rules of the built-in chains, inserted at the top in this order. */
struct dp_ipt_jump {
	uint8_t table;
	const char *from, *match, *to;
};
extern const struct dp_ipt_jump dp_ipt_jumps[];
#define DP_IPT_N_JUMPS 14

#endif
