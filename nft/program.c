#include "nft/program.h"

#include <linux/netfilter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/slots.h"
#include "proxy/base/mem.h"

#define TRIES 8		/* at most 0.4 % of the connections reach the fallbacks (2.2) */

static const struct {
	const char *prefix;	/* of the name */
	bool node_port, two_sizes;
} classes[DP_N_CLASSES] = {
	[DP_TRY]	= { .prefix = "try-" },
	[DP_NP_TRY]	= { .prefix = "np-try-", .node_port = true },
	[DP_LOC_TRY]	= { .prefix = "loc-try-" },
	[DP_NP_LOC_TRY]	= { .prefix = "np-loc-try-", .node_port = true },
	[DP_PICK]	= { .prefix = "pick-" },
	[DP_NP_PICK]	= { .prefix = "np-pick-", .node_port = true },
	[DP_CIP]	= { .prefix = "cip-" },
	[DP_EXT]	= { .prefix = "ext-" },
	[DP_NP_EXT]	= { .prefix = "np-ext-", .node_port = true },
	[DP_LOC]	= { .prefix = "loc-", .two_sizes = true },
	[DP_NP_LOC]	= { .prefix = "np-loc-", .node_port = true, .two_sizes = true },
};

void dp_chain_buf_release(struct dp_chain_buf *c)
{
	for (size_t i = 0; i < c->n_names; i++)
		free(c->names[i]);
	free(c->names);
	free(c->chain.rules);
	*c = (struct dp_chain_buf){ 0 };
}

/* Keep a name as long as the chain lives. */
static const char *keep(struct dp_chain_buf *c, const char *name)
{
	kp_grow(&c->names, c->n_names, &c->cap_names);
	return c->names[c->n_names++] = kp_strdup(name);
}

static void begin(struct dp_chain_buf *c, const char *name, const struct dp_hook *hook)
{
	*c = (struct dp_chain_buf){ .chain.hook = hook };
	c->chain.name = keep(c, name);
}

/* RULE(c, comment, statements...) appends a rule. */
static void add_rule(struct dp_chain_buf *c, const char *comment, const struct dp_stmt *stmts, size_t n)
{
	struct dp_rule *r;

	kp_grow(&c->chain.rules, c->chain.n_rules, &c->cap);
	r = &c->chain.rules[c->chain.n_rules++];
	*r = (struct dp_rule){ .comment = comment };
	for (size_t i = 0; i < n; i++)
		if (stmts[i].kind != DP_N_STMTS)	/* a condition that does not apply */
			r->stmts[r->n++] = stmts[i];
}
#define STMT(k, ...) ((struct dp_stmt){ .kind = (k), ##__VA_ARGS__ })
#define RULE(c, comment, ...) \
	add_rule(c, comment, (const struct dp_stmt[]){ __VA_ARGS__ }, \
		 sizeof((const struct dp_stmt[]){ __VA_ARGS__ }) / sizeof(struct dp_stmt))
#define NOTHING STMT(DP_N_STMTS)

static struct dp_stmt mark(const struct dp_program *p)
{
	return STMT(DP_MARK, .mark = p->node->mark);
}

/* "From a pod of ours", or its negation; DP_N_STMTS where that cannot be told. */
static struct dp_stmt from_pod(const struct dp_program *p, bool not)
{
	const struct kp_detector *d = &p->node->detector[p->f];

	switch ((enum kp_detect)d->kind) {
	case KP_DETECT_CIDR:
		return STMT(not ? DP_SADDR_NOT : DP_SADDR, .cidr = d->cidr);
	case KP_DETECT_IFNAME:
	case KP_DETECT_IFPREFIX:
		return STMT(not ? DP_IIFNAME_NOT : DP_IIFNAME, .name = d->ifname, .prefix = d->kind == KP_DETECT_IFPREFIX);
	case KP_DETECT_NONE:
		break;
	}
	return NOTHING;
}

