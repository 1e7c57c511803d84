#include "proxy/commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/agent.h"
#include "proxy/base/buf.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/config/run_flags.h"
#include "proxy/relay.h"
#include "proxy/setup.h"
#include "proxy/status.h"
#include "proxy/sysctl.h"

static int usage(FILE *to, const char *problem)
{
	return kp_flags_usage(to, kp_run_flag_table, "run [--config FILE] [--kubeconfig FILE | --objects PATH...] [flags]",
			      "proxylet.conf(5) has the fields of the configuration file.\n", problem);
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

static void log_problems(const struct kp_run_flags *f, const struct kp_config_report *rep)
{
	log_report(rep, f->config ? f->config : f->aks_config ? f->aks_config : "flags");
}

static int check_mode(const struct kp_config *cfg)
{
	struct kp_err err = { 0 };
	enum kp_mode mode;
	int r = kp_setup_mode(cfg, &mode, &err);

	if (r < 0)
		kp_error("config", "%s", err.msg);
	else if (cfg->mode != KP_MODE_UNSET && cfg->mode != mode)
		kp_warn("config", "mode \"ipvs\" is not built yet: %s",
			mode == KP_MODE_IPTABLES ? "iptables does its work" :
			"nftables does its work, but node ports do not answer on loopback");
	return r;
}

/* Everything from the flags and files; < 0: it cannot be used, and why has been logged. */
static int load(const struct kp_run_flags *f, struct kp_config **ret, struct kp_config_report *rep)
{
	KP_AUTO(kp_config_freep) struct kp_config *cfg = NULL;
	struct kp_err err = { 0 };
	int r = kp_run_config(f, &cfg, rep, &err);

	if (r < 0) {
		log_problems(f, rep);
		kp_error("config", "%s", err.msg);
		return r;
	}
	*ret = kp_steal(&cfg);
	return 0;
}

static int reload(void *arg, const struct kp_config *current, struct kp_config **ret)
{
	const struct kp_run_flags *f = arg;
	KP_AUTO(kp_config_freep) struct kp_config *cfg = NULL;
	struct kp_config_report rep = { 0 };
	enum kp_config_change change = KP_CONFIG_SAME;
	int r = load(f, &cfg, &rep);

	if (r == 0)
		change = kp_config_compare(current, cfg);
	if (change != KP_CONFIG_SAME && !cfg->disabled)
		r = check_mode(cfg);
	if (r == 0 && *cfg->relay_target) {
		kp_error("config", "proxylet.health.relayTarget: an agent that runs does not become a relay");
		r = -EINVAL;
	}
	if (r < 0) {
		kp_error("config", "the last good configuration stays in force");
	} else if (change != KP_CONFIG_SAME) {
		set_log(cfg);
		log_problems(f, &rep);
		*ret = kp_steal(&cfg);
	}
	kp_config_report_release(&rep);
	return r;
}

/*
 * Established connections live on, unless they may not: see proxylet-residual. Nobody stays to see them end
 * (C-10): in a pod he would be killed with it.
 */
static int remove_rules(const struct kp_config *cfg)
{
	char *argv[] = { (char[]){ "cleanup" }, cfg->cleanup_max_s ? NULL : (char[]){ "--now" }, NULL };

	kp_info("config", "\"enabled\" is false: removing our rules");
	if (cfg->cleanup_max_s)
		kp_info("config", "if something is left that keeps connections alive: \"proxylet cleanup --wait --max-seconds %lld\" "
			"removes it when it is time", (long long)cfg->cleanup_max_s);
	return kp_cmd_cleanup(cfg->cleanup_max_s ? 1 : 2, argv);
}

static int run_relay(const struct kp_config *cfg)
{
	struct kp_err err = { 0 };

	if (kp_relay_run(cfg, &err) == 0)
		return 0;
	kp_error("relay", "%s", err.msg);
	return 3;
}

static int run_agent(struct kp_run_flags *f, struct kp_config *cfg)
{
	const char *files[2];
	struct kp_agent_job job = {
		.objects = f->objects.items,
		.n_objects = f->objects.n,
		.master = f->master ? f->master : "",
		.socket = f->socket ? f->socket : KP_STATUS_SOCKET,
		.config_files = files,
		.reload = reload,
		.arg = f,
	};
	struct kp_err err = { 0 };

	if (check_mode(cfg) < 0)
		return 2;
	if (f->config)
		files[job.n_config_files++] = f->config;
	if (f->aks_config)
		files[job.n_config_files++] = f->aks_config;
	if (kp_agent_run(cfg, &job, &err) == 0)
		return cfg->disabled ? remove_rules(cfg) : 0;
	kp_error("agent", "%s", err.msg);
	return 3;
}

static int write_config(const struct kp_config *cfg, const char *path)
{
	struct kp_config_report rep = { 0 };
	struct kp_buf text = { 0 };
	FILE *f = fopen(path, "we");
	bool ok = false;

	kp_config_write(cfg, &text, &rep);
	log_report(&rep, path);
	if (f) {
		ok = fwrite(text.data, 1, text.len, f) == text.len;
		ok = fclose(f) == 0 && ok;
	}
	if (ok)
		kp_info("config", "wrote '%s'", path);
	else
		kp_error("config", "write '%s': %s", path, strerror(errno));
	kp_buf_release(&text);
	kp_config_report_release(&rep);
	return ok ? 0 : 3;
}

/* What needs no agent, or what an agent is. */
static int run(struct kp_run_flags *f, struct kp_config *cfg)
{
	if (f->write_config_to)
		return write_config(cfg, f->write_config_to);
	if (cfg->disabled)
		return remove_rules(cfg);
	if (f->init_only) {
		(void)kp_sysctl_set_conntrack(&cfg->conntrack);	/* what it cannot set it has said */
		return 0;
	}
	return *cfg->relay_target ? run_relay(cfg) : run_agent(f, cfg);
}

static int load_and_run(struct kp_run_flags *f)
{
	KP_AUTO(kp_config_freep) struct kp_config *cfg = NULL;
	struct kp_config_report rep = { 0 };
	int status = 2;

	if (load(f, &cfg, &rep) == 0) {
		set_log(cfg);
		log_problems(f, &rep);
		status = run(f, cfg);
	}
	kp_config_report_release(&rep);
	return status;
}

int kp_cmd_run(int argc, char **argv)
{
	char *alone[] = { (char[]){ "run" }, NULL };
	struct kp_err err = { 0 };
	struct kp_run_flags f;
	int status;

	if (kp_run_flags_parse(&f, argc, argv, &err) < 0)
		status = usage(stderr, err.msg);
	else if (f.help)
		status = usage(stdout, NULL);
	else if (f.version)
		status = kp_cmd_version(1, alone);
	else if (f.cleanup && f.aks_config)
		status = usage(stderr, "C10 $: --kube-proxy-config and --cleanup exclude each other");
	else if (f.cleanup)
		status = kp_cmd_cleanup(1, alone);
	else
		status = load_and_run(&f);
	kp_run_flags_release(&f);
	return status;
}
