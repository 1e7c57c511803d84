#include "nft/conntrack.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/thread.h"

#define BATCH_SIZE	(64 * 1024)	/* deletes collected for one send */
#define DELETE_MAX	256		/* one of them: two headers, a tuple of at most 100 bytes, zone, id */
#define RECV_SIZE	(64 * 1024)	/* the kernel fills at most 32 KiB of it at a time */
#define ANSWERS_SIZE	(1024 * 1024)	/* receive buffer for a batch that fails message by message */

#define DIRECT_MAX	2		/* up to so many front ends: a preselected dump each */
#define REPEAT_NS	1000000000u
#define RETRY_MIN_NS	1000000000u
#define RETRY_MAX_NS	30000000000u
#define IDLE_SHARE	4		/* rest this many times as long as a run took */
#define POLL_MS		20		/* how often a run in the background is looked after */

/* CTA_FILTER_ORIG_FLAGS: no header has names for these. Since Linux 5.8; older ones ignore the attribute. */
enum { MATCH_IP_DST = 1 << 1, MATCH_PROTO_NUM = 1 << 3, MATCH_PROTO_DST_PORT = 1 << 5 };

/*
 * A run in the background. While there is one, the rest of struct dp_ct is its thread's;
 * starting and joining it hand that over, so there is no lock.
 */
struct background {
	bool wanted, running;
	atomic_bool done;
	pthread_t thread;
	struct dp_ct_set *later;	/* what was put meanwhile */
	uint64_t now_ns;
	struct dp_ct_stats stats[KP_N_FAMILIES];
	struct kp_err err;
	int code;
};

struct dp_ct {
	struct background bg;
	struct dp_ct_set *set;
	struct mnl_socket *dump, *del;	/* both or none; closed after a failure, as answers may be under way */
	bool no_filter;			/* this kernel refused to preselect */
	uint64_t not_before_ns, retry_ns;
	uint32_t seq;
	char *recv_buf;
	char *batch;
	size_t batch_len;
	unsigned n_batched;
};

/* One walk, as libmnl's callbacks see it. */
struct walk {
	struct dp_ct *ct;
	uint8_t family;
	enum dp_ct_ask ask;
	dp_ct_stale_fn *stale;
	void *arg;
	struct dp_ct_stats *stats;
	struct kp_err *err;
	int code;		/* of a failed delete */
};

struct dp_ct *dp_ct_new(void)
{
	struct dp_ct *ct = kp_calloc(1, sizeof(*ct));

	ct->set = dp_ct_set_new();
	ct->bg.later = dp_ct_set_new();
	return ct;
}

static struct mnl_socket *close_socket(struct mnl_socket *nl)
{
	if (nl)
		mnl_socket_close(nl);
	return NULL;
}

/* Sockets and buffers are only there while there is work. */
static void release_io(struct dp_ct *ct)
{
	ct->dump = close_socket(ct->dump);
	ct->del = close_socket(ct->del);
	free(ct->recv_buf);
	free(ct->batch);
	ct->recv_buf = ct->batch = NULL;
	ct->batch_len = ct->n_batched = 0;
}

struct dp_ct *dp_ct_free(struct dp_ct *ct)
{
	if (!ct)
		return NULL;
	if (ct->bg.running)
		pthread_join(ct->bg.thread, NULL);
	release_io(ct);
	dp_ct_set_free(ct->set);
	dp_ct_set_free(ct->bg.later);
	free(ct);
	return NULL;
}

struct dp_ct_set *dp_ct_set(struct dp_ct *ct)
{
	return ct->bg.running ? ct->bg.later : ct->set;
}

static int open_socket(struct mnl_socket **ret)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int fd, one = 1, size = ANSWERS_SIZE;

	if (!nl)
		return -errno;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		int r = -errno;

		mnl_socket_close(nl);
		return r;
	}
	fd = mnl_socket_get_fd(nl);
	/* Both only make many errors cheaper; without them ENOBUFS is reported and the run repeated. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	(void)mnl_socket_setsockopt(nl, NETLINK_CAP_ACK, &one, sizeof(one));
	*ret = nl;
	return 0;
}

static int prepare_io(struct dp_ct *ct, struct kp_err *err)
{
	int r = 0;

	if (!ct->dump)
		r = open_socket(&ct->dump);
	if (r == 0 && !ct->del)
		r = open_socket(&ct->del);
	if (r < 0)
		return kp_err_set(err, r, "open a netlink socket: %s", strerror(-r));
	if (!ct->recv_buf)
		ct->recv_buf = kp_calloc(1, RECV_SIZE);	/* zeroed: libmnl leaves padding as it is */
	if (!ct->batch)
		ct->batch = kp_calloc(1, BATCH_SIZE);
	return 0;
}