static bool has_detector(const struct dp_program *p)
{
	return p->node->detector[p->f].kind != KP_DETECT_NONE;
}

/* clusterIP traffic is masqueraded when it does not come from a pod (4.11). */
static void rule_mark_cluster_ip(const struct dp_program *p, struct dp_chain_buf *c)
{
	if (p->node->masquerade_all)
		RULE(c, NULL, mark(p));
	else if (has_detector(p))
		RULE(c, NULL, from_pod(p, true), mark(p));
}

static const char *class_name(struct dp_chain_buf *c, enum dp_class_kind kind, uint32_t m)
{
	char name[DP_CHAIN_NAME];

	dp_class_name(&(struct dp_class){ .kind = (uint8_t)kind, .m = m }, name);
	return keep(c, name);
}

static struct dp_stmt go(struct dp_chain_buf *c, enum dp_class_kind kind, uint32_t m)
{
	return STMT(DP_GOTO, .name = class_name(c, kind, m));
}

/*
 * Draw until a slot is hit: the class may be larger than the number of endpoints, so some
 * slots may be empty. It ends in drop and never by falling out: a
 * first packet that left untranslated would leave a confirmed conntrack entry without
 * NAT behind, and every retransmission would follow it into nowhere (2.4).
 */
static void rules_draw(struct dp_chain_buf *c, enum dp_class_kind try, uint32_t m)
{
	for (int i = 0; m && i < (m > 2 ? TRIES : 1); i++)
		RULE(c, NULL, STMT(DP_JUMP, .name = class_name(c, try, m)));
	if (m > 3)
		RULE(c, NULL, STMT(DP_JUMP, .name = class_name(c, try, m / 2)));
	if (m > 1)
		RULE(c, NULL, STMT(DP_JUMP, .name = class_name(c, try, 1)));
	RULE(c, NULL, STMT(DP_DROP));
}

static void rules_try(const struct dp_class *k, struct dp_chain_buf *c)
{
	bool local = k->kind == DP_LOC_TRY || k->kind == DP_NP_LOC_TRY;

	RULE(c, NULL, STMT(DP_DNAT_SLOT, .set = classes[k->kind].node_port ? DP_NPEPS : DP_EPS, .number = k->m,
			   .offset = local ? DP_LOCAL_SLOT : 0));
}

/*
 * externalTrafficPolicy Local. Pods and the node itself are short-circuited to any
 * endpoint (ES-30..35); everybody else gets the local ones or silence.
 */
static void rules_local(const struct dp_program *p, const struct dp_class *k, struct dp_chain_buf *c)
{
	bool np = classes[k->kind].node_port;
	enum dp_class_kind pick = np ? DP_NP_PICK : DP_PICK;

	if (has_detector(p))
		RULE(c, "pods: any endpoint", from_pod(p, false), go(c, pick, k->m));
	RULE(c, "this node: any endpoint", STMT(DP_SADDR_LOCAL), mark(p), go(c, pick, k->m));
	rules_draw(c, np ? DP_NP_LOC_TRY : DP_LOC_TRY, k->ml);
}

void dp_class_name(const struct dp_class *c, char out[DP_CHAIN_NAME])
{
	if (classes[c->kind].two_sizes)
		snprintf(out, DP_CHAIN_NAME, "%s%u-%u", classes[c->kind].prefix, c->m, c->ml);
	else
		snprintf(out, DP_CHAIN_NAME, "%s%u", classes[c->kind].prefix, c->m);
}

/* 0 is none: a size is never below 1. */
static bool is_size(uint32_t m)
{
	return m <= DP_LOCAL_SLOT && dp_slots_size(m) == m;
}

