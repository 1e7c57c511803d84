#include "nft/held.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ask.h"
#include "nft/prints.h"
#include "nft/program.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/hash.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define DUMP_TRIES 20
#define DUMP_SEQ 0x80000000u	/* never that of a message in a transaction */
#define SET_COUNT 20		/* NFTA_SET_COUNT, since Linux 6.16: older headers lack it */

struct dump {
	struct dp_held *held;
	enum kp_family f;
	const char *table;
	bool elements;
	enum dp_set set;	/* of an element dump */
	dp_entry_fn *fn;	/* of dp_held_entries() */
	void *arg;
	struct dp_sum *sum;	/* of dp_held_sum_more() */
	struct dp_prints *known;	/* of dp_held_read_others() */
	const struct kp_map *keys;	/* of dp_held_read_keys() */
};

struct dp_held *dp_held_new(void)
{
	struct dp_held *h = kp_calloc(1, sizeof(*h));

	h->chains = kp_map_new(free);
	h->sets = kp_map_new(free);
	h->elems = kp_map_new(free);
	return h;
}

struct dp_held *dp_held_free(struct dp_held *h)
{
	if (!h)
		return NULL;
	kp_map_free(h->chains);
	kp_map_free(h->sets);
	kp_map_free(h->elems);
	free(h);
	return NULL;
}

/* Attributes by type; what a newer kernel adds beyond max is ignored. */
struct attrs {
	const struct nlattr *tb[32];
};

static int collect(const struct nlattr *a, void *arg)
{
	struct attrs *t = arg;

	if (mnl_attr_get_type(a) < KP_N(t->tb))
		t->tb[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

static struct attrs top(const struct nlmsghdr *nlh)
{
	struct attrs t = { { 0 } };

	mnl_attr_parse(nlh, sizeof(struct nfgenmsg), collect, &t);
	return t;
}

static struct attrs nested(const struct nlattr *a)
{
	struct attrs t = { { 0 } };

	if (a)
		mnl_attr_parse_nested(a, collect, &t);
	return t;
}

static const char *text(const struct nlattr *a)
{
	return a && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0 ? mnl_attr_get_str(a) : "";
}

static uint32_t be32(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) >= 4 ? ntohl(mnl_attr_get_u32(a)) : 0;
}

static uint64_t be64(const struct nlattr *a)
{
	return a && mnl_attr_get_payload_len(a) >= 8 ? be64toh(mnl_attr_get_u64(a)) : 0;
}

/* One TLV of userdata; NULL: not there. */
static const uint8_t *udata(const struct nlattr *a, uint8_t type, size_t *ret_len)
{
	const uint8_t *p = a ? mnl_attr_get_payload(a) : NULL;
	size_t left = a ? mnl_attr_get_payload_len(a) : 0;

	while (left >= 2 && left >= (size_t)p[1] + 2) {
		if (p[0] == type) {
			*ret_len = p[1];
			return p + 2;
		}
		left -= (size_t)p[1] + 2;
		p += p[1] + 2;
	}
	return NULL;
}

static int on_table(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh);
	struct dump *d = arg;
	const uint8_t *comment;
	size_t len = 0;

	if (strcmp(text(a.tb[NFTA_TABLE_NAME]), d->table) != 0)
		return MNL_CB_OK;
	comment = udata(a.tb[NFTA_TABLE_USERDATA], DP_UDATA_COMMENT, &len);
	d->held->table = true;
	d->held->flags = be32(a.tb[NFTA_TABLE_FLAGS]);
	d->held->owner = be32(a.tb[NFTA_TABLE_OWNER]);
	d->held->format_ok = comment && len == sizeof(DP_FORMAT) && memcmp(comment, DP_FORMAT, len) == 0;
	return MNL_CB_OK;
}

static bool hooked_as_defined(const struct attrs *a, const char *name)
{
	const struct dp_hook *want = dp_program_hook(name);
	struct attrs hook = nested(a->tb[NFTA_CHAIN_HOOK]);
	struct dp_class c;

	if (!want)
		return !a->tb[NFTA_CHAIN_HOOK] || !dp_class_parse(name, &c);
	return a->tb[NFTA_CHAIN_HOOK] && strcmp(text(a->tb[NFTA_CHAIN_TYPE]), "nat") == 0 &&
	       be32(hook.tb[NFTA_HOOK_HOOKNUM]) == want->number && (int32_t)be32(hook.tb[NFTA_HOOK_PRIORITY]) == want->priority;
}

