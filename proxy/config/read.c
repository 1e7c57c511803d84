#include "proxy/config/config_impl.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/config/nearest.h"

static void read_field(const struct kp_field *f, struct kp_config *c, const json_t *v, struct kp_config_report *rep)
{
	union kp_value value = { 0 };

	if (!kp_value_read(f, v, &value, rep))
		return;
	if (f->kind == KP_VALUE_FIXED && strcmp(json_string_value(v), f->def) != 0)
		kp_report_error(rep, KP_UNSUPPORTED, f->path, json_string_value(v), "must be \"%s\"", f->def);
	kp_value_store(f, c, &value);
}

/* Down the path; NULL: not there, or null, which says the same. */
static const json_t *look_up(const json_t *doc, const char *path)
{
	for (;;) {
		size_t len = strcspn(path, ".");
		char key[64];

		snprintf(key, sizeof(key), "%.*s", (int)len, path);
		doc = json_object_get(doc, key);
		if (!doc || json_is_null(doc))
			return NULL;
		if (!path[len])
			return doc;
		path += len + 1;
	}
}

static bool is_section(const char *path)
{
	for (const char *const *s = kp_sections; *s; s++)
		if (strcmp(*s, path) == 0)
			return true;
	return false;
}

static void warn_unknown(const char *path, struct kp_config_report *rep)
{
	struct kp_nearest near = { 0 };

	for (const struct kp_field *f = kp_fields; f->path; f++)
		kp_nearest_offer(&near, path, f->path);
	for (const char *const *s = kp_sections; *s; s++)
		kp_nearest_offer(&near, path, *s);
	if (near.best)
		kp_report_warning(rep, path, "unknown field, ignored; is '%s' meant?", near.best);
	else
		kp_report_warning(rep, path, "unknown field, ignored");
}

static void find_unknown(const json_t *object, const char *prefix, struct kp_config_report *rep)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)object, key, v) {
		bool odd = strpbrk(key, ".[") != NULL;
		const char *sign = odd ? "[" : *prefix ? "." : "";
		KP_AUTO(kp_freep) char *path = kp_asprintf("%s%s%s%s", prefix, sign, key, odd ? "]" : "");

		if (!is_section(path)) {
			if (!kp_field_by_path(path))
				warn_unknown(path, rep);
		} else if (json_is_object(v)) {
			find_unknown(v, path, rep);
		} else if (!json_is_null(v)) {
			kp_report_error(rep, KP_WRONG_TYPE, path, "", "must be a mapping");
		}
	}
}

void kp_fields_read(struct kp_config *c, const json_t *doc, struct kp_config_report *rep)
{
	for (const struct kp_field *f = kp_fields; f->path; f++) {
		const json_t *v = look_up(doc, f->path);

		if (v)
			read_field(f, c, v, rep);
		else if (f->kind == KP_VALUE_FIXED)
			kp_report_error(rep, KP_REQUIRED, f->path, "", "must be \"%s\"", f->def);
	}
	find_unknown(doc, "", rep);
}
