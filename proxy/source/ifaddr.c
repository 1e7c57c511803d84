#include "proxy/source/ifaddr.h"

#include <errno.h>
#include <event2/event.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define DEBOUNCE_MS	10
#define RETRY_MS	1000
#define START_LIMIT_MS	5000	/* the kernel answers at once, unless the RTNL lock is held for long */
#define RECV_SIZE	(32 * 1024)

struct kp_ifaddr {
	struct mnl_socket *nl;
	struct event *readable, *settled;
	kp_ifaddr_fn *cb;
	void *arg;
	/*
	 * What the kernel said, one entry per interface, prefix and address: the same
	 * address may be there more than once. The values mean nothing.
	 */
	struct kp_map *known;
	struct kp_addr *addrs;	/* what was published: sorted, distinct */
	size_t n;
	uint32_t seq;		/* of the dump under way; answers to it come among the notifications, in order */
	bool dumping, begun;
	bool again;		/* something was lost meanwhile: dump once more */
	bool failed;		/* what was published stays until a dump succeeds */
	_Alignas(struct nlmsghdr) char buf[RECV_SIZE];
};

/* Compared as bytes: made from zeroed memory. */
struct key {
	uint32_t ifindex;
	struct kp_addr local, peer;
	uint8_t prefix_len;
};

static int request_dump(struct kp_ifaddr *i)
{
	_Alignas(struct nlmsghdr) char buf[64];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));

	nlh->nlmsg_type = RTM_GETADDR;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = ++i->seq;
	ifa->ifa_family = AF_UNSPEC;
	if (mnl_socket_sendto(i->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	i->dumping = true;
	i->begun = i->again = false;
	return 0;
}

/* IFA_LOCAL is the address, and IFA_ADDRESS the peer's; without a peer both are the same or only the latter is there. */
static bool read_address(const struct nlmsghdr *nlh, struct key *key, uint32_t *flags)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	uint8_t family = ifa->ifa_family == AF_INET ? KP_IPV4 : KP_IPV6;
	size_t len = kp_addr_len(family);
	const struct nlattr *a;
	bool local = false, peer = false;

	if (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6)
		return false;
	memset(key, 0, sizeof(*key));
	key->ifindex = ifa->ifa_index;
	key->prefix_len = ifa->ifa_prefixlen;
	key->local.family = key->peer.family = family;
	*flags = ifa->ifa_flags;
	mnl_attr_for_each(a, nlh, sizeof(*ifa)) {
		uint16_t type = mnl_attr_get_type(a);
		size_t have = mnl_attr_get_payload_len(a);

		if (type == IFA_LOCAL && have == len) {
			memcpy(key->local.b, mnl_attr_get_payload(a), len);
			local = true;
		} else if (type == IFA_ADDRESS && have == len) {
			memcpy(key->peer.b, mnl_attr_get_payload(a), len);
			peer = true;
		} else if (type == IFA_FLAGS && have == sizeof(*flags)) {
			*flags = mnl_attr_get_u32(a);
		}
	}
	if (!local)
		key->local = key->peer;
	return local || peer;
}

/* An optimistic address is in use while duplicate detection goes on (RFC 4429). */
static bool usable(uint32_t flags)
{
	return !(flags & IFA_F_DADFAILED) && (!(flags & IFA_F_TENTATIVE) || (flags & IFA_F_OPTIMISTIC));
}

static void on_message(struct kp_ifaddr *i, const struct nlmsghdr *nlh)
{
	struct key key;
	uint32_t flags;

	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		i->again = true;
	if (nlh->nlmsg_type != RTM_NEWADDR && nlh->nlmsg_type != RTM_DELADDR)
		return;
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(struct ifaddrmsg) || !read_address(nlh, &key, &flags))
		return;
	if (nlh->nlmsg_type == RTM_NEWADDR && usable(flags))
		kp_map_put(i->known, &key, sizeof(key), i);
	else
		kp_map_del(i->known, &key, sizeof(key));
}

/*
 * Only when the first part of a dump arrives: until then older notifications may be
 * queued in front of it, which must not be taken for news about the dump.
 */
static void begin_dump(struct kp_ifaddr *i)
{
	kp_map_free(i->known);
	i->known = kp_map_new(NULL);
	i->begun = true;
}

/*
 * One datagram. A dump's parts and its end are told from notifications by whose request
 * they answer: those name who changed the address, with his sequence number, or nobody
 * (rtmsg_ifa, inet6_ifa_notify). -errno: the dump failed.
 */
static int handle(struct kp_ifaddr *i, size_t len)
{
	const struct nlmsghdr *nlh = (const void *)i->buf;
	int left = (int)len;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		bool ours = i->dumping && nlh->nlmsg_seq == i->seq && nlh->nlmsg_pid == mnl_socket_get_portid(i->nl);

		if (ours && !i->begun)
			begin_dump(i);
		if (nlh->nlmsg_type >= NLMSG_MIN_TYPE)
			on_message(i, nlh);
		if (!ours)
			continue;
		if (nlh->nlmsg_type == NLMSG_ERROR) {
			i->dumping = false;
			return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(nlh))->error;
		}
		if (nlh->nlmsg_type == NLMSG_DONE) {
			i->dumping = false;
			if (i->again)
				return request_dump(i);
		}
	}
	return 0;
}

