#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/mem.h"
#include "proxy/source/webproxy.h"

static const struct {
	const char *name, *url, *given;
	const char *environment[4];	/* "NAME=value" */
	const char *want, *except;
} cases[] = {
	{ "nothing", "https://10.0.0.1:6443", NULL, { NULL }, "", "" },
	{ "kubeconfig", "https://10.0.0.1:6443", "http://p:3128", { "HTTPS_PROXY=http://q", "NO_PROXY=*" }, "http://p:3128", "" },
	{ "kubeconfig, this host", "https://127.0.0.1:6443", "http://p:3128", { NULL }, "http://p:3128", "" },
	{ "by scheme", "https://10.0.0.1", NULL, { "HTTPS_PROXY=http://q", "HTTP_PROXY=http://r" }, "http://q", "" },
	{ "by scheme, plain", "http://10.0.0.1", NULL, { "HTTPS_PROXY=http://q", "HTTP_PROXY=http://r" }, "http://r", "" },
	{ "small letters", "http://10.0.0.1", NULL, { "http_proxy=http://r" }, "http://r", "" },
	{ "capitals first", "https://10.0.0.1", NULL, { "https_proxy=http://r", "HTTPS_PROXY=http://q" }, "http://q", "" },
	{ "exceptions", "https://10.0.0.1", NULL, { "HTTPS_PROXY=http://q", "no_proxy=10.0.0.0/8,.svc" }, "http://q", "10.0.0.0/8,.svc" },
	{ "for everything", "https://10.0.0.1", NULL, { "ALL_PROXY=http://q", "all_proxy=http://q" }, "", "" },
	{ "empty", "https://10.0.0.1", "", { "HTTPS_PROXY=" }, "", "" },
	{ "localhost", "https://LOCALHOST:6443/x", NULL, { "HTTPS_PROXY=http://q" }, "", "" },
	{ "127.0.0.1", "https://127.0.0.1:6443", NULL, { "HTTPS_PROXY=http://q" }, "", "" },
	{ "[::1]", "https://[::1]:6443", NULL, { "HTTPS_PROXY=http://q" }, "", "" },
	{ "no address", "https://127.example:6443", NULL, { "HTTPS_PROXY=http://q" }, "http://q", "" },
	{ "not as user", "https://localhost@example:6443", NULL, { "HTTPS_PROXY=http://q" }, "http://q", "" },
	{ "SOCKS", "https://10.0.0.1", "socks5://p:1080", { NULL }, "socks5h://p:1080", "" },
};

START_TEST(choice)
{
	struct kp_webproxy got;

	clearenv();
	for (size_t i = 0; i < KP_N(cases[_i].environment) && cases[_i].environment[i]; i++)
		ck_assert_int_eq(putenv((char *)cases[_i].environment[i]), 0);
	kp_webproxy_choose(cases[_i].url, cases[_i].given, &got);
	ck_assert_msg(strcmp(got.url, cases[_i].want) == 0, "%s: %s", cases[_i].name, got.url);
	ck_assert_msg(strcmp(got.except, cases[_i].except) == 0, "%s: except %s", cases[_i].name, got.except);
	free(got.url);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("webproxy");
	TCase *t = tcase_create("webproxy");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(t, choice, 0, sizeof(cases) / sizeof(cases[0]));
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
