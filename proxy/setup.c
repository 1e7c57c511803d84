#include "proxy/setup.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "healthz/server.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/plan/dataplane.h"

#define HOSTNAME_MAX 256

int kp_setup_node_name(const char *override, char **ret, struct kp_err *err)
{
	char host[HOSTNAME_MAX] = "";
	const char *s = override;
	size_t len;

	if (!*s && gethostname(host, sizeof(host) - 1) < 0)
		return kp_err_set(err, -errno, "read the host's name: %s", strerror(errno));
	if (!*s)
		s = host;
	while (isspace((unsigned char)*s))
		s++;
	len = strlen(s);
	while (len && isspace((unsigned char)s[len - 1]))
		len--;
	if (!len)
		return kp_err_set(err, -EINVAL, "the node's name is empty: set hostnameOverride or --hostname-override");
	*ret = kp_strndup(s, len);
	for (char *p = *ret; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return 0;
}

int kp_setup_mode(const struct kp_config *c, enum kp_mode *ret, struct kp_err *err)
{
	if (c->mode == KP_MODE_IPVS && c->fallback == KP_MODE_UNSET)
		return kp_err_set(err, -EINVAL, "mode \"ipvs\" is not built yet, only \"nftables\" and \"iptables\" are; "
				  "with proxylet.fallback one of them takes its place");
	*ret = c->mode == KP_MODE_IPVS ? c->fallback : c->mode == KP_MODE_IPTABLES ? KP_MODE_IPTABLES : KP_MODE_NFTABLES;
	return 0;
}

/* iptables may run because nftables cannot, without anybody having asked for it. */
struct kp_config_backend kp_setup_backend(const struct kp_config *c, enum kp_mode mode)
{
	return c->mode == KP_MODE_UNSET && mode == KP_MODE_IPTABLES ? c->iptables : kp_config_active(c);
}

/* "a,b": the first of each family counts (NF-92). */
static void cluster_cidrs(const char *text, struct kp_plan_options *opt)
{
	KP_AUTO(kp_freep) char *copy = kp_strdup(text);
	char *rest = NULL;

	for (char *one = strtok_r(copy, ", ", &rest); one; one = strtok_r(NULL, ", ", &rest)) {
		struct kp_cidr c;

		if (!kp_cidr_parse(one, &c) || opt->has_cluster_cidr[c.addr.family])
			continue;
		opt->has_cluster_cidr[c.addr.family] = true;
		opt->cluster_cidr[c.addr.family] = c;
	}
}

/* Unset means primary in nftables mode, and everywhere in the others, also when nftables stands in (CF-13). */
static void nodeport_cidrs(const struct kp_config *c, enum kp_mode mode, struct kp_setup_plan *ret)
{
	size_t n = 0, cap = 0;

	for (char **p = c->nodeport_addresses; *p; p++) {
		kp_grow(&ret->nodeport_cidrs, n, &cap);
		if (strcmp(*p, "primary") == 0)
			ret->opt.nodeport_primary = true;
		else if (kp_cidr_parse(*p, &ret->nodeport_cidrs[n]))
			n++;
	}
	if (!c->nodeport_addresses[0])
		ret->opt.nodeport_primary = mode == KP_MODE_NFTABLES &&
					    (c->mode == KP_MODE_UNSET || c->mode == KP_MODE_NFTABLES);
	ret->opt.nodeport_localhost = mode == KP_MODE_IPTABLES && c->localhost_nodeports;
	ret->opt.nodeport_cidrs = ret->nodeport_cidrs;
	ret->opt.n_nodeport_cidrs = n;
}

static void detector(const struct kp_config *c, struct kp_plan_options *opt)
{
	static const int modes[] = {
		[KP_DETECT_MODE_UNSET] = KP_LOCAL_CLUSTER_CIDR, [KP_DETECT_CLUSTER_CIDR] = KP_LOCAL_CLUSTER_CIDR,
		[KP_DETECT_NODE_CIDR] = KP_LOCAL_NODE_CIDR, [KP_DETECT_BRIDGE] = KP_LOCAL_BRIDGE,
		[KP_DETECT_PREFIX] = KP_LOCAL_PREFIX,
	};
	const char *name = c->detect_mode == KP_DETECT_BRIDGE ? c->bridge_interface : c->interface_prefix;

	opt->local_mode = modes[c->detect_mode];
	snprintf(opt->ifname, sizeof(opt->ifname), "%s", name);
	cluster_cidrs(c->cluster_cidr, opt);
}

void kp_setup_plan(const struct kp_config *c, enum kp_mode mode, const bool families[KP_N_FAMILIES], struct kp_setup_plan *ret)
{
	struct kp_config_backend active = kp_setup_backend(c, mode);

	*ret = (struct kp_setup_plan){ 0 };
	memcpy(ret->opt.families, families, sizeof(ret->opt.families));
	ret->opt.masquerade_all = active.masquerade_all;
	ret->opt.masquerade_bit = (unsigned)active.masquerade_bit;
	detector(c, &ret->opt);
	nodeport_cidrs(c, mode, ret);
}

void kp_setup_plan_release(struct kp_setup_plan *s)
{
	free(s->nodeport_cidrs);
	*s = (struct kp_setup_plan){ 0 };
}

/* The same words in both: configuration knows nothing of health, nor health of this file. */
static enum hz_proxy_mode proxy_mode(enum kp_proxy_protocol p)
{
	static const enum hz_proxy_mode modes[] = {
		[KP_PROXY_OPTIONAL] = HZ_PROXY_OPTIONAL, [KP_PROXY_REQUIRE] = HZ_PROXY_REQUIRE,
		[KP_PROXY_FORBID] = HZ_PROXY_FORBID, [KP_PROXY_OFF] = HZ_PROXY_OFF,
	};

	return modes[p];
}

enum hz_proxy_mode kp_setup_shared_proxy(const struct kp_config *c)
{
	return proxy_mode(c->health.shared);
}

static bool listen_at(const char *text, const char *name, enum kp_proxy_protocol proxy, struct hz_listen *ret)
{
	*ret = (struct hz_listen){ .name = name, .proxy = proxy_mode(proxy) };
	return *text && kp_hostport_parse(text, &ret->addr, &ret->port);
}

size_t kp_setup_health_ports(const struct kp_config *c, struct hz_listen *ret)
{
	size_t n = 0;

	n += listen_at(c->healthz_bind_address, "main", c->health.main, &ret[n]);
	n += listen_at(c->shared_healthz_bind_address, "shared", c->health.shared, &ret[n]);
	return n;
}

bool kp_setup_json_only(const struct kp_config *c)
{
	const char *accept = c->client.accept_content_types;

	return !strstr(*accept ? accept : c->client.content_type, "protobuf");
}

/* Of a list that has been checked. */
static size_t parse_cidrs(char *const *list, struct kp_cidr **ret)
{
	size_t n = 0, cap = 0;

	for (; *list; list++) {
		kp_grow(ret, n, &cap);
		n += kp_cidr_parse(*list, &(*ret)[n]);
	}
	return n;
}

struct hz_policy *kp_setup_health_policy(const struct kp_config *c)
{
	KP_AUTO(kp_freep) struct kp_cidr *trusted = NULL, *allowed = NULL;
	const struct kp_config_health *h = &c->health;
	struct hz_policy p = {
		.limits = {
			.header_timeout_ms = (unsigned)h->header_timeout_ms, .idle_timeout_ms = (unsigned)h->idle_timeout_ms,
			.write_timeout_ms = (unsigned)h->write_timeout_ms, .max_connections = (unsigned)h->max_connections,
			.max_requests = (unsigned)h->max_requests,
		},
		.proxy = { .lax_tcp6 = h->v1_lax_tcp6, .v2_len_max = (size_t)h->v2_max_length },
		.service_proxy = proxy_mode(h->services),
	};

	p.n_trusted = parse_cidrs(h->trusted_cidrs, &trusted);
	p.n_allowed = parse_cidrs(h->allowed_sources, &allowed);
	p.trusted = trusted;
	p.allowed = allowed;
	return hz_policy_copy(&p);
}

bool kp_setup_is_warm(const struct dp_ops *ops, const struct dp_options *opt)
{
	struct kp_err err = { 0 };
	int r = ops->warm(opt, &err);

	if (r == 0)
		kp_info("agent", "warm start: the rules of an earlier agent are in the kernel and whole");
	else if (r != -ENOENT)
		kp_warn("agent", "cold start: the rules of an earlier agent cannot be counted on: %s", err.msg);
	return r == 0;
}

/* ops->warm() for one family. */
static int look(const struct dp_ops *ops, const struct dp_options *opt, int f)
{
	struct dp_options one = *opt;
	struct kp_err err = { 0 };

	one.families[KP_IPV4] = f == KP_IPV4;
	one.families[KP_IPV6] = f == KP_IPV6;
	return ops->warm(&one, &err);
}

bool kp_setup_finds_rules(const struct dp_ops *ops, const struct dp_options *opt)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (opt->families[f] && look(ops, opt, f) != -ENOENT)
			return true;
	return false;
}

bool kp_setup_finds_former(const struct dp_options *opt)
{
	for (const struct dp_ops *const *o = opt->former; o && *o; o++)
		for (int f = 0; f < KP_N_FAMILIES; f++) {
			int r = opt->families[f] ? look(*o, opt, f) : -ENOENT;

			if (r == 0 || r == -EUCLEAN)
				return true;
		}
	return false;
}

uint64_t kp_setup_stale_ns(const struct kp_config *c, enum kp_mode mode)
{
	return 2 * (uint64_t)kp_setup_backend(c, mode).sync_period_ms * 1000000u;
}
