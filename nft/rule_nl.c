#include "nft/rule.h"

#include <netinet/in.h>		/* before the kernel's own definitions of the same */
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>		/* libnftnl/expr.h needs FILE */
#include <string.h>

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

/*
 * Registers are counted in units of 4 bytes (NFT_REG32_00...), so that one arithmetic
 * serves both families: an IPv4 address fills one, an IPv6 address four. Numbers are in
 * host order in marks, numgen, ct status and fib results, in network order in packets.
 */
#define REG(n) (NFT_REG32_00 + (n))
#define IPS_DST_NAT 0x20	/* linux/netfilter/nf_conntrack_common.h */

struct build {
	struct nftnl_rule *rule;
	enum kp_family f;
	const struct dp_anon *anon;
};

static struct nftnl_expr *expr(struct build *b, const char *name)
{
	struct nftnl_expr *e = nftnl_expr_alloc(name);

	nftnl_rule_add_expr(b->rule, e);
	return e;
}

static uint32_t addr_regs(const struct build *b)
{
	return b->f == KP_IPV4 ? 1 : 4;
}

static void payload(struct build *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	struct nftnl_expr *e = expr(b, "payload");

	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, reg);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, base);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
	nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, len);
}

static uint32_t saddr_offset(const struct build *b)
{
	return b->f == KP_IPV4 ? 12 : 8;
}

static uint32_t daddr_offset(const struct build *b)
{
	return b->f == KP_IPV4 ? 16 : 24;
}

static void load_addr(struct build *b, uint32_t offset, uint32_t reg)
{
	payload(b, NFT_PAYLOAD_NETWORK_HEADER, offset, (uint32_t)kp_addr_len((uint8_t)b->f), reg);
}

static void load_dport(struct build *b, uint32_t reg)
{
	payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, reg);
}

static void load_meta(struct build *b, uint32_t key, uint32_t reg)
{
	struct nftnl_expr *e = expr(b, "meta");

	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, key);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, reg);
}

static void load_ct(struct build *b, uint32_t key, int dir, uint32_t reg)
{
	struct nftnl_expr *e = expr(b, "ct");

	nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, key);
	nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, reg);
	if (dir >= 0)
		nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, (uint8_t)dir);
}

static void cmp(struct build *b, uint32_t op, const void *data, uint32_t len)
{
	struct nftnl_expr *e = expr(b, "cmp");

	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, REG(0));
	nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, op);
	nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
}

static void bitwise(struct build *b, const void *mask, const void *xor, uint32_t len)
{
	struct nftnl_expr *e = expr(b, "bitwise");

	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, REG(0));
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, REG(0));
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
	nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, mask, len);
	nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, xor, len);
}

static struct nftnl_expr *lookup(struct build *b, const char *set)
{
	struct nftnl_expr *e = expr(b, "lookup");

	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, REG(0));
	nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, set);
	return e;
}

static void lookup_anonymous(struct build *b, const struct dp_stmt *s, uint32_t flags)
{
	struct nftnl_expr *e = lookup(b, "__set%d");

	nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SET_ID, b->anon->make(b->anon->arg, s));
	if (flags)
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, flags);
}

static void lookup_verdict(struct build *b, const char *map)
{
	nftnl_expr_set_u32(lookup(b, map), NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
}

static void verdict(struct build *b, uint32_t code, const char *chain)
{
	struct nftnl_expr *e = expr(b, "immediate");

	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, code);
	if (chain)
		nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain);
}

/* As nft does it: whole bytes are compared alone, other prefixes through a mask. */
static void match_cidr(struct build *b, const struct dp_stmt *s, uint32_t offset, uint32_t op)
{
	static const uint8_t zero[16];
	uint32_t len = (uint32_t)kp_addr_len((uint8_t)b->f);
	uint8_t mask[16] = { 0 };

	if (s->cidr.len && s->cidr.len % 8 == 0) {
		payload(b, NFT_PAYLOAD_NETWORK_HEADER, offset, s->cidr.len / 8, REG(0));
		cmp(b, op, s->cidr.addr.b, s->cidr.len / 8);
		return;
	}
	for (unsigned bit = 0; bit < s->cidr.len; bit++)
		mask[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
	load_addr(b, offset, REG(0));
	bitwise(b, mask, zero, len);
	cmp(b, op, s->cidr.addr.b, len);
}

static void match_iifname(struct build *b, const struct dp_stmt *s, uint32_t op)
{
	char name[16] = { 0 };	/* IFNAMSIZ: a whole name is compared with its padding */
	size_t len = strlen(s->name);

	memcpy(name, s->name, len < sizeof(name) - 1 ? len : sizeof(name) - 1);
	load_meta(b, NFT_META_IIFNAME, REG(0));
	cmp(b, op, name, s->prefix ? (uint32_t)len : (uint32_t)sizeof(name));
}

static void match_local(struct build *b, uint32_t flags)
{
	struct nftnl_expr *e = expr(b, "fib");
	uint32_t local = RTN_LOCAL;

	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS, flags);
	nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, REG(0));
	cmp(b, NFT_CMP_EQ, &local, sizeof(local));
}

