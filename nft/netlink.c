#include "nft/netlink.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "nft/attr.h"
#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define COMMENT_MAX 128		/* nft's limit, NUL included */
#define RULE_ROOM 16384		/* libnftnl does not ask how much room there is; no rule of ours takes a tenth */

struct netlink {
	struct dp_writer w;
	struct dp_txn *txn;
	struct dp_held *held;	/* NULL: nothing is known */
	struct dp_diff_elems diff[DP_N_SETS];
	struct dp_gone *gone;	/* NULL: what goes is deleted */
	enum dp_section rules;	/* where rules go now */
	struct nlmsghdr *room;	/* where libnftnl builds a rule */
};

static struct netlink *netlink_of(struct dp_writer *w)
{
	return (struct netlink *)w;
}

static void put_comment(struct kp_buf *b, const char *comment)
{
	size_t len = strlen(comment);
	uint8_t head[2] = { DP_UDATA_COMMENT };

	if (len > COMMENT_MAX - 1)
		len = COMMENT_MAX - 1;
	head[1] = (uint8_t)(len + 1);
	kp_buf_add(b, head, 2);
	kp_buf_add(b, comment, len);
	kp_buf_add(b, "", 1);
}

void dp_netlink_add_table(struct dp_txn *t, uint32_t flags)
{
	struct kp_buf user = { 0 }, *b = dp_txn_begin(t, DP_SEC_TABLE, NFT_MSG_NEWTABLE, NLM_F_CREATE, 0, "create table");

	put_comment(&user, DP_FORMAT);
	dp_attr_str(b, NFTA_TABLE_NAME, dp_txn_table(t));
	dp_attr_be32(b, NFTA_TABLE_FLAGS, flags);
	dp_attr_put(b, NFTA_TABLE_USERDATA, user.data, user.len);
	dp_txn_end(t);
	kp_buf_release(&user);
}

void dp_netlink_del_table(struct dp_txn *t, const char *name)
{
	dp_attr_str(dp_txn_begin(t, DP_SEC_LAST, NFT_MSG_DELTABLE, 0, 0, "delete table"), NFTA_TABLE_NAME, name);
	dp_txn_end(t);
}

static void nl_set(struct dp_writer *w, enum dp_set set, const char *name, uint32_t size)
{
	struct netlink *n = netlink_of(w);
	const struct dp_set_def *d = &dp_set_defs[set];
	struct kp_buf user = { 0 }, *b;
	char what[DP_KEY_MAX + 256];
	size_t desc;

	if (n->gone)
		dp_gone_del(n->gone, name ? name : d->name);
	snprintf(what, sizeof(what), "create set %s", name ? name : d->name);
	b = dp_txn_begin(n->txn, DP_SEC_SET, NFT_MSG_NEWSET, NLM_F_CREATE, w->tag, what);
	dp_attr_str(b, NFTA_SET_TABLE, dp_txn_table(n->txn));
	dp_attr_str(b, NFTA_SET_NAME, name ? name : d->name);
	dp_attr_be32(b, NFTA_SET_FLAGS, dp_set_flags(set));
	dp_attr_be32(b, NFTA_SET_KEY_TYPE, dp_set_key_type(set, w->f));
	dp_attr_be32(b, NFTA_SET_KEY_LEN, (uint32_t)dp_set_key_len(set, w->f));
	if (d->data != DP_DATA_NONE)
		dp_attr_be32(b, NFTA_SET_DATA_TYPE, dp_set_data_type(set, w->f));
	if (d->data == DP_DATA_ENDPOINT)
		dp_attr_be32(b, NFTA_SET_DATA_LEN, (uint32_t)dp_set_data_len(set, w->f));
	if (size) {
		desc = dp_attr_open(b, NFTA_SET_DESC);
		dp_attr_be32(b, NFTA_SET_DESC_SIZE, size);
		dp_attr_close(b, desc);
	}
	dp_attr_be32(b, NFTA_SET_ID, dp_txn_next_set_id(n->txn));
	dp_set_udata(set, w->f, &user);
	dp_attr_put(b, NFTA_SET_USERDATA, user.data, user.len);
	dp_txn_end(n->txn);
	kp_buf_release(&user);
}