static int on_chain(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh);
	struct dump *d = arg;
	struct dp_held_chain *c;

	if (strcmp(text(a.tb[NFTA_CHAIN_TABLE]), d->table) != 0)
		return MNL_CB_OK;
	c = kp_calloc(1, sizeof(*c));
	c->as_defined = hooked_as_defined(&a, text(a.tb[NFTA_CHAIN_NAME]));
	c->accepts = !a.tb[NFTA_CHAIN_POLICY] || be32(a.tb[NFTA_CHAIN_POLICY]) == NF_ACCEPT;
	c->fingerprint = c->accepts ? KP_HASH_INIT : 0;
	kp_map_puts(d->held->chains, text(a.tb[NFTA_CHAIN_NAME]), c);
	return MNL_CB_OK;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh);
	struct dump *d = arg;
	struct dp_held_chain *c;
	const uint8_t *mark;
	uint64_t print = 0;
	size_t len = 0;

	if (strcmp(text(a.tb[NFTA_RULE_TABLE]), d->table) != 0)
		return MNL_CB_OK;
	c = kp_map_gets(d->held->chains, text(a.tb[NFTA_RULE_CHAIN]));
	mark = udata(a.tb[NFTA_RULE_USERDATA], DP_UDATA_FINGERPRINT, &len);
	if (mark && len == sizeof(print))
		memcpy(&print, mark, sizeof(print));
	if (!c)
		return MNL_CB_OK;
	c->fingerprint = dp_chain_fingerprint_add(c->fingerprint, print);
	c->foreign |= !print;
	return MNL_CB_OK;
}

/* Somebody else's set is as he likes it. */
static bool as_defined(const struct attrs *a, const char *name, enum kp_family f)
{
	uint32_t flags = be32(a->tb[NFTA_SET_FLAGS]);
	enum dp_set set = dp_set_by_name(name);

	if (set == DP_AFF && strncmp(name, "aff/", 4) != 0 && strncmp(name, "affl/", 5) != 0)
		return true;
	return flags == dp_set_flags(set) && be32(a->tb[NFTA_SET_KEY_TYPE]) == dp_set_key_type(set, f) &&
	       be32(a->tb[NFTA_SET_KEY_LEN]) == dp_set_key_len(set, f) &&
	       (dp_set_defs[set].data == DP_DATA_NONE || be32(a->tb[NFTA_SET_DATA_TYPE]) == dp_set_data_type(set, f));
}

static int on_set(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh), desc = nested(a.tb[NFTA_SET_DESC]);
	struct dump *d = arg;
	struct dp_held_set *s;

	if (strcmp(text(a.tb[NFTA_SET_TABLE]), d->table) != 0 || (be32(a.tb[NFTA_SET_FLAGS]) & NFT_SET_ANONYMOUS))
		return MNL_CB_OK;
	s = kp_calloc(1, sizeof(*s));
	s->as_defined = as_defined(&a, text(a.tb[NFTA_SET_NAME]), d->f);
	s->size = be32(desc.tb[NFTA_SET_DESC_SIZE]);
	s->counted = a.tb[SET_COUNT] != NULL;
	s->n = be32(a.tb[SET_COUNT]);
	kp_map_puts(d->held->sets, text(a.tb[NFTA_SET_NAME]), s);
	return MNL_CB_OK;
}

/*
 * What a dump says of an element; NULL: nothing. There are a hundred thousand of them, so
 * their attributes are walked once and no table of them is made.
 */
struct elem {
	const struct nlattr *key, *data, *verdict, *user;
};

