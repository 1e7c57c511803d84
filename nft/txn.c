#include "nft/txn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "nft/attr.h"
#include "nft/socket.h"
#include "proxy/base/buf.h"
#include "proxy/base/mem.h"

#define ELEMS_PER_MSG	4000
#define HEAD_LEN	(NLMSG_HDRLEN + sizeof(struct nfgenmsg))

/*
 * Elements of one set in one direction, packed into messages as they come: a cold start
 * has hundreds of thousands, and moving them once more would take their size again.
 */
struct stage {
	struct kp_buf buf;
	struct { uint32_t end, tag; } *elems;	/* end: offset in buf */
	size_t n, cap;
	uint32_t open;		/* sequence number of the message that elements are added to; 0: none */
};

struct message {
	uint32_t tag;
	char *what;		/* NULL: a message of elements */
	uint8_t set;
	bool add;
	uint32_t first, n;	/* elements in the stage */
	uint32_t at, list, start;	/* offsets in its buf: message, list of elements, first element */
};

struct dp_txn {
	enum kp_family f;
	char *table;
	struct kp_buf sections[DP_N_SECTIONS];
	struct stage stages[2][DP_N_SETS];	/* [add][set] */
	struct message *messages;	/* by sequence number - 1 */
	size_t n, cap, n_others;	/* n_others: not of elements */
	uint32_t set_ids;
	bool split;		/* messages of elements at each other tag */
	struct { enum dp_section sec; size_t at; } open;	/* between begin and end */
	struct { struct stage *stage; size_t at; uint32_t tag; } open_elem;
};

struct dp_txn *dp_txn_new(enum kp_family f, const char *table)
{
	struct dp_txn *t = kp_calloc(1, sizeof(*t));

	t->f = f;
	t->table = kp_strdup(table);
	return t;
}

struct dp_txn *dp_txn_free(struct dp_txn *t)
{
	if (!t)
		return NULL;
	for (int s = 0; s < DP_N_SECTIONS; s++)
		kp_buf_release(&t->sections[s]);
	for (int add = 0; add < 2; add++)
		for (int set = 0; set < DP_N_SETS; set++) {
			kp_buf_release(&t->stages[add][set].buf);
			free(t->stages[add][set].elems);
		}
	for (size_t i = 0; i < t->n; i++)
		free(t->messages[i].what);
	free(t->messages);
	free(t->table);
	free(t);
	return NULL;
}

const char *dp_txn_table(const struct dp_txn *t)
{
	return t->table;
}

static uint32_t add_message(struct dp_txn *t, struct message m)
{
	kp_grow(&t->messages, t->n, &t->cap);
	t->messages[t->n++] = m;
	return (uint32_t)t->n;
}

static void put_header(struct kp_buf *b, uint16_t type, uint16_t flags, uint32_t seq, uint8_t family, uint16_t res_id)
{
	struct nlmsghdr h = { .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = seq };
	struct nfgenmsg g = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(res_id) };

	kp_buf_add(b, &h, sizeof(h));
	kp_buf_add(b, &g, sizeof(g));
}

static void close_message(struct kp_buf *b, size_t at)
{
	uint32_t len = (uint32_t)(b->len - at);

	memcpy(b->data + at, &len, sizeof(len));
}

static uint8_t nfproto(enum kp_family f)
{
	return f == KP_IPV4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

struct kp_buf *dp_txn_begin(struct dp_txn *t, enum dp_section sec, uint16_t type, uint16_t flags,
			    uint32_t tag, const char *what)
{
	struct kp_buf *b = &t->sections[sec];
	uint32_t seq = add_message(t, (struct message){ .tag = tag, .what = kp_strdup(what) });

	t->n_others++;
	t->open.sec = sec;
	t->open.at = b->len;
	put_header(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, seq, nfproto(t->f), 0);
	return b;
}

void dp_txn_end(struct dp_txn *t)
{
	close_message(&t->sections[t->open.sec], t->open.at);
}

static struct message *open_message(struct dp_txn *t, const struct stage *s)
{
	return s->open ? &t->messages[s->open - 1] : NULL;
}

static void close_list(struct dp_txn *t, struct stage *s)
{
	const struct message *m = open_message(t, s);

	if (!m)
		return;
	dp_attr_close(&s->buf, m->list);
	close_message(&s->buf, m->at);
	s->open = 0;
}

static void open_list(struct dp_txn *t, struct stage *s, bool add, enum dp_set set)
{
	struct message m = { .set = (uint8_t)set, .add = add, .first = (uint32_t)s->n, .at = (uint32_t)s->buf.len };

	put_header(&s->buf, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | (add ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM)),
		   add ? NLM_F_CREATE : 0, (uint32_t)t->n + 1, nfproto(t->f), 0);
	dp_attr_str(&s->buf, NFTA_SET_ELEM_LIST_TABLE, t->table);
	dp_attr_str(&s->buf, NFTA_SET_ELEM_LIST_SET, dp_set_defs[set].name);
	m.list = (uint32_t)dp_attr_open(&s->buf, NFTA_SET_ELEM_LIST_ELEMENTS);
	m.start = (uint32_t)s->buf.len;
	s->open = add_message(t, m);
}