static void put_key(struct kp_buf *b, const void *key, size_t len)
{
	size_t k = dp_attr_open(b, NFTA_SET_ELEM_KEY);

	dp_attr_put(b, NFTA_DATA_VALUE, key, len);
	dp_attr_close(b, k);
}

static void anon_elem(struct kp_buf *b, const void *key, size_t len, uint32_t flags)
{
	size_t at = dp_attr_open(b, NFTA_LIST_ELEM);

	put_key(b, key, len);
	if (flags)
		dp_attr_be32(b, NFTA_SET_ELEM_FLAGS, flags);
	dp_attr_close(b, at);
}

static size_t open_entries(struct kp_buf *b, struct dp_txn *t, const char *map)
{
	dp_attr_str(b, NFTA_SET_ELEM_LIST_TABLE, dp_txn_table(t));
	dp_attr_str(b, NFTA_SET_ELEM_LIST_SET, map);
	return dp_attr_open(b, NFTA_SET_ELEM_LIST_ELEMENTS);
}

void dp_netlink_del_entries(struct dp_txn *t, const char *map, const uint8_t (*keys)[16], size_t n, size_t len)
{
	struct kp_buf *b = dp_txn_begin(t, DP_SEC_DEL_ELEM, NFT_MSG_DELSETELEM, 0, 0, "delete remembered choices");
	size_t list = open_entries(b, t, map);

	for (size_t i = 0; i < n; i++)
		anon_elem(b, keys[i], len, 0);
	dp_attr_close(b, list);
	dp_txn_end(t);
}

void dp_netlink_add_entry(struct dp_txn *t, const char *map, const void *key, size_t len,
			  const void *data, size_t data_len, uint64_t expires_ms)
{
	struct kp_buf *b = dp_txn_begin(t, DP_SEC_ADD_ELEM, NFT_MSG_NEWSETELEM, NLM_F_CREATE, 0, "carry over remembered choice");
	size_t list = open_entries(b, t, map), elem = dp_attr_open(b, NFTA_LIST_ELEM), at;
	uint64_t ms = htobe64(expires_ms);

	put_key(b, key, len);
	at = dp_attr_open(b, NFTA_SET_ELEM_DATA);
	dp_attr_put(b, NFTA_DATA_VALUE, data, data_len);
	dp_attr_close(b, at);
	if (expires_ms)
		dp_attr_put(b, NFTA_SET_ELEM_TIMEOUT, &ms, sizeof(ms));
	dp_attr_close(b, elem);
	dp_attr_close(b, list);
	dp_txn_end(t);
}

/* The address after a; false: a is the last one. */
static bool next_addr(const struct kp_addr *a, struct kp_addr *ret)
{
	*ret = *a;
	for (int i = (int)kp_addr_len(a->family) - 1; i >= 0; i--)
		if (++ret->b[i])
			return true;
	return false;
}

static void anon_head(struct kp_buf *b, struct dp_txn *t, const struct dp_stmt *s, enum kp_family f, uint32_t id)
{
	bool ranges = s->kind == DP_SADDR_NOT_RANGES;
	uint32_t flags = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | (ranges ? NFT_SET_INTERVAL : 0);
	uint8_t byteorder[6] = { 0, 4, ranges ? 2 : 1 };	/* network order; else host order, little endian */
	uint32_t order = ranges ? 2 : 1;

	memcpy(byteorder + 2, &order, sizeof(order));
	dp_attr_str(b, NFTA_SET_TABLE, dp_txn_table(t));
	dp_attr_str(b, NFTA_SET_NAME, "__set%d");
	dp_attr_be32(b, NFTA_SET_FLAGS, flags);
	dp_attr_be32(b, NFTA_SET_KEY_TYPE, ranges ? (f == KP_IPV4 ? 7 : 8) : 12);
	dp_attr_be32(b, NFTA_SET_KEY_LEN, ranges ? (uint32_t)kp_addr_len((uint8_t)f) : 1);
	dp_attr_be32(b, NFTA_SET_ID, id);
	dp_attr_put(b, NFTA_SET_USERDATA, byteorder, sizeof(byteorder));
}

