#ifndef HZ_HISTORY_H
#define HZ_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "healthz/peer.h"
#include "healthz/proxyproto.h"

/*
 * Who probes, how often, and what was said (health-and-probes B.10): the last 256 probes
 * and a summary of up to 64 peers. Fixed memory, filled by the health thread, which
 * shares nothing; others get copies (healthz/report.h). What came from a peer is cut to
 * size and holds printable ASCII only.
 */
#define HZ_HISTORY_LEN 256
#define HZ_HISTORY_PEERS 64
#define HZ_LABEL_MAX 136	/* "svc/NAMESPACE/NAME", cut off where it is longer than the API allows */

struct hz_probe {
	uint64_t wall_ns;
	char listener[HZ_LABEL_MAX];
	struct hz_peer peer;		/* who it really is */
	bool has_claimed;
	struct hz_peer claimed;		/* what its PROXY header says; never believed */
	struct hz_pp_link link;
	char user_agent[65], method[17], path[65];
	int status;			/* 0: it got no answer, by its own doing */
	const char *outcome;		/* static; "http", "tcp_only", ... */
	uint64_t took_us;		/* request complete to answer sent */
};

struct hz_peer_summary {
	struct kp_addr addr;
	uint64_t count;
	uint64_t first_wall_ns, last_wall_ns;
	int last_status;		/* as in struct hz_probe */
	const char *last_outcome;
};
/* Mean time between its probes; 0 if there was only one. */
uint64_t hz_peer_interval_ns(const struct hz_peer_summary *p);

struct hz_history;

struct hz_history *hz_history_new(void);
struct hz_history *hz_history_free(struct hz_history *h);	/* NULL is fine; returns NULL */
/* Copied. Of too many peers the one that was silent for longest is forgotten. No allocation. */
void hz_history_add(struct hz_history *h, const struct hz_probe *p);
/* Oldest first; the array is the caller's. */
size_t hz_history_probes(const struct hz_history *h, struct hz_probe **ret);
/* Busiest first; likewise. */
size_t hz_history_peers(const struct hz_history *h, struct hz_peer_summary **ret);

/* Bytes of a peer as text: at most room - 1 of them, anything but printable ASCII as '?'. src may be NULL. */
void hz_printable(char *out, size_t room, const char *src, size_t len);

#endif
