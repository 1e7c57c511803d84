#include "nft/ipt_tools.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nft/ask.h"
#include "nft/exec.h"
#include "nft/ipt_held.h"
#include "nft/socket.h"
#include "nft/xtnft.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"

#define DEADLINE_MS	60000
#define BYTES_PER_MS	100	/* more for a large input: 15 MB, 10,000 Services, have three minutes */

const char *const dp_ipt_variant_names[DP_IPT_N_VARIANTS] = { "nft", "legacy", "" };
static const char *const programs[KP_N_FAMILIES] = { "iptables", "ip6tables" };

static bool find(const char *name, char ret[64])
{
	static const char *const folders[] = { "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin" };

	for (size_t i = 0; i < KP_N(folders); i++) {
		snprintf(ret, 64, "%s/%s", folders[i], name);
		if (access(ret, X_OK) == 0)
			return true;
	}
	return false;
}

/* "iptables-restore v1.8.9 (nf_tables)"; before 1.8 there was only the old way, and it did not say so. */
static void ask_version(struct dp_ipt_tools *t)
{
	const char *const argv[] = { t->restore[KP_IPV4], "--version", NULL };
	struct kp_buf out = { 0 };
	struct kp_err err = { 0 };
	unsigned v[3] = { 0 };
	const char *at;

	(void)dp_exec(argv, NULL, DEADLINE_MS, -1, &out, NULL, &err);
	at = strstr(out.data, " v");
	if (at && sscanf(at, " v%u.%u.%u", &v[0], &v[1], &v[2]) >= 2)
		t->random_fully = v[0] * 10000 + v[1] * 100 + v[2] >= 10602;
	t->through_nft = strstr(out.data, "(nf_tables)") != NULL;
	kp_buf_release(&out);
}

static bool find_programs(enum dp_ipt_variant v, struct dp_ipt_tools *ret)
{
	const char *dash = v == DP_IPT_PLAIN ? "" : "-", *variant = dp_ipt_variant_names[v];

	*ret = (struct dp_ipt_tools){ .variant = v, .cancel_fd = -1 };
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		char name[64];

		snprintf(name, sizeof(name), "%s%s%s-restore", programs[f], dash, variant);
		if (!find(name, ret->restore[f]))
			return false;
		snprintf(name, sizeof(name), "%s%s%s-save", programs[f], dash, variant);
		if (!find(name, ret->save[f]))
			return false;
	}
	return true;
}

bool dp_ipt_tools_find(enum dp_ipt_variant v, struct dp_ipt_tools *ret)
{
	bool found = find_programs(v, ret);

	if (found)
		ask_version(ret);
	return found;
}

bool dp_ipt_tools_any(void)
{
	struct dp_ipt_tools tools;
	bool any = false;

	for (int v = 0; v < DP_IPT_N_VARIANTS && !any; v++)
		any = find_programs((enum dp_ipt_variant)v, &tools);
	return any;
}

/* table: NULL for all that exist. */
static int save(const struct dp_ipt_tools *t, enum kp_family f, const char *table, struct kp_buf *ret, struct kp_err *err)
{
	const char *const argv[] = { t->save[f], table ? "-t" : NULL, table, NULL };

	return dp_exec(argv, NULL, DEADLINE_MS, t->cancel_fd, ret, NULL, err);
}

/* "# Table `nat' is incompatible, use 'nft' tool.", and success; restoring goes on as if nothing were. */
static bool is_unreadable(const char *text)
{
	static const char start[] = "# Table `", end[] = "' is incompatible";
	bool found = false;

	for (const char *at = strstr(text, start); at && !found; at = strstr(at + 1, start)) {
		const char *name = at + strlen(start);

		found = (at == text || at[-1] == '\n') && strncmp(name + strcspn(name, "'\n"), end, strlen(end)) == 0;
	}
	return found;
}

int dp_ipt_tools_save(const struct dp_ipt_tools *t, enum kp_family f, struct kp_buf *ret, struct kp_err *err)
{
	int r = save(t, f, NULL, ret, err);

	if (r == 0 && is_unreadable(ret->data))
		return kp_err_set(err, -EUCLEAN, "iptables-nft cannot read all of its tables");
	return r;
}

int dp_ipt_tools_legacy(struct dp_ipt_tools *ret, struct kp_err *err)
{
	if (dp_ipt_tools_find(DP_IPT_LEGACY, ret) || (dp_ipt_tools_find(DP_IPT_PLAIN, ret) && !ret->through_nft))
		return 0;
	return kp_err_set(err, -ENOENT, "iptables-legacy is not installed");
}

