#ifndef DP_RULE_H
#define DP_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nft/schema.h"

struct kp_buf;
struct nftnl_rule;

/*
 * A rule is a list of statements in our own terms. Each kind of statement is known in
 * two forms: nft's text (rule_text.c) and nf_tables expressions (rule_nl.c). That the
 * two mean the same is tested by loading both and comparing their listings.
 */
enum dp_stmt_kind {
	DP_SADDR, DP_SADDR_NOT,		/* cidr */
	DP_DADDR, DP_DADDR_NOT,		/* cidr */
	DP_SADDR_NOT_RANGES,		/* ranges: an anonymous set */
	DP_IIFNAME, DP_IIFNAME_NOT,	/* name, prefix */
	DP_SADDR_LOCAL, DP_DADDR_LOCAL,	/* fib: an address of this node */
	DP_DADDR_IN,			/* set */
	DP_L4PROTO,			/* proto */
	DP_L4_SERVICE,			/* { tcp, udp, sctp }: nft cannot print ct original proto-dst without it */
	DP_DNATTED,			/* this connection's destination was translated */
	DP_ORIG_DADDR_IN,		/* set */
	DP_HAIRPIN_PAIR,		/* saddr . daddr @hairpin */
	DP_LOCAL_ENDPOINT,		/* daddr . daddr @hairpin */
	DP_MARKED,
	DP_MARK, DP_UNMARK,		/* mark: or, xor; never touches other bits */
	DP_VMAP,			/* set: svc, np by destination; affrec, affrecnp by original destination */
	DP_DNAT_SLOT,			/* set eps or npeps, number = modulus, offset */
	DP_DNAT_AFFINITY,		/* name */
	DP_UPDATE_AFFINITY,		/* name, number = timeout in seconds */
	DP_MASQUERADE,
	DP_JUMP, DP_GOTO,		/* name */
	DP_DROP, DP_REJECT,
	DP_N_STMTS
};

struct dp_stmt {
	uint8_t kind;
	uint8_t set;			/* enum dp_set */
	uint8_t proto;
	bool prefix;			/* DP_IIFNAME*: name stands for all interfaces that begin with it */
	uint32_t number, offset, mark;
	struct kp_cidr cidr;
	const struct kp_cidr *ranges;	/* borrowed; any order, may overlap */
	size_t n_ranges;
	const char *name;		/* borrowed: chain, map or interface */
};

#define DP_RULE_STMTS 8
struct dp_rule {
	struct dp_stmt stmts[DP_RULE_STMTS];
	size_t n;
	const char *comment;		/* NULL: none */
};

struct dp_hook {
	uint32_t number;		/* NF_INET_* */
	int32_t priority;
	const char *text;		/* "type nat hook prerouting priority dstnat; policy accept" */
};

/* A chain with all its rules: the unit that is created, compared and replaced. */
struct dp_chain {
	const char *name;
	const struct dp_hook *hook;	/* NULL: not a base chain */
	struct dp_rule *rules;
	size_t n_rules;
};


/* "ip saddr != 10.0.0.0/8 drop": no newline. */
void dp_rule_print(const struct dp_rule *r, enum kp_family f, struct kp_buf *out);

/* Identity of a rule's meaning, stored with it in the kernel; stable over runs and versions of one format. */
uint64_t dp_rule_fingerprint(const struct dp_rule *r, enum kp_family f);
/* Of a whole chain: over the fingerprints of its rules in order. */
uint64_t dp_chain_fingerprint(const struct dp_chain *c, enum kp_family f);
uint64_t dp_chain_fingerprint_add(uint64_t sum, uint64_t rule);

/*
 * Expressions for all statements. anon_set is called for a statement that needs an
 * anonymous set: it makes one and returns its id within the transaction.
 */
struct dp_anon {
	uint32_t (*make)(void *arg, const struct dp_stmt *s);
	void *arg;
};
void dp_rule_build(const struct dp_rule *r, enum kp_family f, const struct dp_anon *anon, struct nftnl_rule *out);

/* Source ranges as sorted, merged intervals: first and last address of each. Returns the count; caller frees. */
struct dp_interval { struct kp_addr first, last; };
size_t dp_ranges_merge(const struct kp_cidr *ranges, size_t n, struct dp_interval **ret);

#endif