void dp_txn_split(struct dp_txn *t)
{
	t->split = true;
}

struct kp_buf *dp_txn_elem_begin(struct dp_txn *t, bool add, enum dp_set set, uint32_t tag)
{
	struct stage *s = &t->stages[add][set];
	const struct message *m = open_message(t, s);

	if (m && (m->n >= ELEMS_PER_MSG || s->buf.len - m->start > DP_NEST_FULL ||
		  (t->split && tag != s->elems[s->n - 1].tag)))
		close_list(t, s);
	if (!s->open)
		open_list(t, s, add, set);
	t->open_elem.stage = s;
	t->open_elem.tag = tag;
	t->open_elem.at = dp_attr_open(&s->buf, NFTA_LIST_ELEM);
	return &s->buf;
}

void dp_txn_elem_end(struct dp_txn *t)
{
	struct stage *s = t->open_elem.stage;

	dp_attr_close(&s->buf, t->open_elem.at);
	kp_grow(&s->elems, s->n, &s->cap);
	s->elems[s->n].end = (uint32_t)s->buf.len;
	s->elems[s->n++].tag = t->open_elem.tag;
	open_message(t, s)->n++;
}

uint32_t dp_txn_next_set_id(struct dp_txn *t)
{
	return ++t->set_ids;
}

void dp_txn_counts(const struct dp_txn *t, uint32_t *ret_added, uint32_t *ret_deleted)
{
	uint32_t n[2] = { 0 };

	for (int add = 0; add < 2; add++)
		for (int set = 0; set < DP_N_SETS; set++)
			n[add] += (uint32_t)t->stages[add][set].n;
	*ret_deleted = n[0];
	*ret_added = n[1];
}

bool dp_txn_empty(const struct dp_txn *t)
{
	uint32_t added, deleted;

	dp_txn_counts(t, &added, &deleted);
	return !t->n_others && !added && !deleted;
}

static bool is_among(const uint32_t *tags, size_t n, uint32_t tag)
{
	for (size_t i = 0; i < n; i++)
		if (tags[i] == tag)
			return true;
	return false;
}

/* Elements of one object mostly stand side by side. */
static size_t collect_tags(const struct stage *s, uint32_t *ret, size_t n, size_t max)
{
	uint32_t last = 0;

	for (size_t i = 0; i < s->n && n <= max; i++) {
		uint32_t tag = s->elems[i].tag;

		if (!tag || tag == last || is_among(ret, n, tag))
			continue;
		if (n < max)
			ret[n] = tag;
		n++;
		last = tag;
	}
	return n;
}

size_t dp_txn_tags(const struct dp_txn *t, uint32_t *ret, size_t max)
{
	size_t n = 0;

	for (int add = 0; add < 2; add++)
		for (int set = 0; set < DP_N_SETS; set++)
			n = collect_tags(&t->stages[add][set], ret, n, max);
	return n;
}

static bool has_later(const struct dp_txn *t)
{
	uint32_t added, deleted;

	dp_txn_counts(t, &added, &deleted);
	for (int s = DP_SEC_LATER; s < DP_N_SECTIONS; s++)
		if (t->sections[s].len)
			return true;
	return added || deleted;
}

uint32_t dp_txn_commits(const struct dp_txn *t)
{
	if (dp_txn_empty(t))
		return 0;
	return !t->sections[DP_SEC_TABLE].len && t->sections[DP_SEC_CHAIN].len && has_later(t) ? 2 : 1;
}

