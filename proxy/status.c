#include "proxy/status.h"

#include <stdlib.h>
#include <unistd.h>

#include "healthz/report.h"
#include "healthz/stamp.h"
#include "proxy/base/mem.h"
#include "proxy/base/utf8.h"
#include "proxy/plan/dataplane.h"

static void release_refused(struct kp_commits *c)
{
	for (size_t i = 0; i < c->n_refused; i++) {
		free(c->refused[i].key);
		free(c->refused[i].why);
	}
	free(c->refused);
	c->refused = NULL;
	c->n_refused = 0;
}

void kp_commits_release(struct kp_commits *c)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		dp_drift_free(c->family[f].drift);
		free(c->family[f].failure);
	}
	release_refused(c);
	*c = (struct kp_commits){ 0 };
}

static void note_drift(struct kp_last_commit *last, const struct dp_drift *d, uint64_t wall_ns)
{
	if (!d)
		return;
	if (!last->drift || last->drift->noticed_ns != d->noticed_ns) {	/* it is told more than once */
		last->drift_wall_ns = wall_ns;
		last->n_drifts++;
	}
	dp_drift_free(last->drift);
	last->drift = dp_drift_copy(d);
}

static void note_family(struct kp_last_commit *last, const struct dp_family_result *r, uint64_t wall_ns)
{
	note_drift(last, r->drift, wall_ns);
	if (!r->tried)
		return;
	free(last->failure);
	last->failure = NULL;
	if (r->code < 0) {
		last->failure = kp_strdup(r->message);
		return;
	}
	last->wall_ns = wall_ns;
	last->took_ns = r->took_ns;
	last->added = r->elements_added;
	last->deleted = r->elements_deleted;
	last->wrote = r->wrote;
}

void kp_commits_note(struct kp_commits *c, const struct dp_result *res, uint64_t wall_ns)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		note_family(&c->family[f], &res->family[f], wall_ns);
	release_refused(c);
	if (!res->n_refused)
		return;
	c->refused = kp_calloc(res->n_refused, sizeof(*c->refused));
	for (size_t i = 0; i < res->n_refused; i++)
		c->refused[c->n_refused++] = (struct dp_refusal){
			kp_strdup(res->refused[i].key), res->refused[i].family, res->refused[i].code,
			kp_strdup(res->refused[i].why), res->refused[i].gone };
}

/* --- JSON --- */

static json_t *stamp(uint64_t wall_ns)
{
	char out[HZ_RFC3339_LEN];

	return wall_ns ? json_string(hz_stamp_rfc3339(wall_ns, out)) : json_null();
}

static json_t *seconds(uint64_t ns)
{
	return json_real((double)ns / 1e9);
}

static json_t *commit_json(const struct kp_last_commit *c)
{
	if (!c->wall_ns)
		return json_null();
	return json_pack("{s:o, s:o, s:I, s:I, s:b}", "at", stamp(c->wall_ns), "tookSeconds", seconds(c->took_ns),
			 "elementsAdded", (json_int_t)c->added, "elementsDeleted", (json_int_t)c->deleted, "wrote", c->wrote);
}

static json_t *drift_json(const struct kp_last_commit *c)
{
	const struct dp_drift *d = c->drift;

	if (!d)
		return json_null();
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:I, s:I, s:b}", "at", stamp(c->drift_wall_ns), "kind", dp_drift_names[d->kind],
			 "what", kp_json_text(d->what), "who", kp_json_text(d->who),
			 "repairSeconds", d->repaired_ns ? seconds(d->repaired_ns - d->noticed_ns) : json_null(),
			 "total", (json_int_t)c->n_drifts, "inARow", (json_int_t)d->in_a_row, "putOff", d->wait_ns != 0);
}

static json_t *families_json(const struct kp_status *s)
{
	json_t *out = json_object();

	for (int f = 0; f < KP_N_FAMILIES; f++) {
		const struct kp_last_commit *c = &s->commits->family[f];

		if (s->families[f])
			json_object_set_new(out, kp_family_names[f], json_pack("{s:o, s:o, s:o, s:o}", "lastCommit", commit_json(c),
					    "pendingSeconds", seconds(s->pending_ns[f]), "failure", kp_json_text(c->failure),
					    "drift", drift_json(c)));
	}
	return out;
}

