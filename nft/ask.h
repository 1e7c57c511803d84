#ifndef DP_ASK_H
#define DP_ASK_H

#include <libmnl/libmnl.h>
#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/addr.h"

/* A question about nf_tables objects of any table: one by its name, or with NLM_F_DUMP all of a kind. */
struct dp_ask {
	uint16_t type;				/* NFT_MSG_GET* */
	uint16_t table_attr, name_attr;		/* 0: not given */
	const char *table, *name;
	mnl_cb_t on_answer;
	void *arg;
};

/*
 * 0, or what the kernel says: -ENOENT for what is not there. -EINTR: somebody committed during
 * a dump. After a failure the socket may hold the rest of an answer: close it.
 */
int dp_ask(struct mnl_socket *nl, enum kp_family f, const struct dp_ask *q, uint16_t flags);
/* One by its name. A kernel without nf_tables, or that family, has no such object either. */
int dp_ask_exists(struct mnl_socket *nl, enum kp_family f, struct dp_ask q, bool *ret);
int dp_table_exists(struct mnl_socket *nl, enum kp_family f, const char *table, bool *ret);	/* likewise */
/* A string of an answer, "" if it has none of that type. */
const char *dp_ask_str(const struct nlmsghdr *nlh, uint16_t type);
/* The first attribute of a type within another one. NULL: there is none, or no such other one. */
const struct nlattr *dp_ask_in(const struct nlattr *nest, uint16_t type);

#endif
