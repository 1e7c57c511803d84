#include "proxy/commands.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/iptables.h"
#include "nft/nftables.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/config/flags.h"
#include "proxy/model/model.h"
#include "proxy/plan/build.h"
#include "proxy/setup.h"
#include "proxy/source/file.h"

struct options {
	struct kp_flag_list objects;
	const char *node, *mode, *config, *cluster_cidr;
	bool plan, help;
};

static const char *const modes[] = { "nftables", "iptables", NULL };
static const struct kp_flag flags[] = {
	{ "objects", 'f', KP_FLAG_STRINGS, offsetof(struct options, objects), .arg = "PATH",
	  .help = "file or folder of Services, EndpointSlices and Nodes; may be repeated" },
	{ "node", 0, KP_FLAG_STRING, offsetof(struct options, node), .arg = "NAME", .help = "the node whose rules to print; default: as configured, or the host's name" },
	{ "mode", 0, KP_FLAG_STRING, offsetof(struct options, mode), .arg = "MODE", .choices = modes, .help = "nftables or iptables; default: as configured" },
	{ "config", 0, KP_FLAG_STRING, offsetof(struct options, config), .arg = "FILE", .help = "KubeProxyConfiguration" },
	{ "cluster-cidr", 0, KP_FLAG_STRING, offsetof(struct options, cluster_cidr), .arg = "CIDR[,CIDR]",
	  .help = "pod addresses; overrides the configuration" },
	{ "plan", 0, KP_FLAG_BOOL, offsetof(struct options, plan),
	  .help = "print the plan, what shall be reachable where, instead of rules" },
	{ "help", 'h', KP_FLAG_BOOL, offsetof(struct options, help), .help = "this text" },
	{ .name = NULL }
};

static int usage(FILE *to, const char *problem)
{
	return kp_flags_usage(to, flags, "render -f PATH... [--node NAME] [flags]", "", problem);
}

static void on_upsert(void *arg, struct kp_object *o)
{
	struct kp_model *m = arg;

	if (o->kind == KP_KIND_SERVICE)
		kp_model_put_service(m, kp_steal(&o->service));
	else if (o->kind == KP_KIND_SLICE && o->slice)
		kp_model_put_slice(m, kp_steal(&o->slice));
	else if (o->kind == KP_KIND_NODE)
		kp_model_put_node(m, kp_steal(&o->node));
	else if (o->kind == KP_KIND_SERVICE_CIDR)
		kp_model_put_service_cidr(m, kp_steal(&o->cidr));
}

static void on_remove(void *arg, enum kp_kind kind, const char *key)
{
	(void)arg, (void)kind, (void)key;	/* files read once take nothing back */
}

static void on_nothing(void *arg)
{
	(void)arg;
}

static void plan_free(void *p)
{
	kp_plan_unref(p);
}

/* By key, because a claim can move to a Service that was built before: the last plan counts. */
static struct kp_map *build_plans(struct kp_model *m, struct kp_planner *planner)
{
	struct kp_map *plans = kp_map_new(plan_free);
	char *key;

	while ((key = kp_model_pop_dirty(m))) {
		struct kp_plan *p = kp_planner_build(planner, key);

		if (p)
			kp_map_puts(plans, key, p);
		else
			kp_map_dels(plans, key);
		free(key);
	}
	return plans;
}

/* The node's own addresses stand in for its interfaces. */
static struct kp_plan_node *build_node(struct kp_model *m, struct kp_planner *planner)
{
	const struct kp_node *node = kp_model_node(m);

	return kp_planner_build_node(planner, node ? node->ips : NULL, node ? node->n_ips : 0);
}

