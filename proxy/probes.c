#include "proxy/probes.h"

#include <stdio.h>

#include "healthz/report.h"
#include "healthz/stamp.h"
#include "proxy/base/buf.h"

static json_t *stamp(uint64_t wall_ns)
{
	char out[HZ_RFC3339_LEN];

	return json_string(hz_stamp_rfc3339(wall_ns, out));
}

/* null where there is nothing. */
static json_t *text_or_null(const char *s)
{
	return *s ? json_string(s) : json_null();
}

static json_t *status_or_null(int status)
{
	return status ? json_integer(status) : json_null();
}

static json_t *probe_json(const struct hz_probe *p)
{
	char peer[HZ_PEER_STRLEN], claimed[HZ_PEER_STRLEN] = "";

	if (p->has_claimed)
		hz_peer_str(&p->claimed, claimed);
	return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:I}",
			 "time", stamp(p->wall_ns), "listener", p->listener, "peer", hz_peer_str(&p->peer, peer),
			 "claimed", text_or_null(claimed), "link", text_or_null(hz_pp_cloud_names[p->link.cloud]),
			 "linkId", text_or_null(p->link.id), "userAgent", text_or_null(p->user_agent),
			 "method", text_or_null(p->method), "path", text_or_null(p->path),
			 "status", status_or_null(p->status), "outcome", p->outcome, "microseconds", (json_int_t)p->took_us);
}

static json_t *peer_json(const struct hz_peer_summary *s)
{
	uint64_t interval = hz_peer_interval_ns(s);
	char addr[KP_ADDR_STRLEN];

	return json_pack("{s:s, s:I, s:o, s:o, s:s, s:o}", "peer", kp_addr_str(&s->addr, addr), "count", (json_int_t)s->count,
			 "last", stamp(s->last_wall_ns), "lastStatus", status_or_null(s->last_status),
			 "lastOutcome", s->last_outcome,
			 "meanIntervalSeconds", interval ? json_real((double)interval / 1e9) : json_null());
}

json_t *kp_probes_json(const struct hz_report *r)
{
	json_t *probes = json_array(), *peers = json_array();

	for (size_t i = 0; i < r->n_probes; i++)
		json_array_append_new(probes, probe_json(&r->probes[i]));
	for (size_t i = 0; i < r->n_peers; i++)
		json_array_append_new(peers, peer_json(&r->peers[i]));
	return json_pack("{s:o, s:o}", "peers", peers, "probes", probes);
}

/* --- text --- */

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static long long num(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* A status, or how a connection without a request ended. */
static const char *result(const json_t *o, const char *status_key, const char *outcome_key, char *out, size_t room)
{
	if (num(o, status_key))
		snprintf(out, room, "%lld", num(o, status_key));
	else
		snprintf(out, room, "%s", str(o, outcome_key));
	return out;
}

static void add_peer(const json_t *p, struct kp_buf *out)
{
	const json_t *interval = json_object_get(p, "meanIntervalSeconds");
	char said[32], every[32] = "-";

	if (json_is_number(interval))
		snprintf(every, sizeof(every), "%.3gs", json_number_value(interval));
	kp_buf_printf(out, "%-39s %8lld %-9s %-14s %s\n", str(p, "peer"), num(p, "count"), every,
		      result(p, "lastStatus", "lastOutcome", said, sizeof(said)), str(p, "last"));
}

static void add_probe(const json_t *p, struct kp_buf *out)
{
	char said[32];

	kp_buf_printf(out, "%-30s %-22s %-24s %-14s %7lld %-7s %-16s", str(p, "time"), str(p, "listener"), str(p, "peer"),
		      result(p, "status", "outcome", said, sizeof(said)), num(p, "microseconds"), str(p, "method"), str(p, "path"));
	kp_buf_printf(out, " %s", str(p, "userAgent"));
	if (json_is_string(json_object_get(p, "claimed")))
		kp_buf_printf(out, " claimed=%s", str(p, "claimed"));
	if (json_is_string(json_object_get(p, "linkId")))
		kp_buf_printf(out, " %s-link=%s", str(p, "link"), str(p, "linkId"));
	kp_buf_puts(out, "\n");
}

void kp_probes_text(const json_t *probes, struct kp_buf *out)
{
	const json_t *peers = json_object_get(probes, "peers"), *last = json_object_get(probes, "probes");

	if (!json_array_size(peers)) {
		kp_buf_puts(out, "nobody has probed this node\n");
		return;
	}
	kp_buf_printf(out, "%-39s %8s %-9s %-14s %s\n", "PEER", "PROBES", "EVERY", "LAST ANSWER", "LAST");
	for (size_t i = 0; i < json_array_size(peers); i++)
		add_peer(json_array_get(peers, i), out);
	kp_buf_printf(out, "\n%-30s %-22s %-24s %-14s %7s %-7s %-16s %s\n", "TIME", "LISTENER", "PEER", "ANSWER", "US", "METHOD",
		      "PATH", "USER AGENT");
	for (size_t i = 0; i < json_array_size(last); i++)
		add_probe(json_array_get(last, i), out);
}
