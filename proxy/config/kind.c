#include "proxy/config/config_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

/*
 * The kinds of values: from text (flags and defaults), from JSON (documents), into and
 * out of struct kp_config.
 */

static const struct kind {
	const char *wants;
	size_t size;		/* in struct kp_config */
	bool is_text, is_list;	/* owns a string, or a list of them */
} kinds[] = {
	[KP_VALUE_FIXED] = { "must be a string", 0, false, false },
	[KP_VALUE_STRING] = { "must be a string (in quotes if it looks like something else)", sizeof(char *), true, false },
	[KP_VALUE_BOOL] = { "must be true or false", sizeof(bool), false, false },
	[KP_VALUE_INT] = { "must be a whole number", sizeof(int64_t), false, false },
	[KP_VALUE_FLOAT] = { "must be a number", sizeof(double), false, false },
	[KP_VALUE_DURATION] = { "must be a duration such as 30s or 1m30s", sizeof(int64_t), false, false },
	[KP_VALUE_ENDPOINT] = { "must be a string such as 0.0.0.0:10256", sizeof(char *), true, false },
	[KP_VALUE_SCALAR] = { "must be a string or a number", sizeof(char *), true, false },
	[KP_VALUE_NAME] = { "must be a string", sizeof(enum kp_mode), false, false },
	[KP_VALUE_EITHER] = { "must be a string", sizeof(bool), false, false },
	[KP_VALUE_STRINGS] = { "must be a list of strings", sizeof(char **), false, true },
	[KP_VALUE_SWITCHES] = { "must be a mapping of names to true or false", sizeof(char **), false, true },
	[KP_VALUE_PATTERNS] = { "must be a list of filePattern and verbosity", sizeof(char **), false, true },
	[KP_VALUE_MAPPINGS] = { "must be a list of mappings", sizeof(char **), false, true },
};

