#include "proxy/metrics.h"

#include <stddef.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/metrics_impl.h"
#include "proxy/source/status.h"

/* How the cells at a row's offset become samples. */
enum shape {
	PLAIN,		/* one double in struct kp_metrics */
	FAMILY,		/* one in struct kp_metrics_family, for each enabled family */
	FAMILY_SET,	/* likewise, left out while it is 0: a time that is not there yet */
	HISTOGRAM,	/* a histogram in struct kp_metrics_family */
	POLICY,		/* doubles by policy in struct kp_metrics_family */
	CODE,		/* two doubles in struct kp_metrics, by HTTP status */
	TABLE,		/* two doubles in struct kp_metrics_family: of tables filter and nat */
	CHANGE,		/* two doubles in struct kp_metrics_family: added and deleted */
	NODE_STATE,	/* doubles in struct kp_metrics, by state of the node */
	KIND,		/* doubles by kind of drift in struct kp_metrics_family */
	VERSION,	/* none: 1, and what we are as labels */
};

struct row {
	struct kp_prom_family family;
	enum shape shape;
	size_t offset;
	const char *mode;	/* NULL: every one */
};

#define ONE(member)	.offset = offsetof(struct kp_metrics, member)
#define EACH(member)	.offset = offsetof(struct kp_metrics_family, member)
#define KUBE		"kubeproxy_"
#define SYNC		KUBE "sync_proxy_rules_"