static void match_addr_set(struct build *b, uint32_t offset, const char *set)
{
	load_addr(b, offset, REG(0));
	lookup(b, set);
}

static void match_pair(struct build *b, uint32_t first, uint32_t second)
{
	load_addr(b, first, REG(0));
	load_addr(b, second, REG(addr_regs(b)));
	lookup(b, dp_set_defs[DP_HAIRPIN].name);
}

static void match_dnatted(struct build *b)
{
	uint32_t bit = IPS_DST_NAT, zero = 0;

	load_ct(b, NFT_CT_STATUS, -1, REG(0));
	bitwise(b, &bit, &zero, sizeof(bit));
	cmp(b, NFT_CMP_EQ, &bit, sizeof(bit));
}

static void load_original_daddr(struct build *b)
{
	load_ct(b, b->f == KP_IPV4 ? NFT_CT_DST_IP : NFT_CT_DST_IP6, 0, REG(0));
}

static void vmap(struct build *b, const struct dp_stmt *s)
{
	bool with_addr = s->set == DP_SVC || s->set == DP_AFFREC;
	bool original = s->set == DP_AFFREC || s->set == DP_AFFRECNP;
	uint32_t next = with_addr ? addr_regs(b) : 0;

	if (with_addr && original)
		load_original_daddr(b);
	else if (with_addr)
		load_addr(b, daddr_offset(b), REG(0));
	load_meta(b, NFT_META_L4PROTO, REG(next));
	if (original)
		load_ct(b, NFT_CT_PROTO_DST, 0, REG(next + 1));
	else
		load_dport(b, REG(next + 1));
	lookup_verdict(b, dp_set_defs[s->set].name);
}

static void dnat(struct build *b)
{
	struct nftnl_expr *e = expr(b, "nat");

	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FAMILY, b->f == KP_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, REG(0));
	nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, REG(addr_regs(b)));
}

static void dnat_slot(struct build *b, const struct dp_stmt *s)
{
	uint32_t next = 0;
	struct nftnl_expr *e;

	if (s->set == DP_EPS) {
		load_addr(b, daddr_offset(b), REG(0));
		next = addr_regs(b);
	}
	load_meta(b, NFT_META_L4PROTO, REG(next));
	load_dport(b, REG(next + 1));
	e = expr(b, "numgen");
	nftnl_expr_set_u32(e, NFTNL_EXPR_NG_DREG, REG(next + 2));
	nftnl_expr_set_u32(e, NFTNL_EXPR_NG_MODULUS, s->number);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM);
	nftnl_expr_set_u32(e, NFTNL_EXPR_NG_OFFSET, s->offset);
	nftnl_expr_set_u32(lookup(b, dp_set_defs[s->set].name), NFTNL_EXPR_LOOKUP_DREG, REG(0));
	dnat(b);
}

static void dnat_affinity(struct build *b, const struct dp_stmt *s)
{
	load_addr(b, saddr_offset(b), REG(0));
	nftnl_expr_set_u32(lookup(b, s->name), NFTNL_EXPR_LOOKUP_DREG, REG(0));
	dnat(b);
}

/* Key and data each begin at a whole 16-byte register: nft reads it back no other way. */
static void update_affinity(struct build *b, const struct dp_stmt *s)
{
	struct nftnl_expr *e;

	load_addr(b, saddr_offset(b), REG(0));
	load_addr(b, daddr_offset(b), REG(4));
	load_dport(b, REG(4 + addr_regs(b)));
	e = expr(b, "dynset");
	nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
	nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_KEY, REG(0));
	nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_DATA, REG(4));
	nftnl_expr_set_u64(e, NFTNL_EXPR_DYNSET_TIMEOUT, (uint64_t)s->number * 1000);
	nftnl_expr_set_str(e, NFTNL_EXPR_DYNSET_SET_NAME, s->name);
}

static void change_mark(struct build *b, uint32_t mask, uint32_t xor)
{
	struct nftnl_expr *e;

	load_meta(b, NFT_META_MARK, REG(0));
	bitwise(b, &mask, &xor, sizeof(mask));
	e = expr(b, "meta");
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, NFT_META_MARK);
	nftnl_expr_set_u32(e, NFTNL_EXPR_META_SREG, REG(0));
}

