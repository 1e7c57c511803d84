#include "healthz/conns.h"

#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "healthz/conn.h"
#include "healthz/policy.h"
#include "healthz/request.h"
#include "healthz/socket.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define RESERVED_FDS 64		/* for the API, netlink and files: no connection may take the last ones (B.8) */

static void refuse(int fd, struct hz_port *port)
{
	port->stats.outcomes[HZ_OUTCOME_REFUSED]++;
	hz_socket_want_reset(fd);
	close(fd);
}

/*
 * Descriptors are given lowest first: one that high says that only the reserved ones are left. Somebody
 * makes room, and the place that becomes free is taken, or the reserve would fill up all the same.
 */
static int out_of_reserve(struct hz_conns *cs, int fd)
{
	int lower = hz_conns_evict(cs) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;

	if (lower < 0)
		return fd;
	close(fd);
	return lower;
}

static struct conn *new_conn(struct hz_conns *cs, int fd, struct hz_port *port)
{
	size_t pp_max = HZ_PP_V2_FIXED + cs->policy->proxy.v2_len_max;
	/* A PROXY header leaves before the head fills up. */
	size_t room = pp_max > HZ_REQ_HEAD_MAX ? pp_max : HZ_REQ_HEAD_MAX;
	struct conn *c = kp_malloc(sizeof(*c) + room);

	memset(c, 0, offsetof(struct conn, out));	/* not the buffers: 12 KiB, and most stay empty */
	c->cs = cs;
	c->fd = fd;
	c->port = hz_port_ref(port);
	c->outcome = HZ_OUTCOME_TCP_ONLY;
	c->in_room = room;
	c->out.more = NULL;
	return c;
}

void hz_conns_add(struct hz_conns *cs, int fd, struct hz_port *port, enum kp_family family, const struct hz_peer *peer)
{
	struct conn *c;

	if (peer && !hz_policy_allows(cs->policy, &peer->addr)) {
		refuse(fd, port);
		return;
	}
	if (cs->n >= cs->policy->limits.max_connections)
		hz_conns_evict(cs);
	else if (fd >= cs->fd_end)
		fd = out_of_reserve(cs, fd);
	c = new_conn(cs, fd, port);
	c->family = family;
	c->peer = peer ? *peer : (struct hz_peer){ 0 };
	port->n_open++;
	TAILQ_INSERT_TAIL(&cs->fresh, c, link);
	cs->n++;
	hz_conn_serve(c);
}

bool hz_conns_evict(struct hz_conns *cs)
{
	struct conn *c = TAILQ_FIRST(&cs->fresh);

	if (!c)
		c = TAILQ_FIRST(&cs->kept);
	if (!c)
		return false;
	cs->n_evicted++;
	/* One that has its answer stays what it was. */
	hz_conn_end(c, c->phase == PHASE_LINGER ? c->outcome : HZ_OUTCOME_EVICTED);
	return true;
}

int hz_conns_asking(const struct hz_conns *cs)
{
	return cs->asking->fd;
}

uint64_t hz_conns_evicted(const struct hz_conns *cs)
{
	return cs->n_evicted;
}

void hz_conns_last_answers(struct hz_conns *cs)
{
	cs->last_answers = true;
}

/* The queue of kept ones changes only when a connection closes or completes a request, which this does not. */
void hz_conns_close_idle(struct hz_conns *cs)
{
	struct conn *c;

	TAILQ_FOREACH(c, &cs->kept, link)
		if (c->phase == PHASE_IDLE)
			hz_conn_linger(c);
}

size_t hz_conns_count(const struct hz_conns *cs)
{
	return cs->n;
}

static unsigned or_default(unsigned value, unsigned def)
{
	return value ? value : def;
}

void hz_conns_set_policy(struct hz_conns *cs, const struct hz_policy *policy)
{
	struct hz_policy *p = hz_policy_copy(policy);
	struct hz_limits *l = &p->limits;

	l->header_timeout_ms = or_default(l->header_timeout_ms, 5000);
	l->idle_timeout_ms = or_default(l->idle_timeout_ms, 130000);
	l->write_timeout_ms = or_default(l->write_timeout_ms, 5000);
	l->max_connections = or_default(l->max_connections, 1024);
	l->max_requests = or_default(l->max_requests, 1000);
	p->proxy.v2_len_max = p->proxy.v2_len_max ? p->proxy.v2_len_max : HZ_PP_V2_LEN_DEFAULT;
	free(cs->policy);
	cs->policy = p;
	if (l->max_connections > (unsigned)cs->fd_end)
		kp_warn("health", "the limit of open files allows fewer than %u connections", l->max_connections);
}

/* One past the last descriptor that a connection may have. */
static int end_of_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) < 0 || l.rlim_cur > INT_MAX)
		return INT_MAX;
	return l.rlim_cur > 2 * RESERVED_FDS ? (int)l.rlim_cur - RESERVED_FDS : INT_MAX;
}

struct hz_conns *hz_conns_new(struct event_base *base, const struct hz_policy *policy, struct hz_history *history,
			      hz_ask_fn *ask, void *arg)
{
	struct hz_conns *cs = kp_calloc(1, sizeof(*cs));

	cs->base = base;
	cs->history = history;
	cs->ask = ask;
	cs->arg = arg;
	cs->fd_end = end_of_descriptors();
	hz_conns_set_policy(cs, policy);
	TAILQ_INIT(&cs->fresh);
	TAILQ_INIT(&cs->kept);
	return cs;
}

struct hz_conns *hz_conns_free(struct hz_conns *cs)
{
	if (!cs)
		return NULL;
	while (hz_conns_evict(cs))
		;
	free(cs->policy);
	free(cs);
	return NULL;
}
