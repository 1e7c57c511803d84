#include "proxy/plan/build.h"

#include "proxy/base/mem.h"

bool kp_nodeport_match_all(const struct kp_cidr *cidrs, size_t n, enum kp_family family)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (cidrs[i].addr.family != family)
			continue;
		if (cidrs[i].len == 0)
			return true;
		any = true;
	}
	return !any;	/* nothing said about this family is not "nothing" (CF-10) */
}

static bool selected(const struct kp_cidr *cidrs, size_t n, const struct kp_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (kp_cidr_contains(&cidrs[i], a))
			return true;
	return false;
}

size_t kp_nodeport_select(const struct kp_cidr *cidrs, size_t n, enum kp_family family,
			  const struct kp_addr *addrs, size_t n_addrs, struct kp_addr **ret)
{
	bool all = kp_nodeport_match_all(cidrs, n, family);
	struct kp_addr *found = NULL;
	size_t n_found = 0, cap = 0;

	for (size_t i = 0; i < n_addrs; i++) {
		if (addrs[i].family != family || (!all && !selected(cidrs, n, &addrs[i])))
			continue;
		kp_grow(&found, n_found, &cap);
		found[n_found++] = addrs[i];
	}
	*ret = found;
	return n_found;
}
