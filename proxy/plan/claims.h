#ifndef KP_PLAN_CLAIMS_H
#define KP_PLAN_CLAIMS_H

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

/*
 * Who may write down a front end. Nothing in the API keeps two Services from naming
 * one external address and port; the kernel has room for one. A clusterIP, which the
 * API server gives, beats a VIP, which a load balancer's controller gives, and that
 * beats an external IP, which anybody may list who may make a Service (CVE-2020-8554);
 * of the same kind the older Service owns, so that no new one takes over what is in
 * use; else the first in order of "ns/name". The rest wait. Main thread.
 */
struct kp_claims;

/* One way in. */
struct kp_claim_key {
	struct kp_addr ip;	/* node port: zero, but for the family */
	uint8_t proto;
	uint16_t port;
	bool node_port;
	/* Not part of the identity. */
	uint8_t rank;		/* the lowest owns */
	int64_t created;	/* of equals the oldest; seconds since 1970 */
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
