#include "healthz/conn_note.h"

#include <string.h>

#include "healthz/conn.h"
#include "healthz/history.h"
#include "healthz/request.h"
#include "proxy/base/clock.h"

/* What is known so far of a probe on this connection. */
static void begin_probe(struct conn *c)
{
	c->probe = (struct hz_probe){
		.peer = c->peer, .has_claimed = c->has_claimed, .claimed = c->claimed, .link = c->pp_link,
	};
	hz_printable(c->probe.listener, sizeof(c->probe.listener), c->port->label, strlen(c->port->label));
}

static void end_probe(struct conn *c)
{
	c->probe.wall_ns = kp_wall_ns();
	c->probe.outcome = hz_outcome_names[c->outcome];
	c->port->stats.last_probe_wall_ns = c->probe.wall_ns;
	if (c->cs->history)
		hz_history_add(c->cs->history, &c->probe);
}

void hz_note_request(struct conn *c, const struct hz_req *req)
{
	struct hz_probe *p = &c->probe;

	begin_probe(c);
	hz_printable(p->method, sizeof(p->method), req->method, req->method_len);
	hz_printable(p->path, sizeof(p->path), req->path, req->path_len);
	hz_printable(p->user_agent, sizeof(p->user_agent), req->user_agent, req->user_agent_len);
}

void hz_note_answer(struct conn *c)
{
	uint64_t took_ns = kp_now_ns() - c->heard_ns;

	c->probe.status = c->out.status;
	c->probe.took_us = took_ns / 1000;
	hz_stats_answer(&c->port->stats, c->probe.method, c->out.status, took_ns);
	end_probe(c);
}

/* Each connection counts once, as what it turned out to be; one that had no answer is a probe as well. */
void hz_note_end(struct conn *c)
{
	c->port->stats.outcomes[c->outcome]++;
	c->port->n_open--;
	/* A flood that is evicted must not wash away the history. */
	if (c->outcome == HZ_OUTCOME_EVICTED || c->probe.status)
		return;
	begin_probe(c);
	end_probe(c);
}
