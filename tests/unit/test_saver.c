#include <check.h>
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/model/model.h"
#include "proxy/saver.h"
#include "proxy/source/pack.h"
#include "proxy/source/snapfile.h"

/* A model of SAVER_SERVICES Services with ten endpoints each, 2000 unless told. */
#define ENDPOINTS 10

static char folder[] = "/tmp/pxl-saver-XXXXXX";
static struct event_base *base;
static struct kp_model *m;
static struct kp_saver *s;
static int n_saved, last_code;

static void on_saved(void *arg, const struct kp_saved *saved)
{
	(void)arg;
	n_saved++;
	last_code = saved->code;
	event_base_loopbreak(base);
}

static void put(unsigned i)
{
	struct kp_service *service = kp_calloc(1, sizeof(*service));
	struct kp_slice *slice = kp_calloc(1, sizeof(*slice));

	*service = (struct kp_service){ .ns = kp_strdup("default"), .name = kp_asprintf("s%u", i), .has_ip = { true } };
	*slice = (struct kp_slice){
		.ns = kp_strdup("default"), .name = kp_asprintf("s%u-x", i), .service = kp_strdup(service->name), .fingerprint = i,
		.endpoints = kp_calloc(ENDPOINTS, sizeof(struct kp_endpoint)), .n_endpoints = ENDPOINTS,
	};
	for (unsigned e = 0; e < ENDPOINTS; e++)
		slice->endpoints[e] = (struct kp_endpoint){ .addr = { KP_IPV4, { 10, (uint8_t)(i >> 8), (uint8_t)i, (uint8_t)e } },
							    .flags = KP_EP_READY };
	kp_model_put_service(m, service);
	kp_model_put_slice(m, slice);
}

static unsigned n_services(void)
{
	const char *given = getenv("SAVER_SERVICES");

	return given ? (unsigned)atoi(given) : 2000;
}

static void setup(void)
{
	strcpy(folder, "/tmp/pxl-saver-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	base = event_base_new();
	m = kp_model_new("node-1");
	s = kp_saver_new(base, m, on_saved, NULL);
	n_saved = 0;
	last_code = 1;
	for (unsigned i = 0; i < n_services(); i++)
		put(i);
}

static void teardown(void)
{
	char path[128];

	kp_saver_free(s);
	kp_model_free(m);
	event_base_free(base);
	snprintf(path, sizeof(path), "%s/snapshot", folder);
	(void)unlink(path);
	(void)rmdir(folder);
}

/* Objects in the file, by kind. */
static void count(size_t ret[KP_KIND_OTHER])
{
	struct kp_buf b = { 0 };
	struct kp_err err = { 0 };
	struct kp_object o;
	struct kp_snapfile_head head;
	int r;

	memset(ret, 0, KP_KIND_OTHER * sizeof(*ret));
	ck_assert_msg(kp_snapfile_read(folder, &b, &err) == 0, "%s", err.msg);
	ck_assert_msg(kp_snapfile_check(b.data, b.len, "node-1", &head, &err) == 0, "%s", err.msg);
	ck_assert_uint_eq(head.boot, kp_snapfile_boot());
	while ((r = kp_unpack(b.data, b.len, &head.at, &o)) > 0) {
		ret[o.kind]++;
		kp_object_release(&o);
	}
	ck_assert_int_eq(r, 0);
	kp_buf_release(&b);
}

/* What else the machine does meanwhile is not counted. */
static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The model changes between the pieces, so that its tables grow: nothing that stays is lost. */
START_TEST(while_the_model_changes)
{
	uint64_t longest = 0, all = 0;
	unsigned n = n_services(), more = 0, rounds = 0;
	size_t found[KP_KIND_OTHER];

	ck_assert(kp_saver_begin(s, folder));
	ck_assert(!kp_saver_begin(s, folder));
	while (!n_saved) {
		uint64_t began = cpu_ns(), took;

		event_base_loop(base, EVLOOP_ONCE | (rounds < 50 ? EVLOOP_NONBLOCK : 0));
		took = cpu_ns() - began;
		if (rounds++ < 50) {
			longest = took > longest ? took : longest;
			all += took;
			for (unsigned i = 0; i < 100; i++)
				put(n + more++);
		}
	}
	printf("     %u Services of %u endpoints: %llu us in all, %llu at a time\n", n, ENDPOINTS, (unsigned long long)all / 1000,
	       (unsigned long long)longest / 1000);
	ck_assert_int_eq(last_code, 0);
	count(found);
	ck_assert_uint_ge(found[KP_KIND_SERVICE], n);
	ck_assert_uint_ge(found[KP_KIND_SLICE], n);
}
END_TEST

START_TEST(at_the_end)
{
	size_t found[KP_KIND_OTHER];

	ck_assert(kp_saver_begin(s, folder));	/* and the end comes before a single piece of it is packed */
	put(n_services());
	kp_saver_finish(s, folder);
	ck_assert_int_eq(n_saved, 1);
	ck_assert_int_eq(last_code, 0);
	count(found);
	ck_assert_uint_eq(found[KP_KIND_SERVICE], n_services() + 1);
}
END_TEST

START_TEST(freed_at_any_moment)
{
	for (int rounds = 0; rounds < 8; rounds++) {
		ck_assert(kp_saver_begin(s, folder));
		for (int i = 0; i < rounds; i++)
			event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
		kp_saver_free(s);
		s = kp_saver_new(base, m, on_saved, NULL);
	}
	kp_saver_finish(s, folder);
	ck_assert_int_eq(last_code, 0);
}
END_TEST

START_TEST(no_folder)
{
	kp_saver_finish(s, "/nonexistent/folder");
	ck_assert_int_eq(last_code, -ENOENT);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("saver");
	TCase *tc = tcase_create("saver");
	SRunner *r = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, while_the_model_changes);
	tcase_add_test(tc, at_the_end);
	tcase_add_test(tc, freed_at_any_moment);
	tcase_add_test(tc, no_folder);
	suite_add_tcase(suite, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
