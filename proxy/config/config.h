#ifndef KP_CONFIG_CONFIG_H
#define KP_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/cleanup.h"

struct kp_err;

enum kp_mode { KP_MODE_UNSET, KP_MODE_NFTABLES, KP_MODE_IPTABLES, KP_MODE_IPVS };
/* What to do with a PROXY protocol header in front of a probe. */
enum kp_proxy_protocol { KP_PROXY_OPTIONAL, KP_PROXY_REQUIRE, KP_PROXY_FORBID, KP_PROXY_OFF };
enum kp_handover { KP_HANDOVER_AUTO, KP_HANDOVER_NEVER };
enum kp_detect_mode { KP_DETECT_MODE_UNSET, KP_DETECT_CLUSTER_CIDR, KP_DETECT_NODE_CIDR,
		      KP_DETECT_BRIDGE, KP_DETECT_PREFIX };
enum kp_seccomp { KP_SECCOMP_ENFORCE, KP_SECCOMP_LOG, KP_SECCOMP_OFF };
/* What to do about another proxy's rules: see proxy/otherlife.h. */
enum kp_takeover_mode { KP_TAKEOVER_AUTO, KP_TAKEOVER_NEVER, KP_TAKEOVER_ALWAYS };

/* Section of one backend. Durations in milliseconds, here and below. */
struct kp_config_backend {
	int64_t masquerade_bit;
	bool masquerade_all;
	int64_t sync_period_ms, min_sync_period_ms;
};

/* 0: leave the kernel's value alone. */
struct kp_config_conntrack {
	int64_t max_per_core, min;
	bool tcp_be_liberal;
	int64_t tcp_established_ms, tcp_close_wait_ms, udp_ms, udp_stream_ms;
};

/* What only mode ipvs has; its periods are in a struct kp_config_backend. */
struct kp_config_ipvs {
	char **exclude_cidrs;
	char *scheduler;
	bool strict_arp;
	int64_t tcp_ms, tcp_fin_ms, udp_ms;
};

struct kp_config_client {
	char *accept_content_types, *content_type;
	int64_t burst;
	double qps;
};

struct kp_config_stream {
	char *info_buffer_size;
	bool split_stream;
};

/* proxylet.health: how the health ports treat connections. */
struct kp_config_health {
	enum kp_proxy_protocol main, shared, services;
	char **trusted_cidrs;		/* whose PROXY headers are taken; empty: everyone's */
	bool v1_lax_tcp6;
	int64_t v2_max_length;
	int64_t header_timeout_ms, idle_timeout_ms, write_timeout_ms;
	int64_t max_connections, max_requests;
	char **allowed_sources;		/* who is answered; empty: everyone */
};

/* proxylet.snapshot: what is kept for a boot without an API server. */
struct kp_config_snapshot {
	char *path;		/* folder; "" for none */
	int64_t period_ms, wait_ms, max_age_ms;
	bool healthy;		/* what health ports say of such a node */
};

/*
 * KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) after defaulting: all of it.
 * Strings and lists are owned; never NULL ("" and empty when unset). Lists end with NULL.
 * Keys of our own lie below "proxylet", which kube-proxy ignores with a warning:
 *
 *	proxylet:
 *	  sharedHealthzBindAddress: 0.0.0.0:10356	# "" for none
 *	  apiServers: [https://192.0.2.1:6443]		# instead of the kubeconfig's, the first that answers
 *	  nodeTimeout: 5m				# how long the own Node is waited for at the start; 0s: for ever
 *	  handover: auto				# never: a second agent is refused
 *	  snapshot: {path: /var/lib/proxylet}		# for a boot without an API server; "" for none
 *	  fallback: nftables				# for modes that do not exist here; "" for none
 *	  agent: {checks: [{type: cpuPercentMax, value: 90}]}
 *	  health: {ineligibleTaints: [a/b], startup: strict, relayTarget: 127.0.0.1:10256, ...}
 *	  terminationMode: drain			# with drainSeconds; and what clean-up waits for
 *	  seccomp: enforce				# log, off: what becomes of system calls we do not need
 *	  takeover: auto				# of what kube-proxy left; or never, always
 *	  iptablesVariant: auto				# or nft, legacy: which iptables to write through
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
	char **nodeport_addresses;	/* entries are CIDRs or "primary" */
	struct kp_config_backend nftables, iptables, ipvs;
	struct kp_config_ipvs ipvs_only;
	bool localhost_nodeports;
	int64_t config_sync_period_ms;
	int64_t oom_score_adj;
	struct kp_config_conntrack conntrack;
	char *kubeconfig;
	char **api_servers;		/* proxylet.apiServers; NULL-terminated, never NULL */
	struct kp_config_client client;
	int64_t log_verbosity;
	bool log_json;			/* logging.format */
	char *log_flush;
	char **log_vmodule;		/* "file=level" */
	struct kp_config_stream log_text_stream, log_json_stream;
	char **feature_gates;		/* "Name=true" */
	bool profiling;
	char *port_range, *show_hidden_metrics;
	bool windows_service;
	struct { bool dsr, forward_health_vip; char *network, *endpoint, *source_vip; } winkernel;
	char *shared_healthz_bind_address;	/* proxylet.sharedHealthzBindAddress: "ip:port", "" for none */
	int64_t node_timeout_ms;		/* proxylet.nodeTimeout; 0: for ever */
	struct kp_config_health health;
	bool owner_persist;			/* proxylet.nftables.ownerPersist */
	enum kp_handover handover;		/* proxylet.handover */
	struct kp_config_snapshot snapshot;
	char **checks;				/* proxylet.agent.checks: each as JSON, see checks.h */
	char **ineligible_taints;		/* proxylet.health.ineligibleTaints: keys */
	bool startup_compat;			/* proxylet.health.startup */
	char *relay_target;			/* proxylet.health.relayTarget: "ip:port"; "": we are no relay */
	bool terminate_drain;			/* proxylet.terminationMode */
	int64_t drain_s, cleanup_drain_s, cleanup_max_s;
	enum kp_seccomp seccomp;		/* proxylet.seccomp; counts at start */
	enum kp_takeover_mode takeover;		/* proxylet.takeover */
	enum kp_mode fallback;			/* proxylet.fallback: KP_MODE_UNSET or what is built */
	char *iptables_variant;			/* proxylet.iptablesVariant: "auto", "nft", "legacy" */
	bool disabled;				/* by the AKS form ("enabled": false), see kp_config_load_aks */
};

