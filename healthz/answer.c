#include "healthz/answer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "healthz/port.h"
#include "healthz/request.h"
#include "healthz/stamp.h"
#include "healthz/state.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"

#define BODY_MAX (HZ_ANSWER_MAX - 512)	/* no head is longer than 512 */

/* Text in somebody's buffer; what does not fit is cut off. */
struct text {
	char *p;
	size_t len, room;
};

/* What the body says, and what the head must know about it. */
struct reply {
	int status;
	enum hz_path path;
	bool gone;		/* the Service is no longer answered for on this port */
	bool weighs;		/* send the weight header */
	uint32_t weight;
	const char *type;	/* NULL: as the status says */
	size_t length;		/* of the body */
	struct text body;
};

static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{ 200, "OK" },
	{ 400, "Bad Request" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 414, "URI Too Long" },
	{ 431, "Request Header Fields Too Large" },
	{ 500, "Internal Server Error" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 505, "HTTP Version Not Supported" },
};

static const char *reason_of(int status)
{
	for (size_t i = 0; i < KP_N(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *fmt, ...)
{
	size_t left = t->room - t->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->p + t->len, left, fmt, ap);
	va_end(ap);
	t->len += (size_t)n < left ? (size_t)n : left - 1;
}

/* Names come from the API, where they cannot hold any of these, or from files, where they can. */
static void add_json(struct text *t, const char *s)
{
	for (add(t, "\""); *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < ' ')
			add(t, "\\u%04x", c);
		else
			add(t, c == '"' || c == '\\' ? "\\%c" : "%c", c);
	}
	add(t, "\"");
}

static const char *truth(bool yes)
{
	return yes ? "true" : "false";
}

static enum hz_path path_of(const struct hz_req *req)
{
	if (hz_req_is_path(req, "/healthz") || (req->is_options && hz_req_is_path(req, "*")))
		return HZ_PATH_HEALTHZ;
	if (hz_req_is_path(req, "/agent"))
		return HZ_PATH_AGENT;
	return hz_req_is_path(req, "/livez") ? HZ_PATH_LIVEZ : HZ_PATH_OTHER;
}

/* "verbose", alone or among others, with a value or without. */
static bool wants_verbose(const struct hz_req *req)
{
	static const char word[] = "verbose";
	const size_t n = sizeof(word) - 1;
	const char *p = req->query, *end = p ? p + req->query_len : NULL;

	while (p && p < end) {
		const char *amp = memchr(p, '&', (size_t)(end - p)), *stop = amp ? amp : end;

		if ((size_t)(stop - p) >= n && memcmp(p, word, n) == 0 && (p + n == stop || p[n] == '='))
			return true;
		p = amp ? amp + 1 : end;
	}
	return false;
}

static const char *state_name(const struct hz_state *s)
{
	return hz_node_state_names[hz_node_state(&s->node, s->started)];
}

static double pending_seconds(const struct hz_asked *q)
{
	uint64_t longest = 0;

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++) {
		uint64_t ns = q->state->family[f].enabled ? hz_pending_ns(q->state, f, q->now_ns) : 0;

		longest = ns > longest ? ns : longest;
	}
	return (double)longest / 1e9;
}

/* The main and the shared port: B.3. */

static uint64_t last_updated(const struct hz_state *s)
{
	uint64_t newest = 0;

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		if (s->family[f].enabled && s->family[f].updated_wall_ns > newest)
			newest = s->family[f].updated_wall_ns;
	return newest;
}

static void add_families(struct text *t, const struct hz_asked *q)
{
	const char *before = ",\"status\":{";
	char when[HZ_RFC3339_LEN];
	bool any = false;

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++) {
		if (!q->state->family[f].enabled)
			continue;
		add(t, "%s\"%s\":{\"lastUpdated\":\"%s\",\"healthy\":%s}", before, kp_family_names[f],
		    hz_stamp_rfc3339(q->state->family[f].updated_wall_ns, when),
		    truth(hz_family_healthy(q->state, f, q->now_ns)));
		before = ",";
		any = true;
	}
	if (any)
		add(t, "}");
}

/* Of a proxy that is not healthy. */
static const char *sick_reason(const struct hz_asked *q)
{
	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		if (q->state->family[f].enabled && hz_drifted(q->state, f, q->now_ns))
			return "drift";
	return "stale";
}

