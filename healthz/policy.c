#include "healthz/policy.h"

#include <string.h>

#include "proxy/base/mem.h"

struct hz_policy *hz_policy_copy(const struct hz_policy *p)
{
	struct hz_policy *out = kp_malloc(sizeof(*out) + (p->n_trusted + p->n_allowed) * sizeof(struct kp_cidr));
	struct kp_cidr *lists = (struct kp_cidr *)(out + 1);

	*out = *p;
	if (p->n_trusted)
		memcpy(lists, p->trusted, p->n_trusted * sizeof(*lists));
	if (p->n_allowed)
		memcpy(lists + p->n_trusted, p->allowed, p->n_allowed * sizeof(*lists));
	out->trusted = lists;
	out->allowed = lists + p->n_trusted;
	return out;
}

static bool is_in(const struct kp_cidr *list, size_t n, const struct kp_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (kp_cidr_contains(&list[i], a))
			return true;
	return false;
}

bool hz_policy_allows(const struct hz_policy *p, const struct kp_addr *peer)
{
	return !p->n_allowed || kp_addr_is_link_local(peer) || is_in(p->allowed, p->n_allowed, peer);
}

enum hz_proxy_mode hz_policy_mode(const struct hz_policy *p, enum hz_proxy_mode mode, const struct kp_addr *peer)
{
	if (mode == HZ_PROXY_OFF || !p->n_trusted || is_in(p->trusted, p->n_trusted, peer))
		return mode;
	return HZ_PROXY_FORBID;
}
