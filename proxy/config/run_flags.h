#ifndef KP_CONFIG_RUN_FLAGS_H
#define KP_CONFIG_RUN_FLAGS_H

#include "proxy/config/config.h"
#include "proxy/config/flags.h"

/* The command line of "proxylet run", which is also kube-proxy's. NULL: not given. */
struct kp_run_flags {
	bool help, version;
	bool cleanup, init_only;
	const char *config, *aks_config;
	const char *write_config_to;
	const char *kubeconfig, *master;
	struct kp_flag_list objects;
	const char *hostname_override;
	const char *socket;
	int64_t healthz_port, metrics_port;	/* deprecated; -1: not given */
	struct kp_flag_list fields;		/* of the configuration: kp_flag_given */
};

extern const struct kp_flag kp_run_flag_table[];

/* Initialises f; release it in any case. */
int kp_run_flags_parse(struct kp_run_flags *f, int argc, char *const *argv, struct kp_err *err);
void kp_run_flags_release(struct kp_run_flags *f);

/*
 * The configuration these flags stand for, validated. As kube-proxy: next to --config,
 * flags that have a place in the file are ignored with a warning in the report, except
 * --hostname-override and those of logging. The JSON of AKS lies on top of both. Result
 * as kp_config_load_file. May be called again, when the files have changed.
 */
int kp_run_config(const struct kp_run_flags *f, struct kp_config **ret, struct kp_config_report *rep,
		  struct kp_err *err);

#endif
