#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proxy/base/log.h"
#include "tests/support/load.h"

/*
 * tests/golden/<case>/objects.yaml -> plan.txt, for node-1 and both families. With
 * GOLDEN_ACCEPT set the texts are written instead of compared: read the difference
 * before you commit it.
 */
#define GOLDEN "tests/golden"

static char *path_of(const char *name, const char *file)
{
	return kp_asprintf(GOLDEN "/%s/%s", name, file);
}

/* "" if there is none. */
static char *slurp(const char *path)
{
	struct kp_buf b = { 0 };
	FILE *f = fopen(path, "r");
	size_t n;

	kp_buf_puts(&b, "");
	while (f && (n = fread(kp_buf_reserve(&b, 4096), 1, 4096, f)))
		b.len += n;
	if (f)
		fclose(f);
	*kp_buf_reserve(&b, 1) = '\0';
	return b.data;
}

static char *plan_text(const char *objects)
{
	const struct kp_plan_options opt = { .families = { true, true }, .masquerade_bit = 14 };
	struct kp_model *m = kp_model_new("node-1");
	struct kp_planner *p = kp_planner_new(m, &opt);
	struct kp_buf out = { 0 };

	load_text(m, objects);
	kp_buf_printf(&out, "%s", "");
	load_print(m, p, &out);
	kp_planner_free(p);
	kp_model_free(m);
	return out.data;
}

static void check_one(const char *name)
{
	KP_AUTO(kp_freep) char *objects_path = path_of(name, "objects.yaml"), *plan_path = path_of(name, "plan.txt");
	KP_AUTO(kp_freep) char *objects = slurp(objects_path), *want = slurp(plan_path), *have = plan_text(objects);
	FILE *f;

	if (getenv("GOLDEN_ACCEPT")) {
		f = fopen(plan_path, "w");
		ck_assert_ptr_nonnull(f);
		fputs(have, f);
		fclose(f);
		return;
	}
	ck_assert_msg(strcmp(have, want) == 0, "%s is not\n%sbut\n%s", plan_path, want, have);
}

static struct dirent **names;
static int n_names;

static int is_case(const struct dirent *d)
{
	KP_AUTO(kp_freep) char *path = path_of(d->d_name, "objects.yaml");
	struct stat st;

	return stat(path, &st) == 0;
}

START_TEST(golden_case)
{
	check_one(names[_i]->d_name);
}
END_TEST

/* A wrong working directory must not look like success. */
START_TEST(cases_found)
{
	ck_assert_int_gt(n_names, 20);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("plan_golden");
	TCase *tc = tcase_create("golden");
	SRunner *r = srunner_create(s);
	int failed;

	kp_log_set_level(KP_LOG_ERROR);
	n_names = scandir(GOLDEN, &names, is_case, alphasort);
	tcase_add_test(tc, cases_found);
	if (n_names > 0)
		tcase_add_loop_test(tc, golden_case, 0, n_names);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	for (int i = 0; i < n_names; i++)
		free(names[i]);
	free(names);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
