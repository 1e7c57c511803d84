#include "nft/otherclean.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "nft/ipsets.h"
#include "nft/ipt_tools.h"
#include "nft/ipvs.h"
#include "nft/kubechains.h"
#include "nft/netlink.h"
#include "nft/table.h"
#include "nft/xtnft.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"

static void __attribute__((format(printf, 2, 3))) step(const struct dp_otherclean *how, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	how->say(how->arg, false, text);
}

static int delete_table(const struct dp_otherclean *how, enum kp_family f, struct kp_err *err)
{
	struct dp_txn *txn = dp_txn_new(f, DP_OTHER_TABLE);
	struct mnl_socket *nl = NULL;
	struct dp_txn_report rep = { 0 };
	int r = dp_socket_open(&nl, err);

	step(how, "%s: nftables table %s", kp_family_names[f], DP_OTHER_TABLE);
	if (r == 0 && !how->dry_run) {
		dp_netlink_del_table(txn, DP_OTHER_TABLE);
		r = dp_txn_commit(txn, nl, NULL, &rep);
		r = r < 0 && r != -ENOENT ? kp_err_set(err, r, "%s: %s", kp_family_names[f], rep.message) : 0;
	}
	dp_txn_report_release(&rep);
	dp_txn_free(txn);
	if (nl)
		mnl_socket_close(nl);
	return r;
}

static void say_lines(const struct dp_otherclean *how, char *text)
{
	for (char *line = text, *end; *line; line = end + 1) {
		end = strchr(line, '\n');
		*end = '\0';
		how->say(how->arg, true, line);
		*end = '\n';
	}
}

static void say_chains(const struct dp_otherclean *how, enum dp_xt xt, enum kp_family f, char *removal)
{
	step(how, "%s: %s rules of kube-proxy", kp_family_names[f], dp_xt_names[xt]);
	say_lines(how, removal);
}

struct nft_job {
	const struct dp_otherclean *how;
	enum kp_family f;
	bool said;
};

static void remove_from_nft(void *arg, const char *save, struct kp_buf *removal)
{
	struct nft_job *job = arg;

	dp_kube_removal(save, removal);
	if (removal->len && !job->said)
		say_chains(job->how, DP_XT_NFT, job->f, removal->data);
	job->said |= removal->len > 0;
	if (job->how->dry_run)
		kp_buf_release(removal);
}

static int clean_nft(const struct dp_otherclean *how, enum kp_family f, struct kp_err *err)
{
	return dp_xtnft_edit(f, remove_from_nft, &(struct nft_job){ how, f, false }, err);
}

static int clean_legacy(const struct dp_otherclean *how, enum kp_family f, struct kp_err *err)
{
	struct kp_buf save = { 0 }, removal = { 0 };
	struct dp_ipt_tools tools;
	unsigned line;
	int r = dp_ipt_tools_legacy(&tools, err);

	tools.cancel_fd = how->cancel_fd;
	if (r == 0)
		r = dp_ipt_tools_save(&tools, f, &save, err);
	if (r == 0)
		dp_kube_removal(save.data, &removal);
	if (removal.len)
		say_chains(how, DP_XT_LEGACY, f, removal.data);
	if (removal.len && !how->dry_run)
		r = dp_ipt_tools_restore(&tools, f, &removal, &line, err);
	kp_buf_release(&save);
	kp_buf_release(&removal);
	return r;
}

static void say_ipset(void *arg, const char *name)
{
	step(arg, "ipset %s", name);
}

static int clean_ipvs(const struct dp_otherclean *how, uint32_t servers, struct kp_err *err)
{
	uint32_t n = dp_ipvs_connections();
	int r;

	if (n && how->gentle)
		return kp_err_set(err, -EAGAIN, "%u connections run through IPVS: %s stays until they end", n, DP_OTHER_LINK);
	if (servers)
		step(how, "virtual servers of IPVS on the addresses of %s and in ipsets (%u servers in all)", DP_OTHER_LINK, servers);
	step(how, "interface %s", DP_OTHER_LINK);
	if (how->dry_run)
		return 0;
	r = dp_ipvs_clear(DP_OTHER_LINK, &n, err);
	return r == 0 ? dp_link_delete(DP_OTHER_LINK, err) : r;
}

/* The first failure, with its text. */
static int first(int before, int r, const struct kp_err *why, struct kp_err *err)
{
	if (before == 0 && r < 0)
		*err = *why;
	return before < 0 ? before : r;
}

int dp_other_clean(const struct dp_other *o, const struct dp_otherclean *how, struct kp_err *err)
{
	struct kp_err why = { 0 };
	bool chains = false;
	int r = 0, ipvs;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		if (o->chains[DP_XT_NFT][f])
			r = first(r, clean_nft(how, (enum kp_family)f, &why), &why, err);
		if (o->chains[DP_XT_LEGACY][f])
			r = first(r, clean_legacy(how, (enum kp_family)f, &why), &why, err);
		chains |= o->chains[DP_XT_NFT][f] || o->chains[DP_XT_LEGACY][f];
	}
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (o->table[f])
			r = first(r, delete_table(how, (enum kp_family)f, &why), &why, err);
	ipvs = o->link ? clean_ipvs(how, o->servers, &why) : 0;
	r = first(r, ipvs, &why, err);
	if (ipvs == 0 && (chains || o->link))	/* they tell which virtual servers are its own */
		r = first(r, dp_ipsets_destroy(how->dry_run, say_ipset, (void *)how, &why), &why, err);
	return r;
}
