#include "proxy/base/prom.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/mem.h"

static const char *const type_names[] = {
	[KP_PROM_COUNTER] = "counter", [KP_PROM_GAUGE] = "gauge", [KP_PROM_HISTOGRAM] = "histogram",
};

const char *kp_prom_number(double value, char *out)
{
	if (isnan(value))
		snprintf(out, KP_PROM_NUMBER_LEN, "NaN");
	else if (isinf(value))
		snprintf(out, KP_PROM_NUMBER_LEN, value > 0 ? "+Inf" : "-Inf");
	else if (value == trunc(value) && fabs(value) < 1e15)
		snprintf(out, KP_PROM_NUMBER_LEN, "%.0f", value);
	else
		for (int digits = 6; digits <= 17; digits++) {
			snprintf(out, KP_PROM_NUMBER_LEN, "%.*g", digits, value);
			if (strtod(out, NULL) == value)
				break;
		}
	return out;
}

/* Backslash and newline everywhere, the quote only where there are quotes around. */
static void add_escaped(struct kp_buf *out, const char *s, bool quoted)
{
	for (; *s; s++) {
		if (*s == '\n')
			kp_buf_puts(out, "\\n");
		else if (*s == '\\' || (quoted && *s == '"'))
			kp_buf_printf(out, "\\%c", *s);
		else
			kp_buf_add(out, s, 1);
	}
}

void kp_prom_head(struct kp_buf *out, const struct kp_prom_family *f)
{
	kp_buf_printf(out, "# HELP %s ", f->name);
	add_escaped(out, f->help, false);
	kp_buf_printf(out, "\n# TYPE %s %s\n", f->name, type_names[f->type]);
}

static void add_label(struct kp_buf *out, const char *before, const char *name, const char *value)
{
	kp_buf_printf(out, "%s%s=\"", before, name);
	add_escaped(out, value, true);
	kp_buf_puts(out, "\"");
}

/* le: one more label, of a bucket; NULL: none. */
static void add_sample(struct kp_buf *out, const char *name, const char *suffix, const struct kp_prom_label *labels,
		       size_t n_labels, const char *le, double value)
{
	char number[KP_PROM_NUMBER_LEN];

	kp_buf_printf(out, "%s%s", name, suffix);
	for (size_t i = 0; i < n_labels; i++)
		add_label(out, i ? "," : "{", labels[i].name, labels[i].value);
	if (le)
		add_label(out, n_labels ? "," : "{", "le", le);
	kp_buf_printf(out, "%s %s\n", n_labels || le ? "}" : "", kp_prom_number(value, number));
}

void kp_prom_sample(struct kp_buf *out, const struct kp_prom_family *f, const struct kp_prom_label *labels,
		    size_t n_labels, double value)
{
	add_sample(out, f->name, "", labels, n_labels, NULL, value);
}

void kp_prom_histogram_release(struct kp_prom_histogram *h)
{
	free(h->counts);
	h->counts = NULL;
}

void kp_prom_observe(struct kp_prom_histogram *h, double value)
{
	size_t i = 0;

	if (!h->counts)
		h->counts = kp_calloc(h->n_bounds + 1, sizeof(*h->counts));
	while (i < h->n_bounds && value > h->bounds[i])
		i++;
	h->counts[i]++;
	h->sum += value;
}

void kp_prom_histogram(struct kp_buf *out, const struct kp_prom_family *f, const struct kp_prom_label *labels,
		       size_t n_labels, const struct kp_prom_histogram *h)
{
	uint64_t so_far = 0;

	for (size_t i = 0; i <= h->n_bounds; i++) {
		char le[KP_PROM_NUMBER_LEN];

		so_far += h->counts ? h->counts[i] : 0;
		add_sample(out, f->name, "_bucket", labels, n_labels,
			   kp_prom_number(i < h->n_bounds ? h->bounds[i] : INFINITY, le), (double)so_far);
	}
	add_sample(out, f->name, "_sum", labels, n_labels, NULL, h->sum);
	add_sample(out, f->name, "_count", labels, n_labels, NULL, (double)so_far);
}
