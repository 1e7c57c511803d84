#include "nft/who.h"

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

#include "nft/ask.h"
#include "nft/socket.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define NAMES_MAX 4
#define HEARD_MAX 256		/* elements; a set is read as a whole when there are more */
#define MSG_DESTROYSETELEM 30	/* NFT_MSG_DESTROYSETELEM, since Linux 6.3: older headers lack it */
#define ROOM (32 << 20)		/* a name comes after a message for each element, and what does not fit is lost */

struct dp_who {
	struct mnl_socket *nl;	/* NULL: not needed yet */
	bool listens;		/* it is a member of the group */
	uint64_t until_ns;
	uint32_t first, last;	/* generations heard without a gap; first 0: none yet */
};

/* An element of a commit whose author comes last. */
struct touched {
	enum kp_family f;
	enum dp_set set;
	uint16_t len;
	uint8_t key[DP_KEY_MAX];
};

/* What one look into the queue finds. */
struct ear {
	struct dp_who *who;
	const char *table;
	uint32_t self;
	struct dp_heard *heard;	/* NULL: only who it was */
	uint32_t pids[NAMES_MAX];
	char names[NAMES_MAX][17];	/* TASK_COMM_LEN */
	size_t n_names;
	struct touched touched[HEARD_MAX];
	size_t n;		/* may be more: then they were not kept */
};

struct dp_who *dp_who_new(void)
{
	return kp_calloc(1, sizeof(struct dp_who));
}