static const char *node_reason(const struct hz_asked *q, bool healthz)
{
	if (!hz_healthy(q->state, q->now_ns))
		return sick_reason(q);
	if (!healthz)
		return "ok";
	if (q->state->node.draining)
		return "draining";
	if (!q->state->started && !q->state->lenient)
		return "starting";
	if (!q->state->node_eligible)
		return "nodeNotEligible";
	return hz_node_checks_ok(&q->state->node, true) ? "ok" : "checkFailed";
}

static void node_reply(const struct hz_asked *q, const struct hz_req *req, struct reply *r)
{
	const struct hz_state *s = q->state;
	bool healthy = hz_healthy(s, q->now_ns), healthz = r->path == HZ_PATH_HEALTHZ;
	char updated[HZ_RFC3339_LEN], now[HZ_RFC3339_LEN];
	/* As kube-proxy: "recent" while the proxy itself is well, also on a node that is being drained. */
	bool recent = healthy && (s->started || s->lenient || !healthz);
	struct text *t = &r->body;

	r->status = (healthz ? hz_ready(s, q->now_ns) : healthy) ? 200 : 503;
	add(t, "{\"lastUpdated\":\"%s\",\"currentTime\":\"%s\"",
	    hz_stamp_rfc3339(recent ? q->wall_ns : last_updated(s), updated), hz_stamp_rfc3339(q->wall_ns, now));
	if (healthz)
		add(t, ",\"nodeEligible\":%s", truth(s->node_eligible));
	add(t, ",\"healthy\":%s", truth(healthy));
	add_families(t, q);
	if (healthz)
		add(t, ",\"state\":\"%s\"", state_name(s));
	if (wants_verbose(req))
		add(t, ",\"reason\":\"%s\",\"family\":\"%s\",\"generation\":%llu,\"pendingSeconds\":%.3f",
		    node_reason(q, healthz), kp_family_names[q->family], (unsigned long long)q->state->generation,
		    pending_seconds(q));
	add(t, "}");
}

/* What a guest agent asks: B.5. */
static void agent_reply(const struct hz_asked *q, struct reply *r)
{
	const struct hz_node *n = &q->state->node;
	struct text *t = &r->body;

	r->status = hz_agent_ready(q->state, q->now_ns) ? 200 : 503;
	add(t, "{\"state\":\"%s\",\"checks\":[", state_name(q->state));
	for (size_t i = 0; i < n->n_checks; i++) {
		add(t, "%s{\"name\":", i ? "," : "");
		add_json(t, n->checks[i].name);
		add(t, ",\"ok\":%s", truth(n->checks[i].ok));
		if (n->checks[i].has_value)
			add(t, ",\"value\":%.1f", n->checks[i].value);
		add(t, "}");
	}
	add(t, "]}");
}

/* The port of one Service: B.4. */

static const char *service_reason(const struct hz_asked *q, const struct hz_service *svc, enum kp_family f)
{
	if (!svc)
		return "serviceGone";
	if (!hz_healthy(q->state, q->now_ns))
		return sick_reason(q);
	if (!q->state->started)
		return "starting";
	if (svc->broken[f])
		return svc->broken[f];
	if (q->state->node.draining_services)
		return "draining";
	return svc->local_ready[f] ? "ok" : "noLocalEndpoints";
}

static void service_reply(const struct hz_asked *q, const struct hz_req *req, struct reply *r)
{
	const struct hz_service *found = hz_services_find(q->state->services, q->port->ns, q->port->name);
	const struct hz_service *svc = found && found->port == q->port->number ? found : NULL;
	enum kp_family f = svc ? hz_service_family(svc, q->family) : q->family;
	bool proxy_ok = hz_service_proxy_ok(q->state, svc, f, q->now_ns);
	struct text *t = &r->body;

	r->gone = !svc;
	r->weighs = true;
	r->weight = svc ? svc->local_ready[f] : 0;
	r->status = svc && hz_service_ok(q->state, svc, f, q->now_ns) ? 200 : 503;
	add(t, "{\n\t\"service\": {\n\t\t\"namespace\": ");
	add_json(t, q->port->ns);
	add(t, ",\n\t\t\"name\": ");
	add_json(t, q->port->name);
	add(t, "\n\t},\n\t\"localEndpoints\": %u,\n\t\"serviceProxyHealthy\": %s", r->weight, truth(proxy_ok));
	if (wants_verbose(req))
		add(t, ",\n\t\"reason\": \"%s\",\n\t\"family\": \"%s\",\n\t\"generation\": %llu,\n"
		    "\t\"pendingSeconds\": %.3f,\n\t\"terminatingServing\": %u,\n\t\"state\": \"%s\"",
		    service_reason(q, svc, f), kp_family_names[q->family], (unsigned long long)q->state->generation,
		    pending_seconds(q), svc ? svc->local_terminating[f] : 0, state_name(q->state));
	add(t, "\n}");
}

