#include "fuzz.h"
#include "proxy/config/config.h"

/* What is wrong is said, with a reason and within the text. */
static void check_report(struct kp_config_report *rep, size_t size, int code)
{
	size_t errors = 0;

	for (size_t i = 0; i < rep->n; i++) {
		const struct kp_config_problem *p = &rep->items[i];
		char *text = kp_config_problem_str(p);

		errors += p->level == KP_PROBLEM_ERROR;
		FUZZ_CHECK(*text && p->line <= size + 1);
		free(text);
	}
	FUZZ_CHECK(errors == rep->n_errors && (code < 0) == (errors > 0));
}

/* A configuration that was read can be written, and says the same when it is read again. */
static void check_written(const struct kp_config *c)
{
	struct kp_config_report rep = { 0 }, again = { 0 };
	struct kp_buf first = { 0 }, second = { 0 };
	struct kp_config *back = NULL;

	kp_config_write(c, &first, &rep);
	if (!rep.n) {
		FUZZ_CHECK(kp_config_load_text(first.data, first.len, &back, &again) == 0);
		FUZZ_CHECK(kp_config_compare(c, back) == KP_CONFIG_SAME);
		kp_config_report_release(&rep);
		kp_config_write(back, &second, &rep);
		FUZZ_CHECK(fuzz_same(&first, &second));
	}
	kp_config_free(back);
	kp_buf_release(&first);
	kp_buf_release(&second);
	kp_config_report_release(&rep);
	kp_config_report_release(&again);
}

/* KubeProxyConfiguration, or the AKS form among it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kp_config_report rep = { 0 };
	struct kp_config *c = NULL;
	int r = kp_config_load_text((const char *)data, size, &c, &rep);

	FUZZ_CHECK((r == 0) == (c != NULL));
	check_report(&rep, size, r);
	if (c && !c->disabled)
		check_written(c);
	kp_config_free(c);
	kp_config_report_release(&rep);
	return 0;
}