static struct nlmsghdr *put_header(struct dp_ct *ct, void *at, unsigned type, unsigned flags, uint8_t family)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(at);
	struct nfgenmsg *nfg;

	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++ct->seq;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = family == KP_IPV4 ? AF_INET : AF_INET6;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

/*
 * The kernel walks the whole table in any case; this saves it the copying and us
 * the reading. An IPv6 address is left out: the kernel's comparison of it is the
 * wrong way round (seen on 6.18: entries to other addresses come, ours do not).
 */
static void ask_for_udp(struct nlmsghdr *nlh, const struct dp_ct_frontend *only)
{
	uint32_t flags = MATCH_PROTO_NUM;
	struct nlattr *tuple = mnl_attr_nest_start(nlh, CTA_TUPLE_ORIG), *nest;

	if (only && !only->node_port && only->ip.family == KP_IPV4) {
		flags |= MATCH_IP_DST;
		nest = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
		mnl_attr_put(nlh, CTA_IP_V4_DST, kp_addr_len(KP_IPV4), only->ip.b);
		mnl_attr_nest_end(nlh, nest);
	}
	nest = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(nlh, CTA_PROTO_NUM, IPPROTO_UDP);
	if (only) {
		flags |= MATCH_PROTO_DST_PORT;
		mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(only->port));
	}
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, tuple);

	nest = mnl_attr_nest_start(nlh, CTA_FILTER);
	mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, flags);
	mnl_attr_nest_end(nlh, nest);
}

/* By status, since Linux 5.15; older ones hand over everything. Most of a large table has been answered. */
static void ask_for_unreplied(struct nlmsghdr *nlh)
{
	mnl_attr_put_u32(nlh, CTA_STATUS, 0);
	mnl_attr_put_u32(nlh, CTA_STATUS_MASK, htonl(IPS_SEEN_REPLY));
}

struct tuple {
	struct kp_addr src, dst;
	uint16_t sport, dport;
	uint8_t proto;
	unsigned seen;
};

/* Where an attribute goes; numbers of CTA_TUPLE_IP and CTA_TUPLE_PROTO overlap, so two tables. */
struct slot {
	uint16_t len;		/* 0: not of interest */
	uint16_t offset;
	uint8_t bit;
};

enum { HAVE_SRC = 1, HAVE_DST = 2, HAVE_PROTO = 4, HAVE_SPORT = 8, HAVE_DPORT = 16, HAVE_ALL = 31 };

static const struct slot ip_slots[] = {
	[CTA_IP_V4_SRC] = { 4, offsetof(struct tuple, src.b), HAVE_SRC },
	[CTA_IP_V4_DST] = { 4, offsetof(struct tuple, dst.b), HAVE_DST },
	[CTA_IP_V6_SRC] = { 16, offsetof(struct tuple, src.b), HAVE_SRC },
	[CTA_IP_V6_DST] = { 16, offsetof(struct tuple, dst.b), HAVE_DST },
};

static const struct slot proto_slots[] = {
	[CTA_PROTO_NUM] = { 1, offsetof(struct tuple, proto), HAVE_PROTO },
	[CTA_PROTO_SRC_PORT] = { 2, offsetof(struct tuple, sport), HAVE_SPORT },
	[CTA_PROTO_DST_PORT] = { 2, offsetof(struct tuple, dport), HAVE_DPORT },
};

static void read_slots(const struct nlattr *nest, const struct slot *slots, size_t n, struct tuple *t)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, nest) {
		uint16_t type = mnl_attr_get_type(a);

		if (type >= n || !slots[type].len || mnl_attr_get_payload_len(a) != slots[type].len)
			continue;
		memcpy((char *)t + slots[type].offset, mnl_attr_get_payload(a), slots[type].len);
		t->seen |= slots[type].bit;
	}
}

