#include "proxy/commands.h"

#include <poll.h>
#include <stddef.h>
#include <stdio.h>

#include "nft/cleanup.h"
#include "nft/ipt_cleanup.h"
#include "nft/ipt_rules.h"
#include "nft/nftables.h"
#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/instance.h"
#include "proxy/cleanup_other.h"
#include "proxy/config/flags.h"

#define LOOK_MS		250
#define LOOK_CHAINS_MS	1000	/* for that iptables-save is run */

struct options {
	bool kube_proxy, dry_run, now, wait, help;
	int64_t max_s;
};

static const struct kp_flag flags[] = {
	{ "kube-proxy", 0, KP_FLAG_BOOL, offsetof(struct options, kube_proxy),
	  .help = "remove what a kube-proxy that runs no more has left, instead of what is ours" },
	{ "dry-run", 0, KP_FLAG_BOOL, offsetof(struct options, dry_run), .help = "only say what would be done" },
	{ "now", 0, KP_FLAG_BOOL, offsetof(struct options, now),
	  .help = "leave nothing behind: cuts every connection that is translated" },
	{ "wait", 0, KP_FLAG_BOOL, offsetof(struct options, wait),
	  .help = "stay until no translated connection is left, then leave nothing behind" },
	{ "max-seconds", 0, KP_FLAG_INT, offsetof(struct options, max_s), .arg = "N",
	  .help = "of --wait; default 3600, and then cuts what is left" },
	{ "help", 'h', KP_FLAG_BOOL, offsetof(struct options, help), .help = "this text" },
	{ .name = NULL }
};

static int usage(FILE *to, const char *problem)
{
	return kp_flags_usage(to, flags, "cleanup [flags]",
			      "Removes the table \"" DP_TABLE "\" and the iptables chains " DP_IPT_PREFIX "*. While translated connections\n"
			      "exist, an empty table \"" DP_RESIDUAL "\", or the chain " DP_IPT_RESIDUAL ", keeps them alive;\n"
			      "call it again later to remove that as well.\n", problem);
}

/* The same for the chains of one variant of iptables. False: there are none. */
static bool say_chains(const struct dp_ipt_leftover *l, int f, unsigned long long flows, const struct options *o)
{
	const char *would = o->dry_run ? "would " : "", *variant = dp_ipt_variant_names[l->tools.variant];
	const char *dash = *variant ? "-" : "";

	if (l->chains[f] || l->jumps[f])
		printf("%s: %sremove %u chains of iptables%s%s\n", kp_family_names[f], would, l->chains[f], dash, variant);
	else if (!l->residual[f])
		return false;
	if (flows && !o->now)
		printf("%s: %skeep %llu translated connections alive with chain %s of iptables%s%s\n", kp_family_names[f], would,
		       flows, DP_IPT_RESIDUAL, dash, variant);
	else if (l->residual[f])
		printf("%s: %sremove chain %s of iptables%s%s\n", kp_family_names[f], would, DP_IPT_RESIDUAL, dash, variant);
	return true;
}

static void say(const struct dp_cleanup *c, const struct dp_ipt_cleanup *ipt, bool all_seen, const struct options *o)
{
	const char *would = o->dry_run ? "would " : "";
	bool any = false;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		unsigned long long flows = c->flows[f];

		any |= c->rules[f] || c->next[f] || c->residual[f];
		for (int v = 0; v < DP_IPT_N_VARIANTS; v++)
			any |= say_chains(&ipt->variants[v], f, flows, o);
		if (c->rules[f])
			printf("%s: %sremove table %s\n", kp_family_names[f], would, DP_TABLE);
		if (c->next[f])
			printf("%s: %sremove table %s\n", kp_family_names[f], would, DP_TABLE_NEXT);
		if (!c->rules[f] && !c->next[f] && !c->residual[f])
			continue;
		if (flows && !o->now)
			printf("%s: %skeep %llu translated connections alive with table %s\n", kp_family_names[f], would, flows, DP_RESIDUAL);
		else if (flows)
			printf("%s: %scut %llu translated connections\n", kp_family_names[f], would, flows);
		if (c->residual[f] && (o->now || !flows))
			printf("%s: %sremove table %s\n", kp_family_names[f], would, DP_RESIDUAL);
	}
	if (!any && all_seen)
		printf("nothing of ours is there\n");
}