static const struct row rows[] = {
	{ { KUBE "conntrack_reconciler_deleted_entries_total", "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler",
	    KP_PROM_COUNTER }, FAMILY, EACH(conntrack_deleted) },
	{ { KUBE "conntrack_reconciler_sync_duration_seconds", "[ALPHA] ReconcileConntrackFlowsLatency latency in seconds",
	    KP_PROM_HISTOGRAM }, HISTOGRAM, EACH(conntrack) },
	{ { KUBE "network_programming_duration_seconds", "[ALPHA] In Cluster Network Programming Latency in seconds",
	    KP_PROM_HISTOGRAM }, HISTOGRAM, EACH(programming) },
	{ { KUBE "proxy_healthz_total", "[ALPHA] Cumulative proxy healthz HTTP status", KP_PROM_COUNTER }, CODE, ONE(health[0]) },
	{ { KUBE "proxy_livez_total", "[ALPHA] Cumulative proxy livez HTTP status", KP_PROM_COUNTER }, CODE, ONE(health[1]) },
	{ { KUBE "sync_full_proxy_rules_duration_seconds", "[ALPHA] SyncProxyRules latency in seconds for full resyncs",
	    KP_PROM_HISTOGRAM }, HISTOGRAM, EACH(full) },
	{ { KUBE "sync_partial_proxy_rules_duration_seconds", "[ALPHA] SyncProxyRules latency in seconds for partial resyncs",
	    KP_PROM_HISTOGRAM }, HISTOGRAM, EACH(partial) },
	{ { SYNC "duration_seconds", "[ALPHA] SyncProxyRules latency in seconds", KP_PROM_HISTOGRAM }, HISTOGRAM, EACH(sync) },
	{ { SYNC "endpoint_changes_pending", "[ALPHA] Pending proxy rules Endpoint changes", KP_PROM_GAUGE },
	  PLAIN, ONE(events_pending[KP_EVENT_SLICE]) },
	{ { SYNC "endpoint_changes_total", "[ALPHA] Cumulative proxy rules Endpoint changes", KP_PROM_COUNTER },
	  PLAIN, ONE(events[KP_EVENT_SLICE]) },
	{ { SYNC "last_queued_timestamp_seconds", "[ALPHA] The last time a sync of proxy rules was queued", KP_PROM_GAUGE },
	  FAMILY_SET, EACH(last_queued) },
	{ { SYNC "last_timestamp_seconds", "[ALPHA] The last time proxy rules were successfully synced", KP_PROM_GAUGE },
	  FAMILY_SET, EACH(last_success) },
	{ { SYNC "iptables_last", "[ALPHA] Number of iptables rules written by kube-proxy in last sync", KP_PROM_GAUGE },
	  TABLE, EACH(rules_last), "iptables" },
	{ { SYNC "iptables_partial_restore_failures_total", "[ALPHA] Cumulative proxy iptables partial restore failures",
	    KP_PROM_COUNTER }, FAMILY, EACH(partial_failures), "iptables" },
	{ { SYNC "iptables_restore_failures_total", "[ALPHA] Cumulative proxy iptables restore failures", KP_PROM_COUNTER },
	  FAMILY, EACH(restore_failures), "iptables" },
	{ { SYNC "iptables_total", "[ALPHA] Total number of iptables rules owned by kube-proxy", KP_PROM_GAUGE },
	  TABLE, EACH(rules), "iptables" },
	/* Chains and sets that are not wanted any more go in the same transaction: only what a crash left can fail alone. */
	{ { SYNC "nftables_cleanup_failures_total", "[ALPHA] Cumulative proxy nftables cleanup failures", KP_PROM_COUNTER },
	  FAMILY, EACH(cleanup_failures), "nftables" },
	{ { SYNC "nftables_sync_failures_total", "[ALPHA] Cumulative proxy nftables sync failures", KP_PROM_COUNTER },
	  FAMILY, EACH(sync_failures), "nftables" },
	{ { SYNC "no_local_endpoints_total", "[ALPHA] Number of services with a Local traffic policy and no endpoints",
	    KP_PROM_GAUGE }, POLICY, EACH(nolocal) },
	{ { SYNC "service_changes_pending", "[ALPHA] Pending proxy rules Service changes", KP_PROM_GAUGE },
	  PLAIN, ONE(events_pending[KP_EVENT_SERVICE]) },
	{ { SYNC "service_changes_total", "[ALPHA] Cumulative proxy rules Service changes", KP_PROM_COUNTER },
	  PLAIN, ONE(events[KP_EVENT_SERVICE]) },

	{ { "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", KP_PROM_COUNTER },
	  PLAIN, ONE(process.cpu_seconds) },
	{ { "process_max_fds", "Maximum number of open file descriptors.", KP_PROM_GAUGE }, PLAIN, ONE(process.max_fds) },
	{ { "process_open_fds", "Number of open file descriptors.", KP_PROM_GAUGE }, PLAIN, ONE(process.open_fds) },
	{ { "process_resident_memory_bytes", "Resident memory size in bytes.", KP_PROM_GAUGE },
	  PLAIN, ONE(process.resident_bytes) },
	{ { "process_start_time_seconds", "Start time of the process since unix epoch in seconds.", KP_PROM_GAUGE },
	  PLAIN, ONE(start_seconds) },
	{ { "process_virtual_memory_bytes", "Virtual memory size in bytes.", KP_PROM_GAUGE }, PLAIN, ONE(process.virtual_bytes) },

	{ { "proxylet_build_info", "Always 1; the labels say which proxylet this is.", KP_PROM_GAUGE }, VERSION, .offset = 0 },
	{ { "proxylet_change_duration_seconds", "From an event on the API server's socket to its acknowledgement by the kernel.",
	    KP_PROM_HISTOGRAM }, HISTOGRAM, EACH(change) },
	{ { "proxylet_drift_repair_seconds", "From notice of a foreign change of our rules to its repair.", KP_PROM_HISTOGRAM },
	  HISTOGRAM, EACH(repair) },
	{ { "proxylet_drift_repairs_put_off_total", "Repairs that had to wait because the ones before were undone again and again.",
	    KP_PROM_COUNTER }, FAMILY, EACH(put_off) },
	{ { "proxylet_drift_total", "Foreign changes of our rules that were noticed, by what they concerned.", KP_PROM_COUNTER },
	  KIND, EACH(drifts) },
	{ { "proxylet_drift_unrepaired", "1 while a foreign change of our rules is not repaired.", KP_PROM_GAUGE },
	  FAMILY, EACH(unrepaired) },
	{ { "proxylet_last_commit_duration_seconds", "How long the last commit to the kernel took, also if it failed.",
	    KP_PROM_GAUGE }, FAMILY, EACH(took) },
	{ { "proxylet_last_commit_elements", "Map and set elements that the last successful commit added and deleted.",
	    KP_PROM_GAUGE }, CHANGE, EACH(elements) },
	{ { "proxylet_node_eligible", "1 if the Node is known, not being deleted and without an ineligible taint.",
	    KP_PROM_GAUGE }, PLAIN, ONE(node_eligible) },
	{ { "proxylet_node_state", "1 for the state the node is in, 0 for the others.", KP_PROM_GAUGE },
	  NODE_STATE, ONE(node_state) },
	{ { "proxylet_other_proxy", "1 while another proxy, or rules that it left, are in this network namespace.", KP_PROM_GAUGE },
	  PLAIN, ONE(other_proxy) },
	{ { "proxylet_pending_age_seconds", "Age of the oldest change that is not in the kernel; 0 if there is none.",
	    KP_PROM_GAUGE }, FAMILY, EACH(pending) },
	{ { "proxylet_refused_services", "Services that the kernel refuses; their last good rules stay.", KP_PROM_GAUGE },
	  PLAIN, ONE(refused) },
	{ { "proxylet_services", "Services known.", KP_PROM_GAUGE }, PLAIN, ONE(n_services) },
	{ { "proxylet_snapshot_age_seconds", "Age of what is in the snapshot, or of what is used of it; 0 if there is none.",
	    KP_PROM_GAUGE }, PLAIN, ONE(snapshot_age) },
	{ { "proxylet_snapshot_in_use", "1 while the Services are those of the snapshot, because no API server has told.",
	    KP_PROM_GAUGE }, PLAIN, ONE(snapshot_in_use) },
	{ { "proxylet_snapshot_write_failures_total", "Attempts to write the snapshot that failed.", KP_PROM_COUNTER },
	  PLAIN, ONE(snapshot_failures) },
};