static bool read_tuple(const struct nlattr *nest, uint8_t family, struct tuple *t)
{
	const struct nlattr *a;

	memset(t, 0, sizeof(*t));
	t->src.family = t->dst.family = family;
	mnl_attr_for_each_nested(a, nest) {
		if (mnl_attr_get_type(a) == CTA_TUPLE_IP)
			read_slots(a, ip_slots, KP_N(ip_slots), t);
		else if (mnl_attr_get_type(a) == CTA_TUPLE_PROTO)
			read_slots(a, proto_slots, KP_N(proto_slots), t);
	}
	t->sport = ntohs(t->sport);
	t->dport = ntohs(t->dport);
	return t->seen == HAVE_ALL;
}

/* All answers are queued when send returns: the kernel works inside it. Only failures are answered. */
static void read_answers(struct walk *w, unsigned *ret_gone)
{
	struct dp_ct *ct = w->ct;
	_Alignas(struct nlmsghdr) char buf[16384];
	ssize_t n;

	while ((n = recv(mnl_socket_get_fd(ct->del), buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		const struct nlmsghdr *nlh = (const void *)buf;
		int left = (int)n;

		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
			const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

			if (nlh->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(nlh) < sizeof(e->error))
				continue;
			++*ret_gone;
			if (e->error != -ENOENT && w->code == 0)	/* ENOENT: ended by itself, fine */
				w->code = kp_err_set(w->err, e->error, "delete an entry: %s", strerror(-e->error));
		}
	}
	if (n < 0 && errno != EAGAIN && w->code == 0)
		w->code = kp_err_set(w->err, -errno, "read what became of the deletes: %s", strerror(errno));
}

static int flush_deletes(struct walk *w)
{
	struct dp_ct *ct = w->ct;
	unsigned n = ct->n_batched, gone = 0;
	ssize_t sent;

	if (!n)
		return 0;
	sent = mnl_socket_sendto(ct->del, ct->batch, ct->batch_len);
	ct->batch_len = ct->n_batched = 0;
	if (sent < 0)
		return w->code = kp_err_set(w->err, -errno, "send deletes: %s", strerror(errno));
	read_answers(w, &gone);
	w->stats->deleted += gone < n ? n - gone : 0;
	return w->code;
}

static void copy_attr(struct nlmsghdr *nlh, const struct nlattr *a)
{
	mnl_attr_put(nlh, a->nla_type, mnl_attr_get_payload_len(a), mnl_attr_get_payload(a));
}

/* The tuple goes back as it came. A delete without one would flush the whole table. */
static int add_delete(struct walk *w, const struct nlattr *tuple, const struct nlattr *zone, const struct nlattr *id)
{
	struct dp_ct *ct = w->ct;
	struct nlmsghdr *nlh;

	assert(tuple && mnl_attr_get_type(tuple) == CTA_TUPLE_ORIG);
	if (mnl_attr_get_len(tuple) > DELETE_MAX - 64)
		return 0;	/* not a tuple as we know them */
	nlh = put_header(ct, ct->batch + ct->batch_len, IPCTNL_MSG_CT_DELETE, 0, w->family);
	copy_attr(nlh, tuple);
	copy_attr(nlh, id);
	if (zone)
		copy_attr(nlh, zone);
	ct->batch_len += nlh->nlmsg_len;
	ct->n_batched++;
	return ct->batch_len + DELETE_MAX > BATCH_SIZE ? flush_deletes(w) : 0;
}

/* Without a word about it, it was. */
static bool was_replied(const struct nlattr *status)
{
	return !status || mnl_attr_validate(status, MNL_TYPE_U32) < 0 || ntohl(mnl_attr_get_u32(status)) & IPS_SEEN_REPLY;
}

static bool is_asked_for(const struct walk *w, const struct dp_ct_entry *e)
{
	if (w->ask == DP_CT_UDP)
		return e->proto == IPPROTO_UDP;
	return (e->proto == IPPROTO_TCP || e->proto == IPPROTO_SCTP) && !e->replied;
}

static int on_entry(const struct nlmsghdr *nlh, void *arg)
{
	struct walk *w = arg;
	const struct nlattr *a, *at[CTA_MAX + 1] = { 0 };
	struct tuple orig, reply;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(a) <= CTA_MAX)
			at[mnl_attr_get_type(a)] = a;
	w->stats->examined++;
	/* Entries without ports (ICMP) are not readable as such tuples: not ours. */
	if (!at[CTA_TUPLE_ORIG] || !at[CTA_TUPLE_REPLY] || !at[CTA_ID] ||
	    !read_tuple(at[CTA_TUPLE_ORIG], w->family, &orig) || !read_tuple(at[CTA_TUPLE_REPLY], w->family, &reply))
		return MNL_CB_OK;

	const struct dp_ct_entry e = {
		.proto = orig.proto,
		.orig_dst = orig.dst,
		.orig_dport = orig.dport,
		.reply_src = reply.src,
		.reply_sport = reply.sport,
		.replied = was_replied(at[CTA_STATUS]),
	};
	if (!is_asked_for(w, &e) || !w->stale(w->arg, &e))
		return MNL_CB_OK;
	return add_delete(w, at[CTA_TUPLE_ORIG], at[CTA_ZONE], at[CTA_ID]) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int dump(struct walk *w, bool filter, const struct dp_ct_frontend *only)
{
	struct dp_ct *ct = w->ct;
	struct nlmsghdr *nlh = put_header(ct, ct->recv_buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, w->family);
	unsigned portid = mnl_socket_get_portid(ct->dump), seq = nlh->nlmsg_seq;
	int r;

	if (filter && w->ask == DP_CT_UDP)
		ask_for_udp(nlh, only);
	else if (filter)
		ask_for_unreplied(nlh);
	if (mnl_socket_sendto(ct->dump, nlh, nlh->nlmsg_len) < 0)
		return kp_err_set(w->err, -errno, "ask for the conntrack table: %s", strerror(errno));
	do {
		ssize_t n = mnl_socket_recvfrom(ct->dump, ct->recv_buf, RECV_SIZE);

		r = n < 0 ? -1 : mnl_cb_run(ct->recv_buf, (size_t)n, seq, portid, on_entry, w);
	} while (r > 0);
	if (w->code < 0)
		return w->code;
	if (r < 0)
		return kp_err_set(w->err, -errno, "list the conntrack table: %s", strerror(errno));
	return flush_deletes(w);
}

int dp_ct_sweep(struct dp_ct *ct, enum kp_family family, enum dp_ct_ask ask, const struct dp_ct_frontend *only,
		dp_ct_stale_fn *stale, void *arg, struct dp_ct_stats *stats, struct kp_err *err)
{
	struct walk w = { .ct = ct, .family = family, .ask = ask, .stale = stale, .arg = arg, .stats = stats, .err = err };
	int r = prepare_io(ct, err);

	if (r == 0)
		r = dump(&w, !ct->no_filter, only);
	if ((r == -EINVAL || r == -EOPNOTSUPP) && !ct->no_filter && w.code == 0) {
		r = dump(&w, false, NULL);
		ct->no_filter = r == 0;		/* else it was not the filter: no ctnetlink here answers the same */
	}
	if (r < 0)
		release_io(ct);
	return r;
}

static bool stale_in_set(void *arg, const struct dp_ct_entry *e)
{
	return dp_ct_set_stale(arg, e);
}

static int clean_udp(struct dp_ct *ct, enum kp_family family, uint64_t now_ns, struct dp_ct_stats *stats, struct kp_err *err)
{
	const struct dp_ct_frontend *due[DIRECT_MAX];
	size_t n = dp_ct_set_due(ct->set, family, now_ns, due, DIRECT_MAX);
	int r = 0;

	if (n > DIRECT_MAX || (n && ct->no_filter))
		return dp_ct_sweep(ct, family, DP_CT_UDP, NULL, stale_in_set, ct->set, stats, err);
	for (size_t i = 0; i < n && r == 0; i++)
		r = dp_ct_sweep(ct, family, DP_CT_UDP, due[i], stale_in_set, ct->set, stats, err);
	return r;
}

static int clean_missed(struct dp_ct *ct, enum kp_family family, uint64_t now_ns, struct dp_ct_stats *stats,
			struct kp_err *err)
{
	uint64_t before = stats->deleted;
	int r = 0;

	if (dp_ct_set_missed_due(ct->set, family, now_ns))
		r = dp_ct_sweep(ct, family, DP_CT_UNREPLIED, NULL, stale_in_set, ct->set, stats, err);
	stats->missed = stats->deleted - before;
	return r;
}

/* Connections first: somebody waits for their next retransmission. */
static int clean_family(struct dp_ct *ct, enum kp_family family, uint64_t now_ns, struct dp_ct_stats *stats,
			struct kp_err *err)
{
	uint64_t began = kp_now_ns();
	int r;

	if (!dp_ct_set_due(ct->set, family, now_ns, NULL, 0) && !dp_ct_set_missed_due(ct->set, family, now_ns))
		return 0;
	r = clean_missed(ct, family, now_ns, stats, err);
	if (r == 0)
		r = clean_udp(ct, family, now_ns, stats, err);
	if (r == 0)
		dp_ct_set_done(ct->set, family, now_ns, stats->deleted > 0, now_ns + REPEAT_NS);
	stats->took_ns = kp_now_ns() - began;
	return r;
}

/* Milliseconds until the set has something due. */
static int due_in_ms(const struct dp_ct *ct, uint64_t now_ns)
{
	uint64_t due = dp_ct_set_due_ns(ct->set);

	if (due == UINT64_MAX)
		return -1;
	if (due < ct->not_before_ns)
		due = ct->not_before_ns;
	return due <= now_ns ? 0 : (int)((due - now_ns + 999999) / 1000000);
}

static int run_here(struct dp_ct *ct, uint64_t now_ns, struct dp_ct_stats ret[KP_N_FAMILIES], struct kp_err *err)
{
	uint64_t start = kp_now_ns();
	int r = 0;

	memset(ret, 0, KP_N_FAMILIES * sizeof(*ret));
	for (int f = 0; f < KP_N_FAMILIES && due_in_ms(ct, now_ns) == 0; f++) {
		int one = clean_family(ct, f, now_ns, &ret[f], r ? NULL : err);

		r = r ? r : one;
	}
	if (r < 0) {
		ct->retry_ns = ct->retry_ns ? ct->retry_ns * 2 : RETRY_MIN_NS;
		if (ct->retry_ns > RETRY_MAX_NS)
			ct->retry_ns = RETRY_MAX_NS;
		ct->not_before_ns = now_ns + ct->retry_ns;
		return kp_err_wrap(err, r, "clean up conntrack");
	}
	ct->retry_ns = 0;
	ct->not_before_ns = now_ns + (1 + IDLE_SHARE) * (kp_now_ns() - start);
	if (dp_ct_set_due_ns(ct->set) == UINT64_MAX)
		release_io(ct);
	return 0;
}

static void *run_there(void *arg)
{
	struct dp_ct *ct = arg;

	ct->bg.code = run_here(ct, ct->bg.now_ns, ct->bg.stats, &ct->bg.err);
	atomic_store(&ct->bg.done, true);
	return NULL;
}

/* False: no thread is to be had. */
static bool start_run(struct dp_ct *ct, uint64_t now_ns)
{
	ct->bg.now_ns = now_ns;
	ct->bg.err = (struct kp_err){ 0 };
	atomic_store(&ct->bg.done, false);
	ct->bg.running = kp_thread_start(&ct->bg.thread, "conntrack", run_there, ct) == 0;
	return ct->bg.running;
}

/* What became of the run; what was put meanwhile is known to the next one. */
static int end_run(struct dp_ct *ct, struct dp_ct_stats ret[KP_N_FAMILIES], struct kp_err *err)
{
	pthread_join(ct->bg.thread, NULL);
	ct->bg.running = false;
	dp_ct_set_move(ct->set, ct->bg.later);
	memcpy(ret, ct->bg.stats, sizeof(ct->bg.stats));
	if (err)
		*err = ct->bg.err;
	return ct->bg.code;
}

int dp_ct_run(struct dp_ct *ct, uint64_t now_ns, struct dp_ct_stats ret[KP_N_FAMILIES], struct kp_err *err)
{
	memset(ret, 0, KP_N_FAMILIES * sizeof(*ret));
	if (ct->bg.running)
		return atomic_load(&ct->bg.done) ? end_run(ct, ret, err) : 0;
	if (ct->bg.wanted && due_in_ms(ct, now_ns) == 0 && start_run(ct, now_ns))
		return 0;
	return run_here(ct, now_ns, ret, err);
}

int dp_ct_pending_ms(const struct dp_ct *ct, uint64_t now_ns)
{
	if (ct->bg.running)
		return atomic_load(&ct->bg.done) ? 0 : POLL_MS;
	return due_in_ms(ct, now_ns);
}

void dp_ct_background(struct dp_ct *ct)
{
	ct->bg.wanted = true;
}
