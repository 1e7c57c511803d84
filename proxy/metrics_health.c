#include "proxy/metrics_health.h"

#include <stdio.h>

#include "healthz/report.h"
#include "healthz/state.h"
#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/prom.h"

typedef void write_fn(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l);

static void write_requests(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	for (size_t m = 0; m < HZ_N_METHODS; m++)
		for (size_t c = 0; c < HZ_N_CODES; c++) {
			char code[8];
			const struct kp_prom_label labels[] = {
				{ "listener", l->name }, { "method", hz_method_names[m] }, { "code", code } };

			snprintf(code, sizeof(code), "%d", hz_codes[c]);
			if (l->stats.requests[m][c])
				kp_prom_sample(out, f, labels, KP_N(labels), (double)l->stats.requests[m][c]);
		}
}

static void write_outcomes(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	for (size_t o = 0; o < HZ_N_OUTCOMES; o++) {
		const struct kp_prom_label labels[] = { { "listener", l->name }, { "outcome", hz_outcome_names[o] } };

		if (l->stats.outcomes[o])
			kp_prom_sample(out, f, labels, KP_N(labels), (double)l->stats.outcomes[o]);
	}
}

static const char *const version_names[] = { "", "1", "2" };

static void write_header(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l,
			 const char *version, const char *command, const char *reason, uint64_t n)
{
	const struct kp_prom_label labels[] = {
		{ "listener", l->name }, { "version", version }, { "command", command },
		{ "result", *reason ? "error" : "ok" }, { "reason", reason },
	};

	if (n)
		kp_prom_sample(out, f, labels, KP_N(labels), (double)n);
}

static void write_headers(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	for (size_t v = 0; v < KP_N(version_names); v++) {
		for (size_t c = 0; c < HZ_PP_N_COMMANDS; c++)
			write_header(out, f, l, version_names[v], hz_pp_command_names[c], "", l->stats.headers[v][c]);
		for (size_t e = HZ_PP_OK + 1; e < HZ_PP_N_ERRORS; e++)
			write_header(out, f, l, version_names[v], "", hz_pp_error_names[e], l->stats.bad_headers[v][e]);
	}
}

static void write_response(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	const struct kp_prom_label label = { "listener", l->name };
	struct hz_stats stats = l->stats;
	const struct kp_prom_histogram h = {
		.bounds = hz_response_bounds, .n_bounds = HZ_N_BOUNDS, .counts = stats.response, .sum = (double)stats.response_ns / 1e9,
	};

	if (stats.response_ns)	/* eleven lines for a port that nobody asks would be many, with many Services */
		kp_prom_histogram(out, f, &label, 1, &h);
}

static void write_one(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l, double value)
{
	const struct kp_prom_label label = { "listener", l->name };

	kp_prom_sample(out, f, &label, 1, value);
}

static void write_up(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	write_one(out, f, l, !l->problem);
}

static void write_malformed(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	if (l->stats.tlv_malformed)
		write_one(out, f, l, (double)l->stats.tlv_malformed);
}

static void write_last(struct kp_buf *out, const struct kp_prom_family *f, const struct hz_listener_report *l)
{
	if (l->stats.last_probe_wall_ns)
		write_one(out, f, l, (double)l->stats.last_probe_wall_ns / 1e9);
}

/* Of each listener. What never happened there has no sample. */
static const struct {
	struct kp_prom_family family;
	write_fn *write;
} rows[] = {
	{ { "proxylet_health_connections_total", "Connections to the health ports, by how they ended.", KP_PROM_COUNTER },
	  write_outcomes },
	{ { "proxylet_health_last_probe_timestamp_seconds", "When the last probe came, as request or as mere connection.",
	    KP_PROM_GAUGE }, write_last },
	{ { "proxylet_health_listener_up", "Whether the port is open, on all addresses it should be.", KP_PROM_GAUGE }, write_up },
	{ { "proxylet_health_proxy_header_total", "PROXY protocol headers; result error: the connection was reset, for that reason.",
	    KP_PROM_COUNTER }, write_headers },
	{ { "proxylet_health_proxy_tlv_malformed_total", "PROXY protocol headers whose list of TLVs was cut off.", KP_PROM_COUNTER },
	  write_malformed },
	{ { "proxylet_health_requests_total", "Answers on the health ports.", KP_PROM_COUNTER }, write_requests },
	{ { "proxylet_health_response_seconds", "Time from the last byte of a request to its answer.", KP_PROM_HISTOGRAM },
	  write_response },
};

static const struct kp_prom_family open_family = {
	"proxylet_health_open_connections", "Connections that the health ports have now.", KP_PROM_GAUGE };
static const struct kp_prom_family evictions_family = {
	"proxylet_health_evictions_total", "Connections that were closed to make room for others.", KP_PROM_COUNTER };
static const struct kp_prom_family ready_family = {
	"proxylet_service_health_local_endpoints", "Endpoints that the health port of a Service answers for.", KP_PROM_GAUGE };
static const struct kp_prom_family status_family = {
	"proxylet_service_health_status", "Whether the health port of a Service answers 200.", KP_PROM_GAUGE };

static void write_alone(struct kp_buf *out, const struct kp_prom_family *f, double value)
{
	kp_prom_head(out, f);
	kp_prom_sample(out, f, NULL, 0, value);
}

void kp_metrics_health_ports(const struct hz_report *r, struct kp_buf *out)
{
	uint64_t n_open = 0;

	for (size_t i = 0; i < KP_N(rows); i++) {
		kp_prom_head(out, &rows[i].family);
		for (size_t l = 0; l < r->n_listeners; l++)
			rows[i].write(out, &rows[i].family, &r->listeners[l]);
	}
	for (size_t l = 0; l < r->n_listeners; l++)
		n_open += r->listeners[l].n_open;
	write_alone(out, &open_family, (double)n_open);
	write_alone(out, &evictions_family, (double)r->n_evicted);
}

void kp_metrics_health_state(const struct hz_state *s, uint64_t now_ns, struct kp_buf *out)
{
	size_t n = s->services ? s->services->n : 0;

	for (int what = 0; what < 2; what++) {
		const struct kp_prom_family *f = what ? &status_family : &ready_family;

		kp_prom_head(out, f);
		for (size_t i = 0; i < n; i++) {
			const struct hz_service *svc = &s->services->items[i];
			const struct kp_prom_label labels[] = { { "namespace", svc->ns }, { "name", svc->name } };
			/* What the port says on a connection of the family where it has most. */
			enum kp_family most = svc->local_ready[KP_IPV6] > svc->local_ready[KP_IPV4] ? KP_IPV6 : KP_IPV4;

			kp_prom_sample(out, f, labels, KP_N(labels),
				       what ? hz_service_ok(s, svc, most, now_ns) : svc->local_ready[most]);
		}
	}
}
