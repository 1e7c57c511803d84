#include "proxy/config/config_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/jsonpath.h"
#include "proxy/base/mem.h"

/* Strings that no reader of YAML takes for anything else; digits first only in durations. */
static bool is_plain(const char *s)
{
	static const char *const reserved[] = { "true", "false", "yes", "no", "on", "off", "null", "y", "n" };
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-");
	bool letter = len && (strchr("/", s[0]) || (s[0] | 32) >= 'a');
	bool duration = len && strspn(s, "0123456789.hms") == len && strchr("ms", s[len - 1]);

	for (size_t i = 0; i < KP_N(reserved); i++)
		if (strcasecmp(reserved[i], s) == 0)
			return false;
	return !s[len] && (letter || duration);
}

static void write_scalar(const json_t *v, struct kp_buf *out)
{
	KP_AUTO(kp_freep) char *quoted = NULL;

	if (json_is_string(v) && is_plain(json_string_value(v))) {
		kp_buf_puts(out, json_string_value(v));
		return;
	}
	quoted = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);	/* which is YAML as well */
	kp_buf_puts(out, quoted);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **sorted_keys(const json_t *object)
{
	const char **keys = kp_calloc(json_object_size(object) + 1, sizeof(*keys));
	const char *key;
	size_t n = 0;
	json_t *v;

	json_object_foreach((json_t *)object, key, v)
		keys[n++] = key;
	qsort(keys, n, sizeof(*keys), by_text);
	return keys;
}

static void write_list(const json_t *list, int depth, struct kp_buf *out)
{
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one) {
		kp_buf_printf(out, "\n%*s- ", depth * 2, "");
		write_scalar(one, out);	/* mappings as JSON */
	}
}

static void write_mapping(const json_t *object, int depth, struct kp_buf *out)
{
	KP_AUTO(kp_freep) const char **keys = sorted_keys(object);

	for (const char **key = keys; *key; key++) {
		const json_t *v = json_object_get(object, *key);
		json_t *name = json_string(*key);

		kp_buf_printf(out, "%s%*s", depth ? "\n" : "", depth * 2, "");
		write_scalar(name, out);
		kp_buf_puts(out, json_object_size(v) ? ":" : json_array_size(v) ? ":" : ": ");
		if (json_object_size(v))
			write_mapping(v, depth + 1, out);
		else if (json_array_size(v))
			write_list(v, depth, out);
		else
			write_scalar(v, out);
		if (!depth)
			kp_buf_puts(out, "\n");
		json_decref(name);
	}
}

json_t *kp_config_json(const struct kp_config *c)
{
	json_t *doc = json_object();

	for (const struct kp_field *f = kp_fields; f->path; f++)
		kp_json_put(doc, f->path, kp_value_json(f, c));
	return doc;
}

void kp_config_write(const struct kp_config *c, struct kp_buf *out, struct kp_config_report *rep)
{
	json_t *doc = kp_config_json(c);

	for (const struct kp_field *f = kp_fields; f->path; f++) {
		json_t *v = kp_value_json(f, c);

		if (kp_value_is_unset(f, v))
			kp_report_warning(rep, f->path, "is off, which a file cannot say: there it means the default");
		json_decref(v);
	}
	write_mapping(doc, 0, out);
	json_decref(doc);
}
