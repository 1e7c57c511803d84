#ifndef KP_BASE_PROM_H
#define KP_BASE_PROM_H

#include <stddef.h>
#include <stdint.h>

struct kp_buf;

/*
 * The Prometheus text format, version 0.0.4, and histograms. Pure: a family describes
 * itself, the caller keeps the numbers.
 */
enum kp_prom_type { KP_PROM_COUNTER, KP_PROM_GAUGE, KP_PROM_HISTOGRAM };

struct kp_prom_family {
	const char *name, *help;
	enum kp_prom_type type;
};

struct kp_prom_label {
	const char *name, *value;	/* the value may hold anything */
};

/* HELP and TYPE; its samples follow. */
void kp_prom_head(struct kp_buf *out, const struct kp_prom_family *f);
void kp_prom_sample(struct kp_buf *out, const struct kp_prom_family *f, const struct kp_prom_label *labels,
		    size_t n_labels, double value);

/* Observations by size. Zero-initialise but for bounds, which are borrowed. */
struct kp_prom_histogram {
	const double *bounds;	/* ascending, without +Inf */
	size_t n_bounds;
	uint64_t *counts;	/* one for each bucket, the last is +Inf; NULL: nothing was observed */
	double sum;
};
void kp_prom_histogram_release(struct kp_prom_histogram *h);
void kp_prom_observe(struct kp_prom_histogram *h, double value);
/* The _bucket, _sum and _count samples. */
void kp_prom_histogram(struct kp_buf *out, const struct kp_prom_family *f, const struct kp_prom_label *labels,
		       size_t n_labels, const struct kp_prom_histogram *h);

/* The shortest text that reads back as the same number; "+Inf", "NaN". Returns out. */
#define KP_PROM_NUMBER_LEN 32
const char *kp_prom_number(double value, char *out);

#endif
