#include "fuzz.h"
#include "proxy/base/err.h"
#include "proxy/source/kubeconfig.h"

static void check_secret(const struct kp_kube_secret *s)
{
	FUZZ_CHECK(s->data ? s->data[s->len] == '\0' : s->len == 0);
	FUZZ_CHECK(!s->file || *s->file);
}

/* kubeconfig files: either a server to talk to, or a reason. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kp_kubeconfig *k = NULL;
	struct kp_err err = { 0 };
	int r = kp_kubeconfig_parse((const char *)data, size, "/etc", "", &k, &err);
	char *again;

	FUZZ_CHECK(r < 0 ? !k && *err.msg : k && k->server);
	if (!k)
		return 0;
	check_secret(&k->ca);
	check_secret(&k->cert);
	check_secret(&k->key);
	check_secret(&k->token);
	again = kp_kubeconfig_server(k, k->server);	/* an address in full is in full */
	FUZZ_CHECK(again && strcmp(again, k->server) == 0);
	free(again);
	kp_kubeconfig_free(k);
	return 0;
}
