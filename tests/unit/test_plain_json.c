#include "proxy/base/plain_json.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"

static const struct {
	const char *name, *text;
	bool plain;
	const char *same_as;	/* NULL: itself */
} cases[] = {
	{ "object", "{\"a\":1,\"b\":\"x\",\"c\":[true,false,null,{}],\"d\":[]}", true, NULL },
	{ "blanks", " \t{ \"a\" :\r\n [ 0 , 999999999999999999 ] } \n", true, NULL },
	{ "list", "[\"\",{\"\":0}]", true, NULL },
	{ "large number", "[1000000000000000000]", false, NULL },
	{ "too large number", "[9999999999999999999]", false, NULL },
	{ "unread", "{\"no\":{\"x\":[\"}\\\"\"]},\"n\":{\"no\":[1],\"not\":[2]}}", true, "{\"no\":0,\"n\":{\"no\":0,\"not\":[2]}}" },
	{ "unread scalar", "{\"no\":\"x\"}", true, NULL },
	{ "unread open", "{\"no\":{\"x\":1}", false, NULL },
	{ "escape", "{\"a\":\"\\n\"}", false, NULL },
	{ "UTF-8", "{\"a\":\"\303\244\"}", false, NULL },
	{ "control", "{\"a\":\"\001\"}", false, NULL },
	{ "name twice", "{\"a\":1,\"a\":2}", false, NULL },
	{ "negative", "[-1]", false, NULL },
	{ "fraction", "[1.5]", false, NULL },
	{ "exponent", "[1e3]", false, NULL },
	{ "leading zero", "[01]", false, NULL },
	{ "scalar", "1", false, NULL },
	{ "nothing", "", false, NULL },
	{ "two", "{}{}", false, NULL },
	{ "NUL behind", "{}\0", false, NULL },
	{ "comma before end", "[1,]", false, NULL },
	{ "comma missing", "[1 2]", false, NULL },
	{ "colon missing", "{\"a\" 1}", false, NULL },
	{ "open list", "[1", false, NULL },
	{ "open string", "[\"x", false, NULL },
	{ "half a word", "[tru", false, NULL },
	{ "wrong bracket", "[1}", false, NULL },
	{ "the same again", "[{\"a\":1},{\"a\":1},{\"a\":12},{\"a\":1},{\"a\":1,\"b\":{\"a\":1}}]", true, NULL },
	{ "the same cut off", "[{\"a\":1},{\"a\":1", false, NULL },
	{ "the same as one that went", "{\"a\":{\"x\":1},\"a\":1,\"b\":{\"x\":1}}", false, NULL },
};

static const char *const unread[] = { "\"no\"", NULL };

START_TEST(table_case)
{
	const char *text = cases[_i].text;
	size_t len = strcmp(cases[_i].name, "NUL behind") == 0 ? 3 : strlen(text);
	json_auto_t *got = kp_json_plain(text, len, unread);
	json_auto_t *want = json_loads(cases[_i].same_as ? cases[_i].same_as : text, 0, NULL);

	ck_assert_msg(!got == !cases[_i].plain, "%s: %s", cases[_i].name, got ? "read" : "not read");
	ck_assert_msg(!got || json_equal(got, want), "%s: another value", cases[_i].name);
}
END_TEST

START_TEST(deep)
{
	char text[202];

	memset(text, '[', 101);
	memset(text + 101, ']', 101);
	json_auto_t *too_deep = kp_json_plain(text, 202, NULL);
	json_auto_t *good = kp_json_plain(text + 1, 200, NULL);

	ck_assert_ptr_null(too_deep);
	ck_assert_ptr_nonnull(good);
}
END_TEST

/* Whatever becomes of the text: what is read is what jansson reads. */
START_TEST(broken)
{
	static const char good[] = "{\"type\":\"ADDED\",\"object\":{\"kind\":\"Service\",\"n\":[{\"t\":true},0,{\"t\":true}],\"x\":null,\"e\":[]}}";
	static const char bytes[] = "{}[]\":,0a \\\n.-e\"\200";
	unsigned n_read = 0;

	srand(1);
	for (int i = 0; i < 50000; i++) {
		char text[sizeof(good)];
		size_t len = (size_t)rand() % 8 ? sizeof(good) - 1 : (size_t)rand() % sizeof(good);

		memcpy(text, good, sizeof(good));
		for (int k = rand() % 3; k >= 0; k--)
			text[(size_t)rand() % (sizeof(good) - 1)] = bytes[(size_t)rand() % (sizeof(bytes) - 1)];
		json_auto_t *got = kp_json_plain(text, len, i % 2 ? unread : NULL);
		json_auto_t *want = got ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

		ck_assert_msg(!got || json_equal(got, want), "%.*s", (int)len, text);
		n_read += got != NULL;
	}
	ck_assert_uint_gt(n_read, 1000);
}
END_TEST

/* Every byte at every place of a short text, read and skipped: eight are looked at together. */
START_TEST(any_byte_anywhere)
{
	for (unsigned byte = 0; byte < 256; byte++)
		for (size_t at = 0; at < 20; at++) {
			char text[] = "{\"a\":\"01234567890123456789\",\"no\":[\"01234567890123456789\"]}";

			text[6 + at] = (char)byte;
			json_auto_t *got = kp_json_plain(text, sizeof(text) - 1, unread);
			ck_assert_msg(!got == (byte < ' ' || byte >= 0x7f || byte == '"' || byte == '\\'), "byte %u at %zu", byte, at);
			text[6 + at] = '0';
			text[35 + at] = (char)byte;
			json_auto_t *skipped = kp_json_plain(text, sizeof(text) - 1, unread);
			ck_assert_msg(!skipped == (byte == '"' || (byte == '\\' && at == 19)), "byte %u at %zu, skipped", byte, at);
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("plain_json");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, table_case, 0, (int)KP_N(cases));
	tcase_add_test(tc, deep);
	tcase_add_test(tc, any_byte_anywhere);
	tcase_add_test(tc, broken);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
