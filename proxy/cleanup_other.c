#include "proxy/cleanup_other.h"

#include <errno.h>
#include <stdio.h>

#include "nft/cleanup.h"
#include "nft/otherclean.h"
#include "nft/otherproxy.h"
#include "proxy/base/err.h"
#include "proxy/otherlife.h"

/* detail: what goes to iptables-restore, shown when it is not done. */
static void say(void *arg, bool detail, const char *text)
{
	bool dry_run = *(const bool *)arg;

	if (!detail)
		printf("%sremove %s\n", dry_run ? "would " : "", text);
	else if (dry_run)
		printf("\t%s\n", text);
}

static int refuse_if_alive(bool dry_run, struct kp_err *err)
{
	struct kp_life_signs signs = { .rules = false };
	char why[KP_LIFE_STRLEN];

	kp_life_look(&signs);
	if (kp_other_judge(&signs) != KP_OTHER_ALIVE)
		return 0;
	kp_life_str(&signs, why);
	if (!dry_run)
		return kp_err_set(err, -EBUSY, "kube-proxy is running here (%s) and would put its rules back: end it first", why);
	printf("kube-proxy is running here (%s): it has to end first\n", why);
	return 0;
}

static int keep_connections(bool dry_run, struct kp_err *err)
{
	struct dp_cleanup c;
	int r = dp_cleanup_look(&c, err);

	for (int f = 0; f < KP_N_FAMILIES && r == 0; f++)
		if (c.flows[f] && !c.rules[f] && !c.residual[f])
			printf("%s: %skeep %llu translated connections alive with table %s\n", kp_family_names[f],
			       dry_run ? "would " : "", (unsigned long long)c.flows[f], DP_RESIDUAL);
	return r < 0 || dry_run ? r : dp_cleanup_keep(&c, err);
}

int kp_cleanup_kube_proxy(bool dry_run, bool now, struct kp_err *err)
{
	const struct dp_otherclean how = { .dry_run = dry_run, .cancel_fd = -1, .say = say, .arg = &dry_run };
	struct dp_other o = { .link = false };
	int r = dp_other_look(&o, NULL, true, -1, err);

	if (r < 0)
		return r;
	if (!dp_other_any(&o) && !o.unseen)
		printf("nothing of kube-proxy is there\n");
	if (dp_other_any(&o)) {
		r = refuse_if_alive(dry_run, err);
		if (r == 0 && !now)
			r = keep_connections(dry_run, err);
		if (r == 0)
			r = dp_other_clean(&o, &how, err);
	}
	if (r == 0 && o.unseen)
		r = kp_err_set(err, -EACCES, "what iptables-legacy holds cannot be seen: that takes its programs, root and CAP_NET_RAW");
	return r;
}
