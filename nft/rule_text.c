#include "nft/rule.h"

#include <netinet/in.h>
#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/hash.h"
#include "proxy/base/mem.h"

static const char *ip(enum kp_family f)
{
	return f == KP_IPV4 ? "ip" : "ip6";
}

static void print_cidr(const struct kp_cidr *c, struct kp_buf *out)
{
	char text[KP_CIDR_STRLEN];

	if (c->len == kp_addr_bits(c->addr.family))
		kp_buf_puts(out, kp_addr_str(&c->addr, text));
	else
		kp_buf_puts(out, kp_cidr_str(c, text));
}

static int by_first(const void *a, const void *b)
{
	return kp_addr_cmp(&((const struct dp_interval *)a)->first, &((const struct dp_interval *)b)->first);
}

static void last_of(const struct kp_cidr *c, struct kp_addr *ret)
{
	*ret = c->addr;
	for (unsigned bit = c->len; bit < kp_addr_bits(c->addr.family); bit++)
		ret->b[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
}

/* CIDRs either contain each other or do not touch, so dropping the contained ones is a merge. */
size_t dp_ranges_merge(const struct kp_cidr *ranges, size_t n, struct dp_interval **ret)
{
	struct dp_interval *v = kp_calloc(n, sizeof(*v));
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		v[i].first = ranges[i].addr;
		last_of(&ranges[i], &v[i].last);
	}
	qsort(v, n, sizeof(*v), by_first);
	for (size_t i = 0; i < n; i++) {
		if (kept && kp_addr_cmp(&v[i].first, &v[kept - 1].last) <= 0) {
			if (kp_addr_cmp(&v[i].last, &v[kept - 1].last) > 0)
				v[kept - 1].last = v[i].last;
			continue;
		}
		v[kept++] = v[i];
	}
	*ret = v;
	return kept;
}

static int by_cidr(const void *a, const void *b)
{
	const struct kp_cidr *x = a, *y = b;
	int c = kp_addr_cmp(&x->addr, &y->addr);

	return c ? c : (int)x->len - (int)y->len;
}

/* In order and without what is contained in a wider range: as the kernel will hold them. */
static void print_ranges(const struct dp_stmt *s, enum kp_family f, struct kp_buf *out)
{
	struct kp_cidr *v = kp_memdup(s->ranges, s->n_ranges * sizeof(*v));
	const struct kp_cidr *last = NULL;

	qsort(v, s->n_ranges, sizeof(*v), by_cidr);
	kp_buf_printf(out, "%s saddr != { ", ip(f));
	for (size_t i = 0; i < s->n_ranges; i++) {
		if (last && kp_cidr_contains(last, &v[i].addr))
			continue;
		if (last)
			kp_buf_puts(out, ", ");
		print_cidr(&v[i], out);
		last = &v[i];
	}
	kp_buf_puts(out, " }");
	free(v);
}

static const char *proto_name(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "tcp" : proto == IPPROTO_UDP ? "udp" : "sctp";
}

static void print_match(const struct dp_stmt *s, enum kp_family f, struct kp_buf *out)
{
	bool not = s->kind == DP_SADDR_NOT || s->kind == DP_DADDR_NOT || s->kind == DP_IIFNAME_NOT;

	if (s->kind == DP_IIFNAME || s->kind == DP_IIFNAME_NOT) {
		kp_buf_printf(out, "iifname %s\"%s%s\"", not ? "!= " : "", s->name, s->prefix ? "*" : "");
		return;
	}
	kp_buf_printf(out, "%s %s %s", ip(f), s->kind == DP_SADDR || s->kind == DP_SADDR_NOT ? "saddr" : "daddr",
		      not ? "!= " : "");
	print_cidr(&s->cidr, out);
}

static void print_vmap(const struct dp_stmt *s, enum kp_family f, struct kp_buf *out)
{
	bool original = s->set == DP_AFFREC || s->set == DP_AFFRECNP;

	if (s->set == DP_SVC || s->set == DP_AFFREC) {
		kp_buf_puts(out, original ? "ct original " : "");
		kp_buf_printf(out, "%s daddr . ", ip(f));
	}
	kp_buf_printf(out, "meta l4proto . %s vmap @%s", original ? "ct original proto-dst" : "th dport",
		      dp_set_defs[s->set].name);
}