static void free_strings(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

/* --- from text --- */

static bool parse_number(const char *text, int64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoll(text, &end, 10);
	return end != text && !*end && !errno;
}

static bool parse_real(const char *text, double *ret)
{
	char *end;

	*ret = strtod(text, &end);
	return end != text && !*end && *ret - *ret == 0;	/* neither infinite nor NaN */
}

static char **split(const char *text)
{
	char **list = NULL;
	size_t n = 0, cap = 0;

	while (*text) {
		size_t len = strcspn(text, ",");

		kp_grow(&list, n, &cap);
		list[n++] = kp_strndup(text, len);
		text += len + (text[len] == ',');
	}
	kp_grow(&list, n, &cap);
	list[n] = NULL;
	return list;
}

/* "name=value" in each, and the value is fine. */
static bool parse_pairs(const char *text, bool (*is_value)(const char *), char ***ret)
{
	char **list = split(text);

	for (char **one = list; *one; one++) {
		const char *equals = strchr(*one, '=');

		if (equals && equals != *one && is_value(equals + 1))
			continue;
		free_strings(list);
		return false;
	}
	*ret = list;
	return true;
}

static bool is_bool(const char *text)
{
	bool yes;

	return kp_bool_parse(text, &yes);
}

/* "A=T" is "A=true", as a document has it. */
static bool parse_switches(const char *text, char ***ret)
{
	if (!parse_pairs(text, is_bool, ret))
		return false;
	for (char **one = *ret; *one; one++) {
		char *old = *one, *value = strchr(old, '=') + 1;
		bool yes = false;

		kp_bool_parse(value, &yes);
		*one = kp_asprintf("%.*s%s", (int)(value - old), old, yes ? "true" : "false");
		free(old);
	}
	return true;
}

static bool is_level(const char *text)
{
	int64_t n;

	return parse_number(text, &n) && n >= 0;
}

static bool is_mapping_list(const json_t *v)
{
	const json_t *one;
	size_t i;

	json_array_foreach(v, i, one)
		if (!json_is_object(one))
			return false;
	return json_is_array(v);
}

/* Each as JSON, which is the same for equal ones. */
static char **mappings_of(const json_t *v)
{
	char **list = kp_calloc(json_array_size(v) + 1, sizeof(*list));
	const json_t *one;
	size_t i;

	json_array_foreach(v, i, one)
		list[i] = json_dumps(one, JSON_COMPACT | JSON_SORT_KEYS);
	return list;
}

static bool parse_mappings(const char *text, char ***ret)
{
	json_t *v = *text ? json_loads(text, 0, NULL) : json_array();
	bool good = is_mapping_list(v);

	if (good)
		*ret = mappings_of(v);
	json_decref(v);
	return good;
}

static int name_index(const struct kp_field *f, const char *text)
{
	for (int i = 0; f->names[i]; i++)
		if (strcmp(f->names[i], text) == 0)
			return i;
	return -1;
}

static bool parse(const struct kp_field *f, const char *text, union kp_value *ret)
{
	int index;

	switch (f->kind) {
	case KP_VALUE_STRING: case KP_VALUE_ENDPOINT: case KP_VALUE_SCALAR:
		ret->string = kp_strdup(text);
		return true;
	case KP_VALUE_BOOL:
		return kp_bool_parse(text, &ret->yes);
	case KP_VALUE_INT:
		return parse_number(text, &ret->number);
	case KP_VALUE_FLOAT:
		return parse_real(text, &ret->real);
	case KP_VALUE_DURATION:
		return kp_duration_parse(text, &ret->number);
	case KP_VALUE_NAME:
		index = name_index(f, text);
		ret->name = (enum kp_mode)index;
		return index >= 0;
	case KP_VALUE_EITHER:
		index = name_index(f, text);
		ret->yes = index == 1;
		return index >= 0;
	case KP_VALUE_STRINGS:
		ret->strings = split(text);
		return true;
	case KP_VALUE_SWITCHES:
		return parse_switches(text, &ret->strings);
	case KP_VALUE_PATTERNS:
		return parse_pairs(text, is_level, &ret->strings);
	case KP_VALUE_MAPPINGS:
		return parse_mappings(text, &ret->strings);
	case KP_VALUE_FIXED:
		break;
	}
	return true;
}

static void refuse_name(const struct kp_field *f, const char *text, struct kp_config_report *rep)
{
	char list[256];
	int n = 0;

	for (int i = !*f->names[0]; f->names[i]; i++)
		n += snprintf(list + n, sizeof(list) - (size_t)n, "%s\"%s\"", n ? ", " : "", f->names[i]);
	kp_report_error(rep, f->refusal, f->path, text, "supported values: %s%s", list, *f->names[0] ? "" : ", \"\"");
}

bool kp_value_parse(const struct kp_field *f, const char *text, union kp_value *ret, struct kp_config_report *rep)
{
	if (parse(f, text, ret))
		return true;
	if (f->names)
		refuse_name(f, text, rep);
	else
		kp_report_error(rep, KP_INVALID, f->path, text, "%s", kinds[f->kind].wants);
	return false;
}

/* --- from a document --- */

static bool is_string_list(const json_t *v)
{
	const json_t *one;
	size_t i;

	json_array_foreach(v, i, one)
		if (!json_is_string(one))
			return false;
	return json_is_array(v);
}

static bool is_switches(const json_t *v)
{
	const char *key;
	json_t *one;

	json_object_foreach((json_t *)v, key, one)
		if (!json_is_boolean(one))
			return false;
	return json_is_object(v);
}

static bool is_patterns(const json_t *v)
{
	const json_t *one;
	size_t i;

	json_array_foreach(v, i, one)
		if (!json_is_string(json_object_get(one, "filePattern")) ||
		    json_integer_value(json_object_get(one, "verbosity")) < 0 ||
		    !json_is_integer(json_object_get(one, "verbosity")))
			return false;
	return json_is_array(v);
}

static bool has_type(const struct kp_field *f, const json_t *v)
{
	switch (f->kind) {
	case KP_VALUE_BOOL:	return json_is_boolean(v);
	case KP_VALUE_INT:	return json_is_integer(v);
	case KP_VALUE_FLOAT:	return json_is_number(v);
	case KP_VALUE_SCALAR:	return json_is_string(v) || json_is_number(v);
	case KP_VALUE_STRINGS:	return is_string_list(v);
	case KP_VALUE_SWITCHES:	return is_switches(v);
	case KP_VALUE_PATTERNS:	return is_patterns(v);
	case KP_VALUE_MAPPINGS:	return is_mapping_list(v);
	default:		return json_is_string(v);
	}
}

static char *text_of(const json_t *v)
{
	if (json_is_string(v))
		return kp_strdup(json_string_value(v));
	return json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
}

bool kp_value_is_unset(const struct kp_field *f, const json_t *v)
{
	int64_t ms;

	if (!f->zero_is_unset)
		return false;
	if (f->kind == KP_VALUE_DURATION)
		return kp_duration_parse(json_string_value(v), &ms) && ms == 0;
	return json_is_number(v) ? json_number_value(v) == 0 : *json_string_value(v) == '\0';
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *pattern_text(const json_t *v)
{
	return kp_asprintf("%s=%lld", json_string_value(json_object_get(v, "filePattern")),
			   (long long)json_integer_value(json_object_get(v, "verbosity")));
}

/* Not by way of text: an entry may contain a comma, to be refused later. */
static char **list_of(const struct kp_field *f, const json_t *v)
{
	size_t n = 0;
	char **list = kp_calloc(json_array_size(v) + json_object_size(v) + 1, sizeof(*list));
	const char *key;
	json_t *one;
	size_t i;

	json_array_foreach(v, i, one)
		list[n++] = f->kind == KP_VALUE_STRINGS ? kp_strdup(json_string_value(one)) : pattern_text(one);
	json_object_foreach((json_t *)v, key, one)
		list[n++] = kp_asprintf("%s=%s", key, json_is_true(one) ? "true" : "false");
	if (f->kind == KP_VALUE_SWITCHES)
		qsort(list, n, sizeof(*list), by_text);
	return list;
}

bool kp_value_read(const struct kp_field *f, const json_t *v, union kp_value *ret, struct kp_config_report *rep)
{
	KP_AUTO(kp_freep) char *text = text_of(v), *complete = NULL;

	if (!has_type(f, v)) {
		kp_report_error(rep, KP_WRONG_TYPE, f->path, text, "%s", kinds[f->kind].wants);
		return false;
	}
	if (kinds[f->kind].is_list) {
		ret->strings = f->kind == KP_VALUE_MAPPINGS ? mappings_of(v) : list_of(f, v);
		return true;
	}
	if (kp_value_is_unset(f, v))
		return kp_value_parse(f, f->def, ret, rep);
	if (f->kind == KP_VALUE_ENDPOINT)
		complete = kp_hostport_complete(text, f->port);
	return kp_value_parse(f, complete ? complete : text, ret, rep);
}

/* --- in struct kp_config --- */

void kp_value_store(const struct kp_field *f, struct kp_config *c, const union kp_value *taken)
{
	char *member = (char *)c + f->offset;
	const struct kind *k = &kinds[f->kind];
	union kp_value old = { 0 };

	memcpy(&old, member, k->size);
	if (k->is_text)
		free(old.string);
	else if (k->is_list)
		free_strings(old.strings);
	memcpy(member, taken, k->size);
}

static json_t *json_list(const struct kp_field *f, char *const *list)
{
	json_t *out = f->kind == KP_VALUE_SWITCHES ? json_object() : json_array();

	for (; *list; list++) {
		const char *equals = strrchr(*list, '=');

		if (f->kind == KP_VALUE_STRINGS)
			json_array_append_new(out, json_string(*list));
		else if (f->kind == KP_VALUE_MAPPINGS)
			json_array_append_new(out, json_loads(*list, 0, NULL));
		else if (f->kind == KP_VALUE_SWITCHES)
			json_object_setn_new(out, *list, (size_t)(equals - *list), json_boolean(strcmp(equals, "=true") == 0));
		else
			json_array_append_new(out, json_pack("{s:s%, s:I}", "filePattern", *list, (size_t)(equals - *list),
							     "verbosity", (json_int_t)strtoll(equals + 1, NULL, 10)));
	}
	return out;
}

static json_t *json_real_or_whole(double v)
{
	return v == (double)(int64_t)v ? json_integer((int64_t)v) : json_real(v);
}

json_t *kp_value_json(const struct kp_field *f, const struct kp_config *c)
{
	char text[KP_DURATION_STRLEN];
	union kp_value v = { 0 };

	memcpy(&v, kp_field_in(f, c), kinds[f->kind].size);
	switch (f->kind) {
	case KP_VALUE_FIXED:	return json_string(f->def);
	case KP_VALUE_BOOL:	return json_boolean(v.yes);
	case KP_VALUE_INT:	return json_integer(v.number);
	case KP_VALUE_FLOAT:	return json_real_or_whole(v.real);
	case KP_VALUE_DURATION:	return json_string(kp_duration_str(v.number, text));
	case KP_VALUE_NAME:	return json_string(f->names[v.name]);
	case KP_VALUE_EITHER:	return json_string(f->names[v.yes]);
	case KP_VALUE_STRINGS: case KP_VALUE_SWITCHES: case KP_VALUE_PATTERNS: case KP_VALUE_MAPPINGS:
		return json_list(f, v.strings);
	case KP_VALUE_STRING: case KP_VALUE_ENDPOINT: case KP_VALUE_SCALAR:
		break;
	}
	return json_string(v.string);
}

bool kp_value_is_default(const struct kp_field *f, const struct kp_config *c)
{
	union kp_value is = { 0 }, def = { 0 };

	memcpy(&is, kp_field_in(f, c), kinds[f->kind].size);
	if (kinds[f->kind].is_list)
		return !*is.strings;
	if (kinds[f->kind].is_text)
		return strcmp(is.string, f->def) == 0;
	return parse(f, f->def, &def) && memcmp(&is, &def, kinds[f->kind].size) == 0;
}