static int cleanup(const struct options *o, struct kp_err *err)
{
	struct dp_ipt_cleanup ipt;
	struct dp_cleanup c;
	struct kp_err why = { 0 };
	KP_AUTO(kp_closep) int instance = -1;
	int r = 0;

	if (o->kube_proxy)
		return kp_cleanup_kube_proxy(o->dry_run, o->now, err);
	if (!o->dry_run)
		r = kp_instance_take(&instance, err);	/* a running agent would put everything back */
	if (r == 0)
		r = dp_cleanup_look(&c, err);
	if (r == 0) {
		(void)dp_ipt_cleanup_look(&ipt, &why);	/* the rest goes, and then it is told */
		say(&c, &ipt, why.code == 0, o);
	}
	if (r == 0 && !o->dry_run)
		r = dp_cleanup_run(&c, !o->now, err);
	if (r == 0 && !o->dry_run)
		r = dp_ipt_cleanup_run(&ipt, (const bool[]){ !o->now && c.flows[KP_IPV4], !o->now && c.flows[KP_IPV6] }, err);
	if (r == 0 && why.code < 0)
		*err = why;
	return r < 0 ? r : why.code;
}

/* What of mode iptables is there: the chain that keeps connections alive, and others, which an agent has written since. */
static void look_at_chains(bool *ret_residual, bool *ret_others)
{
	struct dp_ipt_cleanup c;
	struct kp_err why;

	*ret_residual = *ret_others = false;
	(void)dp_ipt_cleanup_look(&c, &why);
	for (int v = 0; v < DP_IPT_N_VARIANTS; v++)
		for (int f = 0; f < KP_N_FAMILIES; f++) {
			*ret_residual |= c.variants[v].residual[f];
			*ret_others |= c.variants[v].jumps[f] > 0;
		}
}

/* An agent may start meanwhile; then what was left behind is its own affair. */
static int wait_and_finish(const struct options *o, struct kp_err *err)
{
	const struct options rest = { .now = true };
	uint64_t end_ms = kp_now_ms() + (uint64_t)o->max_s * 1000;
	bool residual, others;

	look_at_chains(&residual, &others);
	for (;;) {
		struct dp_cleanup c;
		int r = dp_cleanup_look(&c, err);

		if (r < 0 || others || c.rules[KP_IPV4] || c.rules[KP_IPV6])
			return r;
		if (!residual && !c.residual[KP_IPV4] && !c.residual[KP_IPV6])
			return 0;
		if ((!c.flows[KP_IPV4] && !c.flows[KP_IPV6]) || kp_now_ms() >= end_ms)
			return cleanup(&rest, err);
		poll(NULL, 0, residual ? LOOK_CHAINS_MS : LOOK_MS);
		if (residual)
			look_at_chains(&residual, &others);
	}
}

int kp_cmd_cleanup(int argc, char **argv)
{
	struct options o = { .max_s = 3600 };
	struct kp_err err = { 0 };
	int r;

	if (kp_flags_parse(flags, argc, argv, &o, NULL, &err) < 0)
		return usage(stderr, err.msg);
	if (o.help)
		return usage(stdout, NULL);
	if (o.max_s < 0 || o.max_s > 86400)
		return usage(stderr, "--max-seconds is 0 to 86400");
	if (o.wait && (o.now || o.dry_run))
		return usage(stderr, "--wait goes with neither --now nor --dry-run");
	r = cleanup(&o, &err);
	if (r == 0 && o.wait)
		r = wait_and_finish(&o, &err);
	if (r == 0)
		return 0;
	fprintf(stderr, "proxylet cleanup: %s\n", err.msg);
	return 3;
}
