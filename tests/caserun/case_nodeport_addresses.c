#include "tests/caserun/caserun.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/plan/build.h"
#include "tests/caserun/endpoints.h"

struct cidrs {
	struct kp_cidr *items;
	size_t n;
};

static struct cidrs read_cidrs(json_t *list)
{
	struct cidrs c = { kp_calloc(json_array_size(list) + 1, sizeof(*c.items)), 0 };
	json_t *s;
	size_t i;

	json_array_foreach(list, i, s)
		if (!kp_cidr_parse(json_string_value(s), &c.items[c.n++]))
			abort();
	return c;
}

static size_t read_interfaces(json_t *interfaces, struct kp_addr **ret)
{
	struct kp_addr *all = NULL;
	size_t n = 0, cap = 0, i;
	const char *name;
	json_t *list, *s;

	json_object_foreach(interfaces, name, list)
		json_array_foreach(list, i, s) {
			const char *with_len = json_string_value(s);
			KP_AUTO(kp_freep) char *ip = kp_strndup(with_len, strcspn(with_len, "/"));

			kp_grow(&all, n, &cap);
			if (!kp_addr_parse(ip, &all[n++]))
				abort();
		}
	*ret = all;
	return n;
}

static void check_family(struct case_run *r, json_t *want, struct cidrs c, int family, const struct kp_addr *addrs, size_t n)
{
	KP_AUTO(kp_freep) struct kp_addr *found = NULL;
	bool all = kp_nodeport_match_all(c.items, c.n, family);
	size_t n_found = kp_nodeport_select(c.items, c.n, family, addrs, n, &found);
	json_t *have = json_array();
	char ip[KP_ADDR_STRLEN];

	for (size_t i = 0; i < n_found; i++)
		json_array_append_new(have, json_string(kp_addr_str(&found[i], ip)));
	case_check(r, all == json_is_true(json_object_get(want, "matchAll")), "%s: all is %d", kp_family_names[family], all);
	check_same_set(r, kp_family_names[family], have, json_object_get(want, "ips"));
	json_decref(have);
}

static void run_node_ips(struct case_run *r, json_t *doc, struct cidrs c)
{
	KP_AUTO(kp_freep) struct kp_addr *addrs = NULL;
	size_t n = read_interfaces(json_object_get(doc, "interfaces"), &addrs);

	for (int f = 0; f < KP_N_FAMILIES; f++)
		check_family(r, json_object_get(json_object_get(doc, "expected"), kp_family_names[f]), c, f, addrs, n);
}

/*
 * Two CIDRs overlap only if one holds the first address of the other; so asking about
 * 127.0.0.0 and about the first address of each CIDR answers for all of 127.0.0.0/8.
 */
static bool holds_loopback(struct cidrs c, int family)
{
	KP_AUTO(kp_freep) struct kp_addr *probes = kp_calloc(c.n + 1, sizeof(*probes));
	KP_AUTO(kp_freep) struct kp_addr *found = NULL;
	bool any = false;
	size_t n;

	probes[0] = (struct kp_addr){ KP_IPV4, { 127 } };
	for (size_t i = 0; i < c.n; i++)
		probes[i + 1] = c.items[i].addr;
	n = kp_nodeport_select(c.items, c.n, family, probes, c.n + 1, &found);
	for (size_t i = 0; i < n; i++)
		any = any || (found[i].family == KP_IPV4 && kp_addr_is_loopback(&found[i]));
	return any;
}

static void run_loopback(struct case_run *r, json_t *doc, struct cidrs c)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		bool want = json_is_true(json_object_get(json_object_get(doc, "expected"), kp_family_names[f]));

		case_check(r, holds_loopback(c, f) == want, "%s: loopback is %d", kp_family_names[f], !want);
	}
}

void case_nodeport_addresses(struct case_run *r, json_t *doc)
{
	struct cidrs c = read_cidrs(json_object_get(doc, "nodePortAddresses"));

	if (strcmp(r->sub, "node-ips") == 0)
		run_node_ips(r, doc, c);
	else if (strcmp(r->sub, "contains-ipv4-loopback") == 0)
		run_loopback(r, doc, c);
	else
		case_fail(r, "no such kind of document: %s", r->sub);
	free(c.items);
}