bool dp_txn_changes_verdicts(const struct dp_txn *t)
{
	if (t->n_others)
		return true;
	for (int set = 0; set < DP_N_SETS; set++)
		if (dp_set_defs[set].data == DP_DATA_VERDICT && (t->stages[0][set].n || t->stages[1][set].n))
			return true;
	return false;
}

void dp_txn_report_release(struct dp_txn_report *r)
{
	free(r->tags);
	*r = (struct dp_txn_report){ 0 };
}

static void add_tag(struct dp_txn_report *r, uint32_t tag)
{
	if (!tag)
		return;
	for (size_t i = 0; i < r->n_tags; i++)
		if (r->tags[i] == tag)
			return;
	kp_grow(&r->tags, r->n_tags, &r->cap_tags);
	r->tags[r->n_tags++] = tag;
}

/* The key of an element, from its attributes: LIST_ELEM { KEY { VALUE } } comes first. */
static const uint8_t *elem_key(const struct stage *s, const struct message *m, size_t i)
{
	size_t at = i ? s->elems[m->first + i - 1].end : m->start;

	return (const uint8_t *)s->buf.data + at + 3 * NLA_HDRLEN;
}

static void describe_elem(const struct dp_txn *t, const struct message *m, size_t i, char *out, size_t room)
{
	struct kp_buf key = { 0 };

	dp_key_print(m->set, t->f, elem_key(&t->stages[m->add][m->set], m, i), &key);
	snprintf(out, room, "%s element %s %s %s", m->add ? "add" : "delete", key.data,
		 m->add ? "to" : "from", dp_set_defs[m->set].name);
	kp_buf_release(&key);
}

/* Which element an attribute offset within the message points at; n if it points at none. */
static size_t elem_at(const struct stage *s, const struct message *m, uint32_t offset)
{
	if (m->at + offset < m->start)
		return m->n;
	for (size_t i = 0; i < m->n; i++)
		if (m->at + offset < s->elems[m->first + i].end)
			return i;
	return m->n;
}

static void note_error(struct dp_txn *t, const struct nlmsghdr *nlh, struct dp_txn_report *r)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a;
	struct message *m = e->msg.nlmsg_seq && e->msg.nlmsg_seq <= t->n ? &t->messages[e->msg.nlmsg_seq - 1] : NULL;
	uint32_t offset = 0, tag = m ? m->tag : 0;
	char what[200] = "transaction";

	if (nlh->nlmsg_flags & NLM_F_ACK_TLVS)
		mnl_attr_for_each(a, nlh, sizeof(*e))
			if (mnl_attr_get_type(a) == NLMSGERR_ATTR_OFFS)
				offset = mnl_attr_get_u32(a);
	if (m && m->what) {
		snprintf(what, sizeof(what), "%s", m->what);
	} else if (m) {
		const struct stage *s = &t->stages[m->add][m->set];
		size_t i = elem_at(s, m, offset);

		snprintf(what, sizeof(what), "%s elements of %s", m->add ? "add" : "delete", dp_set_defs[m->set].name);
		if (i < m->n) {
			tag = s->elems[m->first + i].tag;
			describe_elem(t, m, i, what, sizeof(what));
		}
	}
	add_tag(r, tag);
	if (!r->code) {		/* the first refusal is the cause, the rest often follow from it */
		r->code = e->error;
		snprintf(r->message, sizeof(r->message), "%s: %s", what, strerror(-e->error));
	}
}

/* The kernel has answered when sendmsg() returns. Success: the last message's ACK and no error. */
static void read_answers(struct dp_txn *t, struct mnl_socket *nl, uint32_t last, struct dp_txn_report *r)
{
	char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	bool acked = false;

	while (!acked || r->code) {	/* the ACK is the last, but behind an error there may be anything */
		ssize_t got = recv(mnl_socket_get_fd(nl), buf, sizeof(buf), MSG_DONTWAIT);
		struct nlmsghdr *nlh = (struct nlmsghdr *)buf;
		int left = (int)got;

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1 && errno != EAGAIN && !r->code) {
			r->code = -errno;
			snprintf(r->message, sizeof(r->message), "read answers: %s", strerror(errno));
		}
		if (got <= 0)
			break;
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(nlh) < sizeof(*e))
				continue;
			if (e->error)
				note_error(t, nlh, r);
			else if (e->msg.nlmsg_seq == last)
				acked = true;
		}
	}
	if (!acked && !r->code) {
		r->code = -EIO;
		snprintf(r->message, sizeof(r->message), "the kernel did not acknowledge the transaction");
	}
}