static void print(struct kp_model *m, const struct kp_plan_options *opt, enum kp_mode mode, bool plan_only)
{
	struct kp_planner *planner = kp_planner_new(m, opt);
	struct kp_plan_node *node = build_node(m, planner);
	struct kp_map *plans = build_plans(m, planner);
	size_t n = kp_map_len(plans);
	const char **keys = kp_map_sorted_keys(plans);
	struct kp_plan **sorted = kp_calloc(n, sizeof(struct kp_plan *));
	struct kp_buf out = { 0 };

	if (plan_only)
		kp_plan_node_print(node, &out);
	for (size_t i = 0; i < n; i++) {
		sorted[i] = kp_map_gets(plans, keys[i]);
		if (plan_only)
			kp_plan_print(sorted[i], &out);
	}
	if (!plan_only && mode == KP_MODE_IPTABLES)
		dp_ipt_render(node, sorted, n, &out);
	else if (!plan_only)
		dp_nft_render(node, sorted, n, &out);
	fwrite(out.data, 1, out.len, stdout);
	kp_buf_release(&out);
	free(sorted);
	free(keys);
	kp_map_free(plans);
	kp_plan_node_unref(node);
	kp_planner_free(planner);
}

/* The first error, in one line. */
static int refuse(const struct options *o, const struct kp_config_report *rep, struct kp_err *err)
{
	for (size_t i = 0; i < rep->n; i++) {
		KP_AUTO(kp_freep) char *what = kp_config_problem_str(&rep->items[i]);

		if (rep->items[i].level == KP_PROBLEM_ERROR)
			return kp_err_set(err, -EINVAL, "%s: %s", o->config ? o->config : "the flags", what);
	}
	return 0;
}

/* And with the flags on top of it, which decide whose sections and defaults count. */
static int load_config(const struct options *o, struct kp_config **ret, struct kp_err *err)
{
	struct kp_config_report rep = { 0 };
	int r = 0;

	if (o->config)
		r = kp_config_load_file(o->config, ret, &rep, err);
	else
		*ret = kp_config_new();
	if (r == 0) {
		if (o->mode)
			(*ret)->mode = strcmp(o->mode, "iptables") == 0 ? KP_MODE_IPTABLES : KP_MODE_NFTABLES;
		if (o->cluster_cidr)
			kp_config_set(*ret, "clusterCIDR", o->cluster_cidr, &rep);
		kp_config_validate(*ret, &rep);
	}
	if (rep.n_errors)
		r = refuse(o, &rep, err);
	kp_config_report_release(&rep);
	return r;
}

static int render(const struct options *o, struct kp_err *err)
{
	KP_AUTO(kp_config_freep) struct kp_config *cfg = NULL;
	KP_AUTO(kp_model_freep) struct kp_model *m = NULL;
	KP_AUTO(kp_freep) char *name = NULL;
	struct kp_setup_plan setup;
	enum kp_mode mode = KP_MODE_UNSET;
	int r = load_config(o, &cfg, err);

	if (r == 0)
		r = kp_setup_mode(cfg, &mode, err);
	if (r == 0)
		r = kp_setup_node_name(o->node ? o->node : cfg->hostname_override, &name, err);
	if (r < 0)
		return r;
	m = kp_model_new(name);
	r = kp_file_read_once(o->objects.items, o->objects.n,
			      &(struct kp_sink){ on_upsert, on_remove, on_nothing, on_nothing, m }, err);
	if (r < 0)
		return r;
	if (!kp_model_node(m))
		kp_warn("render", "no Node object named \"%s\": no endpoint is local", name);
	kp_setup_plan(cfg, mode, (const bool[KP_N_FAMILIES]){ true, true }, &setup);	/* the text is for any host */
	print(m, &setup.opt, mode, o->plan);
	kp_setup_plan_release(&setup);
	return 0;
}

int kp_cmd_render(int argc, char **argv)
{
	struct options o = { 0 };
	struct kp_err err = { 0 };
	int status = 0;

	kp_log_set_level(KP_LOG_WARN);
	if (kp_flags_parse(flags, argc, argv, &o, NULL, &err) < 0) {
		status = usage(stderr, err.msg);
	} else if (o.help) {
		status = usage(stdout, NULL);
	} else if (!o.objects.n) {
		status = usage(stderr, "-f is required");
	} else if (render(&o, &err) < 0) {
		fprintf(stderr, "proxylet render: %s\n", err.msg);
		status = 2;
	}
	kp_flag_list_release(&o.objects);
	return status;
}