/* The elements of an anonymous set, in as many messages as they take: all of them in front of the rule. */
struct fill {
	struct netlink *n;
	uint32_t id;
	struct kp_buf *b;	/* of the message that is open */
	size_t list;
};

static void open_fill(struct fill *l)
{
	struct netlink *n = l->n;

	l->b = dp_txn_begin(n->txn, n->rules, NFT_MSG_NEWSETELEM, NLM_F_CREATE, n->w.tag, "fill anonymous set");
	dp_attr_str(l->b, NFTA_SET_ELEM_LIST_TABLE, dp_txn_table(n->txn));
	dp_attr_str(l->b, NFTA_SET_ELEM_LIST_SET, "__set%d");
	dp_attr_be32(l->b, NFTA_SET_ELEM_LIST_SET_ID, l->id);
	l->list = dp_attr_open(l->b, NFTA_SET_ELEM_LIST_ELEMENTS);
}

static void close_fill(struct fill *l)
{
	dp_attr_close(l->b, l->list);
	dp_txn_end(l->n->txn);
}

/* start, end (first address after it), ..., led by an end at zero, as nft writes intervals. */
static void interval_elems(struct fill *l, const struct dp_stmt *s, enum kp_family f)
{
	static const uint8_t zero[16];
	size_t len = kp_addr_len((uint8_t)f), n;
	struct dp_interval *v;
	struct kp_addr end;

	n = dp_ranges_merge(s->ranges, s->n_ranges, &v);
	if (n && memcmp(v[0].first.b, zero, len) != 0)
		anon_elem(l->b, zero, len, NFT_SET_ELEM_INTERVAL_END);
	for (size_t i = 0; i < n; i++) {
		if (l->b->len - l->list > DP_NEST_FULL) {
			close_fill(l);
			open_fill(l);
		}
		anon_elem(l->b, v[i].first.b, len, 0);
		if (next_addr(&v[i].last, &end))
			anon_elem(l->b, end.b, len, NFT_SET_ELEM_INTERVAL_END);
	}
	free(v);
}

static void proto_elems(struct kp_buf *b)
{
	static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP };

	for (size_t i = 0; i < sizeof(protos); i++)
		anon_elem(b, &protos[i], 1, 0);
}

static uint32_t make_anon(void *arg, const struct dp_stmt *s)
{
	struct netlink *n = arg;
	struct fill l = { .n = n, .id = dp_txn_next_set_id(n->txn) };
	struct kp_buf *b = dp_txn_begin(n->txn, n->rules, NFT_MSG_NEWSET, NLM_F_CREATE, n->w.tag, "create anonymous set");

	anon_head(b, n->txn, s, n->w.f, l.id);
	dp_txn_end(n->txn);
	open_fill(&l);
	if (s->kind == DP_SADDR_NOT_RANGES)
		interval_elems(&l, s, n->w.f);
	else
		proto_elems(l.b);
	close_fill(&l);
	return l.id;
}

static void rule_udata(const struct dp_rule *r, enum kp_family f, struct kp_buf *out)
{
	uint64_t print = dp_rule_fingerprint(r, f);
	uint8_t head[2] = { DP_UDATA_FINGERPRINT, sizeof(print) };

	if (r->comment)
		put_comment(out, r->comment);
	kp_buf_add(out, head, 2);
	kp_buf_add(out, &print, sizeof(print));
}

