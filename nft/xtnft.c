#include "nft/xtnft.h"

#include <arpa/inet.h>		/* before the kernel's own definitions of the same */
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "nft/ask.h"
#include "nft/attr.h"
#include "nft/held.h"
#include "nft/socket.h"
#include "nft/txn.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

#define TRIES	20	/* when others commit meanwhile */

static const char *const tables[] = { "nat", "filter", "mangle" };

struct save {
	const char *table;
	struct kp_buf *out;
};

/* --- saving --- */

static int on_chain(const struct nlmsghdr *nlh, void *arg)
{
	const struct save *s = arg;

	if (strcmp(dp_ask_str(nlh, NFTA_CHAIN_TABLE), s->table) == 0)
		kp_buf_printf(s->out, ":%s - [0:0]\n", dp_ask_str(nlh, NFTA_CHAIN_NAME));
	return MNL_CB_OK;
}

/* Where an expression leads to; NULL: it is no jump. */
static const char *target_of(const struct nlattr *expr)
{
	const struct nlattr *data = dp_ask_in(dp_ask_in(expr, NFTA_EXPR_DATA), NFTA_IMMEDIATE_DATA);
	const struct nlattr *chain = dp_ask_in(dp_ask_in(data, NFTA_DATA_VERDICT), NFTA_VERDICT_CHAIN);
	const struct nlattr *name = dp_ask_in(expr, NFTA_EXPR_NAME);

	if (!chain || !name || mnl_attr_validate(name, MNL_TYPE_NUL_STRING) < 0 ||
	    mnl_attr_validate(chain, MNL_TYPE_NUL_STRING) < 0 || strcmp(mnl_attr_get_str(name), "immediate") != 0)
		return NULL;
	return mnl_attr_get_str(chain);
}

/* It is a condition, or some other thing that a plain jump does without. */
static bool is_more(const struct nlattr *expr)
{
	const struct nlattr *name = dp_ask_in(expr, NFTA_EXPR_NAME);

	return name && mnl_attr_validate(name, MNL_TYPE_NUL_STRING) == 0 && strcmp(mnl_attr_get_str(name), "counter") != 0 &&
	       strcmp(mnl_attr_get_str(name), "immediate") != 0;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a, *expr;
	const struct save *s = arg;
	const char *target = NULL;
	uint64_t handle = 0;
	bool more = false;

	if (strcmp(dp_ask_str(nlh, NFTA_RULE_TABLE), s->table) != 0)
		return MNL_CB_OK;
	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg)) {
		if (mnl_attr_get_type(a) == NFTA_RULE_HANDLE && mnl_attr_get_payload_len(a) >= sizeof(handle))
			handle = be64toh(mnl_attr_get_u64(a));
		if (mnl_attr_get_type(a) == NFTA_RULE_EXPRESSIONS)
			mnl_attr_for_each_nested(expr, a) {
				target = target_of(expr) ? target_of(expr) : target;
				more |= is_more(expr);
			}
	}
	kp_buf_printf(s->out, "-A %s handle %llu%s", dp_ask_str(nlh, NFTA_RULE_CHAIN), (unsigned long long)handle,
		      more ? " -m match" : "");
	if (target)
		kp_buf_printf(s->out, " -j %s", target);
	kp_buf_puts(s->out, "\n");
	return MNL_CB_OK;
}

static int save_table(struct mnl_socket *nl, enum kp_family f, struct save *s)
{
	struct dp_ask chains = { .type = NFT_MSG_GETCHAIN, .on_answer = on_chain, .arg = s };
	struct dp_ask rules = { .type = NFT_MSG_GETRULE, .table_attr = NFTA_RULE_TABLE, .table = s->table,
				.on_answer = on_rule, .arg = s };
	int r;

	kp_buf_printf(s->out, "*%s\n", s->table);
	r = dp_ask(nl, f, &chains, NLM_F_DUMP);
	if (r == 0)
		r = dp_ask(nl, f, &rules, NLM_F_DUMP);
	kp_buf_puts(s->out, "COMMIT\n");
	return r;
}