static struct elem elem_of(const struct nlattr *nest)
{
	struct elem e = { 0 };
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, nest)
		switch (mnl_attr_get_type(a)) {
		case NFTA_SET_ELEM_KEY:
			e.key = dp_ask_in(a, NFTA_DATA_VALUE);
			break;
		case NFTA_SET_ELEM_DATA:
			e.data = dp_ask_in(a, NFTA_DATA_VALUE);
			e.verdict = dp_ask_in(a, NFTA_DATA_VERDICT);
			break;
		case NFTA_SET_ELEM_USERDATA:
			e.user = a;
			break;
		}
	return e;
}

/* Data and userdata of an element, as netlink.c's dp_elem_value() makes them. */
static void value_of(const struct elem *e, enum dp_set set, struct kp_buf *out)
{
	out->len = 0;
	if (e->data)
		kp_buf_add(out, mnl_attr_get_payload(e->data), mnl_attr_get_payload_len(e->data));
	if (e->verdict) {
		const struct nlattr *chain = dp_ask_in(e->verdict, NFTA_VERDICT_CHAIN);

		kp_buf_puts(out, text(chain));
		kp_buf_add(out, "", 1);
		if (be32(dp_ask_in(e->verdict, NFTA_VERDICT_CODE)) != dp_verdict_code(set, chain))
			kp_buf_puts(out, "not ours");	/* we write no other */
	}
	if (e->user)
		kp_buf_add(out, mnl_attr_get_payload(e->user), mnl_attr_get_payload_len(e->user));
}

static void hold_elem(struct dump *d, const uint8_t *key, size_t len, const struct kp_buf *value)
{
	uint8_t id[1 + DP_KEY_MAX] = { (uint8_t)d->set };
	struct dp_held_elem *h = kp_malloc(sizeof(*h) + value->len);

	memcpy(id + 1, key, len);
	h->seen = false;
	h->len = (uint16_t)value->len;
	if (value->len)
		memcpy(h->value, value->data, value->len);
	kp_map_put(d->held->elems, id, 1 + len, h);
}

/* Sums, leaves out what is known, or holds. */
static void on_elem(struct dump *d, const struct nlattr *attr, struct kp_buf *value)
{
	struct elem e = elem_of(attr);
	size_t len = dp_set_key_len(d->set, d->f);
	const uint8_t *key = e.key ? mnl_attr_get_payload(e.key) : NULL;

	if (!key || mnl_attr_get_payload_len(e.key) != len)
		return;
	value_of(&e, d->set, value);
	if (d->sum)
		dp_sum_add(d->sum, d->set, key, len, value->data, value->len);
	else if (!d->known || !dp_prints_see(d->known, dp_elem_print(d->set, key, len, value->data, value->len)))
		hold_elem(d, key, len, value);
}

static int on_elems(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh);
	struct kp_buf value = { 0 };
	const struct nlattr *attr;

	if (a.tb[NFTA_SET_ELEM_LIST_ELEMENTS])
		mnl_attr_for_each_nested(attr, a.tb[NFTA_SET_ELEM_LIST_ELEMENTS])
			on_elem(arg, attr, &value);
	kp_buf_release(&value);
	return MNL_CB_OK;
}