static void put_rule(struct netlink *n, const char *chain, const struct dp_rule *r)
{
	struct dp_anon anon = { make_anon, n };
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct kp_buf user = { 0 }, *b;
	char what[DP_KEY_MAX + 256];

	dp_rule_build(r, n->w.f, &anon, rule);	/* makes anonymous sets first */
	rule_udata(r, n->w.f, &user);
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, dp_txn_table(n->txn));
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
	nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, user.data, (uint32_t)user.len);
	memset(n->room, 0, RULE_ROOM);	/* libmnl leaves padding as it is */
	n->room->nlmsg_len = NLMSG_HDRLEN;
	nftnl_rule_nlmsg_build_payload(n->room, rule);
	snprintf(what, sizeof(what), "add rule to chain %s", chain);
	b = dp_txn_begin(n->txn, n->rules, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, n->w.tag, what);
	kp_buf_add(b, (char *)n->room + NLMSG_HDRLEN, n->room->nlmsg_len - NLMSG_HDRLEN);
	dp_txn_end(n->txn);
	nftnl_rule_free(rule);
	kp_buf_release(&user);
}

static void flush_chain(struct netlink *n, enum dp_section sec, const char *chain)
{
	struct kp_buf *b;
	char what[DP_KEY_MAX + 256];

	snprintf(what, sizeof(what), "flush chain %s", chain);
	b = dp_txn_begin(n->txn, sec, NFT_MSG_DELRULE, 0, n->w.tag, what);
	dp_attr_str(b, NFTA_RULE_TABLE, dp_txn_table(n->txn));
	dp_attr_str(b, NFTA_RULE_CHAIN, chain);
	dp_txn_end(n->txn);
}

static void create_chain(struct netlink *n, const struct dp_chain *c)
{
	char what[DP_KEY_MAX + 256];
	struct kp_buf *b;
	size_t hook;

	snprintf(what, sizeof(what), "create chain %s", c->name);
	b = dp_txn_begin(n->txn, DP_SEC_CHAIN, NFT_MSG_NEWCHAIN, NLM_F_CREATE, n->w.tag, what);
	dp_attr_str(b, NFTA_CHAIN_TABLE, dp_txn_table(n->txn));
	dp_attr_str(b, NFTA_CHAIN_NAME, c->name);
	if (c->hook) {
		hook = dp_attr_open(b, NFTA_CHAIN_HOOK);
		dp_attr_be32(b, NFTA_HOOK_HOOKNUM, c->hook->number);
		dp_attr_be32(b, NFTA_HOOK_PRIORITY, (uint32_t)c->hook->priority);
		dp_attr_close(b, hook);
		dp_attr_be32(b, NFTA_CHAIN_POLICY, NF_ACCEPT);
		dp_attr_str(b, NFTA_CHAIN_TYPE, "nat");
	}
	dp_txn_end(n->txn);
}

static void nl_chain(struct dp_writer *w, const struct dp_chain *c, bool exists)
{
	struct netlink *n = netlink_of(w);

	n->rules = exists ? DP_SEC_REWRITE : DP_SEC_RULE;
	if (!exists || c->hook)		/* of one that is there, the policy is set */
		create_chain(n, c);
	if (n->gone)
		dp_gone_del(n->gone, c->name);
	if (exists || n->gone)	/* one that was left behind is still there */
		flush_chain(n, n->rules, c->name);
	for (size_t i = 0; i < c->n_rules; i++)
		put_rule(n, c->name, &c->rules[i]);
}