static void match_marked(struct build *b, uint32_t mark)
{
	uint32_t zero = 0;

	load_meta(b, NFT_META_MARK, REG(0));
	bitwise(b, &mark, &zero, sizeof(mark));
	cmp(b, NFT_CMP_NEQ, &zero, sizeof(zero));
}

static void masquerade(struct build *b)
{
	nftnl_expr_set_u32(expr(b, "masq"), NFTNL_EXPR_MASQ_FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY);
}

static void reject(struct build *b)
{
	struct nftnl_expr *e = expr(b, "reject");

	nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, NFT_REJECT_ICMP_UNREACH);
	nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, b->f == KP_IPV4 ? ICMP_PORT_UNREACH : ICMP6_DST_UNREACH_NOPORT);
}

static void build_match(struct build *b, const struct dp_stmt *s)
{
	switch ((enum dp_stmt_kind)s->kind) {
	case DP_SADDR:		match_cidr(b, s, saddr_offset(b), NFT_CMP_EQ); break;
	case DP_SADDR_NOT:	match_cidr(b, s, saddr_offset(b), NFT_CMP_NEQ); break;
	case DP_DADDR:		match_cidr(b, s, daddr_offset(b), NFT_CMP_EQ); break;
	case DP_DADDR_NOT:	match_cidr(b, s, daddr_offset(b), NFT_CMP_NEQ); break;
	case DP_IIFNAME:	match_iifname(b, s, NFT_CMP_EQ); break;
	case DP_IIFNAME_NOT:	match_iifname(b, s, NFT_CMP_NEQ); break;
	case DP_SADDR_LOCAL:	match_local(b, NFTA_FIB_F_SADDR); break;
	case DP_DADDR_LOCAL:	match_local(b, NFTA_FIB_F_DADDR); break;
	case DP_DADDR_IN:	match_addr_set(b, daddr_offset(b), dp_set_defs[s->set].name); break;
	case DP_HAIRPIN_PAIR:	match_pair(b, saddr_offset(b), daddr_offset(b)); break;
	case DP_LOCAL_ENDPOINT:	match_pair(b, daddr_offset(b), daddr_offset(b)); break;
	case DP_DNATTED:	match_dnatted(b); break;
	case DP_MARKED:		match_marked(b, s->mark); break;
	case DP_SADDR_NOT_RANGES:
		load_addr(b, saddr_offset(b), REG(0));
		lookup_anonymous(b, s, NFT_LOOKUP_F_INV);
		break;
	case DP_ORIG_DADDR_IN:
		load_original_daddr(b);
		lookup(b, dp_set_defs[s->set].name);
		break;
	case DP_L4PROTO:
		load_meta(b, NFT_META_L4PROTO, REG(0));
		cmp(b, NFT_CMP_EQ, &s->proto, 1);
		break;
	case DP_L4_SERVICE:
		load_meta(b, NFT_META_L4PROTO, REG(0));
		lookup_anonymous(b, s, 0);
		break;
	default:
		break;
	}
}

static void build_action(struct build *b, const struct dp_stmt *s)
{
	switch ((enum dp_stmt_kind)s->kind) {
	case DP_MARK:		change_mark(b, ~s->mark, s->mark); break;
	case DP_UNMARK:		change_mark(b, 0xffffffff, s->mark); break;
	case DP_VMAP:		vmap(b, s); break;
	case DP_DNAT_SLOT:	dnat_slot(b, s); break;
	case DP_DNAT_AFFINITY:	dnat_affinity(b, s); break;
	case DP_UPDATE_AFFINITY: update_affinity(b, s); break;
	case DP_MASQUERADE:	masquerade(b); break;
	case DP_JUMP:		verdict(b, (uint32_t)NFT_JUMP, s->name); break;
	case DP_GOTO:		verdict(b, (uint32_t)NFT_GOTO, s->name); break;
	case DP_DROP:		verdict(b, NF_DROP, NULL); break;
	case DP_REJECT:		reject(b); break;
	default:
		break;
	}
}

void dp_rule_build(const struct dp_rule *r, enum kp_family f, const struct dp_anon *anon, struct nftnl_rule *out)
{
	struct build b = { out, f, anon };

	for (size_t i = 0; i < r->n; i++) {
		if (r->stmts[i].kind < DP_MARK)
			build_match(&b, &r->stmts[i]);
		else
			build_action(&b, &r->stmts[i]);
	}
}
