#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/sha256.h"

/* FIPS 180-4's examples, and lengths around the end of a block. Checked with sha256sum. */
static const struct {
	const char *unit;
	unsigned times;
	const char *want;
} cases[] = {
	{ "", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
	  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "a", 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318" },
	{ "a", 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a" },
	{ "a", 63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34" },
	{ "a", 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" },
	{ "a", 119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb" },
	{ "a", 1000, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3" },
};

START_TEST(digest)
{
	char text[2048] = "", hex[2 * KP_SHA256_LEN + 1];
	uint8_t got[KP_SHA256_LEN];

	for (unsigned i = 0; i < cases[_i].times; i++)
		strcat(text, cases[_i].unit);
	kp_sha256(text, strlen(text), got);
	for (int i = 0; i < KP_SHA256_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", got[i]);
	ck_assert_msg(strcmp(hex, cases[_i].want) == 0, "%u times '%s': %s", cases[_i].times, cases[_i].unit, hex);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sha256");
	TCase *tc = tcase_create("sha256");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, digest, 0, sizeof(cases) / sizeof(cases[0]));
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