bool dp_ipt_legacy_in_use(enum kp_family f)
{
	FILE *names = fopen(f == KP_IPV4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names", "re");
	bool any = names ? fgetc(names) != EOF : errno == EACCES;	/* only root may read it */

	if (names)
		(void)fclose(names);
	return any;
}

static bool nft_in_use(enum kp_family f)
{
	struct mnl_socket *nl = NULL;
	bool any = false;
	int r = dp_socket_open(&nl, NULL);

	for (int t = 0; t < DP_IPT_N_TABLES && r == 0 && !any; t++)
		r = dp_table_exists(nl, f, dp_ipt_tables[t], &any);
	if (nl)
		mnl_socket_close(nl);
	return any || (r < 0 && r != -EPROTONOSUPPORT);
}

bool dp_ipt_in_use(const struct dp_ipt_tools *t, enum kp_family f)
{
	return t->through_nft ? nft_in_use(f) : dp_ipt_legacy_in_use(f);
}

int dp_ipt_tools_check(const struct dp_ipt_tools *t, enum kp_family f, struct kp_err *err)
{
	struct kp_buf text = { 0 };
	int r = save(t, f, "filter", &text, err);

	if (r == 0)
		r = save(t, f, "nat", &text, err);
	kp_buf_release(&text);
	return r;
}

static void copy(void *arg, const char *save, struct kp_buf *removal)
{
	struct kp_buf *text = arg;

	(void)removal;
	kp_buf_release(text);
	kp_buf_puts(text, save);
}

int dp_ipt_tools_held(const struct dp_ipt_tools *t, enum kp_family f, struct dp_ipt_held **ret, struct kp_err *err)
{
	struct kp_buf text = { 0 };
	int r = dp_ipt_tools_save(t, f, &text, err);

	if (r == -EUCLEAN)
		r = dp_xtnft_edit(f, copy, &text, err);
	if (r == 0)
		*ret = dp_ipt_held_parse(text.data);
	kp_buf_release(&text);
	return r;
}

/* The ways of the variants: "line 12: RULE_APPEND failed", "line 12 failed", "Error occurred at line: 12". */
static unsigned line_of(const char *complaint)
{
	unsigned line;

	for (const char *at = strstr(complaint, "line"); at; at = strstr(at + 1, "line"))
		if (sscanf(at, "line %u", &line) == 1 || sscanf(at, "line: %u", &line) == 1)
			return line;
	return 0;
}

/* The line that says what is wrong: not a program's name alone, nor advice where to read on. */
static void sentence(const char *complaint, char ret[256])
{
	*ret = '\0';
	for (const char *at = complaint; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		size_t len = strcspn(at, "\n");

		if (len < 2 || strncmp(at, "Try `", 5) == 0 || strncmp(at, "Error occurred", 14) == 0 ||
		    strncmp(at + len - 2, ": ", 2) == 0)
			continue;
		snprintf(ret, 256, "%.*s", (int)len, at);
		return;
	}
}

int dp_ipt_tools_restore(const struct dp_ipt_tools *t, enum kp_family f, const struct kp_buf *in, unsigned *ret_line,
			 struct kp_err *err)
{
	const char *const argv[] = { t->restore[f], "--noflush", "-w", "5", NULL };
	struct kp_buf complaint = { 0 };
	char why[256];
	int r = dp_exec(argv, in, DEADLINE_MS + (unsigned)(in->len / BYTES_PER_MS), t->cancel_fd, NULL, &complaint, err);

	*ret_line = r < 0 ? line_of(complaint.data) : 0;
	sentence(complaint.data, why);
	if (r < 0 && *why)
		kp_err_set(err, r, "%s: %s", strrchr(t->restore[f], '/') + 1, why);
	kp_buf_release(&complaint);
	return r;
}

/* --- the choice --- */

/* What speaks for a variant. */
struct evidence {
	bool works;
	bool unseen;		/* it is in use, and that is all we know */
	bool hint;
	size_t n_rules;
};

static void look_for_evidence(const struct dp_ipt_tools *t, struct evidence *ret)
{
	*ret = (struct evidence){ 0 };
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		struct kp_buf text = { 0 };
		struct kp_err err = { 0 };
		char *rest = NULL;

		if (save(t, (enum kp_family)f, NULL, &text, &err) < 0) {
			kp_buf_release(&text);
			ret->unseen |= dp_ipt_in_use(t, (enum kp_family)f);	/* else this kernel does not have it */
		} else {
			ret->works = true;
		}
		for (char *line = text.data ? strtok_r(text.data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
			ret->n_rules += line[0] == '-';
			ret->hint |= strncmp(line, ":KUBE-IPTABLES-HINT ", 20) == 0 ||
				     strncmp(line, ":KUBE-KUBELET-CANARY ", 21) == 0;
		}
		kp_buf_release(&text);
	}
}

static int choose_between(struct dp_ipt_tools found[DP_IPT_N_VARIANTS], struct dp_ipt_tools *ret, struct kp_err *err)
{
	struct evidence nft, legacy;
	bool old;

	look_for_evidence(&found[DP_IPT_NFT], &nft);
	look_for_evidence(&found[DP_IPT_LEGACY], &legacy);
	if (nft.works && !nft.hint && legacy.unseen)
		return kp_err_set(err, -EACCES, "iptables: what iptables-legacy holds cannot be seen, and so not which variant this node "
				  "uses: that takes root and CAP_NET_RAW, or proxylet.iptablesVariant says it");
	old = !nft.works ? legacy.works : nft.hint || legacy.hint ? !nft.hint : legacy.n_rules > nft.n_rules;
	*ret = found[old ? DP_IPT_LEGACY : DP_IPT_NFT];
	return 0;
}

int dp_ipt_tools_choose(const char *name, struct dp_ipt_tools *ret, struct kp_err *err)
{
	struct dp_ipt_tools found[DP_IPT_N_VARIANTS];
	bool there[DP_IPT_N_VARIANTS];

	for (int v = 0; v < DP_IPT_N_VARIANTS; v++)
		there[v] = dp_ipt_tools_find((enum dp_ipt_variant)v, &found[v]);
	for (int v = 0; v < DP_IPT_PLAIN; v++)
		if (strcmp(name, dp_ipt_variant_names[v]) == 0) {
			if (!there[v])
				return kp_err_set(err, -ENOENT, "iptables: proxylet.iptablesVariant is %s, but iptables-%s-restore, "
						  "ip6tables-%s-restore and their -save are not all installed", name, name, name);
			*ret = found[v];
			return 0;
		}
	if (there[DP_IPT_NFT] && there[DP_IPT_LEGACY])
		return choose_between(found, ret, err);
	for (int v = 0; v < DP_IPT_N_VARIANTS; v++)
		if (there[v]) {
			*ret = found[v];
			return 0;
		}
	return kp_err_set(err, -ENOENT, "iptables: iptables-restore and iptables-save are not installed");
}