static int save(struct mnl_socket *nl, enum kp_family f, struct kp_buf *out, uint32_t *ret_generation)
{
	int r = dp_genid(nl, ret_generation, NULL);

	for (size_t i = 0; i < KP_N(tables) && r == 0; i++) {
		struct save s = { tables[i], out };

		r = save_table(nl, f, &s);
	}
	return r;
}

/* --- changing --- */

static void flush_chain(struct dp_txn *txn, const char *table, const char *chain)
{
	struct kp_buf *b = dp_txn_begin(txn, DP_SEC_GONE_FLUSH, NFT_MSG_DELRULE, 0, 0, chain);

	dp_attr_str(b, NFTA_RULE_TABLE, table);
	dp_attr_str(b, NFTA_RULE_CHAIN, chain);
	dp_txn_end(txn);
}

static void delete_rule(struct dp_txn *txn, const char *table, const char *chain, uint64_t handle)
{
	struct kp_buf *b = dp_txn_begin(txn, DP_SEC_GONE_FLUSH, NFT_MSG_DELRULE, 0, 0, chain);
	uint64_t be = htobe64(handle);

	dp_attr_str(b, NFTA_RULE_TABLE, table);
	dp_attr_str(b, NFTA_RULE_CHAIN, chain);
	dp_attr_put(b, NFTA_RULE_HANDLE, &be, sizeof(be));
	dp_txn_end(txn);
}

static void delete_chain(struct dp_txn *txn, const char *table, const char *chain)
{
	struct kp_buf *b = dp_txn_begin(txn, DP_SEC_GONE_CHAIN, NFT_MSG_DELCHAIN, 0, 0, chain);

	dp_attr_str(b, NFTA_CHAIN_TABLE, table);
	dp_attr_str(b, NFTA_CHAIN_NAME, chain);
	dp_txn_end(txn);
}

/* A line as dp_kube_removal() writes it; names in it are at most 63 bytes long. */
static void add_line(struct dp_txn *txn, char table[64], const char *text, size_t len)
{
	unsigned long long handle;
	char line[256], chain[64];

	snprintf(line, sizeof(line), "%.*s", (int)len, text);	/* sscanf() measures all of its input */
	if (sscanf(line, "*%63s", table) == 1)
		return;
	if (sscanf(line, ":%63s", chain) == 1)
		flush_chain(txn, table, chain);
	else if (sscanf(line, "-D %63s handle %llu", chain, &handle) == 2)
		delete_rule(txn, table, chain, handle);
	else if (sscanf(line, "-X %63s", chain) == 1)
		delete_chain(txn, table, chain);
}

static int restore(struct mnl_socket *nl, enum kp_family f, const char *removal, uint32_t generation, struct kp_err *err)
{
	struct dp_txn *txn = dp_txn_new(f, "");
	struct dp_txn_report rep;
	char table[64] = "";
	int r;

	for (const char *line = removal, *end; (end = strchr(line, '\n')); line = end + 1)
		add_line(txn, table, line, (size_t)(end - line));
	r = dp_txn_commit(txn, nl, &generation, &rep);
	if (r < 0)
		kp_err_set(err, r, "%s: %s", kp_family_names[f], rep.message);
	dp_txn_report_release(&rep);
	dp_txn_free(txn);
	return r;
}

static int edit_once(struct mnl_socket *nl, enum kp_family f, dp_xtnft_fn *fn, void *arg, struct kp_err *err)
{
	struct kp_buf text = { 0 }, removal = { 0 };
	uint32_t generation;
	int r = save(nl, f, &text, &generation);

	if (r < 0)
		kp_err_set(err, r, "%s: list the rules of iptables-nft: %s", kp_family_names[f], strerror(-r));
	else
		fn(arg, text.data, &removal);
	if (removal.len)
		r = restore(nl, f, removal.data, generation, err);
	kp_buf_release(&text);
	kp_buf_release(&removal);
	return r;
}

int dp_xtnft_edit(enum kp_family f, dp_xtnft_fn *fn, void *arg, struct kp_err *err)
{
	int r = -ERESTART;

	for (int i = 0; i < TRIES && (r == -ERESTART || r == -EINTR); i++) {
		struct mnl_socket *nl = NULL;

		r = dp_socket_open(&nl, err);
		if (r < 0)
			return r;
		r = edit_once(nl, f, fn, arg, err);
		mnl_socket_close(nl);
	}
	return r;
}