/* Notifications were lost. The kernel refuses a second dump while one is under way. */
static int lost(struct kp_ifaddr *i)
{
	if (!i->dumping)
		return request_dump(i);
	i->again = true;
	return 0;
}

/* Everything that is there. 0: read until empty. */
static int drain(struct kp_ifaddr *i)
{
	for (;;) {
		ssize_t n = recv(mnl_socket_get_fd(i->nl), i->buf, sizeof(i->buf), MSG_DONTWAIT);
		int r = 0;

		if (n >= 0)
			r = handle(i, (size_t)n);
		else if (errno == ENOBUFS)
			r = lost(i);
		else if (errno != EINTR)
			return errno == EAGAIN ? 0 : -errno;
		if (r < 0)
			return r;
	}
}

/* Cut the published set from what is known. True: it is another one. */
static bool publish(struct kp_ifaddr *i)
{
	struct kp_addr *addrs = kp_reallocarray(NULL, kp_map_len(i->known) + 1, sizeof(*addrs));
	size_t n = 0, distinct = 0;

	for (struct kp_map_it it = { 0 }; kp_map_next(i->known, &it);)
		addrs[n++] = ((const struct key *)it.key)->local;
	qsort(addrs, n, sizeof(*addrs), kp_addr_order);
	for (size_t k = 0; k < n; k++)
		if (!k || kp_addr_cmp(&addrs[k], &addrs[distinct - 1]) != 0)
			addrs[distinct++] = addrs[k];
	if (distinct == i->n && (!distinct || memcmp(addrs, i->addrs, distinct * sizeof(*addrs)) == 0)) {
		free(addrs);
		return false;
	}
	free(i->addrs);
	i->addrs = addrs;
	i->n = distinct;
	return true;
}

static void wait_ms(struct kp_ifaddr *i, int ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_add(i->settled, &tv);
}

static void check(struct kp_ifaddr *i, int r)
{
	i->failed = r < 0;
	if (i->failed) {
		i->dumping = false;
		kp_warn("ifaddr", "cannot list interface addresses: %s", strerror(-r));
		wait_ms(i, RETRY_MS);
	}
}

static void on_settled(evutil_socket_t fd, short what, void *arg)
{
	struct kp_ifaddr *i = arg;

	(void)fd, (void)what;
	if (i->failed)
		check(i, request_dump(i));
	else if (!i->dumping && publish(i))	/* the end of a dump comes here again */
		i->cb(i->arg);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct kp_ifaddr *i = arg;
	int r = drain(i);

	(void)fd, (void)what;
	if (r < 0)
		check(i, r);
	else if (!event_pending(i->settled, EV_TIMEOUT, NULL))
		wait_ms(i, DEBOUNCE_MS);
}

static int open_socket(struct kp_ifaddr *i, struct kp_err *err)
{
	i->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!i->nl)
		return kp_err_set(err, -errno, "open a route netlink socket: %s", strerror(errno));
	if (mnl_socket_bind(i->nl, RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, MNL_SOCKET_AUTOPID) < 0)
		return kp_err_set(err, -errno, "listen to address changes: %s", strerror(errno));
	return 0;
}

static int read_first(struct kp_ifaddr *i, struct kp_err *err)
{
	struct pollfd p = { .fd = mnl_socket_get_fd(i->nl), .events = POLLIN };
	int r = request_dump(i);

	while (r == 0 && i->dumping) {
		int n = poll(&p, 1, START_LIMIT_MS);

		if (n == 0)
			r = -ETIMEDOUT;
		else if (n < 0 && errno != EINTR)
			r = -errno;
		else if (n > 0)
			r = drain(i);
	}
	if (r < 0)
		return kp_err_set(err, r, "list interface addresses: %s", strerror(-r));
	publish(i);
	return 0;
}

int kp_ifaddr_new(struct kp_ifaddr **ret, struct event_base *base, kp_ifaddr_fn *cb, void *arg, struct kp_err *err)
{
	KP_AUTO(kp_ifaddr_freep) struct kp_ifaddr *i = kp_calloc(1, sizeof(*i));
	int r = open_socket(i, err);

	i->known = kp_map_new(NULL);
	if (r == 0)
		r = read_first(i, err);
	if (r < 0)
		return r;
	i->cb = cb;
	i->arg = arg;
	i->readable = event_new(base, mnl_socket_get_fd(i->nl), EV_READ | EV_PERSIST, on_readable, i);
	i->settled = evtimer_new(base, on_settled, i);
	if (!i->readable || !i->settled || event_add(i->readable, NULL) < 0)
		return kp_err_set(err, -ENOMEM, "watch for address changes: no event");
	*ret = kp_steal(&i);
	return 0;
}

struct kp_ifaddr *kp_ifaddr_free(struct kp_ifaddr *i)
{
	if (!i)
		return NULL;
	if (i->readable)
		event_free(i->readable);
	if (i->settled)
		event_free(i->settled);
	if (i->nl)
		mnl_socket_close(i->nl);
	kp_map_free(i->known);
	free(i->addrs);
	free(i);
	return NULL;
}

size_t kp_ifaddr_get(const struct kp_ifaddr *i, const struct kp_addr **ret)
{
	*ret = i->addrs;
	return i->n;
}