static json_t *refused_json(const struct kp_commits *c)
{
	json_t *out = json_array();

	for (size_t i = 0; i < c->n_refused; i++)
		json_array_append_new(out, json_pack("{s:o, s:s, s:o}", "service", kp_json_text(c->refused[i].key),
				      "family", kp_family_names[c->refused[i].family], "why", kp_json_text(c->refused[i].why)));
	return out;
}

static json_t *source_json(const struct kp_source_row *r, uint64_t now_ns)
{
	json_t *silent = r->heard_ns ? seconds(now_ns > r->heard_ns ? now_ns - r->heard_ns : 0) : json_null();

	return json_pack("{s:o, s:I, s:b, s:o, s:o}", "name", kp_json_text(r->name), "objects", (json_int_t)r->n_objects,
			 "live", r->live, "silentSeconds", silent, "problem", kp_json_text(r->problem));
}

static json_t *sources_json(const struct kp_status *s)
{
	json_t *out = json_array();

	for (size_t i = 0; i < s->sources.n; i++)
		json_array_append_new(out, source_json(&s->sources.rows[i], s->now_ns));
	return out;
}

static json_t *listeners_json(const struct kp_status *s)
{
	json_t *out = json_array();

	for (size_t i = 0; i < s->n_listeners; i++)
		json_array_append_new(out, json_pack("{s:s, s:o, s:b, s:o}", "name", s->listeners[i].name,
				      "address", kp_json_text(s->listeners[i].address), "bound", !s->listeners[i].problem,
				      "problem", kp_json_text(s->listeners[i].problem)));
	return out;
}

static json_t *health_port_json(const struct hz_listener_report *l)
{
	return json_pack("{s:o, s:b, s:i, s:b, s:o, s:i, s:o}", "name", kp_json_text(l->name), "service", l->is_service,
			 "port", (int)l->port, "bound", !l->problem, "problem", kp_json_text(l->problem),
			 "openConnections", (int)l->n_open, "lastProbe", stamp(l->stats.last_probe_wall_ns));
}

static json_t *health_json(const struct hz_report *r)
{
	json_t *out = json_array();

	for (size_t i = 0; i < r->n_listeners; i++)
		json_array_append_new(out, health_port_json(&r->listeners[i]));
	return out;
}

static json_t *other_json(const struct kp_other_view *v)
{
	return json_pack("{s:s, s:o, s:o, s:o}", "state", kp_other_states[v->state], "found", kp_json_text(v->found),
			 "why", kp_json_text(v->state == KP_OTHER_NONE ? NULL : v->why), "problem", kp_json_text(v->problem));
}

static json_t *snapshot_json(const struct kp_snapshot_status *s)
{
	if (!s->folder)
		return json_null();
	return json_pack("{s:o, s:b, s:o, s:o, s:I, s:o}", "folder", kp_json_text(s->folder), "inUse", s->in_use,
			 "at", stamp(s->wall_ns), "ageSeconds", s->wall_ns ? seconds(s->age_ns) : json_null(),
			 "failures", (json_int_t)s->n_failed, "problem", kp_json_text(s->problem));
}

json_t *kp_status_json(const struct kp_status *s)
{
	return json_pack("{s:s, s:i, s:o, s:s, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:b, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
			 "version", KP_VERSION,
			 "pid", (int)getpid(),
			 "node", kp_json_text(s->node_name),
			 "mode", s->mode,
			 "startedAt", stamp(s->began_wall_ns),
			 "now", stamp(s->now_wall_ns),
			 "state", kp_json_text(s->state),
			 "ready", s->ready,
			 "healthy", s->healthy,
			 "started", s->started,
			 "synced", s->synced,
			 "nodeEligible", s->node_eligible,
			 "services", (json_int_t)s->n_services,
			 "pendingChanges", (json_int_t)s->n_pending,
			 "families", families_json(s),
			 "blocked", kp_json_text(s->blocked),
			 "otherProxy", other_json(&s->other),
			 "refused", refused_json(s->commits),
			 "sources", sources_json(s),
			 "snapshot", snapshot_json(&s->snapshot),
			 "listeners", listeners_json(s),
			 "healthPorts", health_json(s->health));
}
