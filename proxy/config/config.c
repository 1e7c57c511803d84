#include "proxy/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config_impl.h"

#define MAX_FILE (1u << 20)

const char *const kp_problem_names[] = {
	[KP_PROBLEM_ERROR] = "error", [KP_PROBLEM_WARNING] = "warning", [KP_PROBLEM_NOTE] = "note",
};

/* --- the report --- */

__attribute__((format(printf, 5, 0)))
static struct kp_config_problem *add(struct kp_config_report *rep, int level, const char *field, const char *value,
				     const char *fmt, va_list ap)
{
	struct kp_config_problem *p;
	char detail[512];

	vsnprintf(detail, sizeof(detail), fmt, ap);
	kp_grow(&rep->items, rep->n, &rep->cap);
	p = &rep->items[rep->n++];
	*p = (struct kp_config_problem){
		.level = level, .field = kp_strdup(field), .value = kp_strdup(value), .detail = kp_strdup(detail), .type = "",
	};
	rep->n_errors += level == KP_PROBLEM_ERROR;
	return p;
}

void kp_report_error(struct kp_config_report *rep, const char *type, const char *field, const char *value,
		     const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(rep, KP_PROBLEM_ERROR, field, value, fmt, ap)->type = type;
	va_end(ap);
}

void kp_report_warning(struct kp_config_report *rep, const char *field, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(rep, KP_PROBLEM_WARNING, field, "", fmt, ap);
	va_end(ap);
}

void kp_report_note(struct kp_config_report *rep, const char *field, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(rep, KP_PROBLEM_NOTE, field, "", fmt, ap);
	va_end(ap);
}

void kp_config_report_release(struct kp_config_report *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->items[i].field);
		free(r->items[i].value);
		free(r->items[i].detail);
	}
	free(r->items);
	*r = (struct kp_config_report){ 0 };
}

char *kp_config_problem_str(const struct kp_config_problem *p)
{
	struct kp_buf b = { 0 };

	if (*p->type == 'C')	/* a code of the AKS form, which people search for */
		kp_buf_printf(&b, "%s ", p->type);
	if (*p->field)
		kp_buf_printf(&b, "%s: ", p->field);
	kp_buf_puts(&b, p->detail);
	if (*p->value)
		kp_buf_printf(&b, " (got '%s')", p->value);
	return b.data;
}

/* --- the configuration --- */

/* Without an address of their own, these two listen in the family of bindAddress. */
static void fill_addresses(struct kp_config *c)
{
	struct kp_addr a;
	bool v6 = kp_addr_parse(c->bind_address, &a) && a.family == KP_IPV6;

	if (!*c->healthz_bind_address) {
		free(c->healthz_bind_address);
		c->healthz_bind_address = kp_strdup(v6 ? "[::]:10256" : "0.0.0.0:10256");
	}
	if (!*c->metrics_bind_address) {
		free(c->metrics_bind_address);
		c->metrics_bind_address = kp_strdup(v6 ? "[::1]:10249" : "127.0.0.1:10249");
	}
}

static struct kp_config *new_unfilled(void)
{
	struct kp_config *c = kp_calloc(1, sizeof(*c));

	kp_fields_init(c);
	return c;
}

struct kp_config *kp_config_new(void)
{
	struct kp_config *c = new_unfilled();

	fill_addresses(c);
	return c;
}

struct kp_config *kp_config_free(struct kp_config *c)
{
	if (c)
		kp_fields_release(c);
	free(c);
	return NULL;
}

void kp_config_swap(struct kp_config *a, struct kp_config *b)
{
	struct kp_config t = *a;

	*a = *b;
	*b = t;
}

static void warn_duplicate(void *arg, const char *path, unsigned line)
{
	struct kp_config_report *rep = arg;

	kp_report_warning(rep, path, "is there twice, the last one counts");
	rep->items[rep->n - 1].line = line;
}

