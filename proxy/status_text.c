#include "proxy/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/buf.h"

#define NAME_WIDTH 14	/* of the first column */

/* "" if there is none. */
static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static long long num(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

static double real(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

/* One line of the overview; more of the same group leave the name empty. */
static void __attribute__((format(printf, 3, 4))) line(struct kp_buf *out, const char *name, const char *fmt, ...)
{
	char value[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	kp_buf_printf(out, "%-*s%s\n", NAME_WIDTH, name, value);
}

static bool is_unrepaired(const json_t *family)
{
	const json_t *d = json_object_get(family, "drift");

	return json_is_object(d) && !json_is_number(json_object_get(d, "repairSeconds"));
}

/* Of an agent that is not healthy. */
static const char *sickness(const json_t *families)
{
	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (is_unrepaired(json_object_get(families, kp_family_names[f])))
			return "not ready: somebody else changed the rules, and they are not put right";
	return "not ready: a change waits for too long";
}

static const char *verdict(const json_t *s)
{
	bool stale = is(json_object_get(s, "snapshot"), "inUse");

	if (is(s, "ready"))
		return stale ? "ready, with the Services of the snapshot" : "ready";
	if (strcmp(str(s, "state"), "Stopping") == 0)
		return "not ready: the node is drained, or the agent ends";
	if (*str(s, "blocked"))
		return "not ready: nothing is programmed";
	if (stale)
		return "not ready: the Services are those of the snapshot until an API server answers";
	if (!is(s, "synced"))
		return "not ready: not everything is read yet";
	if (!is(s, "started"))
		return "not ready: the first rules are not in the kernel yet";
	if (!is(s, "healthy"))
		return sickness(json_object_get(s, "families"));
	return is(s, "nodeEligible") ? "not ready: a check of the node fails" : "not ready: the node is not eligible (not known, going, or tainted to go)";
}

/* The last change that somebody else made to our rules. */
static void add_drift(const json_t *d, struct kp_buf *out)
{
	const char *who = str(d, "who");

	line(out, "", "changed by %s at %s: %s", *who ? who : "somebody else", str(d, "at"), str(d, "what"));
	if (json_is_number(json_object_get(d, "repairSeconds")))
		line(out, "", "put right after %.0f ms; %lld times in all, %lld in a row", real(d, "repairSeconds") * 1e3,
		     num(d, "total"), num(d, "inARow"));
	else
		line(out, "", "not put right yet%s; %lld times in all, %lld in a row",
		     is(d, "putOff") ? ", as repairs are undone again and again" : "", num(d, "total"), num(d, "inARow"));
}

static void add_family(const json_t *f, const char *name, struct kp_buf *out)
{
	const json_t *c = json_object_get(f, "lastCommit");

	if (json_is_object(c))
		line(out, name, "last commit %s in %.1f ms, %lld elements added, %lld deleted", str(c, "at"),
		     real(c, "tookSeconds") * 1e3, num(c, "elementsAdded"), num(c, "elementsDeleted"));
	else
		line(out, name, "no commit yet");
	if (real(f, "pendingSeconds") > 0)
		line(out, "", "oldest change waits for %.1f s", real(f, "pendingSeconds"));
	if (*str(f, "failure"))
		line(out, "", "failed: %s", str(f, "failure"));
	if (json_is_object(json_object_get(f, "drift")))
		add_drift(json_object_get(f, "drift"), out);
}

static void add_families(const json_t *families, struct kp_buf *out)
{
	for (int f = 0; f < KP_N_FAMILIES; f++) {
		const json_t *one = json_object_get(families, kp_family_names[f]);

		if (one)
			add_family(one, kp_family_names[f], out);
	}
}

/* Only when there is one. */
static void add_other(const json_t *o, struct kp_buf *out)
{
	if (!*str(o, "state") || strcmp(str(o, "state"), "none") == 0)
		return;
	line(out, "other proxy", "%s (%s): %s", str(o, "state"), str(o, "why"), str(o, "found"));
	if (*str(o, "problem"))
		line(out, "", "%s", str(o, "problem"));
}

static void add_source(const json_t *s, const char *name, struct kp_buf *out)
{
	const char *problem = str(s, "problem");
	char age[48] = "";

	if (json_is_number(json_object_get(s, "silentSeconds")))
		snprintf(age, sizeof(age), ", heard of %.1f s ago", real(s, "silentSeconds"));
	line(out, name, "%s: %lld objects%s%s%s%s", str(s, "name"), num(s, "objects"), is(s, "live") ? "" : ", not watched",
	     age, *problem ? "; " : "", problem);
}

static void add_snapshot(const json_t *s, struct kp_buf *out)
{
	const char *problem = str(s, "problem");

	if (is(s, "inUse"))
		line(out, "snapshot", "in use: of %s, %.1f s old", str(s, "at"), real(s, "ageSeconds"));
	else if (json_is_object(s))
		line(out, "snapshot", "%s%s in %s%s%s", *str(s, "at") ? "written " : "none", str(s, "at"), str(s, "folder"),
		     *problem ? "; " : "", problem);
}

static void add_listener(const json_t *l, const char *name, struct kp_buf *out)
{
	const char *problem = str(l, "problem");

	line(out, name, "%s at %s%s%s", str(l, "name"), str(l, "address"), *problem ? ": " : "", problem);
}

/* Ports of Services only where something is wrong: there may be a thousand. */
static void add_health_ports(const json_t *ports, struct kp_buf *out)
{
	size_t n_services = 0, n_shown = 0;

	for (size_t i = 0; i < json_array_size(ports); i++) {
		const json_t *p = json_array_get(ports, i);
		const char *problem = str(p, "problem");

		n_services += is(p, "service");
		if (is(p, "service") && !*problem)
			continue;
		line(out, n_shown++ ? "" : "health ports", "%s, port %lld: %s%s, %lld connections%s%s", str(p, "name"), num(p, "port"),
		     is(p, "bound") ? "open" : "not open: ", problem, num(p, "openConnections"),
		     *str(p, "lastProbe") ? ", last probe " : "", str(p, "lastProbe"));
	}
	if (n_services)
		line(out, n_shown ? "" : "health ports", "%zu of Services", n_services);
}

static void add_refused(const json_t *r, const char *name, struct kp_buf *out)
{
	line(out, name, "%s, %s: %s", str(r, "service"), str(r, "family"), str(r, "why"));
}

static void add_list(const json_t *list, const char *name, void (*add)(const json_t *, const char *, struct kp_buf *),
		     struct kp_buf *out)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		add(json_array_get(list, i), i ? "" : name, out);
}

void kp_status_text(const json_t *s, struct kp_buf *out)
{
	line(out, "state", "%s", verdict(s));
	line(out, "node", "%s, %s%smode %s", str(s, "node"), str(s, "state"), *str(s, "state") ? ", " : "", str(s, "mode"));
	line(out, "agent", "version %s, pid %lld, since %s", str(s, "version"), num(s, "pid"), str(s, "startedAt"));
	line(out, "services", "%lld, %lld changes pending", num(s, "services"), num(s, "pendingChanges"));
	if (*str(s, "blocked"))
		line(out, "blocked", "%s", str(s, "blocked"));
	add_other(json_object_get(s, "otherProxy"), out);
	add_families(json_object_get(s, "families"), out);
	add_list(json_object_get(s, "sources"), "sources", add_source, out);
	add_snapshot(json_object_get(s, "snapshot"), out);
	add_list(json_object_get(s, "listeners"), "listening", add_listener, out);
	add_health_ports(json_object_get(s, "healthPorts"), out);
	add_list(json_object_get(s, "refused"), "refused", add_refused, out);
}
