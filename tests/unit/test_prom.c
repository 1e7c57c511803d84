#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"
#include "proxy/base/prom.h"

static const struct {
	double value;
	const char *text;
} numbers[] = {
	{ 0, "0" }, { 1, "1" }, { -3, "-3" }, { .001, "0.001" }, { 16.384, "16.384" }, { .25, "0.25" },
	{ 1763724000.5, "1763724000.5" }, { 123456789012345., "123456789012345" }, { .1 + .2, "0.30000000000000004" },
	{ 1e21, "1e+21" }, { 5e-324, "4.94066e-324" }, { INFINITY, "+Inf" }, { -INFINITY, "-Inf" }, { NAN, "NaN" },
};

START_TEST(test_number)
{
	char out[KP_PROM_NUMBER_LEN];

	ck_assert_str_eq(kp_prom_number(numbers[_i].value, out), numbers[_i].text);
	if (!isnan(numbers[_i].value))
		ck_assert_msg(strtod(out, NULL) == numbers[_i].value, "%s does not read back", out);
}
END_TEST

static const struct kp_prom_family counter = { "a_total", "Counts \\ \"a\"\nand b.", KP_PROM_COUNTER };
static const struct kp_prom_family gauge = { "g", "", KP_PROM_GAUGE };
static const struct kp_prom_family histogram = { "h_seconds", "h", KP_PROM_HISTOGRAM };
static const double bounds[] = { 0, .5, 2 };

/* To the byte; what a label's value may hold is not up to us. */
START_TEST(test_text)
{
	const struct kp_prom_label labels[] = { { "a", "x\\y\"z\nw" }, { "b", "" } };
	struct kp_buf out = { 0 };

	kp_prom_head(&out, &counter);
	kp_prom_sample(&out, &counter, labels, 2, 7);
	kp_prom_sample(&out, &counter, labels, 1, .5);
	kp_prom_head(&out, &gauge);
	kp_prom_sample(&out, &gauge, NULL, 0, -1);
	ck_assert_str_eq(out.data,
		"# HELP a_total Counts \\\\ \"a\"\\nand b.\n# TYPE a_total counter\n"
		"a_total{a=\"x\\\\y\\\"z\\nw\",b=\"\"} 7\n"
		"a_total{a=\"x\\\\y\\\"z\\nw\"} 0.5\n"
		"# HELP g \n# TYPE g gauge\ng -1\n");
	kp_buf_release(&out);
}
END_TEST

static const struct {
	const char *name;
	double values[4];
	size_t n;
	const char *text;
} histograms[] = {
	{ "nothing seen", { 0 }, 0,
	  "h_seconds_bucket{f=\"x\",le=\"0\"} 0\nh_seconds_bucket{f=\"x\",le=\"0.5\"} 0\nh_seconds_bucket{f=\"x\",le=\"2\"} 0\n"
	  "h_seconds_bucket{f=\"x\",le=\"+Inf\"} 0\nh_seconds_sum{f=\"x\"} 0\nh_seconds_count{f=\"x\"} 0\n" },
	{ "bounds belong below", { 0, .5, 2 }, 3,
	  "h_seconds_bucket{f=\"x\",le=\"0\"} 1\nh_seconds_bucket{f=\"x\",le=\"0.5\"} 2\nh_seconds_bucket{f=\"x\",le=\"2\"} 3\n"
	  "h_seconds_bucket{f=\"x\",le=\"+Inf\"} 3\nh_seconds_sum{f=\"x\"} 2.5\nh_seconds_count{f=\"x\"} 3\n" },
	{ "beyond the last", { 2.25, .25, .25, 1e9 }, 4,
	  "h_seconds_bucket{f=\"x\",le=\"0\"} 0\nh_seconds_bucket{f=\"x\",le=\"0.5\"} 2\nh_seconds_bucket{f=\"x\",le=\"2\"} 2\n"
	  "h_seconds_bucket{f=\"x\",le=\"+Inf\"} 4\nh_seconds_sum{f=\"x\"} 1000000002.75\nh_seconds_count{f=\"x\"} 4\n" },
};

START_TEST(test_histogram)
{
	const struct kp_prom_label label = { "f", "x" };
	struct kp_prom_histogram h = { .bounds = bounds, .n_bounds = KP_N(bounds) };
	struct kp_buf out = { 0 };

	for (size_t i = 0; i < histograms[_i].n; i++)
		kp_prom_observe(&h, histograms[_i].values[i]);
	kp_prom_histogram(&out, &histogram, &label, 1, &h);
	ck_assert_msg(strcmp(out.data, histograms[_i].text) == 0, "%s:\n%s", histograms[_i].name, out.data);
	kp_prom_histogram_release(&h);
	kp_buf_release(&out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("prom");
	TCase *t = tcase_create("text");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(t, test_number, 0, KP_N(numbers));
	tcase_add_test(t, test_text);
	tcase_add_loop_test(t, test_histogram, 0, KP_N(histograms));
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
