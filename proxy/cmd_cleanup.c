#include "proxy/commands.h"

#include <stddef.h>
#include <stdio.h>

#include "nft/cleanup.h"
#include "nft/nftables.h"
#include "proxy/base/addr.h"
#include "proxy/base/err.h"
#include "proxy/base/instance.h"
#include "proxy/config/flags.h"

struct options {
	bool dry_run, now, help;
};

static const struct kp_flag flags[] = {
	{ "dry-run", 0, KP_FLAG_BOOL, offsetof(struct options, dry_run), .help = "only say what would be done" },
	{ "now", 0, KP_FLAG_BOOL, offsetof(struct options, now),
	  .help = "leave nothing behind: cuts every connection that is translated" },
	{ "help", 'h', KP_FLAG_BOOL, offsetof(struct options, help), .help = "this text" },
	{ .name = NULL }
};

static int usage(FILE *to, const char *problem)
{
	return kp_flags_usage(to, flags, "cleanup [flags]",
			      "Removes the table \"" DP_TABLE "\". While translated connections exist, an empty table\n"
			      "\"" DP_RESIDUAL "\" keeps them alive; call it again later to remove that as well.\n", problem);
}

static void say(const struct dp_cleanup *c, const struct options *o)
{
	const char *would = o->dry_run ? "would " : "";
	bool any = false;

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		unsigned long long flows = c->flows[f];

		any |= c->rules[f] || c->residual[f];
		if (c->rules[f])
			printf("%s: %sremove table %s\n", kp_family_names[f], would, DP_TABLE);
		if (!c->rules[f] && !c->residual[f])
			continue;
		if (flows && !o->now)
			printf("%s: %skeep %llu translated connections alive with table %s\n", kp_family_names[f], would, flows, DP_RESIDUAL);
		else if (flows)
			printf("%s: %scut %llu translated connections\n", kp_family_names[f], would, flows);
		if (c->residual[f] && (o->now || !flows))
			printf("%s: %sremove table %s\n", kp_family_names[f], would, DP_RESIDUAL);
	}
	if (!any)
		printf("nothing of ours is there\n");
}

static int cleanup(const struct options *o, struct kp_err *err)
{
	struct dp_cleanup c;
	int instance = -1, r = 0;

	if (!o->dry_run)
		r = kp_instance_take(&instance, err);	/* a running agent would put everything back */
	if (r == 0)
		r = dp_cleanup_look(&c, err);
	if (r == 0)
		say(&c, o);
	if (r == 0 && !o->dry_run)
		r = dp_cleanup_run(&c, !o->now, err);
	kp_closep(&instance);
	return r;
}

int kp_cmd_cleanup(int argc, char **argv)
{
	struct options o = { 0 };
	struct kp_err err = { 0 };

	if (kp_flags_parse(flags, argc, argv, &o, NULL, &err) < 0)
		return usage(stderr, err.msg);
	if (o.help)
		return usage(stdout, NULL);
	if (cleanup(&o, &err) == 0)
		return 0;
	fprintf(stderr, "proxylet cleanup: %s\n", err.msg);
	return 3;
}
