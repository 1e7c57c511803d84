#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/source/kubeconfig.h"

#define CONFIG(cluster, user) "apiVersion: v1\nkind: Config\ncurrent-context: c\n" \
	"contexts: [{name: other, context: {cluster: z, user: z}}, {name: c, context: {cluster: k, user: u}}]\n" \
	"clusters: [{name: z, cluster: {server: 'https://wrong'}}, {name: k, cluster: {" cluster "}}]\n" \
	"users: [{name: u, user: {" user "}}]\n"
#define SERVER "server: 'https://s:1'"

/* Everything of it in one line. */
static const char *show(const struct kp_kubeconfig *k)
{
	static char text[1024];
	const struct kp_kube_secret *secrets[] = { &k->ca, &k->cert, &k->key, &k->token };
	static const char *const names[] = { "ca", "cert", "key", "token" };
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", k->server);

	for (size_t i = 0; i < 4; i++) {
		if (secrets[i]->file)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s@%s", names[i], secrets[i]->file);
		if (secrets[i]->data)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %s=%s/%zu", names[i], secrets[i]->data, secrets[i]->len);
	}
	if (k->username)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " %s:%s", k->username, k->password ? k->password : "");
	if (k->tls_server_name)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " name=%s", k->tls_server_name);
	if (k->proxy_url)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " proxy=%s", k->proxy_url);
	snprintf(text + n, sizeof(text) - n, "%s%s", k->insecure ? " insecure" : "", k->no_compression ? " plain" : "");
	return text;
}

/* want: what it shows, or the error when it begins with '!'. */
static const struct {
	const char *text, *master, *want;
} cases[] = {
	{ CONFIG(SERVER, ""), "", "https://s:1" },
	{ CONFIG("server: 'https://s:1/prefix//'", "token: t"), "", "https://s:1/prefix token=t/1" },
	{ CONFIG(SERVER ", certificate-authority: ca.crt", "client-certificate: c.crt, client-key: /k"), "",
	  "https://s:1 ca@/dir/ca.crt cert@/dir/c.crt key@/k" },
	{ CONFIG(SERVER ", certificate-authority-data: aGVsbG8=, certificate-authority: x", ""), "", "https://s:1 ca=hello/5" },
	{ CONFIG(SERVER ", certificate-authority-data: \"aGVs\\nbG8h\"", ""), "", "https://s:1 ca=hello!/6" },
	{ CONFIG(SERVER ", certificate-authority-data: aGVsbA==", ""), "", "https://s:1 ca=hell/4" },
	{ CONFIG(SERVER ", certificate-authority-data: aGVsbG8", ""), "", "!cluster \"k\": certificate-authority-data must be base64" },
	{ CONFIG(SERVER ", certificate-authority-data: aGV=bG8=", ""), "", "!cluster \"k\": certificate-authority-data must be base64" },
	{ CONFIG(SERVER ", certificate-authority-data: a", ""), "", "!cluster \"k\": certificate-authority-data must be base64" },
	{ CONFIG(SERVER, "client-certificate-data: YQ==, client-key-data: Yg=="), "", "https://s:1 cert=a/1 key=b/1" },
	{ CONFIG(SERVER, "tokenFile: t, token: old"), "", "https://s:1 token@/dir/t" },
	{ CONFIG(SERVER, "username: a, password: b"), "", "https://s:1 a:b" },
	{ CONFIG(SERVER ", insecure-skip-tls-verify: true", ""), "", "https://s:1 insecure" },
	{ CONFIG(SERVER ", tls-server-name: n, proxy-url: 'http://p:1', disable-compression: true", ""), "",
	  "https://s:1 name=n proxy=http://p:1 plain" },
	{ CONFIG("server: 's:1'", ""), "", "http://s:1" },
	{ CONFIG("server: 's:1', insecure-skip-tls-verify: true", ""), "", "https://s:1 insecure" },
	{ CONFIG(SERVER, "token: t"), "http://m:2", "http://m:2 token=t/1" },
	{ CONFIG("", "token: t"), "http://m:2", "http://m:2 token=t/1" },
	{ "{}", "http://m:2", "http://m:2" },
	{ "{}", "", "!no server: the current context names none, and --master is not given" },
	{ CONFIG("", ""), "", "!no server: the current context names none, and --master is not given" },
	{ CONFIG("server: 'ftp://s'", ""), "", "!server \"ftp://s\" is not an http or https address" },
	{ CONFIG(SERVER, ""), "http://a b", "!server \"http://a b\" is not an http or https address" },
	{ "current-context: x\n", "", "!there is no \"x\" in contexts" },
	{ "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n", "", "!there is no \"k\" in clusters" },
	{ "current-context: c\ncontexts: [{name: c, context: [k]}]\n", "", "!contexts \"c\": context must be a mapping" },
	{ CONFIG(SERVER, "exec: {command: aws}"), "",
	  "!user \"u\": exec is not supported here; use a token, a tokenFile or a client certificate" },
	{ CONFIG(SERVER, "auth-provider: {name: gcp}"), "",
	  "!user \"u\": auth-provider is not supported here; use a token, a tokenFile or a client certificate" },
	{ CONFIG(SERVER, "exec: null, as: ''"), "", "https://s:1" },
	{ CONFIG(SERVER, "token: 5"), "", "!user \"u\": token must be a string" },
	{ CONFIG(SERVER ", insecure-skip-tls-verify: 'true'", ""), "", "!cluster \"k\": insecure-skip-tls-verify must be true or false" },
	{ CONFIG(SERVER ", insecure-skip-tls-verify: true, certificate-authority: x", ""), "",
	  "!insecure-skip-tls-verify and a certificate authority exclude each other" },
	{ CONFIG(SERVER, "client-certificate: x"), "", "!client certificate and client key come together or not at all" },
	{ CONFIG(SERVER, "token: t, username: a"), "", "!a token and a username exclude each other" },
	{ "- a\n", "", "!not a kubeconfig: no mapping" },
	{ "a: [", "", "!line " },
	{ "", "", "!not a kubeconfig: no mapping" },
};

