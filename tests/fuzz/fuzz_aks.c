#include "fuzz.h"
#include "proxy/config/config.h"

/* The AKS form: a text with an error changes nothing. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kp_config *defaults;
	struct kp_config *c = kp_config_new();
	struct kp_config_report rep = { 0 };
	int r = kp_config_read_aks((const char *)data, size, c, &rep);

	defaults = defaults ? defaults : kp_config_new();
	FUZZ_CHECK((r < 0) == (rep.n_errors > 0));
	if (r < 0)
		FUZZ_CHECK(kp_config_compare(c, defaults) == KP_CONFIG_SAME && !c->disabled);
	kp_config_free(c);
	kp_config_report_release(&rep);
	return 0;
}