/* What is missing has no line; then that of what it is missing from, if there is any. */
static unsigned nearest_line(const char *text, size_t len, const char *path)
{
	KP_AUTO(kp_freep) char *shorter = kp_strdup(path);
	unsigned line;

	while (!(line = kp_doc_line_of(text, len, shorter))) {
		size_t keep = strlen(shorter);

		while (keep && !strchr(".[", shorter[keep - 1]))
			keep--;
		if (!keep)
			return 0;
		shorter[keep - 1] = '\0';
	}
	return line;
}

static void find_lines(const char *text, size_t len, struct kp_config_report *rep, size_t from)
{
	for (size_t i = from; i < rep->n; i++)
		if (!rep->items[i].line && *rep->items[i].field)
			rep->items[i].line = nearest_line(text, len, rep->items[i].field);
}

/* In the order of the file; few enough for the simplest way that keeps equals in order. */
static void sort_by_line(struct kp_config_problem *items, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct kp_config_problem p = items[i];
		size_t at = i;

		for (; at && items[at - 1].line > p.line; at--)
			items[at] = items[at - 1];
		items[at] = p;
	}
}

/* "line N: what" becomes a problem with a line. */
static void report_unparsable(struct kp_config_report *rep, const struct kp_err *err)
{
	unsigned line = 0;
	int skip = 0;

	if (sscanf(err->msg, "line %u: %n", &line, &skip) < 1 || !skip)
		line = 0;
	kp_report_error(rep, KP_INVALID, "", "", "%s", err->msg + (line ? skip : 0));
	rep->items[rep->n - 1].line = line;
}

/* Or YAML in braces, which is nearly the same. */
static bool is_json(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len && strchr(" \t\r\n\xef\xbb\xbf", text[at]) && text[at])
		at++;
	return at < len && text[at] == '{';
}

int kp_config_load_text(const char *text, size_t len, struct kp_config **ret, struct kp_config_report *rep)
{
	KP_AUTO(kp_config_freep) struct kp_config *c = NULL;
	size_t n_before = rep->n, errors_before = rep->n_errors;
	struct kp_err err = { 0 };
	json_t *doc;

	if (kp_doc_load(text, len, warn_duplicate, rep, &doc, &err) < 0) {
		report_unparsable(rep, &err);
		return -EINVAL;
	}
	c = new_unfilled();
	if (is_json(text, len) && kp_is_aks(doc))
		kp_config_read_aks(text, len, c, rep);
	else if (json_is_object(doc) || json_is_null(doc))
		kp_fields_read(c, doc, rep);
	else
		kp_report_error(rep, KP_WRONG_TYPE, "", "", "must be a mapping with kind KubeProxyConfiguration");
	json_decref(doc);
	fill_addresses(c);
	kp_config_validate(c, rep);
	find_lines(text, len, rep, n_before);
	if (rep->n > n_before)
		sort_by_line(rep->items + n_before, rep->n - n_before);
	if (rep->n_errors > errors_before)
		return -EINVAL;
	*ret = kp_steal(&c);
	return 0;
}

int kp_config_read_whole(const char *path, struct kp_buf *to, struct kp_err *err)
{
	KP_AUTO(kp_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 1;

	if (fd < 0)
		return kp_err_set(err, -errno, "open '%s': %s", path, strerror(errno));
	while (n != 0 && to->len <= MAX_FILE) {
		n = read(fd, kp_buf_reserve(to, 4096), 4096);
		if (n < 0 && errno != EINTR)
			return kp_err_set(err, -errno, "read '%s': %s", path, strerror(errno));
		to->len += n > 0 ? (size_t)n : 0;
	}
	if (to->len > MAX_FILE)
		return kp_err_set(err, -EFBIG, "read '%s': more than %u bytes are no configuration", path, MAX_FILE);
	return 0;
}

int kp_config_load_file(const char *path, struct kp_config **ret, struct kp_config_report *rep, struct kp_err *err)
{
	struct kp_buf text = { 0 };
	int r = kp_config_read_whole(path, &text, err);

	if (r == 0) {
		r = kp_config_load_text(text.data ? text.data : "", text.len, ret, rep);
		if (r < 0)
			kp_err_set(err, r, "'%s' is not a valid configuration", path);
	}
	kp_buf_release(&text);
	return r;
}