bool dp_class_parse(const char *name, struct dp_class *ret)
{
	for (int k = 0; k < DP_N_CLASSES; k++) {
		struct dp_class c = { .kind = (uint8_t)k };
		char again[DP_CHAIN_NAME];
		size_t len = strlen(classes[k].prefix);

		if (strncmp(name, classes[k].prefix, len) != 0)
			continue;
		if (sscanf(name + len, "%u-%u", &c.m, &c.ml) < (classes[k].two_sizes ? 2 : 1))
			continue;
		if (!is_size(c.m) || (c.ml && !is_size(c.ml)))
			continue;
		dp_class_name(&c, again);
		if (strcmp(name, again) != 0)
			continue;
		*ret = c;
		return true;
	}
	return false;
}

void dp_program_class(const struct dp_program *p, const struct dp_class *k, struct dp_chain_buf *ret)
{
	char name[DP_CHAIN_NAME];

	dp_class_name(k, name);
	begin(ret, name, NULL);
	switch ((enum dp_class_kind)k->kind) {
	case DP_TRY: case DP_NP_TRY: case DP_LOC_TRY: case DP_NP_LOC_TRY:
		rules_try(k, ret);
		break;
	case DP_PICK: case DP_NP_PICK:
		rules_draw(ret, k->kind == DP_PICK ? DP_TRY : DP_NP_TRY, k->m);
		break;
	case DP_CIP:
		rule_mark_cluster_ip(p, ret);
		RULE(ret, NULL, go(ret, DP_PICK, k->m));
		break;
	case DP_EXT: case DP_NP_EXT:
		RULE(ret, NULL, mark(p));
		RULE(ret, NULL, go(ret, k->kind == DP_EXT ? DP_PICK : DP_NP_PICK, k->m));
		break;
	case DP_LOC: case DP_NP_LOC:
		rules_local(p, k, ret);
		break;
	case DP_N_CLASSES:
		break;
	}
}

static void fixed_reject(const struct dp_program *p, struct dp_chain_buf *c)
{
	(void)p;
	begin(c, "reject-new", NULL);
	RULE(c, NULL, STMT(DP_REJECT));
}

/*
 * After translation: remember the choice of a Service with affinity. The node port map
 * is keyed by port alone, so the original destination must be an address of the node and,
 * which the first map sees to, no front end of another Service at such an address;
 * without that, another Service's connection to the same port number would be recorded.
 */
static void fixed_record(const struct dp_program *p, struct dp_chain_buf *c)
{
	bool all = p->node->nodeport_all[p->f];

	begin(c, "record", NULL);
	RULE(c, NULL, STMT(DP_DNATTED), STMT(DP_L4_SERVICE), STMT(DP_VMAP, .set = DP_AFFREC));
	RULE(c, NULL, STMT(DP_DNATTED), STMT(DP_L4_SERVICE),
	     STMT(DP_ORIG_DADDR_IN, .set = all ? DP_NODE_IPS : DP_NODEPORT_IPS), STMT(DP_VMAP, .set = DP_AFFRECNP));
}

static struct kp_cidr loopback(enum kp_family f)
{
	struct kp_cidr c = { 0 };

	kp_cidr_parse(f == KP_IPV4 ? "127.0.0.0/8" : "::1/128", &c);
	return c;
}

static void fixed_services(const struct dp_program *p, struct dp_chain_buf *c)
{
	const struct kp_plan_node *n = p->node;

	begin(c, "services", NULL);
	RULE(c, NULL, STMT(DP_VMAP, .set = DP_SVC));
	if (n->nodeport_all[p->f])
		RULE(c, NULL, STMT(DP_DADDR_LOCAL), STMT(DP_DADDR_NOT, .cidr = loopback(p->f)), STMT(DP_VMAP, .set = DP_NP));
	else
		RULE(c, NULL, STMT(DP_DADDR_IN, .set = DP_NODEPORT_IPS), STMT(DP_VMAP, .set = DP_NP));
	RULE(c, NULL, STMT(DP_DADDR_IN, .set = DP_CLUSTER_IPS), STMT(DP_REJECT));
	for (uint32_t i = 0; i < n->n_service_cidrs[p->f]; i++)
		RULE(c, NULL, STMT(DP_DADDR, .cidr = n->service_cidrs[p->f][i]), STMT(DP_DROP));
}

