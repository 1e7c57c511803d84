#include "proxy/config/checks.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"

#define MAX_NAME 31
#define MAX_WORDS 64

/* Whole numbers of an entry. */
static const struct number {
	const char *key;
	int type, min, max, def;	/* def 0: required */
	size_t offset;
} numbers[] = {
	{ "value",		KP_CHECK_CPU,	1, 100,	 0,  offsetof(struct kp_check, percent) },
	{ "forSeconds",		KP_CHECK_CPU,	1, 600,	 30, offsetof(struct kp_check, for_s) },
	{ "intervalSeconds",	KP_CHECK_EXEC,	1, 3600, 10, offsetof(struct kp_check, interval_s) },
	{ "timeoutSeconds",	KP_CHECK_EXEC,	1, 60,	 5,  offsetof(struct kp_check, timeout_s) },
};

static const char *const types[] = { [KP_CHECK_CPU] = "cpuPercentMax", [KP_CHECK_EXEC] = "exec" };

struct kp_check *kp_check_free(struct kp_check *c)
{
	if (!c)
		return NULL;
	for (char **word = c->command; word && *word; word++)
		free(*word);
	free(c->command);
	free(c->name);
	free(c);
	return NULL;
}

static int read_type(const json_t *o, struct kp_check *c, struct kp_err *err)
{
	const char *type = json_string_value(json_object_get(o, "type"));

	for (size_t i = 0; type && i < KP_N(types); i++)
		if (strcmp(type, types[i]) == 0) {
			c->type = (int)i;
			return 0;
		}
	return kp_err_set(err, -EINVAL, "type must be \"cpuPercentMax\" or \"exec\"");
}

static int read_number(const json_t *o, const struct number *n, struct kp_check *c, struct kp_err *err)
{
	const json_t *v = json_object_get(o, n->key);
	json_int_t value = v ? json_integer_value(v) : n->def;

	if ((v && !json_is_integer(v)) || value < n->min || value > n->max)
		return kp_err_set(err, -EINVAL, "%s must be a whole number from %d to %d", n->key, n->min, n->max);
	*(int *)((char *)c + n->offset) = (int)value;
	return 0;
}

static int read_command(const json_t *o, struct kp_check *c, struct kp_err *err)
{
	const json_t *list = json_object_get(o, "command");
	size_t n = json_array_size(list);
	const char *path = json_string_value(json_array_get(list, 0));

	if (!path || *path != '/' || n > MAX_WORDS)
		return kp_err_set(err, -EINVAL, "command must be a list of 1 to %d strings, the first an absolute path", MAX_WORDS);
	c->command = kp_calloc(n + 1, sizeof(*c->command));
	for (size_t i = 0; i < n; i++) {
		const char *word = json_string_value(json_array_get(list, i));

		if (!word)
			return kp_err_set(err, -EINVAL, "command must be a list of strings");
		c->command[i] = kp_strdup(word);
	}
	return 0;
}

static int read_name(const json_t *o, struct kp_check *c, struct kp_err *err)
{
	const json_t *v = json_object_get(o, "name");
	const char *name = json_string_value(v);
	size_t len;

	if (!v)
		name = c->type == KP_CHECK_CPU ? "cpu" : strrchr(c->command[0], '/') + 1;
	len = name ? strlen(name) : 0;
	if (!len || len > MAX_NAME ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		return kp_err_set(err, -EINVAL, "name must have 1 to %d letters, digits, '.', '_' or '-'", MAX_NAME);
	c->name = kp_strdup(name);
	return 0;
}

/* /agent is always among them. */
static int read_applies(const json_t *o, struct kp_check *c, struct kp_err *err)
{
	const json_t *v = json_object_get(o, "appliesTo"), *one;
	bool agent = !v, good = !v || json_is_array(v);
	size_t i;

	json_array_foreach(v, i, one) {
		const char *where = json_is_string(one) ? json_string_value(one) : "";

		agent |= strcmp(where, "agent") == 0;
		c->for_healthz |= strcmp(where, "healthz") == 0;
		good &= strcmp(where, "agent") == 0 || strcmp(where, "healthz") == 0;
	}
	return good && agent ? 0 : kp_err_set(err, -EINVAL, "appliesTo must be [agent] or [agent, healthz]");
}

static bool is_key(const char *key, int type)
{
	for (size_t i = 0; i < KP_N(numbers); i++)
		if (numbers[i].type == type && strcmp(numbers[i].key, key) == 0)
			return true;
	return strcmp(key, "type") == 0 || strcmp(key, "name") == 0 || strcmp(key, "appliesTo") == 0 ||
	       (type == KP_CHECK_EXEC && strcmp(key, "command") == 0);
}

static int refuse_unknown(const json_t *o, const struct kp_check *c, struct kp_err *err)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v)
		if (!is_key(key, c->type))
			return kp_err_set(err, -EINVAL, "\"%s\" is no key of a check of type %s", key, types[c->type]);
	return 0;
}

static int read_check(const json_t *o, struct kp_check *c, struct kp_err *err)
{
	int r = read_type(o, c, err);

	if (r == 0)
		r = refuse_unknown(o, c, err);
	for (size_t i = 0; r == 0 && i < KP_N(numbers); i++)
		if (numbers[i].type == (int)c->type)
			r = read_number(o, &numbers[i], c, err);
	if (r == 0 && c->timeout_s > c->interval_s)
		r = kp_err_set(err, -EINVAL, "timeoutSeconds must not be more than intervalSeconds");
	if (r == 0 && c->type == KP_CHECK_EXEC)
		r = read_command(o, c, err);
	if (r == 0)
		r = read_name(o, c, err);
	return r == 0 ? read_applies(o, c, err) : r;
}

int kp_check_parse(const char *json, struct kp_check **ret, struct kp_err *err)
{
	KP_AUTO(kp_check_freep) struct kp_check *c = kp_calloc(1, sizeof(*c));
	json_t *o = json_loads(json, 0, NULL);
	int r = read_check(o, c, err);

	json_decref(o);
	if (r == 0)
		*ret = kp_steal(&c);
	return r;
}
