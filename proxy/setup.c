#include "proxy/setup.h"

#include <ctype.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "healthz/server.h"
#include "nft/held.h"
#include "nft/nftables.h"
#include "nft/table.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

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
	bool exists = c->mode == KP_MODE_UNSET || c->mode == KP_MODE_NFTABLES;

	if (!exists && c->fallback == KP_MODE_UNSET)
		return kp_err_set(err, -EINVAL, "mode \"%s\" is not built yet, only \"nftables\" is; "
				  "with proxylet.fallback: nftables that takes its place",
				  c->mode == KP_MODE_IPVS ? "ipvs" : "iptables");
	*ret = exists ? KP_MODE_NFTABLES : c->fallback;
	return 0;
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
static void nodeport_cidrs(const struct kp_config *c, struct kp_setup_plan *ret)
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
		ret->opt.nodeport_primary = c->mode == KP_MODE_UNSET || c->mode == KP_MODE_NFTABLES;
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

void kp_setup_plan(const struct kp_config *c, struct kp_setup_plan *ret)
{
	struct kp_config_backend active = kp_config_active(c);

	*ret = (struct kp_setup_plan){ 0 };
	ret->opt.families[KP_IPV4] = true;
	ret->opt.families[KP_IPV6] = access("/proc/net/if_inet6", F_OK) == 0;	/* NF-61 */
	ret->opt.masquerade_all = active.masquerade_all;
	ret->opt.masquerade_bit = (unsigned)active.masquerade_bit;
	detector(c, &ret->opt);
	nodeport_cidrs(c, ret);
}

void kp_setup_plan_release(struct kp_setup_plan *s)
{
	free(s->nodeport_cidrs);
	*s = (struct kp_setup_plan){ 0 };
}

static bool listen_at(const char *text, const char *name, struct hz_listen *ret)
{
	*ret = (struct hz_listen){ .name = name };
	return *text && kp_hostport_parse(text, &ret->addr, &ret->port);
}

size_t kp_setup_health_ports(const struct kp_config *c, struct hz_listen *ret)
{
	size_t n = 0;

	n += listen_at(c->healthz_bind_address, "main", &ret[n]);
	n += listen_at(c->shared_healthz_bind_address, "shared", &ret[n]);
	return n;
}

bool kp_setup_json_only(const struct kp_config *c)
{
	const char *accept = c->client.accept_content_types;

	return !strstr(*accept ? accept : c->client.content_type, "protobuf");
}

bool kp_setup_finds_rules(const bool families[KP_N_FAMILIES])
{
	struct mnl_socket *nl = NULL;
	bool found = false;
	int r = dp_socket_open(&nl, NULL);

	if (r < 0)
		return true;
	for (enum kp_family f = 0; f < KP_N_FAMILIES && r == 0 && !found; f++)
		if (families[f])
			r = dp_table_exists(nl, f, DP_TABLE, &found);
	mnl_socket_close(nl);
	return r < 0 || found;
}

uint64_t kp_setup_stale_ns(const struct kp_config *c)
{
	return 2 * (uint64_t)kp_config_active(c).sync_period_ms * 1000000u;
}