/* What goes into a transaction, in this order. */
struct parts {
	struct kp_buf *v[DP_N_SECTIONS + 2 * DP_N_SETS];
	size_t n;
};

static void add_part(struct parts *p, struct kp_buf *b)
{
	if (b->len)
		p->v[p->n++] = b;
}

static struct parts parts_of(struct dp_txn *t, int from, int to)
{
	struct parts p = { .n = 0 };

	for (int sec = from; sec < to; sec++) {
		add_part(&p, &t->sections[sec]);
		for (int set = 0; set < DP_N_SETS && (sec == DP_SEC_DEL_ELEM || sec == DP_SEC_ADD_ELEM); set++) {
			struct stage *s = &t->stages[sec == DP_SEC_ADD_ELEM][set];

			close_list(t, s);
			add_part(&p, &s->buf);
		}
	}
	return p;
}

/* The last message asks for the ACK. Returns its sequence number. */
static uint32_t ask_for_ack(const struct parts *p)
{
	struct kp_buf *b = p->v[p->n - 1];
	struct nlmsghdr h;
	size_t at = 0;

	for (;; at += NLMSG_ALIGN(h.nlmsg_len)) {
		memcpy(&h, b->data + at, sizeof(h));
		if (at + NLMSG_ALIGN(h.nlmsg_len) >= b->len)
			break;
	}
	h.nlmsg_flags |= NLM_F_ACK;
	memcpy(b->data + at, &h, sizeof(h));
	return h.nlmsg_seq;
}

static int send_parts(const struct parts *p, struct mnl_socket *nl, struct kp_buf *begin, struct kp_buf *end)
{
	struct iovec iov[DP_N_SECTIONS + 2 * DP_N_SETS + 2] = { { begin->data, begin->len } };
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct msghdr msg = { .msg_name = &kernel, .msg_namelen = sizeof(kernel), .msg_iov = iov };
	size_t n = 1, total = 0;

	for (size_t i = 0; i < p->n; i++)
		iov[n++] = (struct iovec){ p->v[i]->data, p->v[i]->len };
	iov[n++] = (struct iovec){ end->data, end->len };
	for (size_t i = 0; i < n; i++)
		total += iov[i].iov_len;
	msg.msg_iovlen = n;
	total += 65536;
	if (total > DP_SEND_ROOM)
		dp_socket_send_room(nl, total);
	while (sendmsg(mnl_socket_get_fd(nl), &msg, 0) == -1)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* The sections from..to-1 as one transaction. */
static int commit_sections(struct dp_txn *t, struct mnl_socket *nl, int from, int to, const uint32_t *genid,
			   struct dp_txn_report *ret)
{
	struct parts parts = parts_of(t, from, to);
	struct kp_buf begin = { 0 }, end = { 0 };
	uint32_t last = ask_for_ack(&parts);
	int r;

	put_header(&begin, NFNL_MSG_BATCH_BEGIN, 0, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	if (genid)
		dp_attr_be32(&begin, NFNL_BATCH_GENID, *genid);
	close_message(&begin, 0);
	put_header(&end, NFNL_MSG_BATCH_END, 0, (uint32_t)t->n + 1, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	close_message(&end, 0);
	r = send_parts(&parts, nl, &begin, &end);
	if (r < 0) {
		ret->code = r;
		snprintf(ret->message, sizeof(ret->message), "send transaction of %zu messages: %s", t->n, strerror(-r));
	} else {
		read_answers(t, nl, last, ret);
	}
	kp_buf_release(&begin);
	kp_buf_release(&end);
	return ret->code;
}

int dp_txn_commit(struct dp_txn *t, struct mnl_socket *nl, const uint32_t *genid, struct dp_txn_report *ret)
{
	uint32_t commits = dp_txn_commits(t), next = genid ? *genid + 1 : 0;

	*ret = (struct dp_txn_report){ 0 };
	if (!commits)
		return 0;
	if (commits == 1)
		return commit_sections(t, nl, 0, DP_N_SECTIONS, genid, ret);
	if (commit_sections(t, nl, 0, DP_SEC_LATER, genid, ret) < 0)
		return ret->code;
	return commit_sections(t, nl, DP_SEC_LATER, DP_N_SECTIONS, genid ? &next : NULL, ret);
}