/* 1: more is to come. EINTR: the ruleset changed while it was dumped. */
static int read_part(struct mnl_socket *nl, mnl_cb_t cb, struct dump *d)
{
	char buf[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t got = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	int r;

	if (got < 0)
		return -errno;
	r = mnl_cb_run(buf, (size_t)got, DUMP_SEQ, 0, cb, d);
	return r < 0 ? -errno : r > MNL_CB_STOP;
}

/* After an interrupted dump the rest of its answers may still be queued. */
static void drain(struct mnl_socket *nl)
{
	char buf[65536];

	while (recv(mnl_socket_get_fd(nl), buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static struct nlmsghdr *head(char *buf, uint16_t type, uint16_t flags, enum kp_family f)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = DUMP_SEQ;
	g->nfgen_family = f == KP_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
	g->version = NFNETLINK_V0;
	return nlh;
}

/* set: name for NFTA_SET_ELEM_LIST_SET; NULL: not an element dump. */
static int ask(struct mnl_socket *nl, uint16_t type, const struct dump *d, uint16_t table_attr, const char *set)
{
	char buf[1024] __attribute__((aligned(NLMSG_ALIGNTO))) = "";	/* libmnl leaves padding as it is */
	struct nlmsghdr *nlh = head(buf, type, NLM_F_DUMP, d->f);

	if (table_attr)
		mnl_attr_put_strz(nlh, table_attr, d->table);
	if (set)
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	return mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0 ? -errno : 0;
}

static int dump(struct mnl_socket *nl, uint16_t type, struct dump *d, uint16_t table_attr, const char *set, mnl_cb_t cb)
{
	int r = ask(nl, type, d, table_attr, set);

	if (r == 0)
		do {
			r = read_part(nl, cb, d);
		} while (r > 0);
	return r;
}

static int dump_all(struct mnl_socket *nl, struct dump *d)
{
	int r = dump(nl, NFT_MSG_GETTABLE, d, 0, NULL, on_table);

	if (r < 0 || !d->held->table)
		return r;
	r = dump(nl, NFT_MSG_GETCHAIN, d, 0, NULL, on_chain);
	if (r == 0)
		r = dump(nl, NFT_MSG_GETRULE, d, NFTA_RULE_TABLE, NULL, on_rule);
	if (r == 0)
		r = dump(nl, NFT_MSG_GETSET, d, NFTA_SET_TABLE, NULL, on_set);
	for (int set = 0; d->elements && set < DP_N_SETS && r == 0; set++) {
		const struct dp_held_set *s = kp_map_gets(d->held->sets, dp_set_defs[set].name);

		d->set = (enum dp_set)set;
		if (s && s->as_defined)
			r = dump(nl, NFT_MSG_GETSETELEM, d, NFTA_SET_ELEM_LIST_TABLE, dp_set_defs[set].name, on_elems);
	}
	return r;
}

/* --- sums --- */

void dp_sum_add(struct dp_sum *s, enum dp_set set, const uint8_t *key, size_t key_len, const void *value, size_t len)
{
	s->sum += dp_elem_print(set, key, key_len, value, len);
	s->n++;
}

void dp_sum_sub(struct dp_sum *s, enum dp_set set, const uint8_t *key, size_t key_len, const void *value, size_t len)
{
	s->sum -= dp_elem_print(set, key, key_len, value, len);
	s->n--;
}

int dp_held_sum_begin(struct mnl_socket *nl, enum kp_family f, const char *table, enum dp_set set)
{
	struct dump d = { .f = f, .table = table };

	return ask(nl, NFT_MSG_GETSETELEM, &d, NFTA_SET_ELEM_LIST_TABLE, dp_set_defs[set].name);
}

int dp_held_sum_more(struct mnl_socket *nl, enum kp_family f, enum dp_set set, struct dp_sum *sum)
{
	return read_part(nl, on_elems, &(struct dump){ .f = f, .set = set, .sum = sum });
}

/* --- single questions --- */

static int on_entries(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh);
	const struct nlattr *attr;
	struct dump *d = arg;

	if (!a.tb[NFTA_SET_ELEM_LIST_ELEMENTS])
		return MNL_CB_OK;
	mnl_attr_for_each_nested(attr, a.tb[NFTA_SET_ELEM_LIST_ELEMENTS]) {
		struct attrs e = nested(attr), key = nested(e.tb[NFTA_SET_ELEM_KEY]), data = nested(e.tb[NFTA_SET_ELEM_DATA]);
		const struct nlattr *k = key.tb[NFTA_DATA_VALUE], *v = data.tb[NFTA_DATA_VALUE];

		if (k && v && mnl_attr_get_payload_len(k) == kp_addr_len((uint8_t)d->f))
			d->fn(d->arg, mnl_attr_get_payload(k), mnl_attr_get_payload(v), mnl_attr_get_payload_len(v),
			      be64(e.tb[NFTA_SET_ELEM_EXPIRATION]));
	}
	return MNL_CB_OK;
}

int dp_held_entries(struct mnl_socket *nl, enum kp_family f, const char *table, const char *map, dp_entry_fn *fn, void *arg)
{
	struct dump d = { .f = f, .table = table, .fn = fn, .arg = arg };

	drain(nl);
	return dump(nl, NFT_MSG_GETSETELEM, &d, NFTA_SET_ELEM_LIST_TABLE, map, on_entries);
}

struct gen {
	uint32_t id, pid;
};

static int on_gen(const struct nlmsghdr *nlh, void *arg)
{
	struct attrs a = top(nlh);

	*(struct gen *)arg = (struct gen){ be32(a.tb[NFTA_GEN_ID]), be32(a.tb[NFTA_GEN_PROC_PID]) };
	return MNL_CB_OK;
}

int dp_genid(struct mnl_socket *nl, uint32_t *ret, uint32_t *ret_pid)
{
	char buf[4096] __attribute__((aligned(NLMSG_ALIGNTO))) = "";
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	struct gen gen = { 0 };
	ssize_t got;

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = DUMP_SEQ;
	g->version = NFNETLINK_V0;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	got = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (got < 0)
		return -errno;
	if (mnl_cb_run(buf, (size_t)got, DUMP_SEQ, 0, on_gen, &gen) < 0)
		return -errno;
	*ret = gen.id;
	if (ret_pid)
		*ret_pid = gen.pid;
	return 0;
}

static int dump_set(struct mnl_socket *nl, struct dump *d)
{
	return dump(nl, NFT_MSG_GETSETELEM, d, NFTA_SET_ELEM_LIST_TABLE, dp_set_defs[d->set].name, on_elems);
}

/* One element: it is the answer, or -ENOENT is. */
static int ask_elem(struct mnl_socket *nl, struct dump *d, const void *key, size_t len)
{
	char buf[1024] __attribute__((aligned(NLMSG_ALIGNTO))) = "";
	struct nlmsghdr *nlh = head(buf, NFT_MSG_GETSETELEM, 0, d->f);
	struct nlattr *list, *elem, *nest;

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, d->table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, dp_set_defs[d->set].name);
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	nest = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, key);
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, elem);
	mnl_attr_nest_end(nlh, list);
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	return read_part(nl, on_elems, d);
}