/* Not by closing: a commit is next, and would wait for that (socket.h). */
void dp_who_pause(struct dp_who *w)
{
	int group = NFNLGRP_NFTABLES, fd = w->nl ? mnl_socket_get_fd(w->nl) : -1;
	char c;

	if (!w->listens)
		return;
	w->listens = false;
	(void)mnl_socket_setsockopt(w->nl, NETLINK_DROP_MEMBERSHIP, &group, sizeof(group));
	while (recv(fd, &c, 1, MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
}

struct dp_who *dp_who_free(struct dp_who *w)
{
	if (w && w->nl)
		mnl_socket_close(w->nl);
	free(w);
	return NULL;
}

static void open_socket(struct dp_who *w)
{
	struct kp_err err = { 0 };
	int room = ROOM;

	if (dp_socket_open(&w->nl, &err) == 0)
		(void)setsockopt(mnl_socket_get_fd(w->nl), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
}

void dp_who_listen(struct dp_who *w, uint64_t until_ns)
{
	int group = NFNLGRP_NFTABLES;

	w->until_ns = until_ns;
	if (w->listens)
		return;
	w->first = 0;
	if (!w->nl)
		open_socket(w);
	w->listens = w->nl && mnl_socket_setsockopt(w->nl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0;
}

void dp_who_tick(struct dp_who *w, uint64_t now_ns)
{
	if (now_ns >= w->until_ns)
		dp_who_pause(w);
}

void dp_heard_release(struct dp_heard *h)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		for (int set = 0; set < DP_N_SETS; set++)
			kp_map_free(h->keys[f][set]);
	*h = (struct dp_heard){ 0 };
}

struct kp_map *dp_heard_copy(const struct kp_map *keys)
{
	struct kp_map *m = kp_map_new(NULL);

	for (struct kp_map_it it = { 0 }; kp_map_next(keys, &it);)
		kp_map_put(m, it.key, it.len, m);
	return m;
}

static void note_name(struct ear *e, uint32_t pid, const char *name)
{
	if (e->n_names >= NAMES_MAX)
		return;
	for (size_t i = 0; i < e->n_names; i++)
		if (e->pids[i] == pid)
			return;
	e->pids[e->n_names] = pid;
	snprintf(e->names[e->n_names++], sizeof(e->names[0]), "%s", name);
}

static void keep_touched(struct ear *e)
{
	struct dp_heard *h = e->heard;

	if (!h)
		return;
	h->complete &= h->n + e->n <= HEARD_MAX;
	for (size_t i = 0; i < e->n && h->complete; i++) {
		const struct touched *t = &e->touched[i];
		struct kp_map **keys = &h->keys[t->f][t->set];

		if (!*keys)
			*keys = kp_map_new(NULL);
		kp_map_put(*keys, t->key, t->len, *keys);
		h->n++;
	}
}

/* The end of a commit. */
static void on_generation(const struct nlmsghdr *nlh, struct ear *e)
{
	const struct nlattr *a;
	const char *name = "";
	uint32_t pid = 0, id = 0;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(a) == NFTA_GEN_ID)
			id = ntohl(mnl_attr_get_u32(a));
		if (mnl_attr_get_type(a) == NFTA_GEN_PROC_PID)
			pid = ntohl(mnl_attr_get_u32(a));
		if (mnl_attr_get_type(a) == NFTA_GEN_PROC_NAME && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
			name = mnl_attr_get_str(a);
	}
	if (!e->who->first)
		e->who->first = id;
	e->who->last = id;
	if (pid != e->self) {
		note_name(e, pid, name);
		keep_touched(e);
	}
	e->n = 0;
}

static bool has_text(const struct nlattr *a, const char *text)
{
	return mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0 && strcmp(mnl_attr_get_str(a), text) == 0;
}

static void touch(struct ear *e, enum kp_family f, enum dp_set set, const struct nlattr *elem)
{
	const struct nlattr *key = dp_ask_in(dp_ask_in(elem, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);
	struct touched *t = e->n < HEARD_MAX ? &e->touched[e->n] : NULL;

	if (!key || mnl_attr_get_payload_len(key) != dp_set_key_len(set, f))
		return;
	if (t) {
		*t = (struct touched){ .f = f, .set = set, .len = mnl_attr_get_payload_len(key) };
		memcpy(t->key, mnl_attr_get_payload(key), t->len);
	}
	e->n++;
}

static void on_elements(const struct nlmsghdr *nlh, struct ear *e)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(nlh);
	enum kp_family f = g->nfgen_family == NFPROTO_IPV4 ? KP_IPV4 : KP_IPV6;
	const struct nlattr *a, *elem;
	enum dp_set set = DP_AFF;
	bool ours = false;

	if (!e->heard)
		return;
	mnl_attr_for_each(a, nlh, sizeof(*g)) {
		if (mnl_attr_get_type(a) == NFTA_SET_ELEM_LIST_TABLE)
			ours = has_text(a, e->table) && (f == KP_IPV4 || g->nfgen_family == NFPROTO_IPV6);
		if (mnl_attr_get_type(a) == NFTA_SET_ELEM_LIST_SET && mnl_attr_validate(a, MNL_TYPE_NUL_STRING) == 0)
			set = dp_set_by_name(mnl_attr_get_str(a));
		if (mnl_attr_get_type(a) == NFTA_SET_ELEM_LIST_ELEMENTS && ours && set < DP_N_SETS)
			mnl_attr_for_each_nested(elem, a)
				touch(e, f, set, elem);
	}
}

static void on_message(const struct nlmsghdr *nlh, struct ear *e)
{
	if (nlh->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || mnl_nlmsg_get_payload_len(nlh) < sizeof(struct nfgenmsg))
		return;
	switch (nlh->nlmsg_type & 0xff) {
	case NFT_MSG_NEWGEN:
		on_generation(nlh, e);
		break;
	case NFT_MSG_NEWSETELEM: case NFT_MSG_DELSETELEM: case MSG_DESTROYSETELEM:
		on_elements(nlh, e);
		break;
	}
}

/* Everything that waits. Where some of it was lost, what is left may still tell who. */
static char *listen_to_all(struct ear *e)
{
	char buf[32768] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct dp_who *w = e->who;
	struct kp_buf out = { 0 };
	bool lost = false;

	while (w->listens) {
		struct nlmsghdr *nlh = (struct nlmsghdr *)buf;
		ssize_t got = recv(mnl_socket_get_fd(w->nl), buf, sizeof(buf), MSG_DONTWAIT);
		int left = (int)got;

		if (got < 0 && errno == ENOBUFS) {	/* some are lost, and those that wait are older */
			lost = true;
			continue;
		}
		if (got <= 0)
			break;
		for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left))
			on_message(nlh, e);
	}
	if (lost)
		w->first = 0;
	for (size_t i = 0; i < e->n_names; i++)
		kp_buf_printf(&out, "%s%s (pid %u)", i ? ", " : "", e->names[i], e->pids[i]);
	return out.data;
}

char *dp_who_take(struct dp_who *w, uint32_t self)
{
	return listen_to_all(&(struct ear){ .who = w, .self = self });
}

char *dp_who_hear(struct dp_who *w, const char *table, const struct dp_span *span, struct dp_heard *heard)
{
	char *names = listen_to_all(&(struct ear){ .who = w, .table = table, .self = span->self, .heard = heard });

	heard->complete &= w->listens && w->first && (int32_t)(span->from + 1 - w->first) >= 0 && w->last == span->to;
	return names;
}
