#ifndef KP_CONFIG_CONFIG_H
#define KP_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

struct kp_err;

enum kp_mode { KP_MODE_UNSET, KP_MODE_NFTABLES, KP_MODE_IPTABLES, KP_MODE_IPVS };
enum kp_detect_mode { KP_DETECT_MODE_UNSET, KP_DETECT_CLUSTER_CIDR, KP_DETECT_NODE_CIDR,
		      KP_DETECT_BRIDGE, KP_DETECT_PREFIX };

/* Section of one backend. Durations in milliseconds. */
struct kp_config_backend {
	int64_t masquerade_bit;
	bool masquerade_all;
	int64_t sync_period_ms, min_sync_period_ms;
};

/*
 * KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) after defaulting: what
 * proxylet reads of it. Strings are owned; never NULL ("" when unset). Keys of our own
 * lie below "proxylet", which kube-proxy ignores with a warning:
 *
 *	proxylet:
 *	  sharedHealthzBindAddress: 0.0.0.0:10356	# "" for none
 *	  apiServers: [https://192.0.2.1:6443]		# instead of the kubeconfig's, the first that answers
 */
struct kp_config {
	enum kp_mode mode;
	char *hostname_override;
	char *bind_address;
	char *healthz_bind_address;	/* "ip:port" */
	char *metrics_bind_address;
	bool bind_address_hard_fail;
	char *cluster_cidr;		/* as written: one CIDR or two with a comma */
	enum kp_detect_mode detect_mode;
	char *bridge_interface, *interface_prefix;
	char **nodeport_addresses;	/* NULL-terminated, never NULL; entries are CIDRs or "primary" */
	struct kp_config_backend nftables, iptables, ipvs;
	bool localhost_nodeports;
	int64_t config_sync_period_ms;
	int64_t oom_score_adj;
	char *kubeconfig;
	char **api_servers;		/* proxylet.apiServers; NULL-terminated, never NULL */
	int64_t log_verbosity;
	bool log_json;			/* logging.format */
	char *shared_healthz_bind_address;	/* proxylet.sharedHealthzBindAddress: "ip:port", "" for none */
	/* Everything else is accepted, validated and listed as without effect: kp_config_load's notes. */
};

/* One finding. field is a path in the file, such as "nodePortAddresses[1]". */
struct kp_config_problem {
	enum { KP_PROBLEM_ERROR, KP_PROBLEM_WARNING, KP_PROBLEM_NOTE } level;
	char *field;	/* "" if it is about the whole text */
	char *value;	/* as text, "" if there is none to show */
	char *detail;	/* what would have been right */
	const char *type;	/* ERROR: "FieldValueInvalid", "FieldValueNotSupported", ... as in the cases; else "" */
	unsigned line;	/* in the file; 0: unknown */
};

/* "error", "warning", "note", by level. */
extern const char *const kp_problem_names[];
/* "field: detail (got 'value')", as far as there are any; caller frees. */
char *kp_config_problem_str(const struct kp_config_problem *p);

/* Zero-initialise. */
struct kp_config_report {
	struct kp_config_problem *items;
	size_t n, cap;
	size_t n_errors;
};
void kp_config_report_release(struct kp_config_report *r);

struct kp_config *kp_config_new(void);	/* all defaults */
struct kp_config *kp_config_free(struct kp_config *c);
KP_DEFINE_AUTO(struct kp_config *, kp_config_free)

/*
 * Read, default, validate. Every problem goes to the report; the result is 0 when
 * there is no error among them, else -EINVAL and *ret untouched (a file that is not
 * readable: its errno, with err set; -EFBIG over 1 MiB). YAML or JSON. Unknown and
 * duplicate fields are warnings, fields that have no effect in this version are notes.
 */
int kp_config_load_text(const char *text, size_t len, struct kp_config **ret, struct kp_config_report *rep);
int kp_config_load_file(const char *path, struct kp_config **ret, struct kp_config_report *rep, struct kp_err *err);

/*
 * One field from text (a flag's value), by its path in the file; lists with commas.
 * Unlike in a file, "" and 0 are what they are and no reason to take the default.
 * False: a problem was reported and the field keeps its value. The path must be one
 * that struct kp_config keeps.
 */
bool kp_config_set(struct kp_config *c, const char *path, const char *value, struct kp_config_report *rep);

/* What can only be judged when all fields are there. Loading includes it; call it after kp_config_set. */
void kp_config_validate(const struct kp_config *c, struct kp_config_report *rep);

/*
 * Go duration ("1m30s", "500ms", "0") to milliseconds, fractions of one rounded away
 * from zero, so that only zero is zero; false: not a duration.
 */
bool kp_duration_parse(const char *s, int64_t *ret_ms);
#define KP_DURATION_STRLEN 32
char *kp_duration_str(int64_t ms, char *out);	/* as Go prints it: "1m30s"; returns out */

/* "ip:port" or "[ip6]:port"; port 1-65535. */
bool kp_hostport_parse(const char *s, struct kp_addr *ret, uint16_t *ret_port);
/* Only split: host without brackets (false if it does not fit), port within s. */
bool kp_hostport_split(const char *s, char *host, size_t host_size, const char **ret_port);
bool kp_port_parse(const char *s, uint16_t *ret);

#endif
