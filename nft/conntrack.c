#include "nft/conntrack.h"

#include <errno.h>
#include <libmnl/libmnl.h>
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
/*
 * The kernel keeps a processor, softirqs included, until it has found as much or the table
 * ends: with 32 KiB eight times as long as with a page, which costs nothing that can be measured.
 */
#define RECV_SIZE	MNL_SOCKET_BUFFER_SIZE
#define ANSWERS_SIZE	(1024 * 1024)	/* receive buffer for a batch that fails message by message */

#define REPEAT_NS	1000000000u
#define RETRY_MIN_NS	1000000000u
#define RETRY_MAX_NS	30000000000u
#define IDLE_SHARE	4		/* rest this many times as long as a run took */
#define POLL_MS		20		/* how often a run in the background is looked after */

/*
 * A run in the background. While there is one, the rest of struct dp_ct is its thread's;
 * starting and joining it hand that over, so there is no lock.
 */
struct background {
	bool wanted, running;
	atomic_bool done, stop;
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
	struct mnl_socket *dump, *del;	/* opened for the first run; closed after a failure, as answers may be under way */
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

static void release_buffers(struct dp_ct *ct)
{
	free(ct->recv_buf);
	free(ct->batch);
	ct->recv_buf = ct->batch = NULL;
	ct->batch_len = ct->n_batched = 0;
}

static void release_io(struct dp_ct *ct)
{
	ct->dump = close_socket(ct->dump);
	ct->del = close_socket(ct->del);
	release_buffers(ct);
}

struct dp_ct *dp_ct_free(struct dp_ct *ct)
{
	if (!ct)
		return NULL;
	atomic_store(&ct->bg.stop, true);
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

static int add_delete(struct walk *w, const struct dp_ct_msg *m)
{
	struct dp_ct *ct = w->ct;
	struct nlmsghdr *nlh = dp_ct_msg_delete(ct->batch + ct->batch_len, ++ct->seq, w->family, m);

	if (!nlh)
		return 0;
	ct->batch_len += nlh->nlmsg_len;
	ct->n_batched++;
	return ct->batch_len + DP_CT_DELETE_MAX > BATCH_SIZE ? flush_deletes(w) : 0;
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
	struct dp_ct_msg m;

	w->stats->examined++;
	if (!dp_ct_msg_read(nlh, w->family, &m) || !is_asked_for(w, &m.entry) || !w->stale(w->arg, &m.entry))
		return MNL_CB_OK;
	return add_delete(w, &m) < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

static int dump(struct walk *w, bool filter, const struct dp_ct_part *part)
{
	struct dp_ct *ct = w->ct;
	struct nlmsghdr *nlh = dp_ct_msg_dump(ct->recv_buf, ++ct->seq, w->family);
	unsigned portid = mnl_socket_get_portid(ct->dump), seq = nlh->nlmsg_seq;
	int r;

	if (atomic_load(&ct->bg.stop))
		return -ECANCELED;
	if (filter)
		dp_ct_msg_select(nlh, w->ask, part);
	if (mnl_socket_sendto(ct->dump, nlh, nlh->nlmsg_len) < 0)
		return kp_err_set(w->err, -errno, "ask for the conntrack table: %s", strerror(errno));
	do {
		ssize_t n = mnl_socket_recvfrom(ct->dump, ct->recv_buf, RECV_SIZE);

		r = n < 0 ? -1 : mnl_cb_run(ct->recv_buf, (size_t)n, seq, portid, on_entry, w);
	} while (r > 0 && !atomic_load(&ct->bg.stop));
	if (w->code < 0)
		return w->code;
	if (r > 0)
		return -ECANCELED;
	if (r < 0)
		return kp_err_set(w->err, -errno, "list the conntrack table: %s", strerror(errno));
	return flush_deletes(w);
}

int dp_ct_sweep(struct dp_ct *ct, enum kp_family family, enum dp_ct_ask ask, const struct dp_ct_part *part,
		dp_ct_stale_fn *stale, void *arg, struct dp_ct_stats *stats, struct kp_err *err)
{
	struct walk w = { .ct = ct, .family = family, .ask = ask, .stale = stale, .arg = arg, .stats = stats, .err = err };
	int r = prepare_io(ct, err);

	if (r == 0)
		r = dump(&w, !ct->no_filter, part);
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

/* A walk for each part; of too many, one that looks at everything. */
static int clean_udp(struct dp_ct *ct, enum kp_family family, const struct dp_ct_part *parts, size_t n,
		     struct dp_ct_stats *stats, struct kp_err *err)
{
	int r = 0;

	if (n > DP_CT_MAX_PARTS || (n && ct->no_filter))
		return dp_ct_sweep(ct, family, DP_CT_UDP, NULL, stale_in_set, ct->set, stats, err);
	for (size_t i = 0; i < n && r == 0; i++)
		r = dp_ct_sweep(ct, family, DP_CT_UDP, &parts[i], stale_in_set, ct->set, stats, err);
	return r;
}

static int clean_missed(struct dp_ct *ct, enum kp_family family, struct dp_ct_stats *stats, struct kp_err *err)
{
	int r = dp_ct_sweep(ct, family, DP_CT_UNREPLIED, NULL, stale_in_set, ct->set, stats, err);

	stats->missed = stats->deleted;
	return r;
}

/* Connections first: somebody waits for their next retransmission. */
static int clean_family(struct dp_ct *ct, enum kp_family family, uint64_t now_ns, struct dp_ct_stats *stats,
			struct kp_err *err)
{
	struct dp_ct_part parts[DP_CT_MAX_PARTS];
	size_t n = dp_ct_set_parts(ct->set, family, now_ns, parts);
	bool missed = dp_ct_set_missed_due(ct->set, family, now_ns);
	uint64_t began = kp_now_ns();
	int r = 0;

	if (missed)
		r = clean_missed(ct, family, stats, err);
	if (r == 0)
		r = clean_udp(ct, family, parts, n, stats, err);
	if (r == 0)
		dp_ct_set_done(ct->set, family, now_ns, stats->deleted > 0, now_ns + REPEAT_NS);
	stats->took_ns = missed || n ? kp_now_ns() - began : 0;
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
		release_buffers(ct);	/* not the sockets: see socket.h */
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