/* One finding. field is a path in the file, such as "nodePortAddresses[1]". */
struct kp_config_problem {
	enum { KP_PROBLEM_ERROR, KP_PROBLEM_WARNING, KP_PROBLEM_NOTE } level;
	char *field;	/* "" if it is about the whole text */
	char *value;	/* as text, "" if there is none to show */
	char *detail;	/* what would have been right */
	/* ERROR: "FieldValueInvalid", "FieldValueNotSupported", ... as in the cases, or "C01" to "C09" of the AKS form; else "" */
	const char *type;
	unsigned line;	/* in the file; 0: unknown */
};

/* "error", "warning", "note", by level. */
extern const char *const kp_problem_names[];
/* "field: detail (got 'value')", as far as there are any, after the code if it has one; caller frees. */
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
 * readable: its errno, with err set; -EFBIG over 1 MiB). YAML or JSON; also the AKS
 * form, below, if it is a JSON object of nothing but that form's keys. Unknown and
 * duplicate fields are warnings; a field that is set, but means nothing here or in
 * this mode, is a note.
 */
int kp_config_load_text(const char *text, size_t len, struct kp_config **ret, struct kp_config_report *rep);
int kp_config_load_file(const char *path, struct kp_config **ret, struct kp_config_report *rep, struct kp_err *err);

/*
 * The JSON that AKS has for kube-proxy (enabled, mode, ipvsConfig), strictly as
 * health-and-probes A.6: what it says replaces that of c, its mode is iptables when it
 * says none. The types of its problems are "C01" to "C09"; c is unchanged when there
 * are any. Result as above.
 */
int kp_config_load_aks(const char *path, struct kp_config *c, struct kp_config_report *rep, struct kp_err *err);
int kp_config_read_aks(const char *text, size_t len, struct kp_config *c, struct kp_config_report *rep);

/*
 * One field from text (a flag's value), by its path in the file; lists with commas.
 * Unlike in a file, "" and 0 are what they are and no reason to take the default, and no
 * port is added to an address. False: a problem was reported and the field keeps its value.
 */
bool kp_config_set(struct kp_config *c, const char *path, const char *value, struct kp_config_report *rep);

/* What can only be judged when all fields are there, and the notes. Loading includes it; call it after kp_config_set. */
void kp_config_validate(const struct kp_config *c, struct kp_config_report *rep);

/*
 * Can it be run here? Not part of validation, because what kube-proxy can run may well be converted, or be rendered
 * in another mode.
 */
void kp_config_check_mode(const struct kp_config *c, struct kp_config_report *rep);

/*
 * As v1alpha1 YAML: all fields, sorted, appended to out. Read again it gives the same,
 * but for zeros that a file cannot say (they are read as defaults): those are warnings.
 */
struct kp_buf;
void kp_config_write(const struct kp_config *c, struct kp_buf *out, struct kp_config_report *rep);
/* The same as a value of jansson's, lists as lists. The caller has the reference. */
struct json_t *kp_config_json(const struct kp_config *c);

/*
 * What a running agent has to do to get from one to the other. IDENTITY: who it is, or
 * whom it talks to, is another one; everything but that can be changed in place.
 */
enum kp_config_change { KP_CONFIG_SAME, KP_CONFIG_CHANGED, KP_CONFIG_IDENTITY };
enum kp_config_change kp_config_compare(const struct kp_config *a, const struct kp_config *b);
/* Exchanges the contents, so that pointers to either see the other. */
void kp_config_swap(struct kp_config *a, struct kp_config *b);

/* The table of fields, for documents and tests: false when i is past its end. */
struct kp_config_field {
	const char *path, *def;
	const char *idle;	/* why it has no effect, at least in some mode; NULL: it has */
};
bool kp_config_field(size_t i, struct kp_config_field *ret);

/* What counts in the mode the file asks for: kube-proxy's one set of these for all modes (CF-1). */
struct kp_config_backend kp_config_active(const struct kp_config *c);

/* As Go's strconv.ParseBool: true, True, TRUE, t, T, 1, and likewise false; false: none of them. */
bool kp_bool_parse(const char *s, bool *ret);

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
/* An address alone gets the port, anything else stays as it is; with port 0 it is "" (CF-23). Caller frees. */
char *kp_hostport_complete(const char *s, int64_t port);

#endif
