#include "proxy/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/agent.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/config/run_flags.h"
#include "proxy/status.h"

static int usage(FILE *to, const char *problem)
{
	struct kp_buf help = { 0 };

	if (problem)
		fprintf(to, "proxylet run: %s\n", problem);
	kp_flags_help(kp_run_flag_table, &help);
	fprintf(to, "usage: proxylet run [--config FILE] [--kubeconfig FILE | --objects PATH...] [flags]\n%s", help.data);
	kp_buf_release(&help);
	return problem ? 2 : 0;
}

static void log_report(const struct kp_config_report *rep, const char *file)
{
	static const enum kp_log_level levels[] = {
		[KP_PROBLEM_ERROR] = KP_LOG_ERROR, [KP_PROBLEM_WARNING] = KP_LOG_WARN, [KP_PROBLEM_NOTE] = KP_LOG_INFO,
	};

	for (size_t i = 0; i < rep->n; i++) {
		const struct kp_config_problem *p = &rep->items[i];
		KP_AUTO(kp_freep) char *what = kp_config_problem_str(p);

		if (p->line)
			kp_log(levels[p->level], "config", "%s:%u: %s", file, p->line, what);
		else
			kp_log(levels[p->level], "config", "%s", what);
	}
}

/* kube-proxy's numbers: from 4 on it is for those who look for a fault. */
static void set_log(const struct kp_config *cfg)
{
	kp_log_set_level(cfg->log_verbosity >= 4 ? KP_LOG_DEBUG : KP_LOG_INFO);
	kp_log_set_json(cfg->log_json);
}

static int check_mode(const struct kp_config *cfg, struct kp_err *err)
{
	if (cfg->mode == KP_MODE_UNSET || cfg->mode == KP_MODE_NFTABLES)
		return 0;
	return kp_err_set(err, -EINVAL, "mode: \"%s\" is not built yet, only \"nftables\" is",
			  cfg->mode == KP_MODE_IPVS ? "ipvs" : "iptables");
}

static int run(const struct kp_run_flags *f, const struct kp_config *cfg)
{
	struct kp_agent_source from = {
		.objects = f->objects.items, .n_objects = f->objects.n, .master = f->master ? f->master : "",
	};
	struct kp_err err = { 0 };
	int r;

	if (check_mode(cfg, &err) < 0) {
		kp_error("config", "%s", err.msg);
		return 2;
	}
	r = kp_agent_run(cfg, &from, f->socket ? f->socket : KP_STATUS_SOCKET, &err);
	if (r == 0)
		return 0;
	kp_error("agent", "%s", err.msg);
	return 3;
}

int kp_cmd_run(int argc, char **argv)
{
	KP_AUTO(kp_config_freep) struct kp_config *cfg = NULL;
	struct kp_config_report rep = { 0 };
	struct kp_err err = { 0 };
	struct kp_run_flags f;
	int status = 2;

	if (kp_run_flags_parse(&f, argc, argv, &err) < 0) {
		status = usage(stderr, err.msg);
	} else if (f.help) {
		status = usage(stdout, NULL);
	} else if (kp_run_config(&f, &cfg, &rep, &err) < 0) {
		log_report(&rep, f.config ? f.config : "flags");
		if (err.code)
			kp_error("config", "%s", err.msg);
	} else {
		set_log(cfg);
		log_report(&rep, f.config ? f.config : "flags");
		status = run(&f, cfg);
	}
	kp_config_report_release(&rep);
	kp_run_flags_release(&f);
	return status;
}