START_TEST(parse_case)
{
	struct kp_kubeconfig *k = NULL;
	struct kp_err err = { 0 };
	const char *want = cases[_i].want;
	int r = kp_kubeconfig_parse(cases[_i].text, strlen(cases[_i].text), "/dir", cases[_i].master, &k, &err);

	if (*want == '!') {
		ck_assert_msg(r == -EINVAL && !k, "%s: accepted", cases[_i].text);
		ck_assert_msg(strncmp(err.msg, want + 1, strlen(want + 1)) == 0, "%s: \"%s\"", cases[_i].text, err.msg);
		return;
	}
	ck_assert_msg(r == 0, "%s: %s", cases[_i].text, err.msg);
	ck_assert_msg(strcmp(show(k), want) == 0, "%s: \"%s\"", cases[_i].text, show(k));
	ck_assert_ptr_null(kp_kubeconfig_free(k));
}
END_TEST

static const struct {
	const char *host, *port, *want;
} pods[] = {
	{ "10.96.0.1", "443", "https://10.96.0.1:443 token@/sa/token" },
	{ "fd00::1", "443", "https://[fd00::1]:443 token@/sa/token" },
	{ NULL, "443", "!no kubeconfig is given, and this is no pod" },
	{ "10.96.0.1", NULL, "!no kubeconfig is given, and this is no pod" },
	{ "", "443", "!no kubeconfig is given, and this is no pod" },
};

static void set(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

START_TEST(in_cluster_case)
{
	struct kp_kubeconfig *k = NULL;
	struct kp_err err = { 0 };
	const char *want = pods[_i].want;
	int r;

	set("KUBERNETES_SERVICE_HOST", pods[_i].host);
	set("KUBERNETES_SERVICE_PORT", pods[_i].port);
	r = kp_kubeconfig_in_cluster("/sa", &k, &err);
	if (*want == '!') {
		ck_assert_int_eq(r, -ENOENT);
		ck_assert_msg(strncmp(err.msg, want + 1, strlen(want + 1)) == 0, "%s", err.msg);
		return;
	}
	ck_assert_int_eq(r, 0);
	ck_assert_str_eq(show(k), want);
	kp_kubeconfig_free(k);
}
END_TEST

START_TEST(from_a_file)
{
	char dir[] = "/tmp/pxl-kubeconfig-XXXXXX", path[64];
	struct kp_kubeconfig *k = NULL;
	struct kp_err err = { 0 };
	FILE *f;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/config", dir);
	f = fopen(path, "w");
	fputs(CONFIG(SERVER, "tokenFile: ../t"), f);
	fclose(f);
	ck_assert_int_eq(kp_kubeconfig_load(path, "", &k, &err), 0);
	ck_assert_int_eq(strncmp(k->token.file, dir, strlen(dir)), 0);
	ck_assert_str_eq(k->token.file + strlen(dir), "/../t");
	kp_kubeconfig_free(k);
	unlink(path);
	rmdir(dir);
	k = NULL;
	ck_assert_int_eq(kp_kubeconfig_load(path, "", &k, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, "No such file"));
	ck_assert_int_eq(kp_kubeconfig_load("", "127.0.0.1:8080", &k, &err), 0);
	ck_assert_str_eq(show(k), "http://127.0.0.1:8080");
	kp_kubeconfig_free(k);
}
END_TEST

#define N(table) (int)(sizeof(table) / sizeof(table[0]))

int main(void)
{
	Suite *s = suite_create("kubeconfig");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, parse_case, 0, N(cases));
	tcase_add_loop_test(tc, in_cluster_case, 0, N(pods));
	tcase_add_test(tc, from_a_file);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