static void error_reply(int status, struct reply *r)
{
	r->status = status;
	if (status == 404)
		add(&r->body, "404 page not found\n");	/* HC-12 */
	else
		add(&r->body, "%d %s\n", status, reason_of(status));
}

static bool is_error(int status)
{
	return status != 200 && status != 503;
}

/* The order is part of the contract: B.6. */
static void add_head(struct text *t, const struct reply *r, const struct hz_req *req, uint64_t wall_ns, bool close)
{
	char date[HZ_HTTP_DATE_LEN];

	add(t, "HTTP/1.%d %d %s\r\n", req->minor, r->status, reason_of(r->status));
	add(t, "Content-Type: %s\r\n", r->type ? r->type : is_error(r->status) ? "text/plain" : "application/json");
	add(t, "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n");
	if (r->weighs)
		add(t, "X-Load-Balancing-Endpoint-Weight: %u\r\n", r->weight);
	add(t, "Date: %s\r\nContent-Length: %zu\r\n", hz_stamp_http(wall_ns, date), r->length);
	if (close)
		add(t, "Connection: close\r\n");
	else if (req->minor == 0)
		add(t, "Connection: keep-alive\r\n");
	add(t, "\r\n");
}

void hz_answer(const struct hz_asked *asked, const struct hz_req *req, struct hz_answer *ret)
{
	static const struct hz_state nothing = { 0 };
	struct hz_asked q = *asked;
	char body[BODY_MAX];
	struct reply r = { .body = { .p = body, .room = sizeof(body) } };
	struct text out = { .p = ret->bytes, .room = sizeof(ret->bytes) };

	if (!q.state)
		q.state = &nothing;
	if (req->status) {
		error_reply(req->status, &r);
	} else if (q.port->is_service) {
		service_reply(&q, req, &r);
	} else {
		r.path = path_of(req);
		if (r.path == HZ_PATH_OTHER)
			error_reply(404, &r);
		else if (r.path == HZ_PATH_AGENT)
			agent_reply(&q, &r);
		else
			node_reply(&q, req, &r);
	}
	ret->status = r.status;
	ret->path = r.path;
	ret->close = !req->keep_alive || r.gone;
	ret->more = NULL;
	ret->more_len = 0;
	r.length = r.body.len;
	add_head(&out, &r, req, q.wall_ns, ret->close);
	if (!req->is_head) {
		memcpy(out.p + out.len, body, r.body.len);
		out.len += r.body.len;
	}
	ret->len = out.len;
}

void hz_answer_page(const struct hz_req *req, int status, const char *content_type, struct kp_buf *body,
		    uint64_t wall_ns, struct hz_answer *ret)
{
	struct reply r = { .status = req->status ? req->status : status, .type = content_type };
	struct text out = { .p = ret->bytes, .room = sizeof(ret->bytes) };

	if (req->status) {	/* there is no page for it */
		r.type = "text/plain";
		kp_buf_release(body);
		kp_buf_printf(body, "%d %s\n", req->status, reason_of(req->status));
	}
	r.length = body->len;
	ret->status = r.status;
	ret->path = HZ_PATH_OTHER;
	ret->close = !req->keep_alive;
	add_head(&out, &r, req, wall_ns, ret->close);
	ret->len = out.len;
	ret->more_len = req->is_head ? 0 : body->len;
	ret->more = kp_steal(&body->data);
	*body = (struct kp_buf){ 0 };
}