static void nl_del_chain(struct dp_writer *w, const char *name)
{
	struct netlink *n = netlink_of(w);
	struct kp_buf *b;

	flush_chain(n, DP_SEC_GONE_FLUSH, name);
	if (n->gone) {
		dp_gone_put(n->gone, false, name, kp_now_ns());
		return;
	}
	b = dp_txn_begin(n->txn, DP_SEC_GONE_CHAIN, NFT_MSG_DELCHAIN, 0, w->tag, "delete chain");
	dp_attr_str(b, NFTA_CHAIN_TABLE, dp_txn_table(n->txn));
	dp_attr_str(b, NFTA_CHAIN_NAME, name);
	dp_txn_end(n->txn);
}

/* Should it be wanted again before it is deleted, it is not to remember what it did. */
static void flush_set(struct netlink *n, const char *name)
{
	struct kp_buf *b = dp_txn_begin(n->txn, DP_SEC_GONE_SET, NFT_MSG_DELSETELEM, 0, n->w.tag, "flush set");

	dp_attr_str(b, NFTA_SET_ELEM_LIST_TABLE, dp_txn_table(n->txn));
	dp_attr_str(b, NFTA_SET_ELEM_LIST_SET, name);
	dp_txn_end(n->txn);
}

static void nl_del_set(struct dp_writer *w, const char *name)
{
	struct netlink *n = netlink_of(w);
	struct kp_buf *b;

	if (n->gone) {
		flush_set(n, name);
		dp_gone_put(n->gone, true, name, kp_now_ns());
		return;
	}
	b = dp_txn_begin(n->txn, DP_SEC_GONE_SET, NFT_MSG_DELSET, 0, w->tag, "delete set");
	dp_attr_str(b, NFTA_SET_TABLE, dp_txn_table(n->txn));
	dp_attr_str(b, NFTA_SET_NAME, name);
	dp_txn_end(n->txn);
}

static void elem_udata(const struct dp_elem *e, struct kp_buf *out)
{
	if (e->comment)
		put_comment(out, e->comment);
}

void dp_elem_value(const struct dp_elem *e, enum kp_family f, struct kp_buf *out)
{
	uint8_t data[DP_KEY_MAX];

	switch ((enum dp_data)dp_set_defs[e->set].data) {
	case DP_DATA_NONE:
		break;
	case DP_DATA_VERDICT:
		kp_buf_puts(out, e->chain ? e->chain : "");
		kp_buf_add(out, "", 1);
		break;
	case DP_DATA_ENDPOINT:
		kp_buf_add(out, data, dp_elem_data(e, f, data));
		break;
	}
	elem_udata(e, out);
}

static void put_data(struct kp_buf *b, const struct dp_elem *e, enum kp_family f)
{
	size_t at = dp_attr_open(b, NFTA_SET_ELEM_DATA), v;
	uint8_t data[DP_KEY_MAX];

	if (dp_set_defs[e->set].data == DP_DATA_ENDPOINT) {
		size_t len = dp_elem_data(e, f, data);

		dp_attr_put(b, NFTA_DATA_VALUE, data, len);
	} else {
		v = dp_attr_open(b, NFTA_DATA_VERDICT);
		dp_attr_be32(b, NFTA_VERDICT_CODE, dp_verdict_code(e->set, e->chain));
		if (e->chain)
			dp_attr_str(b, NFTA_VERDICT_CHAIN, e->chain);
		dp_attr_close(b, v);
	}
	dp_attr_close(b, at);
}

static void stage_del(struct netlink *n, enum dp_set set, const void *key, size_t len)
{
	put_key(dp_txn_elem_begin(n->txn, false, set, n->w.tag), key, len);
	dp_txn_elem_end(n->txn);
}

static void stage_add(struct netlink *n, const struct dp_elem *e, const void *key, size_t len)
{
	struct kp_buf user = { 0 }, *b = dp_txn_elem_begin(n->txn, true, e->set, n->w.tag);

	put_key(b, key, len);
	if (dp_set_defs[e->set].data != DP_DATA_NONE)
		put_data(b, e, n->w.f);
	elem_udata(e, &user);
	if (user.len)
		dp_attr_put(b, NFTA_SET_ELEM_USERDATA, user.data, user.len);
	dp_txn_elem_end(n->txn);
	kp_buf_release(&user);
}

