#include "nft/ipt_write.h"

#include <ctype.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/mem.h"
#include "proxy/base/sha256.h"

#define HASH_CHARS	16	/* of 5 bits, as kube-proxy */
#define PORTS_PER_PIECE	64
#define GUARD_LEN	96	/* "-p sctp -m addrtype --dst-type LOCAL -m sctp --dport 65472:65535" */
#define COMMENT_MAX	255	/* XT_MAX_COMMENT_LEN, less the end */

const char *const dp_ipt_tables[DP_IPT_N_TABLES] = { "filter", "nat", "mangle" };

void dp_ipt_hashed(const char *prefix, const char *what, char out[DP_IPT_NAME])
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint8_t hash[KP_SHA256_LEN];
	size_t at = strlen(prefix);

	kp_sha256(what, strlen(what), hash);
	memcpy(out, prefix, at);
	for (unsigned i = 0; i < HASH_CHARS && at < DP_IPT_NAME - 1; i++) {
		unsigned bit = 5 * i, two = (unsigned)hash[bit / 8] << 8 | hash[bit / 8 + 1];

		out[at++] = alphabet[two >> (11 - bit % 8) & 31];
	}
	out[at] = '\0';
}

const char *dp_ipt_proto(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "tcp" : proto == IPPROTO_UDP ? "udp" : "sctp";
}

void dp_ipt_from_pods(const struct dp_ipt_env *env, bool negated, struct kp_buf *out)
{
	const struct kp_detector *d = &env->node->detector[env->f];
	bool open = d->kind == KP_DETECT_IFPREFIX && strlen(d->ifname) < IFNAMSIZ - 1;	/* else it is a whole name */
	char text[KP_CIDR_STRLEN];

	kp_buf_puts(out, negated ? "! " : "");
	if (d->kind == KP_DETECT_CIDR)
		kp_buf_printf(out, "-s %s", kp_cidr_str(&d->cidr, text));
	else
		kp_buf_printf(out, "-i %s%s", d->ifname, open ? "+" : "");
}

void dp_ipt_mark(const struct dp_ipt_env *env, struct kp_buf *out)
{
	kp_buf_printf(out, "-j MARK --set-xmark 0x%x/0x%x", env->node->mark, env->node->mark);
}

void dp_ipt_rules_release(struct dp_ipt_rules *r)
{
	for (size_t i = 0; i < r->n_chains; i++)
		free(r->chains[i].rules);
	for (size_t i = 0; i < r->n_lines; i++)
		free(r->lines[i].rule);
	free(r->chains);
	free(r->lines);
	*r = (struct dp_ipt_rules){ 0 };
}

void dp_ipt_add_chain(struct dp_ipt_rules *r, enum dp_ipt_table t, const char *name, struct kp_buf *text)
{
	struct dp_ipt_chain *c;

	kp_grow(&r->chains, r->n_chains, &r->cap_chains);
	c = &r->chains[r->n_chains++];
	*c = (struct dp_ipt_chain){ .table = (uint8_t)t, .rules = kp_strdup(text->len ? text->data : "") };
	snprintf(c->name, sizeof(c->name), "%s", name);
	kp_buf_release(text);
}

void dp_ipt_add_line(struct dp_ipt_rules *r, enum dp_ipt_table t, const char *chain, char rank, const char *fmt, ...)
{
	struct dp_ipt_line *l;
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	kp_grow(&r->lines, r->n_lines, &r->cap_lines);
	l = &r->lines[r->n_lines++];
	*l = (struct dp_ipt_line){ .table = (uint8_t)t, .rule = kp_asprintf("%c%s", rank, text) };
	snprintf(l->chain, sizeof(l->chain), "%s", chain);
}

/* Always fits: the longest are measured. */
__attribute__((format(printf, 3, 4)))
static void print(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(out, size, fmt, ap);
	va_end(ap);
}

/* The addresses that share a piece: the last byte differs. */
static void piece_of_address(const char *list, const struct kp_addr *ip, char name[DP_IPT_NAME], char guard[GUARD_LEN])
{
	struct kp_cidr net = { *ip, (uint8_t)(kp_addr_bits(ip->family) - 8) };
	char text[KP_CIDR_STRLEN], prefix[DP_IPT_NAME];

	net.addr.b[kp_addr_len(ip->family) - 1] = 0;
	print(guard, GUARD_LEN, "-d %s", kp_cidr_str(&net, text));
	snprintf(prefix, sizeof(prefix), "%s-", list);
	if (ip->family == KP_IPV6)
		dp_ipt_hashed(prefix, text, name);
	else
		print(name, DP_IPT_NAME, "%s%u.%u.%u", prefix, ip->b[0], ip->b[1], ip->b[2]);
}

static void piece_of_port(const char *list, uint8_t proto, uint16_t port, bool local, char name[DP_IPT_NAME], char guard[GUARD_LEN])
{
	unsigned first = port / PORTS_PER_PIECE * PORTS_PER_PIECE;
	const char *p = dp_ipt_proto(proto);

	print(guard, GUARD_LEN, "-p %s %s-m %s --dport %u:%u", p, local ? "-m addrtype --dst-type LOCAL " : "", p, first,
		 first + PORTS_PER_PIECE - 1);
	print(name, DP_IPT_NAME, "%s-%s-%u", list, p, first);
}

/* Names come from objects: what is not plainly harmless in iptables-restore's quotes does not get there. */
static void tidy_comment(const char *comment, char out[COMMENT_MAX + 1])
{
	size_t n = 0;

	for (; *comment && n < COMMENT_MAX; comment++)
		out[n++] = isalnum((unsigned char)*comment) || strchr(" -./:_", *comment) ? *comment : '?';
	out[n] = '\0';
}

void dp_ipt_dispatch(struct dp_ipt_rules *r, enum dp_ipt_table t, const char *list, const struct kp_frontend *fe,
		     uint8_t proto, const char *comment, const char *then)
{
	bool node_port = fe->kind == KP_FE_NODE_PORT;
	char piece[DP_IPT_NAME], guard[GUARD_LEN], tidy[COMMENT_MAX + 1], to[KP_CIDR_STRLEN + 8] = "", text[KP_CIDR_STRLEN];
	const char *p = dp_ipt_proto(proto);

	if (node_port) {	/* in nat the whole list is for local addresses */
		piece_of_port(list, proto, fe->port, t == DP_IPT_FILTER, piece, guard);
	} else {
		piece_of_address(list, &fe->ip, piece, guard);
		snprintf(to, sizeof(to), "-d %s ", kp_cidr_str(&(struct kp_cidr){ fe->ip, kp_addr_bits(fe->ip.family) }, text));
	}
	tidy_comment(comment, tidy);
	dp_ipt_add_line(r, t, list, '5', "%s -j %s", guard, piece);
	dp_ipt_add_line(r, t, piece, '5', "%s-p %s -m comment --comment \"%s\" -m %s --dport %u %s", to, p, tidy, p, fe->port, then);
}
