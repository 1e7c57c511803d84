#include "proxy/host.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "proxy/base/log.h"
#include "proxy/config/config.h"
#include "proxy/sysctl.h"

void kp_host_raise_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0)
		return;
	l.rlim_cur = l.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &l) < 0)
		kp_debug("agent", "cannot raise the limit of open files: %s", strerror(errno));
}

/* As kube-proxy: without the right to it, the kernel's choice stands. */
void kp_host_set_oom_score(int64_t score)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	if (!f || fprintf(f, "%d", (int)score) < 0 || fflush(f) != 0)
		kp_debug("agent", "cannot set oomScoreAdj to %d: %s", (int)score, strerror(errno));
	if (f)
		(void)fclose(f);	/* what mattered was the flush */
}

void kp_host_set_up(const struct kp_config *c)
{
	kp_host_set_oom_score(c->oom_score_adj);
	(void)kp_sysctl_set_conntrack(&c->conntrack);	/* what it cannot set it has said */
}

void kp_host_route_localnet(void)
{
	const struct kp_sysctl s = { .field = "iptables.localhostNodePorts", .path = "/proc/sys/net/ipv4/conf/all/route_localnet", .value = 1 };

	(void)kp_sysctl_apply("", &s, 1);
}