static struct dp_held_elem *held_elem(const struct netlink *n, enum dp_set set, const uint8_t *key, size_t len)
{
	uint8_t id[1 + DP_KEY_MAX] = { (uint8_t)set };

	if (!n->held)
		return NULL;
	memcpy(id + 1, key, len);
	return kp_map_get(n->held->elems, id, 1 + len);
}

static void nl_elem(struct dp_writer *w, bool add, const struct dp_elem *e)
{
	struct netlink *n = netlink_of(w);
	uint8_t key[DP_KEY_MAX];
	size_t len = dp_elem_key(e, w->f, key);
	struct dp_held_elem *h = held_elem(n, e->set, key, len);
	struct kp_buf value = { 0 };
	bool same;

	if (!add) {
		stage_del(n, e->set, key, len);
		return;
	}
	if (h) {
		dp_elem_value(e, w->f, &value);
		same = value.len == h->len && (!h->len || memcmp(value.data, h->value, h->len) == 0);
		kp_buf_release(&value);
		h->seen = true;
		if (same)
			return;
		stage_del(n, e->set, key, len);
		n->diff[e->set].changed++;
	} else {
		n->diff[e->set].deleted++;
	}
	stage_add(n, e, key, len);
}

static bool nl_peek(struct dp_writer *w, struct dp_elem *e)
{
	struct netlink *n = netlink_of(w);
	uint8_t key[DP_KEY_MAX];
	size_t len = dp_elem_key(e, w->f, key), addr = kp_addr_len((uint8_t)w->f);
	const struct dp_held_elem *h = held_elem(n, e->set, key, len);

	if (!h)
		return false;
	if (dp_set_defs[e->set].data == DP_DATA_VERDICT)
		e->chain = (const char *)h->value;
	if (dp_set_defs[e->set].data == DP_DATA_ENDPOINT && h->len >= addr + 2) {
		e->to = (struct kp_addr){ .family = (uint8_t)w->f };
		memcpy(e->to.b, h->value, addr);
		e->to_port = (uint16_t)(h->value[addr] << 8 | h->value[addr + 1]);
	}
	return true;
}

void dp_netlink_prune(struct dp_writer *w, dp_pruned_fn *fn, void *arg)
{
	struct netlink *n = netlink_of(w);

	for (struct kp_map_it it = { 0 }; kp_map_next(n->held->elems, &it);) {
		const struct dp_held_elem *h = it.value;
		const uint8_t *id = it.key;

		if (h->seen)
			continue;
		stage_del(n, (enum dp_set)id[0], id + 1, it.len - 1);
		n->diff[id[0]].added++;
		if (fn)
			fn(arg, (enum dp_set)id[0], id + 1);
	}
}

const struct dp_diff_elems *dp_netlink_diff(struct dp_writer *w)
{
	return netlink_of(w)->diff;
}

static const struct dp_writer_ops netlink_ops = {
	.set = nl_set, .chain = nl_chain, .elem = nl_elem,
	.del_chain = nl_del_chain, .del_set = nl_del_set, .peek = nl_peek,
};

struct dp_writer *dp_netlink_new(struct dp_txn *txn, enum kp_family f, struct dp_held *held)
{
	struct netlink *n = kp_calloc(1, sizeof(*n));

	*n = (struct netlink){ .w = { .ops = &netlink_ops, .f = f }, .txn = txn, .held = held };
	n->room = kp_malloc(RULE_ROOM);
	return &n->w;
}

void dp_netlink_keep_gone(struct dp_writer *w, struct dp_gone *gone)
{
	netlink_of(w)->gone = gone;
}

struct dp_writer *dp_netlink_free(struct dp_writer *w)
{
	if (w)
		free(netlink_of(w)->room);
	free(w);
	return NULL;
}