static const struct base {
	const char *name;
	struct dp_hook hook;
} bases[] = {
	{ "nat-prerouting", { NF_INET_PRE_ROUTING, -100, "type nat hook prerouting priority dstnat; policy accept" } },
	{ "nat-output", { NF_INET_LOCAL_OUT, -100, "type nat hook output priority -100; policy accept" } },
	{ "nat-input", { NF_INET_LOCAL_IN, 100, "type nat hook input priority 100; policy accept" } },
	{ "nat-postrouting", { NF_INET_POST_ROUTING, 100, "type nat hook postrouting priority srcnat; policy accept" } },
};

const struct dp_hook *dp_program_hook(const char *chain)
{
	for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
		if (strcmp(bases[i].name, chain) == 0)
			return &bases[i].hook;
	return NULL;
}

static void fixed_prerouting(const struct dp_program *p, struct dp_chain_buf *c)
{
	(void)p;
	begin(c, "nat-prerouting", dp_program_hook("nat-prerouting"));
	RULE(c, NULL, STMT(DP_JUMP, .name = "services"));
}

static void fixed_output(const struct dp_program *p, struct dp_chain_buf *c)
{
	(void)p;
	begin(c, "nat-output", dp_program_hook("nat-output"));
	RULE(c, NULL, STMT(DP_JUMP, .name = "services"));
}

/* An endpoint on the node itself goes to input and never passes postrouting. */
static void fixed_input(const struct dp_program *p, struct dp_chain_buf *c)
{
	(void)p;
	begin(c, "nat-input", dp_program_hook("nat-input"));
	RULE(c, NULL, STMT(DP_JUMP, .name = "record"));
}

/* The mark goes before masquerade: an encapsulated packet keeps it and would be masqueraded again (NF-21). */
static void fixed_postrouting(const struct dp_program *p, struct dp_chain_buf *c)
{
	uint32_t m = p->node->mark;

	begin(c, "nat-postrouting", dp_program_hook("nat-postrouting"));
	RULE(c, NULL, STMT(DP_JUMP, .name = "record"));
	RULE(c, NULL, STMT(DP_MARKED, .mark = m), STMT(DP_UNMARK, .mark = m), STMT(DP_MASQUERADE));
	RULE(c, NULL, STMT(DP_DNATTED), STMT(DP_HAIRPIN_PAIR), STMT(DP_MASQUERADE));
}

bool dp_program_fixed(const struct dp_program *p, size_t i, struct dp_chain_buf *ret)
{
	static void (*const chains[])(const struct dp_program *, struct dp_chain_buf *) = {
		fixed_reject, fixed_record, fixed_services,
		fixed_prerouting, fixed_output, fixed_input, fixed_postrouting,
	};

	if (i >= sizeof(chains) / sizeof(chains[0]))
		return false;
	chains[i](p, ret);
	return true;
}

void dp_private_name(enum dp_private_kind k, const struct kp_plan_port *port, char out[DP_CHAIN_NAME])
{
	static const char *const prefixes[] = {
		[DP_AFF_CIP] = "aff-cip", [DP_AFF_EXT] = "aff-ext", [DP_AFF_LOC] = "aff-loc", [DP_AFF_NP] = "aff-np",
		[DP_AFF_NP_LOC] = "aff-np-loc", [DP_FW] = "fw", [DP_REC] = "rec",
	};

	snprintf(out, DP_CHAIN_NAME, "%s/%s", prefixes[k], port->id);
}

void dp_affinity_map(const struct kp_plan_port *port, bool local, char out[DP_CHAIN_NAME])
{
	snprintf(out, DP_CHAIN_NAME, "%s/%s", local ? "affl" : "aff", port->id);
}

static bool has_external(const struct kp_plan_port *port)
{
	return port->n_frontends && port->frontends[port->n_frontends - 1].kind != KP_FE_CLUSTER_IP;
}

