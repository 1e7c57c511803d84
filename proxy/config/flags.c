#include "proxy/config/flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/config/nearest.h"

#define HELP_COLUMN 32

void kp_flag_list_release(struct kp_flag_list *l)
{
	free(l->items);
	*l = (struct kp_flag_list){ 0 };
}

static void append(struct kp_flag_list *l, const char *s)
{
	kp_grow(&l->items, l->n, &l->cap);
	l->items[l->n++] = s;
}

/* "_" for "-" as well: old manifests have it. */
static bool is_name(const char *known, const char *name, size_t len)
{
	size_t i = 0;

	while (i < len && known[i] && (known[i] == name[i] || (known[i] == '-' && name[i] == '_')))
		i++;
	return i == len && !known[i];
}

static const struct kp_flag *by_name(const struct kp_flag *table, const char *name, size_t len)
{
	for (; table->name; table++)
		if (is_name(table->name, name, len))
			return table;
	return NULL;
}

static const struct kp_flag *by_shorthand(const struct kp_flag *table, char c)
{
	for (; table->name; table++)
		if (table->shorthand == c)
			return table;
	return NULL;
}

static int unknown(const struct kp_flag *table, const char *name, size_t len, struct kp_err *err)
{
	KP_AUTO(kp_freep) char *word = kp_strndup(name, len);
	struct kp_nearest near = { 0 };

	for (; table->name; table++)
		kp_nearest_offer(&near, word, table->name);
	if (near.best)
		return kp_err_set(err, -EINVAL, "unknown flag --%s; is --%s meant?", word, near.best);
	return kp_err_set(err, -EINVAL, "unknown flag --%s", word);
}

static int refuse(const struct kp_flag *f, const char *value, const char *want, struct kp_err *err)
{
	return kp_err_set(err, -EINVAL, "--%s: want %s, not '%s'", f->name, want, value);
}

static int read_bool(const struct kp_flag *f, const char *value, bool *to, struct kp_err *err)
{
	return kp_bool_parse(value, to) ? 0 : refuse(f, value, "true or false", err);
}

static int set_int(const struct kp_flag *f, const char *value, int64_t *to, struct kp_err *err)
{
	long long v;
	char *end;

	errno = 0;
	v = strtoll(value, &end, 10);
	if (end == value || *end || errno)
		return refuse(f, value, "a whole number", err);
	*to = v;
	return 0;
}

static int check_choice(const struct kp_flag *f, const char *value, struct kp_err *err)
{
	char want[256] = "one of ";
	size_t n = strlen(want);

	for (size_t i = 0; f->choices && f->choices[i]; i++) {
		if (strcmp(f->choices[i], value) == 0)
			break;
		n += (size_t)snprintf(want + n, sizeof(want) - n, "%s%s", i ? ", " : "",
				      *f->choices[i] ? f->choices[i] : "\"\"");
		if (!f->choices[i + 1])
			return refuse(f, value, want, err);
	}
	return 0;
}

/* Flag's name and value by turns: a flag may be set long before its field can be. */
static void give(struct kp_flag_list *to, const struct kp_flag *f, const char *value)
{
	append(to, f->name);
	append(to, value);
}

static int set(const struct kp_flag *f, const char *value, void *into, struct kp_err *err)
{
	void *to = (char *)into + f->offset;
	int r = check_choice(f, value, err);
	bool yes;

	if (r < 0)
		return r;
	switch (f->kind) {
	case KP_FLAG_BOOL:
		return read_bool(f, value, to, err);
	case KP_FLAG_INT:
		return set_int(f, value, to, err);
	case KP_FLAG_STRING:
		*(const char **)to = value;
		break;
	case KP_FLAG_STRINGS:
		append(to, value);
		break;
	case KP_FLAG_FIELD:
		give(to, f, value);
		break;
	case KP_FLAG_SWITCH:
		r = read_bool(f, value, &yes, err);
		if (r == 0)
			give(to, f, yes ? "true" : "false");
		break;
	}
	return r;
}

/* What one argument says: a flag, and the value if that is in the same argument. */
struct word {
	const struct kp_flag *flag;
	const char *value;
};

static int read_word(const struct kp_flag *table, const char *arg, struct word *ret, struct kp_err *err)
{
	size_t len;

	if (arg[1] == '-') {
		arg += 2;
		len = strcspn(arg, "=");
		ret->flag = by_name(table, arg, len);
		ret->value = arg[len] ? arg + len + 1 : NULL;
		return ret->flag ? 0 : unknown(table, arg, len, err);
	}
	ret->flag = by_shorthand(table, arg[1]);
	if (!ret->flag)
		return kp_err_set(err, -EINVAL, "unknown flag -%c in '%s'", arg[1], arg);
	arg += 2 + (arg[2] == '=');
	ret->value = *arg || arg[-1] == '=' ? arg : NULL;
	return 0;
}

int kp_flags_parse(const struct kp_flag *table, int argc, char *const *argv, void *into,
		   struct kp_flag_list *args, struct kp_err *err)
{
	bool flags_over = false;

	for (int i = 1; i < argc; i++) {
		struct word w = { 0 };
		int r;

		if (!flags_over && strcmp(argv[i], "--") == 0) {
			flags_over = true;
			continue;
		}
		if (flags_over || argv[i][0] != '-' || !argv[i][1]) {
			if (!args)
				return kp_err_set(err, -EINVAL, "unexpected argument '%s'", argv[i]);
			append(args, argv[i]);
			continue;
		}
		r = read_word(table, argv[i], &w, err);
		if (r < 0)
			return r;
		if (!w.value && (w.flag->kind == KP_FLAG_BOOL || w.flag->kind == KP_FLAG_SWITCH))
			w.value = "true";
		if (!w.value) {
			if (i + 1 == argc)
				return kp_err_set(err, -EINVAL, "--%s needs a value", w.flag->name);
			w.value = argv[++i];
		}
		r = set(w.flag, w.value, into, err);
		if (r < 0)
			return r;
	}
	return 0;
}

char *kp_flag_given(const struct kp_flag *f, const struct kp_flag_list *given)
{
	struct kp_buf all = { 0 };

	for (size_t i = 0; i < given->n; i += 2) {
		if (strcmp(given->items[i], f->name) != 0)
			continue;
		if (!f->is_list)
			all.len = 0;
		kp_buf_printf(&all, "%s%s", all.len ? "," : "", given->items[i + 1]);
	}
	return all.data;
}

void kp_flags_help(const struct kp_flag *table, struct kp_buf *out)
{
	for (; table->name; table++) {
		char left[128];
		int n;

		if (!table->help)
			continue;
		n = table->shorthand ? snprintf(left, sizeof(left), "  -%c, ", table->shorthand)
				     : snprintf(left, sizeof(left), "      ");
		n += snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s", table->name, table->arg ? " " : "",
			      table->arg ? table->arg : "");
		kp_buf_printf(out, "%-*s%s%s\n", HELP_COLUMN, left, n < HELP_COLUMN ? "" : "  ", table->help);
	}
}

int kp_flags_usage(FILE *to, const struct kp_flag *table, const char *synopsis, const char *more, const char *problem)
{
	struct kp_buf help = { 0 };

	if (problem)
		fprintf(to, "proxylet %.*s: %s\n", (int)strcspn(synopsis, " "), synopsis, problem);
	kp_flags_help(table, &help);
	fprintf(to, "usage: proxylet %s\n%s%s", synopsis, help.data, more);
	kp_buf_release(&help);
	return problem ? 2 : 0;
}
