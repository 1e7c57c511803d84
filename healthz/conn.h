#ifndef HZ_CONN_H
#define HZ_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include "healthz/answer.h"
#include "healthz/conns.h"
#include "healthz/history.h"
#include "healthz/peer.h"
#include "healthz/port.h"
#include "healthz/proxyproto.h"

/* One connection and its set, for conn.c, conn_note.c and conns.c; others have healthz/conns.h. */

/*
 * A connection walks through these, one timer each:
 *
 *   accept -> PROXY -> HEAD -> (answer) -> IDLE -> HEAD -> ...
 *                                |
 *                                +-> WAIT (for an answer that was promised) -> back
 *                                +-> WRITE (the socket is full) -> back, or LINGER
 *                                +-> LINGER (the connection ends) -> close
 */
enum phase { PHASE_PROXY, PHASE_HEAD, PHASE_IDLE, PHASE_WAIT, PHASE_WRITE, PHASE_LINGER };

struct conn {
	TAILQ_ENTRY(conn) link;		/* in cs->fresh or cs->kept */
	struct hz_conns *cs;
	struct hz_port *port;
	enum kp_family family;
	struct hz_peer peer;		/* who it really is */
	bool has_claimed;
	struct hz_peer claimed;		/* who its PROXY header says it is: told, never believed */
	struct hz_pp_link pp_link;
	int fd;
	enum phase phase;
	enum hz_outcome outcome;	/* as far as it is known */
	unsigned n_requests;		/* answered, without errors */
	size_t drained;			/* LINGER: bytes thrown away */
	uint64_t heard_ns;		/* when the bytes at hand came */
	struct hz_probe probe;		/* the request that is being answered */
	struct event readable, writable, timer;
	size_t in_len, in_room, sent;
	struct hz_promise *promise;	/* of an answer; NULL: none */
	struct hz_answer out;
	char in[];
};

TAILQ_HEAD(conn_list, conn);

struct hz_conns {
	struct event_base *base;
	struct hz_policy *policy;	/* no limit in it is 0 */
	struct hz_history *history;
	hz_ask_fn *ask;
	void *arg;
	struct conn_list fresh;		/* never completed a request; oldest first */
	struct conn_list kept;		/* longest without a request first */
	size_t n;
	struct conn *asking;		/* NULL: nobody, at the moment */
	uint64_t n_evicted;
	int fd_end;			/* descriptors from here on are for others */
	bool last_answers;
};

/* Begin the walk of one that its set has, and answer what has come already. c may be gone afterwards. */
void hz_conn_serve(struct conn *c);
void hz_conn_linger(struct conn *c);	/* end it, but not before the peer has all we wrote */
void hz_conn_end(struct conn *c, enum hz_outcome outcome);	/* at once: frees c */

#endif
