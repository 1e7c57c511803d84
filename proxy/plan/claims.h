#ifndef KP_PLAN_CLAIMS_H
#define KP_PLAN_CLAIMS_H

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

/*
 * Who may write down a front end. Nothing in the API keeps two Services from naming
 * one external address and port; the kernel has room for one. A clusterIP beats
 * every address that is merely named, so that nobody takes over a Service by listing
 * its clusterIP; else the first in order of "ns/name" owns. The rest wait. Main thread.
 */
struct kp_claims;

/* One way in. */
struct kp_claim_key {
	struct kp_addr ip;	/* node port: zero, but for the family */
	uint8_t proto;
	uint16_t port;
	bool node_port;
	bool named;		/* not a clusterIP: comes second. Not part of the identity */
};

struct kp_claims_events {
	/* Another Service than the one at work became owner of something or ceased to be. */
	void (*changed)(void *arg, const char *who);
	/* Two want the same from now on. */
	void (*conflict)(void *arg, const struct kp_claim_key *key, const char *owner, const char *other);
	void *arg;
};

struct kp_claims *kp_claims_new(const struct kp_claims_events *events);
struct kp_claims *kp_claims_free(struct kp_claims *c);
KP_DEFINE_AUTO(struct kp_claims *, kp_claims_free)

/*
 * Everything "ns/name" claims, said anew: begin, add each, end. What it claimed before
 * and was not added again is given up. Nothing added: it is forgotten.
 */
enum kp_claim { KP_CLAIM_OWNED, KP_CLAIM_WAITS, KP_CLAIM_TWICE };

void kp_claims_begin(struct kp_claims *c, const char *who);
enum kp_claim kp_claims_add(struct kp_claims *c, const struct kp_claim_key *key);	/* TWICE: said since begin */
void kp_claims_end(struct kp_claims *c);

#endif