static int ask_elems(struct mnl_socket *nl, struct dump *d)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(d->keys, &it);) {
		int r = ask_elem(nl, d, it.key, it.len);

		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

/* One consistent picture: the generation must be the same before and after. */
static int read_once(struct mnl_socket *nl, struct dump *d, int (*read)(struct mnl_socket *, struct dump *))
{
	uint32_t after = 0;
	int r;

	drain(nl);
	r = dp_genid(nl, &d->held->genid, NULL);
	if (r == 0)
		r = read(nl, d);
	if (r == 0)
		r = dp_genid(nl, &after, NULL);
	return r < 0 ? r : after == d->held->genid ? 0 : -EINTR;
}

static int read_whole(struct mnl_socket *nl, const struct dump *what, int (*read)(struct mnl_socket *, struct dump *),
		      struct dp_held **ret, struct kp_err *err)
{
	int r = -EINTR;

	for (int i = 0; i < DUMP_TRIES && r == -EINTR; i++) {
		struct dump d = *what;

		d.held = dp_held_new();
		if (d.known)
			dp_prints_unsee(d.known);
		r = read_once(nl, &d, read);
		if (r == 0) {
			*ret = d.held;
			return 0;
		}
		dp_held_free(d.held);
	}
	return kp_err_set(err, r, "read table %s: %s", what->table, strerror(-r));
}

int dp_held_read(struct mnl_socket *nl, enum kp_family f, const char *table, bool elements,
		 struct dp_held **ret, struct kp_err *err)
{
	return read_whole(nl, &(struct dump){ .f = f, .table = table, .elements = elements }, dump_all, ret, err);
}

int dp_held_read_others(struct mnl_socket *nl, enum kp_family f, const char *table, enum dp_set set,
			struct dp_prints *ours, struct dp_held **ret, struct kp_err *err)
{
	return read_whole(nl, &(struct dump){ .f = f, .table = table, .set = set, .known = ours }, dump_set, ret, err);
}

int dp_held_read_keys(struct mnl_socket *nl, enum kp_family f, const char *table, enum dp_set set,
		      const struct kp_map *keys, struct dp_held **ret, struct kp_err *err)
{
	return read_whole(nl, &(struct dump){ .f = f, .table = table, .set = set, .keys = keys }, ask_elems, ret, err);
}