static const char *const policy_names[] = { [KP_POLICY_INTERNAL] = "internal", [KP_POLICY_EXTERNAL] = "external" };
static const char *const code_names[] = { "200", "503" };
static const char *const table_names[] = { [DP_RULES_FILTER] = "filter", [DP_RULES_NAT] = "nat" };
static const char *const change_names[] = { "added", "deleted" };

/* Two samples side by side in memory, told apart by one label; of a family if that is one. */
static void write_pair(struct kp_buf *out, const struct row *r, const char *label, const char *const names[2],
		       const double *cells, const char *family)
{
	for (int i = 0; i < 2; i++) {
		struct kp_prom_label labels[] = { { label, names[i] }, { "ip_family", family } };

		kp_prom_sample(out, &r->family, labels, family ? 2 : 1, cells[i]);
	}
}

static void write_states(struct kp_buf *out, const struct row *r, const double *cells)
{
	for (int i = 0; i < HZ_N_NODE_STATES; i++) {
		const struct kp_prom_label label = { "state", hz_node_state_names[i] };

		kp_prom_sample(out, &r->family, &label, 1, cells[i]);
	}
}

static void write_kinds(struct kp_buf *out, const struct row *r, const double *cells, const char *family)
{
	for (int k = 0; k < DP_N_DRIFTS; k++) {
		struct kp_prom_label labels[] = { { "kind", dp_drift_names[k] }, { "ip_family", family } };

		kp_prom_sample(out, &r->family, labels, 2, cells[k]);
	}
}

static void write_family(struct kp_buf *out, const struct row *r, const struct kp_metrics_family *of, const char *name)
{
	const struct kp_prom_label label = { "ip_family", name };
	const void *cell = (const char *)of + r->offset;

	switch (r->shape) {
	case HISTOGRAM:
		kp_prom_histogram(out, &r->family, &label, 1, cell);
		break;
	case POLICY:
		write_pair(out, r, "traffic_policy", policy_names, cell, name);
		break;
	case TABLE:
		write_pair(out, r, "table", table_names, cell, name);
		break;
	case CHANGE:
		write_pair(out, r, "change", change_names, cell, name);
		break;
	case KIND:
		write_kinds(out, r, cell, name);
		break;
	default:
		if (r->shape == FAMILY || *(const double *)cell != 0)
			kp_prom_sample(out, &r->family, &label, 1, *(const double *)cell);
	}
}

