#include "nft/who.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "nft/socket.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define NAMES_MAX 4
#define ROOM (32 << 20)		/* a name comes after a message for each element, and what does not fit is lost */

struct dp_who {
	struct mnl_socket *nl;	/* member of the group; NULL: not listening */
	uint64_t until_ns;
};

/* What one look into the queue finds. */
struct heard {
	uint32_t self;
	uint32_t pids[NAMES_MAX];
	char names[NAMES_MAX][17];	/* TASK_COMM_LEN */
	size_t n;
};

struct dp_who *dp_who_new(void)
{
	return kp_calloc(1, sizeof(struct dp_who));
}

void dp_who_pause(struct dp_who *w)
{
	if (w->nl)
		mnl_socket_close(kp_steal(&w->nl));
}

struct dp_who *dp_who_free(struct dp_who *w)
{
	if (w)
		dp_who_pause(w);
	free(w);
	return NULL;
}

void dp_who_listen(struct dp_who *w, uint64_t until_ns)
{
	int group = NFNLGRP_NFTABLES, room = ROOM;
	struct kp_err err = { 0 };

	w->until_ns = until_ns;
	if (w->nl || dp_socket_open(&w->nl, &err) < 0)
		return;
	(void)setsockopt(mnl_socket_get_fd(w->nl), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (mnl_socket_setsockopt(w->nl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		dp_who_pause(w);
}

void dp_who_tick(struct dp_who *w, uint64_t now_ns)
{
	if (now_ns >= w->until_ns)
		dp_who_pause(w);
}

static void note(struct heard *h, uint32_t pid, const char *name)
{
	if (pid == h->self || h->n >= NAMES_MAX)
		return;
	for (size_t i = 0; i < h->n; i++)
		if (h->pids[i] == pid)
			return;
	h->pids[h->n] = pid;
	snprintf(h->names[h->n++], sizeof(h->names[0]), "%s", name);
}

static void on_message(const struct nlmsghdr *nlh, struct heard *h)
{
	const struct nlattr *a;
	const char *name = "";
	uint32_t pid = 0;

	if (nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN))
		return;
	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(a) == NFTA_GEN_PROC_PID)
			pid = ntohl(mnl_attr_get_u32(a));
		if (mnl_attr_get_type(a) == NFTA_GEN_PROC_NAME && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
			name = mnl_attr_get_str(a);
	}
	note(h, pid, name);
}

char *dp_who_take(struct dp_who *w, uint32_t self)
{
	char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct heard h = { .self = self };
	struct kp_buf out = { 0 };
	ssize_t got;

	while (w->nl && ((got = recv(mnl_socket_get_fd(w->nl), buf, sizeof(buf), MSG_DONTWAIT)) > 0 ||
			 (got < 0 && errno == ENOBUFS))) {	/* some were lost: what is left may still tell */
		struct nlmsghdr *nlh = (struct nlmsghdr *)buf;

		for (int left = got > 0 ? (int)got : 0; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			on_message(nlh, &h);
	}
	for (size_t i = 0; i < h.n; i++)
		kp_buf_printf(&out, "%s%s (pid %u)", i ? ", " : "", h.names[i], h.pids[i]);
	return out.data;
}
