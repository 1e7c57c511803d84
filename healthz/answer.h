#ifndef HZ_ANSWER_H
#define HZ_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"

struct hz_port;
struct hz_req;
struct hz_state;
struct kp_buf;

/* A key of the API is at most 520 bytes; escaped (times 6) it still leaves room for the rest. */
#define HZ_ANSWER_MAX 4096

/* What answers are counted under; the agent's are not. */
enum hz_path { HZ_PATH_OTHER, HZ_PATH_HEALTHZ, HZ_PATH_LIVEZ, HZ_PATH_AGENT };

/* Everything but the request that an answer depends on. */
struct hz_asked {
	const struct hz_state *state;	/* NULL: none was published yet */
	const struct hz_port *port;
	enum kp_family family;		/* of the connection */
	uint64_t now_ns;		/* CLOCK_MONOTONIC: decides */
	uint64_t wall_ns;		/* CLOCK_REALTIME: is shown */
};

struct hz_answer {
	int status;
	enum hz_path path;
	bool close;		/* the head says so: the connection ends with this answer */
	char *more;		/* what follows bytes; malloc'd, whoever sends it frees it. NULL: nothing does */
	size_t more_len;
	size_t len;
	char bytes[HZ_ANSWER_MAX];	/* head and body; of a page: its head */
};

/*
 * The whole response (health-and-probes B.3 to B.6). A request with a status of
 * its own (400, 408, ...) is answered with that and closes. Pure: no allocation, no
 * system call, no lock.
 */
void hz_answer(const struct hz_asked *asked, const struct hz_req *req, struct hz_answer *ret);

/*
 * For ports with other things to say: any status and a body of any size, which
 * is taken. A request with a status of its own is answered with that instead, as above.
 */
void hz_answer_page(const struct hz_req *req, int status, const char *content_type, struct kp_buf *body,
		    uint64_t wall_ns, struct hz_answer *ret);

#endif
