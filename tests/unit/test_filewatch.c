#include <check.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/filewatch.h"

/* A folder with a file in it, watched; told counts. */
static char folder[64];
static struct event_base *base;
static struct kp_filewatch *watch;
static unsigned told;

static char *in(const char *name)
{
	return kp_asprintf("%s/%s", folder, name);
}

static void put(const char *name, const char *text)
{
	KP_AUTO(kp_freep) char *path = in(name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void move(const char *from, const char *to)
{
	KP_AUTO(kp_freep) char *a = in(from), *b = in(to);

	ck_assert_int_eq(rename(a, b), 0);
}

static void link_to(const char *target, const char *name)
{
	KP_AUTO(kp_freep) char *path = in(name);

	ck_assert_int_eq(symlink(target, path), 0);
}

static void make(const char *name)
{
	KP_AUTO(kp_freep) char *path = in(name);

	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void on_change(void *arg)
{
	(void)arg;
	told++;
}

static void run_ms(unsigned ms)
{
	const struct timeval t = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_base_loopexit(base, &t);
	event_base_dispatch(base);
}

/* Until told so often, however long that takes, and then for as long as one time too many would need. */
static void until_told(unsigned times)
{
	for (unsigned ms = 0; told < times && ms < 60000; ms += 20)
		run_ms(20);
	run_ms(300);
	ck_assert_uint_eq(told, times);
}

/* Watches the file and lets the call that comes after the start go by. */
static void start(const char *name)
{
	KP_AUTO(kp_freep) char *path = in(name);
	const char *paths[] = { path };

	watch = kp_filewatch_new(base, paths, 1, on_change, NULL);
	until_told(1);
	told = 0;
}

static void set_up(void)
{
	strcpy(folder, "/tmp/test-filewatch-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	base = event_base_new();
}

static void tear_down(void)
{
	KP_AUTO(kp_freep) char *command = kp_asprintf("rm -rf '%s'", folder);

	watch = kp_filewatch_free(watch);
	event_base_free(base);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(told_once_after_the_start)
{
	KP_AUTO(kp_freep) char *path = in("f");
	const char *paths[] = { path };

	put("f", "a");
	told = 0;
	watch = kp_filewatch_new(base, paths, 1, on_change, NULL);
	ck_assert_uint_eq(told, 0);
	until_told(1);
	run_ms(1200);
	ck_assert_uint_eq(told, 1);
}
END_TEST

START_TEST(written)
{
	put("f", "a");
	start("f");
	put("f", "bc");
	until_told(1);
	put("other", "x");	/* in the same folder */
	run_ms(500);
	ck_assert_uint_eq(told, 1);
}
END_TEST

/* While it is being written nobody is told. */
START_TEST(written_for_a_while)
{
	uint64_t last, longest = 1000;

	put("f", "a");
	start("f");
	for (int tries = 0; longest > 60 && tries < 200; tries++) {	/* a busy machine makes pauses of its own */
		longest = told = 0;
		for (int i = 0; i < 8; i++) {
			last = kp_now_ms();
			put("f", i % 2 ? "bc" : "bcd");
			run_ms(40);
			longest = kp_now_ms() - last > longest ? kp_now_ms() - last : longest;
		}
		ck_assert_msg(told == 0 || longest > 60, "told after %llu ms", (unsigned long long)longest);
		until_told(told + 1);
	}
}
END_TEST

START_TEST(renamed_over)
{
	put("f", "a");
	start("f");
	put("new", "a");	/* the same text */
	move("new", "f");
	until_told(1);
}
END_TEST

START_TEST(removed_and_back)
{
	KP_AUTO(kp_freep) char *path = in("f");

	put("f", "a");
	start("f");
	ck_assert_int_eq(unlink(path), 0);
	until_told(1);
	put("f", "b");
	until_told(2);
}
END_TEST

START_TEST(configmap_flip)
{
	make("..1");
	make("..2");
	put("..1/f", "a");
	put("..2/f", "b");
	link_to("..1", "..data");
	link_to("..data/f", "f");
	start("f");
	link_to("..2", "..data_tmp");
	move("..data_tmp", "..data");
	until_told(1);
}
END_TEST

/* inotify is told nothing: the file is in another folder. */
START_TEST(behind_a_link)
{
	make("there");
	put("there/g", "a");
	link_to("there/g", "f");
	start("f");
	put("there/g", "bc");
	until_told(1);
}
END_TEST

/* A pipe must not be read again. */
START_TEST(no_file)
{
	KP_AUTO(kp_freep) char *path = in("p");
	const char *paths[] = { path };

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	told = 0;
	watch = kp_filewatch_new(base, paths, 1, on_change, NULL);
	run_ms(1300);
	ck_assert_uint_eq(told, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("filewatch");
	TCase *tc = tcase_create("core");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, told_once_after_the_start);
	tcase_add_test(tc, written);
	tcase_add_test(tc, written_for_a_while);
	tcase_add_test(tc, renamed_over);
	tcase_add_test(tc, removed_and_back);
	tcase_add_test(tc, configmap_flip);
	tcase_add_test(tc, behind_a_link);
	tcase_add_test(tc, no_file);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
