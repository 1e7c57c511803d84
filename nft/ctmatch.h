#ifndef DP_CTMATCH_H
#define DP_CTMATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"
#include "proxy/plan/plan.h"

/*
 * Which conntrack entries are stale: the decision alone, no kernel (the walk is in
 * conntrack.h). UDP flows are when they do not lead where they should. TCP and SCTP
 * connections run to their end (O4), but for those that never had a beginning: a first
 * packet that came while our rules were missing made an entry that translates nothing,
 * and every repetition of it would follow that entry, also when the rules are back.
 *
 * A set holds the front ends whose entries have to be looked at, each with its
 * newest state, and until when: a front end is due at once when it is put, and
 * once more a while after its entries were deleted.
 */

struct dp_ct_frontend {
	bool node_port;
	struct kp_addr ip;		/* node_port: zero but for the family */
	uint16_t port;
	const struct kp_backend *serving;	/* in order of kp_backend_cmp; copied by put. None: every entry is stale (CT-7) */
	uint32_t n_serving;
	bool removed;			/* no longer a front end of ours; serving does not count */
	/*
	 * All that its entries could lead to until now, in the same order: what of it does not serve any more is
	 * where stale ones are. None: not known. Read by put alone.
	 */
	const struct kp_backend *was;
	uint32_t n_was;
};

/* What decides about one entry of the kernel. */
struct dp_ct_entry {
	uint8_t proto;			/* IPPROTO_* */
	struct kp_addr orig_dst, reply_src;
	uint16_t orig_dport, reply_sport;
	bool replied;			/* a packet came back, ever */
};

struct dp_ct_set;
struct kp_map;

struct dp_ct_set *dp_ct_set_new(void);
struct dp_ct_set *dp_ct_set_free(struct dp_ct_set *s);
KP_DEFINE_AUTO(struct dp_ct_set *, dp_ct_set_free)

/*
 * Add, replacing what the set knew about the same address and port (or node port). Only
 * where to look for stale entries adds up: unless both puts tell, it is not known.
 */
void dp_ct_set_put(struct dp_ct_set *s, const struct dp_ct_frontend *fe);

/*
 * The UDP front ends that differ from one plan of a Service to the next, NULL for
 * none: removed takes those that only "was" has, changed those that "is" has with
 * other serving addresses or newly. "was" has to be what the kernel held. A front end may move from one Service to
 * another: of several Services that change together, first all removed, then all
 * changed. After a restart: changed(s, NULL, plan) for every plan.
 */
void dp_ct_set_put_removed(struct dp_ct_set *s, const struct kp_plan *was, const struct kp_plan *is);
void dp_ct_set_put_changed(struct dp_ct_set *s, const struct kp_plan *was, const struct kp_plan *is);

/*
 * Rules of ours were missing in this family until now. plans: key -> struct kp_plan, all there
 * are; their front ends replace those that the set knew as missing.
 */
void dp_ct_set_put_missed(struct dp_ct_set *s, enum kp_family family, const struct kp_map *plans);

/*
 * The addresses node ports are reachable at, sorted: entries to other destinations
 * are then none of a node port's, whatever their port. Never told: any destination (CT-4).
 */
void dp_ct_set_node_ips(struct dp_ct_set *s, enum kp_family family, const struct kp_addr *ips, size_t n);

/* Everything that from holds replaces what into knew of it, and is due at once; from is empty afterwards. */
void dp_ct_set_move(struct dp_ct_set *into, struct dp_ct_set *from);

/* Shall this entry be deleted? Looks at everything in the set, due or not. */
bool dp_ct_set_stale(const struct dp_ct_set *s, const struct dp_ct_entry *e);

/* When something is due: 0 is at once, UINT64_MAX never. Nanoseconds of the monotonic clock. */
uint64_t dp_ct_set_due_ns(const struct dp_ct_set *s);

/* How many UDP front ends of a family are due at now_ns. */
size_t dp_ct_set_due(const struct dp_ct_set *s, enum kp_family family, uint64_t now_ns);

/*
 * A part of the UDP entries that the kernel finds by itself: those to a front end, or (IPv4,
 * see ctmsg.c) those of all front ends that an endpoint's address answers.
 */
struct dp_ct_part {
	const struct dp_ct_frontend *frontend;	/* borrowed from the set; NULL: */
	struct kp_addr endpoint;
};

/*
 * The fewest parts that hold whatever is stale of what is due at now_ns; 0 is possible, when
 * endpoints were only added. Returns how many; more than DP_CT_MAX_PARTS: look at everything.
 *
 * Each costs a walk inside the kernel. Looking at everything costs one to four of them, depending on
 * how much of the table is UDP (of a million entries 0.45 to 1.8 s): so with two neither way is ever
 * worse than twice the other, and with more it is the parts that may be.
 */
#define DP_CT_MAX_PARTS	2
size_t dp_ct_set_parts(const struct dp_ct_set *s, enum kp_family family, uint64_t now_ns,
		       struct dp_ct_part ret[DP_CT_MAX_PARTS]);

/* Are those whose rules were missing due? Gets ready for dp_ct_set_stale(), which does not know them before. */
bool dp_ct_set_missed_due(struct dp_ct_set *s, enum kp_family family, uint64_t now_ns);

/*
 * The family was examined at now_ns. If that deleted anything, what was put since
 * the last time stays for a repetition at repeat_ns, since an entry that is made or
 * moves during a dump can be missed; everything else that was due is dropped.
 */
void dp_ct_set_done(struct dp_ct_set *s, enum kp_family family, uint64_t now_ns, bool deleted, uint64_t repeat_ns);

#endif
