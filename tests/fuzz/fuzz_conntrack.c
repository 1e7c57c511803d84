#include "kernel.h"

#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include "nft/conntrack.h"
#include "proxy/base/err.h"

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	(void)bus;
	(void)flags;
	return &fuzz_kernel;
}

int mnl_socket_bind(struct mnl_socket *nl, unsigned groups, pid_t pid)
{
	(void)nl;
	(void)groups;
	(void)pid;
	return 0;
}

unsigned mnl_socket_get_portid(const struct mnl_socket *nl)
{
	(void)nl;
	return 0;
}

int mnl_socket_setsockopt(const struct mnl_socket *nl, int type, void *buf, socklen_t len)
{
	(void)nl;
	(void)type;
	(void)buf;
	(void)len;
	return 0;
}

int mnl_socket_close(struct mnl_socket *nl)
{
	(void)nl;
	return 0;
}

/* A delete that names no tuple flushes the table of the whole node. */
static void check_delete(const struct nlmsghdr *nlh)
{
	const struct nlattr *a;
	bool tuple = false, id = false;

	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg)) {
		tuple |= mnl_attr_get_type(a) == CTA_TUPLE_ORIG && mnl_attr_get_payload_len(a);
		id |= mnl_attr_get_type(a) == CTA_ID;
	}
	FUZZ_CHECK(tuple && id);
}

static unsigned n_deletes;

static void on_told(const void *buf, size_t len)
{
	const struct nlmsghdr *nlh = buf;
	int left = (int)len;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		if (nlh->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE))
			continue;
		check_delete(nlh);
		n_deletes++;
	}
	FUZZ_CHECK(left == 0);
}

static unsigned n_stale;

static enum dp_ct_ask ask;

static bool is_stale(void *arg, const struct dp_ct_entry *e)
{
	bool stale = dp_ct_set_stale(arg, e) || (e->reply_sport & 1);

	FUZZ_CHECK(e->orig_dst.family == e->reply_src.family);
	if (ask == DP_CT_UDP)
		FUZZ_CHECK(e->proto == IPPROTO_UDP);
	else
		FUZZ_CHECK((e->proto == IPPROTO_TCP || e->proto == IPPROTO_SCTP) && !e->replied);
	n_stale += stale;
	return stale;
}

static struct dp_ct *new_ct(void)
{
	const struct kp_backend to = { .port = 53 };
	const struct dp_ct_frontend fes[] = {
		{ .ip = { KP_IPV4, { 10, 96, 0, 10 } }, .port = 53, .serving = &to, .n_serving = 1 },
		{ .ip = { KP_IPV4, { 10, 96, 0, 11 } }, .port = 53, .removed = true },
		{ .ip = { KP_IPV4, { 0 } }, .node_port = true, .port = 30053 },
	};
	struct dp_ct *ct = dp_ct_new();

	for (size_t i = 0; i < KP_N(fes); i++)
		dp_ct_set_put(dp_ct_set(ct), &fes[i]);
	return ct;
}

/* Dumps of conntrack: nothing but stale entries is deleted, each by its own tuple and id. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dp_ct_stats stats = { 0 };
	struct dp_ct *ct = new_ct();
	struct kp_err err = { 0 };
	int r;

	n_deletes = n_stale = 0;
	ask = size & 2 ? DP_CT_UNREPLIED : DP_CT_UDP;
	fuzz_kernel_says(data, size)->told = on_told;
	r = dp_ct_sweep(ct, size & 1 ? KP_IPV6 : KP_IPV4, ask, NULL, is_stale, dp_ct_set(ct), &stats, &err);
	FUZZ_CHECK(r == 0 || *err.msg);
	FUZZ_CHECK(n_deletes <= n_stale && stats.deleted == n_deletes && n_stale <= stats.examined);
	dp_ct_free(ct);
	return 0;
}
