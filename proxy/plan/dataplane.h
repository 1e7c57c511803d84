#ifndef KP_PLAN_DATAPLANE_H
#define KP_PLAN_DATAPLANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/plan/plan.h"

struct kp_err;

struct dp_change {
	char *key;		/* "ns/name" */
	struct kp_plan *plan;	/* NULL: the Service is gone */
};

/*
 * Everything that belongs into one commit per family. The first batch of a
 * process is complete: what it does not name is removed from the kernel.
 */
struct dp_batch {
	struct kp_plan_node *node;	/* NULL: as before; never NULL in the first batch */
	struct dp_change *changes;
	size_t n_changes;
};

/* A Service that the kernel refused in a family: its last good rules stay there, the others go on. */
struct dp_refusal {
	char *key;
	uint8_t family;		/* enum kp_family */
	int code;		/* negative errno */
	char *why;		/* "add element 10.96.0.1 . tcp . 80 to svc: File exists" */
	bool gone;		/* those were refused as well, or there are none: nothing of it is in the kernel */
};

/* How much of what we wrote somebody else changed. */
enum dp_drift_kind {
	DP_DRIFT_ELEMENTS,	/* entries of some Services */
	DP_DRIFT_RULES,		/* chains, rules or sets: all Services may suffer */
	DP_DRIFT_TABLE,		/* everything: deleted, replaced, switched off */
	DP_N_DRIFTS
};
extern const char *const dp_drift_names[DP_N_DRIFTS];	/* "elements", "rules", "table" */

/*
 * A foreign change of a family's rules. Told when it is found, with repaired_ns 0, so that
 * health knows should the repair take long or fail; again after each repair that failed;
 * and when it is put right.
 */
struct dp_drift {
	enum dp_drift_kind kind;
	char *what;		/* "chain services deleted; 3 elements of svc deleted" */
	char *who;		/* "nft (pid 4711)"; NULL: the kernel did not tell */
	uint64_t noticed_ns, repaired_ns;	/* monotonic */
	uint64_t wait_ns;	/* the repair is put off until then: it was undone too often; 0: it is not */
	unsigned in_a_row;	/* drifts since it was calm for a minute, this one included */
	char **keys;		/* DP_DRIFT_ELEMENTS: the Services concerned, as far as they are known */
	size_t n_keys;
};
struct dp_drift *dp_drift_free(struct dp_drift *d);	/* NULL is fine; returns NULL */
struct dp_drift *dp_drift_copy(const struct dp_drift *d);

/* Rules that iptables has of us: all, and those that the last write wrote. */
enum dp_rule_table { DP_RULES_FILTER, DP_RULES_NAT, DP_N_RULE_TABLES };
struct dp_rule_counts {
	uint32_t total[DP_N_RULE_TABLES], last[DP_N_RULE_TABLES];
};

struct dp_family_result {
	bool tried;
	int code;		/* 0: everything but the refused is in the kernel */
	char message[256];	/* what failed, for code != 0 */
	bool wrote;		/* false: the kernel already held it all, no write transaction */
	bool full;		/* everything was compared with the kernel, not only what changed */
	bool partial_failed;	/* mode iptables: what changed could not be written alone, so everything was */
	bool cleanup_failed;	/* something of an earlier run that is of no use any more could not be deleted */
	uint32_t elements_added, elements_deleted;
	struct dp_rule_counts rules;	/* mode iptables */
	uint64_t took_ns;
	uint64_t heavy_ns;	/* of a processor, for a small change after which the kernel had to look at the whole ruleset; 0: none such */
	struct dp_drift *drift;	/* NULL: nothing new to tell; also without tried */
};

/* One look for stale conntrack entries. */
struct dp_conntrack_result {
	bool tried;
	uint64_t deleted, took_ns;
};

/* What one apply or retry did: plain values, handed on to the main thread. */
struct dp_result {
	struct dp_family_result family[KP_N_FAMILIES];
	struct dp_conntrack_result conntrack[KP_N_FAMILIES];	/* of changes that were committed earlier */
	struct dp_refusal *refused;	/* all that are refused now, one family after the other */
	size_t n_refused;
	char *cold;		/* what of the rules of before is not as it was (dp_options.warm); NULL: nothing new to tell */
	uint64_t done_ns;	/* wall clock; the runner's, not the backend's */
};
void dp_result_release(struct dp_result *r);
bool dp_result_tells(const struct dp_result *r);	/* anything at all: something was tried, or drift is told */

struct dp_options {
	bool families[KP_N_FAMILIES];	/* the ones to program */
	const char *table;		/* NULL: "proxylet" */
	bool owner;			/* keep everybody else from changing our rules, where the kernel can */
	const char *variant;		/* of iptables: "nft", "legacy"; NULL, "auto": the one in use on this host */
	unsigned period_ms;		/* for what must be looked at again and again; 0: 30 s */
	bool warm;			/* others count on rules of before: tell when they are not whole any more */
	int cancel_fd;			/* readable: end what takes long, done or not; 0: there is none */
	const struct dp_ops *const *former;	/* others that may have left rules; ends with NULL; NULL: none */
};

/*
 * A backend. It owns its sockets and its memory of what the kernel holds; it sees
 * plans only, never the model. All calls come from one thread.
 */
struct dp_ops {
	const char *name;	/* "nftables", as in the configuration */
	bool is_quick;		/* some changes take less than to wake another processor */
	/* Can this kernel do it? Leaves nothing behind. err names what is missing. */
	int (*probe)(const struct dp_options *opt, struct kp_err *err);
	/*
	 * Does the kernel hold a whole set of rules of an earlier process? Read only. 0: yes;
	 * -ENOENT: none; else err says what is wrong, -EUCLEAN: with those that are there.
	 */
	int (*warm)(const struct dp_options *opt, struct kp_err *err);
	int (*open)(void **ret, const struct dp_options *opt, struct kp_err *err);
	/*
	 * Bring the kernel to the new state. Keeps references to the plans it needs.
	 * 0: every enabled family is done (refusals may exist). < 0: some family
	 * failed; the backend remembers what it wants, and retry() tries again.
	 */
	int (*apply)(void *dp, const struct dp_batch *batch, struct dp_result *ret);
	/* Again with what is wanted; also for work left for later (< 0 as above). */
	int (*retry)(void *dp, struct dp_result *ret);
	/* Milliseconds until retry() has something to do, -1: nothing. */
	int (*pending_ms)(void *dp);
	void (*close)(void *dp);	/* the rules stay */
	/*
	 * Removes what it, or a process before us, has left in the kernel, when the rules of
	 * another backend are there. Without open(). 0 also if there is nothing.
	 */
	int (*remove)(struct kp_err *err);
};

extern const struct dp_ops dp_nftables_ops, dp_iptables_ops;

#endif
