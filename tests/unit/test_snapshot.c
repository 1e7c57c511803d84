#include <check.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/config/config.h"
#include "proxy/model/model.h"
#include "proxy/snapshot.h"
#include "proxy/source/pack.h"
#include "proxy/source/snapfile.h"

/* Whose rules are in the kernel at the start, and what is told; test_snapshot.py has what becomes of that. */
static char folder[] = "/tmp/pxl-snapshot-XXXXXX";
static struct event_base *base;
static struct kp_config *cfg;
static struct kp_model *m;
static struct kp_sink source;
static enum kp_kind listed;	/* by the source; KP_KIND_OTHER: nothing */
static char told[256];

static void on_call(void *arg)
{
	(void)arg;
}

static void on_upsert(void *arg, struct kp_object *o)
{
	(void)arg;
	strcat(strcat(told, o->key), " ");
}

static void on_flush(void *arg)
{
	(void)arg;
	event_base_loopbreak(base);
}

static bool is_listed(void *arg, enum kp_kind kind)
{
	(void)arg;
	return kind == listed;
}

static bool is_live(void *arg)
{
	(void)arg;
	return false;
}

static void setup(void)
{
	struct kp_config_report rep = { 0 };

	strcpy(folder, "/tmp/pxl-snapshot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	base = event_base_new();
	cfg = kp_config_new();
	m = kp_model_new("node-1");
	ck_assert(kp_config_set(cfg, "proxylet.snapshot.path", folder, &rep));
}

static void teardown(void)
{
	char path[128];

	kp_model_free(m);
	kp_config_free(cfg);
	event_base_free(base);
	snprintf(path, sizeof(path), "%s/snapshot", folder);
	(void)unlink(path);
	(void)rmdir(folder);
}

static void put_file_of(const char *node, uint64_t boot, uint64_t wall_ns)
{
	const struct kp_service web = { .ns = (char *)"ns", .name = (char *)"web" };
	const struct kp_slice slice = { .ns = (char *)"ns", .name = (char *)"web-x", .service = (char *)"web" };
	struct kp_err err = { 0 };
	struct kp_buf b = { 0 };

	kp_snapfile_open(&b, node, boot);
	kp_pack(&b, KP_KIND_SERVICE, &web);
	kp_pack(&b, KP_KIND_SLICE, &slice);
	kp_snapfile_close(&b, wall_ns);
	ck_assert_msg(kp_snapfile_write(folder, &b, &err) == 0, "%s", err.msg);
	kp_buf_release(&b);
}

static void put_file(const char *node, uint64_t boot)
{
	put_file_of(node, boot, 1);
}

static bool allowed(void *arg)
{
	return arg != NULL;
}

static struct kp_snapshot *begin(bool may_use)
{
	struct kp_snapshot_view view = {
		.base = base, .cfg = cfg, .model = m, .may_use = allowed, .is_live = is_live, .is_listed = is_listed,
		.sink = { .upsert = on_upsert, .synced = on_call, .flush = on_flush, .arg = may_use ? base : NULL },
	};

	return kp_snapshot_new(&view, &source);
}

static bool is_unhealthy(bool may_use)
{
	struct kp_snapshot *s = begin(may_use);
	bool yes = kp_snapshot_is_unhealthy(s);

	kp_snapshot_free(s);
	return yes;
}

/* An agent that ended had its rules from a file, or from a source that told it more: then the file is of this boot. */
START_TEST(rules_of_the_snapshot)
{
	struct kp_snapshot *s;

	ck_assert(!is_unhealthy(false));	/* no file */
	put_file("node-1", kp_snapfile_boot());
	ck_assert(!is_unhealthy(false));
	put_file("node-1", kp_snapfile_boot() + 1);
	ck_assert(is_unhealthy(false));
	ck_assert(!is_unhealthy(true));		/* and no rules */
	s = begin(false);
	ck_assert(!kp_snapshot_in_use(s));
	source.synced(source.arg);
	ck_assert(!kp_snapshot_is_unhealthy(s));
	kp_snapshot_free(s);
	ck_assert(!is_unhealthy(false));	/* it wrote its own */
	put_file("node-2", kp_snapfile_boot() + 1);
	ck_assert(!is_unhealthy(false));
	put_file("node-1", 0);
	ck_assert(!is_unhealthy(false));
	cfg->snapshot.healthy = true;
	put_file("node-1", kp_snapfile_boot() + 1);
	ck_assert(!is_unhealthy(false));
}
END_TEST

/* What is not in a complete list is gone, and what a file says of it is older. */
static const struct {
	enum kp_kind listed;
	const char *told;
} lists[] = { { KP_KIND_OTHER, "ns/web ns/web-x " }, { KP_KIND_SERVICE, "ns/web-x " }, { KP_KIND_SLICE, "ns/web " } };

START_TEST(not_what_is_gone)
{
	struct kp_config_report rep = { 0 };
	struct kp_snapshot *s;

	listed = lists[_i].listed;
	*told = '\0';
	put_file_of("node-1", kp_snapfile_boot() + 1, kp_wall_ns());
	ck_assert(kp_config_set(cfg, "proxylet.snapshot.wait", "1ms", &rep));
	s = begin(true);
	event_base_dispatch(base);
	ck_assert(kp_snapshot_in_use(s));
	ck_assert_str_eq(told, lists[_i].told);
	kp_snapshot_free(s);
}
END_TEST

START_TEST(there_is_none)
{
	struct kp_snapshot_status st;

	kp_snapshot_touch(NULL);
	kp_snapshot_status(NULL, &st);
	ck_assert(!st.folder && !kp_snapshot_in_use(NULL) && !kp_snapshot_is_unhealthy(NULL));
	ck_assert_ptr_null(kp_snapshot_free(NULL));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("snapshot");
	TCase *tc = tcase_create("snapshot");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rules_of_the_snapshot);
	tcase_add_loop_test(tc, not_what_is_gone, 0, KP_N(lists));
	tcase_add_test(tc, there_is_none);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
