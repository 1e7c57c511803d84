#include "proxy/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"

#define NETFILTER "/proc/sys/net/netfilter/"
#define HASHSIZE "/sys/module/nf_conntrack/parameters/hashsize"
#define LARGEST 1048576		/* more does no good and costs memory, says kube-proxy */

int64_t kp_sysctl_conntrack_max(int64_t max_per_core, int64_t min, unsigned n_cpus)
{
	int64_t scaled;

	if (max_per_core <= 0)
		return 0;
	if (max_per_core > LARGEST)
		return LARGEST;
	scaled = max_per_core * n_cpus;
	if (scaled > LARGEST)
		return LARGEST;
	return scaled > min ? scaled : min;
}

size_t kp_sysctl_conntrack(const struct kp_config_conntrack *c, unsigned n_cpus, struct kp_sysctl ret[KP_SYSCTLS_MAX])
{
	int64_t max = kp_sysctl_conntrack_max(c->max_per_core, c->min, n_cpus);
	const struct {
		bool wanted;
		struct kp_sysctl set;
	} all[KP_SYSCTLS_MAX] = {
		{ max > 0, { "conntrack.maxPerCore", NETFILTER "nf_conntrack_max", max, false } },
		{ max > 0, { "conntrack.maxPerCore", HASHSIZE, max / 4, true } },
		{ c->tcp_established_ms > 0, { "conntrack.tcpEstablishedTimeout",
		  NETFILTER "nf_conntrack_tcp_timeout_established", c->tcp_established_ms / 1000, false } },
		{ c->tcp_close_wait_ms > 0, { "conntrack.tcpCloseWaitTimeout",
		  NETFILTER "nf_conntrack_tcp_timeout_close_wait", c->tcp_close_wait_ms / 1000, false } },
		{ c->tcp_be_liberal, { "conntrack.tcpBeLiberal", NETFILTER "nf_conntrack_tcp_be_liberal", 1, false } },
		{ c->udp_ms > 0, { "conntrack.udpTimeout", NETFILTER "nf_conntrack_udp_timeout", c->udp_ms / 1000, false } },
		{ c->udp_stream_ms > 0, { "conntrack.udpStreamTimeout",
		  NETFILTER "nf_conntrack_udp_timeout_stream", c->udp_stream_ms / 1000, false } },
	};
	size_t n = 0;

	for (size_t i = 0; i < KP_SYSCTLS_MAX; i++)
		if (all[i].wanted)
			ret[n++] = all[i].set;
	return n;
}

static int read_number(const char *path, int64_t *ret)
{
	KP_AUTO(kp_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32], *end;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	*ret = strtoll(text, &end, 10);
	return end == text ? -EINVAL : 0;
}

static int write_number(const char *path, int64_t value)
{
	KP_AUTO(kp_closep) int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	char text[32];
	int len = snprintf(text, sizeof(text), "%lld\n", (long long)value);

	if (fd < 0 || write(fd, text, (size_t)len) < 0)
		return -errno;
	return 0;
}

static int set(const char *path, const struct kp_sysctl *s)
{
	int64_t is = 0;
	int r = read_number(path, &is);

	if (r < 0 || is == s->value || (s->at_least && is > s->value))
		return r;
	r = write_number(path, s->value);
	if (r == 0)
		kp_info("sysctl", "%s: %s is %lld now, was %lld", s->field, path, (long long)s->value, (long long)is);
	return r;
}

size_t kp_sysctl_apply(const char *root, const struct kp_sysctl *list, size_t n)
{
	size_t failed = 0;

	for (size_t i = 0; i < n; i++) {
		KP_AUTO(kp_freep) char *path = kp_asprintf("%s%s", root, list[i].path);
		int r = set(path, &list[i]);

		if (r == 0)
			continue;
		failed++;
		kp_warn("sysctl", "%s: cannot set %s to %lld, it stays: %s", list[i].field, path, (long long)list[i].value,
			strerror(-r));
	}
	return failed;
}

size_t kp_sysctl_set_conntrack(const struct kp_config_conntrack *c)
{
	struct kp_sysctl list[KP_SYSCTLS_MAX];
	long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return kp_sysctl_apply("", list, kp_sysctl_conntrack(c, n_cpus > 0 ? (unsigned)n_cpus : 1, list));
}