static void write_row(struct kp_buf *out, const struct row *r, const struct kp_metrics *m)
{
	static const struct kp_prom_label version = { "version", KP_VERSION };
	const void *cell = (const char *)m + r->offset;

	kp_prom_head(out, &r->family);
	switch (r->shape) {
	case PLAIN:
		kp_prom_sample(out, &r->family, NULL, 0, *(const double *)cell);
		break;
	case CODE:
		write_pair(out, r, "code", code_names, cell, NULL);
		break;
	case NODE_STATE:
		write_states(out, r, cell);
		break;
	case VERSION:
		kp_prom_sample(out, &r->family, &version, 1, 1);
		break;
	default:
		for (int f = 0; f < KP_N_FAMILIES; f++)
			if (m->families[f])
				write_family(out, r, &m->family[f], kp_family_names[f]);
	}
}

/* m with everything that is only looked up filled in; it owns nothing. */
static struct kp_metrics with_now(const struct kp_metrics *m, const struct kp_metrics_now *now)
{
	struct kp_metrics all = *m;
	const double health[2][2] = { { (double)now->health.healthz_200, (double)now->health.healthz_503 },
				      { (double)now->health.livez_200, (double)now->health.livez_503 } };

	memcpy(all.health, health, sizeof(health));
	for (int f = 0; f < KP_N_FAMILIES; f++)
		all.family[f].pending = (double)now->pending_ns[f] / 1e9;
	for (int e = 0; e < KP_N_EVENTS; e++)
		all.events_pending[e] = (double)kp_metrics_pending_of(m, e);
	all.n_services = (double)now->n_services;
	all.node_eligible = now->node_eligible;
	for (int i = 0; i < HZ_N_NODE_STATES; i++)
		all.node_state[i] = now->node_state == (enum hz_node_state)i;
	all.other_proxy = now->other_proxy;
	all.snapshot_in_use = now->snapshot.in_use;
	all.snapshot_age = (double)now->snapshot.age_ns / 1e9;
	all.snapshot_failures = (double)now->snapshot.n_failed;
	all.process = now->process;
	return all;
}

void kp_metrics_write(const struct kp_metrics *m, const struct kp_metrics_now *now, struct kp_buf *out)
{
	const struct kp_metrics all = with_now(m, now);

	for (size_t i = 0; i < KP_N(rows); i++)
		if (!rows[i].mode || strcmp(rows[i].mode, now->mode) == 0)
			write_row(out, &rows[i], &all);
}

void kp_metrics_sources(const struct kp_source_status *s, uint64_t now_ns, struct kp_buf *out)
{
	static const struct kp_prom_family live = {
		"proxylet_source_live", "1 while changes of what is read are heard: the watch runs, the path is there.", KP_PROM_GAUGE,
	}, silent = {
		"proxylet_source_silent_seconds", "Time since the API server was last heard of it, bookmarks included.", KP_PROM_GAUGE,
	};

	kp_prom_head(out, &live);
	for (size_t i = 0; i < s->n; i++)
		if (!s->rows[i].absent)
			kp_prom_sample(out, &live, &(struct kp_prom_label){ "source", s->rows[i].name }, 1, s->rows[i].live);
	kp_prom_head(out, &silent);
	for (size_t i = 0; i < s->n; i++)
		if (!s->rows[i].absent && s->rows[i].heard_ns)
			kp_prom_sample(out, &silent, &(struct kp_prom_label){ "source", s->rows[i].name }, 1,
				       now_ns > s->rows[i].heard_ns ? (double)(now_ns - s->rows[i].heard_ns) / 1e9 : 0);
}
