#include "nft/layout.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static bool is_external(const struct kp_frontend *fe)
{
	return fe->kind != KP_FE_CLUSTER_IP;
}

/* The kind of class and its private form with affinity. */
static void class_of(const struct kp_plan_port *port, const struct kp_frontend *fe,
		     enum dp_class_kind *ret_class, enum dp_private_kind *ret_private)
{
	bool np = fe->kind == KP_FE_NODE_PORT;

	if (!is_external(fe)) {
		*ret_class = DP_CIP;
		*ret_private = DP_AFF_CIP;
	} else if (port->external_local) {
		*ret_class = np ? DP_NP_LOC : DP_LOC;
		*ret_private = np ? DP_AFF_NP_LOC : DP_AFF_LOC;
	} else {
		*ret_class = np ? DP_NP_EXT : DP_EXT;
		*ret_private = np ? DP_AFF_NP : DP_AFF_EXT;
	}
}

static bool is_guarded(const struct kp_plan_port *port, const struct kp_frontend *fe)
{
	return fe->kind == KP_FE_VIP && port->n_ranges;
}

/* Local slots the class must draw from; 0 endpoints: no draw. */
static uint32_t local_size(const struct dp_slots *s)
{
	return s->n ? s->m : 0;
}

static enum dp_record record_of(const struct kp_plan_port *port, const struct kp_frontend *fe)
{
	if (port->affinity_seconds)
		return DP_RECORD_CHOICE;
	return is_external(fe) && fe->kind != KP_FE_NODE_PORT ? DP_RECORD_NEVER : DP_RECORD_NOTHING;
}

/* The verdict behind the source ranges. */
static void inner(const struct dp_numbered *p, const struct kp_frontend *fe, struct dp_layout *ret)
{
	const struct kp_plan_port *port = p->port;
	bool local_only = !is_external(fe) && port->internal_local;
	enum dp_private_kind private;
	enum dp_class_kind kind;

	if (!port->has_any) {
		snprintf(ret->chain, sizeof(ret->chain), "reject-new");
		return;
	}
	if (local_only && !p->local.n) {
		ret->drop = true;
		return;
	}
	ret->at_zero = local_only ? &p->local : &p->cluster;
	ret->at_local = is_external(fe) && port->external_local && p->local.n ? &p->local : NULL;
	class_of(port, fe, &kind, &private);
	ret->record = record_of(port, fe);
	if (ret->record == DP_RECORD_CHOICE)
		dp_private_name(private, port, ret->chain);
	else
		dp_class_name(&(struct dp_class){ (uint8_t)kind, ret->at_zero->m, local_size(&p->local) }, ret->chain);
}

void dp_layout_of(const struct dp_numbered *p, const struct kp_frontend *fe, struct dp_layout *ret)
{
	memset(ret, 0, offsetof(struct dp_layout, chain));
	ret->chain[0] = '\0';
	inner(p, fe, ret);
	if (is_guarded(p->port, fe))
		dp_private_name(DP_FW, p->port, ret->chain);
}

uint32_t dp_layout_privates(const struct dp_numbered *p)
{
	const struct kp_plan_port *port = p->port;
	uint32_t mask = 0;

	if (!port->affinity_seconds && !port->n_ranges)
		return 0;
	for (uint32_t i = 0; i < port->n_frontends; i++) {
		const struct kp_frontend *fe = &port->frontends[i];
		enum dp_private_kind private;
		enum dp_class_kind kind;
		struct dp_layout l;

		if (!fe->claimed)
			continue;
		dp_layout_of(p, fe, &l);
		class_of(port, fe, &kind, &private);
		if (l.record == DP_RECORD_CHOICE)
			mask |= 1u << private | 1u << DP_REC;
		if (is_guarded(port, fe))
			mask |= 1u << DP_FW;
	}
	if (mask & 1u << DP_REC)
		mask |= (dp_uses_cluster(port) ? DP_MAP_CLUSTER : 0) | (dp_uses_local(port) ? DP_MAP_LOCAL : 0);
	return mask;
}

void dp_layout_private(const struct dp_program *prog, const struct dp_numbered *p, enum dp_private_kind k,
		       struct dp_chain_buf *ret)
{
	const struct kp_plan_port *port = p->port;
	struct dp_layout l = { 0 };

	if (k == DP_REC) {
		dp_program_record(prog, port, ret);
	} else if (k == DP_FW) {	/* a VIP's verdict never is drop: only the clusterIP has one */
		inner(p, &(struct kp_frontend){ .kind = KP_FE_VIP }, &l);
		dp_program_firewall(prog, port, l.chain, ret);
	} else {
		dp_program_affinity(prog, k, port, p->cluster.m, local_size(&p->local), ret);
	}
}

struct dp_elem dp_layout_key(const struct kp_plan_port *port, const struct kp_frontend *fe)
{
	return (struct dp_elem){
		.set = fe->kind == KP_FE_NODE_PORT ? DP_NP : DP_SVC,
		.ip = fe->ip, .proto = port->proto, .port = fe->port,
	};
}
