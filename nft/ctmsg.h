#ifndef DP_CTMSG_H
#define DP_CTMSG_H

#include <stdbool.h>
#include <stdint.h>

#include "nft/ctmatch.h"

struct nlattr;
struct nlmsghdr;

/* The messages of ctnetlink: a dump's request, an entry as it comes, its deletion. Bytes alone, no socket. */

enum dp_ct_ask {
	DP_CT_UDP,
	DP_CT_UNREPLIED,	/* TCP and SCTP, without an answer so far */
};

/* An entry, borrowing from the message it was read from. */
struct dp_ct_msg {
	struct dp_ct_entry entry;
	const struct nlattr *orig, *zone, *id;	/* what its deletion needs; zone NULL: in none */
};

/* The request for all entries of the family, and what makes it one for those asked for. part: of UDP; NULL: all of it. */
struct nlmsghdr *dp_ct_msg_dump(void *at, uint32_t seq, enum kp_family family);
void dp_ct_msg_select(struct nlmsghdr *nlh, enum dp_ct_ask ask, const struct dp_ct_part *part);

/* False: not readable as one with ports (ICMP is not). */
bool dp_ct_msg_read(const struct nlmsghdr *nlh, enum kp_family family, struct dp_ct_msg *ret);

/* By the original tuple, as it came, and the id. NULL: would take more room than DP_CT_DELETE_MAX. */
#define DP_CT_DELETE_MAX	256	/* two headers, a tuple of at most 100 bytes, zone, id */
struct nlmsghdr *dp_ct_msg_delete(void *at, uint32_t seq, enum kp_family family, const struct dp_ct_msg *m);

#endif