bool dp_uses_cluster(const struct kp_plan_port *port)
{
	return !port->internal_local || has_external(port);
}

bool dp_uses_local(const struct kp_plan_port *port)
{
	return port->internal_local || (port->external_local && has_external(port));
}

/* Go where this client went before; no entry: the rule does not match. */
static void rule_remembered(struct dp_chain_buf *c, struct dp_stmt when, const struct kp_plan_port *port, bool local)
{
	char map[DP_CHAIN_NAME];

	dp_affinity_map(port, local, map);
	RULE(c, NULL, when, STMT(DP_L4PROTO, .proto = port->proto), STMT(DP_DNAT_AFFINITY, .name = keep(c, map)));
}

static void affinity_local(const struct dp_program *p, bool np, const struct kp_plan_port *port,
			   uint32_t m, uint32_t ml, struct dp_chain_buf *c)
{
	enum dp_class_kind pick = np ? DP_NP_PICK : DP_PICK;

	if (has_detector(p)) {
		rule_remembered(c, from_pod(p, false), port, false);
		RULE(c, "pods: any endpoint", from_pod(p, false), go(c, pick, m));
	}
	RULE(c, NULL, STMT(DP_SADDR_LOCAL), mark(p));
	rule_remembered(c, STMT(DP_SADDR_LOCAL), port, false);
	RULE(c, "this node: any endpoint", STMT(DP_SADDR_LOCAL), go(c, pick, m));
	rule_remembered(c, NOTHING, port, true);
	rules_draw(c, np ? DP_NP_LOC_TRY : DP_LOC_TRY, ml);
}

void dp_program_affinity(const struct dp_program *p, enum dp_private_kind k, const struct kp_plan_port *port,
			 uint32_t m, uint32_t ml, struct dp_chain_buf *ret)
{
	bool np = k == DP_AFF_NP || k == DP_AFF_NP_LOC;
	bool local = k == DP_AFF_CIP && port->internal_local;
	char name[DP_CHAIN_NAME];

	dp_private_name(k, port, name);
	begin(ret, name, NULL);
	if (k == DP_AFF_LOC || k == DP_AFF_NP_LOC) {
		affinity_local(p, np, port, m, ml, ret);
		return;
	}
	if (k == DP_AFF_CIP)
		rule_mark_cluster_ip(p, ret);
	else
		RULE(ret, NULL, mark(p));
	rule_remembered(ret, NOTHING, port, local);
	RULE(ret, NULL, go(ret, np ? DP_NP_PICK : DP_PICK, local ? ml : m));
}

void dp_program_firewall(const struct dp_program *p, const struct kp_plan_port *port, const char *then,
			 struct dp_chain_buf *ret)
{
	char name[DP_CHAIN_NAME];

	(void)p;
	dp_private_name(DP_FW, port, name);
	begin(ret, name, NULL);
	RULE(ret, NULL, STMT(DP_SADDR_NOT_RANGES, .ranges = port->ranges, .n_ranges = port->n_ranges), STMT(DP_DROP));
	RULE(ret, NULL, STMT(DP_GOTO, .name = keep(ret, then)));
}

/* The local map learns local endpoints only; else a choice by the Cluster policy would break the Local one. */
void dp_program_record(const struct dp_program *p, const struct kp_plan_port *port, struct dp_chain_buf *ret)
{
	char name[DP_CHAIN_NAME];

	(void)p;
	dp_private_name(DP_REC, port, name);
	begin(ret, name, NULL);
	if (dp_uses_cluster(port)) {
		dp_affinity_map(port, false, name);
		RULE(ret, NULL, STMT(DP_UPDATE_AFFINITY, .name = keep(ret, name), .number = port->affinity_seconds));
	}
	if (dp_uses_local(port)) {
		dp_affinity_map(port, true, name);
		RULE(ret, NULL, STMT(DP_LOCAL_ENDPOINT),
		     STMT(DP_UPDATE_AFFINITY, .name = keep(ret, name), .number = port->affinity_seconds));
	}
}