static void print_dnat_slot(const struct dp_stmt *s, enum kp_family f, struct kp_buf *out)
{
	kp_buf_printf(out, "dnat %s addr . port to ", ip(f));
	if (s->set == DP_EPS)
		kp_buf_printf(out, "%s daddr . ", ip(f));
	kp_buf_printf(out, "meta l4proto . th dport . numgen random mod %u ", s->number);
	if (s->offset)
		kp_buf_printf(out, "offset %u ", s->offset);
	kp_buf_printf(out, "map @%s", dp_set_defs[s->set].name);
}

static void print_stmt(const struct dp_stmt *s, enum kp_family f, struct kp_buf *out)
{
	switch ((enum dp_stmt_kind)s->kind) {
	case DP_SADDR: case DP_SADDR_NOT: case DP_DADDR: case DP_DADDR_NOT: case DP_IIFNAME: case DP_IIFNAME_NOT:
		print_match(s, f, out); break;
	case DP_SADDR_NOT_RANGES: print_ranges(s, f, out); break;
	case DP_SADDR_LOCAL:	kp_buf_puts(out, "fib saddr type local"); break;
	case DP_DADDR_LOCAL:	kp_buf_puts(out, "fib daddr type local"); break;
	case DP_DADDR_IN:	kp_buf_printf(out, "%s daddr @%s", ip(f), dp_set_defs[s->set].name); break;
	case DP_L4PROTO:	kp_buf_printf(out, "meta l4proto %s", proto_name(s->proto)); break;
	case DP_L4_SERVICE:	kp_buf_puts(out, "meta l4proto { tcp, udp, sctp }"); break;
	case DP_DNATTED:	kp_buf_puts(out, "ct status & dnat == dnat"); break;
	case DP_ORIG_DADDR_IN:	kp_buf_printf(out, "ct original %s daddr @%s", ip(f), dp_set_defs[s->set].name); break;
	case DP_HAIRPIN_PAIR:	kp_buf_printf(out, "%s saddr . %s daddr @hairpin", ip(f), ip(f)); break;
	case DP_LOCAL_ENDPOINT:	kp_buf_printf(out, "%s daddr . %s daddr @hairpin", ip(f), ip(f)); break;
	case DP_MARKED:		kp_buf_printf(out, "meta mark & 0x%08x != 0x00000000", s->mark); break;
	case DP_MARK:		kp_buf_printf(out, "meta mark set meta mark | 0x%08x", s->mark); break;
	case DP_UNMARK:		kp_buf_printf(out, "meta mark set meta mark ^ 0x%08x", s->mark); break;
	case DP_VMAP:		print_vmap(s, f, out); break;
	case DP_DNAT_SLOT:	print_dnat_slot(s, f, out); break;
	case DP_DNAT_AFFINITY:	kp_buf_printf(out, "dnat %s addr . port to %s saddr map @%s", ip(f), ip(f), s->name); break;
	case DP_UPDATE_AFFINITY: kp_buf_printf(out, "update @%s { %s saddr timeout %us : %s daddr . th dport }",
					       s->name, ip(f), s->number, ip(f)); break;
	case DP_MASQUERADE:	kp_buf_puts(out, "masquerade fully-random"); break;
	case DP_JUMP:		kp_buf_printf(out, "jump %s", s->name); break;
	case DP_GOTO:		kp_buf_printf(out, "goto %s", s->name); break;
	case DP_DROP:		kp_buf_puts(out, "drop"); break;
	case DP_REJECT:		kp_buf_puts(out, "reject"); break;
	case DP_N_STMTS:	break;
	}
}

void dp_rule_print(const struct dp_rule *r, enum kp_family f, struct kp_buf *out)
{
	for (size_t i = 0; i < r->n; i++) {
		if (i)
			kp_buf_puts(out, " ");
		print_stmt(&r->stmts[i], f, out);
	}
	if (r->comment)
		kp_buf_printf(out, " comment \"%s\"", r->comment);
}

uint64_t dp_rule_fingerprint(const struct dp_rule *r, enum kp_family f)
{
	struct kp_buf text = { 0 };
	uint64_t h;

	dp_rule_print(r, f, &text);
	h = kp_hash(KP_HASH_INIT, text.data, text.len);
	kp_buf_release(&text);
	return h;
}

uint64_t dp_chain_fingerprint_add(uint64_t sum, uint64_t rule)
{
	return kp_hash(sum, &rule, sizeof(rule));
}

uint64_t dp_chain_fingerprint(const struct dp_chain *c, enum kp_family f)
{
	uint64_t sum = KP_HASH_INIT;

	for (size_t i = 0; i < c->n_rules; i++)
		sum = dp_chain_fingerprint_add(sum, dp_rule_fingerprint(&c->rules[i], f));
	return sum;
}
