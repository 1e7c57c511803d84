#include "tests/caserun/caserun.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ctmatch.h"
#include "tests/support/load.h"

static const char *text(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static uint16_t number(json_t *o, const char *key)
{
	return (uint16_t)json_integer_value(json_object_get(o, key));
}

static void load_list(struct kp_model *m, json_t *list)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		load_json(m, o);
}

/*
 * Every front end goes to ours; those of ports with some serving endpoint also to
 * kube_proxy: up to 1.36 it leaves ports without any alone (CT-7), and that is the
 * only difference there may be.
 */
static void put_plan(const struct kp_plan *plan, struct dp_ct_set *ours, struct dp_ct_set *kube_proxy)
{
	KP_AUTO(kp_freep) struct kp_plan_port *ports = kp_calloc(plan->n_ports, sizeof(*ports));
	struct kp_plan serving = *plan;

	dp_ct_set_put_changed(ours, NULL, plan);
	serving.ports = ports;
	serving.n_ports = 0;
	for (uint32_t i = 0; i < plan->n_ports; i++)
		if (plan->ports[i].n_serving)
			ports[serving.n_ports++] = plan->ports[i];
	dp_ct_set_put_changed(kube_proxy, NULL, &serving);
}

static void plan_all(json_t *doc, enum kp_family family, struct dp_ct_set *ours, struct dp_ct_set *kube_proxy)
{
	struct kp_plan_options opt = {
		.families = { family == KP_IPV4, family == KP_IPV6 },
		.masquerade_bit = 14,
		.nodeport_primary = true,
	};
	struct kp_model *m = kp_model_new(text(doc, "nodeName"));
	struct kp_planner *p = kp_planner_new(m, &opt);
	char *key;

	load_list(m, json_object_get(doc, "services"));
	load_list(m, json_object_get(doc, "endpointSlices"));
	while ((key = kp_model_pop_dirty(m))) {
		struct kp_plan *plan = kp_planner_build(p, key);

		if (plan)
			put_plan(plan, ours, kube_proxy);
		kp_plan_unref(plan);
		free(key);
	}
	kp_planner_free(p);
	kp_model_free(m);
}

/* "": not set. */
static struct kp_addr address(const char *s, enum kp_family family)
{
	struct kp_addr a = { .family = (uint8_t)family };

	if (*s && !kp_addr_parse(s, &a))
		abort();
	return a;
}

static void run_cleanup(struct case_run *r, json_t *doc)
{
	enum kp_family family = strcmp(text(doc, "family"), "ipv6") == 0 ? KP_IPV6 : KP_IPV4;
	struct dp_ct_set *ours = dp_ct_set_new(), *kube_proxy = dp_ct_set_new();
	json_t *e;
	size_t i;

	plan_all(doc, family, ours, kube_proxy);
	json_array_foreach(json_object_get(doc, "entries"), i, e) {
		struct dp_ct_entry entry = {
			.proto = (uint8_t)number(e, "protocol"),
			.orig_dst = address(text(e, "origDstIP"), family),
			.orig_dport = number(e, "origDstPort"),
			.reply_src = address(text(e, "replySrcIP"), family),
			.reply_sport = number(e, "replySrcPort"),
		};
		bool want = json_is_true(json_object_get(e, "deleted"));
		bool stale = dp_ct_set_stale(ours, &entry), like_kube_proxy = dp_ct_set_stale(kube_proxy, &entry);

		/* Accepted: stale only because nothing serves this port; our own documents say "emptyPort" for it. */
		case_check(r, like_kube_proxy == want && (stale == want || !like_kube_proxy), "entry %d: %s",
			   (int)json_integer_value(json_object_get(e, "id")), want ? "stays" : "is deleted");
		if (json_object_get(e, "emptyPort"))
			case_check(r, stale && !like_kube_proxy, "entry %d of a port without endpoints stays",
				   (int)json_integer_value(json_object_get(e, "id")));
	}
	dp_ct_set_free(ours);
	dp_ct_set_free(kube_proxy);
}

static const struct {
	const char *sub;
	void (*run)(struct case_run *r, json_t *doc);	/* NULL: skipped */
	const char *why;
} kinds[] = {
	{ "cleanup",		run_cleanup, NULL },
	{ "cleanup-scenarios",	run_cleanup, NULL },
	{ "delete-entries",	NULL, "deletes by tuple are the kernel's answer: tests/net/test_conntrack" },
	{ "flow-filter",	NULL, "there is no filter of flows: an entry is judged when it is read" },
	{ "max",		case_sysctls, NULL },
	{ "sysctls",		case_sysctls, NULL },
};

void case_conntrack(struct case_run *r, json_t *doc)
{
	for (size_t i = 0; i < KP_N(kinds); i++) {
		if (strcmp(kinds[i].sub, r->sub) != 0)
			continue;
		if (kinds[i].run)
			kinds[i].run(r, doc);
		else
			case_skip(r, kinds[i].why);
		return;
	}
	case_fail(r, "folder '%s' is none of ours", r->sub);
}
