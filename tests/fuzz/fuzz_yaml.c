#include "fuzz.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"

/* JSON writes no such number, and jansson reads 1e0 back as real where YAML had an integer. */
static bool has_real(const json_t *v)
{
	const char *key;
	json_t *one;
	size_t i;

	json_object_foreach((json_t *)v, key, one)
		if (has_real(one))
			return true;
	json_array_foreach(v, i, one)
		if (has_real(one))
			return true;
	return json_is_real(v);
}

static void on_duplicate(void *arg, const char *path, unsigned line)
{
	FUZZ_CHECK(path && line <= *(const size_t *)arg + 1);
}

/* One document, such as a configuration: what it means, written as JSON, means the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *value = NULL, *back = NULL;
	struct kp_err err = { 0 };
	char *text;

	if (kp_doc_load((const char *)data, size, on_duplicate, &size, &value, &err) < 0) {
		FUZZ_CHECK(!value && *err.msg);
		return 0;
	}
	text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	if (text && !has_real(value)) {
		FUZZ_CHECK(kp_doc_load(text, strlen(text), NULL, NULL, &back, &err) == 0);
		FUZZ_CHECK(json_equal(value, back));
	}
	free(text);
	json_decref(value);
	json_decref(back);
	return 0;
}
