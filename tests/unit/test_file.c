#include <linux/magic.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#include "proxy/source/status.h"
#include "tests/support/file_lab.h"

static struct lab lab;

static void setup(void) { lab_init(&lab); }
static void teardown(void) { lab_release(&lab); }

START_TEST(start)
{
	lab_write(&lab, "b.yml", svc("b", "10.0.0.2"));
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "c.json", "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Service\","
		  "\"metadata\":{\"name\":\"c\"},\"spec\":{\"clusterIP\":\"10.0.0.3\",\"ports\":[{\"port\":80}]}}]}");
	lab_write(&lab, "notes.txt", svc("x", "10.0.0.9"));
	lab_write(&lab, ".hidden.yaml", svc("x", "10.0.0.9"));
	lab_write(&lab, ".yaml", svc("x", "10.0.0.9"));
	mkdir(lab_path(&lab, "below.yaml"), 0755);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.2 c=10.0.0.3 ");
	ck_assert_str_eq(lab.journal.data, "+a=10.0.0.1 +b=10.0.0.2 +c=10.0.0.3 * | ");
	lab_pass(&lab);
	ck_assert_uint_eq(lab.n_synced, 1);
}
END_TEST

START_TEST(start_empty)
{
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "");
	ck_assert_str_eq(lab.journal.data, "* | ");
}
END_TEST

START_TEST(start_without_path)
{
	const char *paths[] = { lab.dir, "/nonexistent/objects.yaml" };
	struct kp_sink sink = lab_sink(&lab);
	struct kp_err err = { 0 };

	ck_assert_int_eq(kp_file_source_new(&lab.src, lab.base, paths, 2, &sink, &err), -ENOENT);
	ck_assert_ptr_null(lab.src);
	ck_assert_str_eq(err.msg, "/nonexistent/objects.yaml: No such file or directory");
}
END_TEST

static void in_place(struct lab *l, const char *text) { lab_write(l, "a.yaml", text); }
static void by_rename(struct lab *l, const char *text) { lab_replace(l, "a.yaml", text); }

static void away_and_new(struct lab *l, const char *text)
{
	ck_assert_int_eq(rename(lab_path(l, "a.yaml"), lab_path(l, "a.yaml~")), 0);
	lab_write(l, "a.yaml", text);
}

static void delete_and_new(struct lab *l, const char *text)
{
	ck_assert_int_eq(unlink(lab_path(l, "a.yaml")), 0);
	lab_write(l, "a.yaml", text);
}

static void by_hard_link(struct lab *l, const char *text)
{
	lab_write(l, "a.new", text);
	ck_assert_int_eq(unlink(lab_path(l, "a.yaml")), 0);
	ck_assert_int_eq(link(lab_path(l, "a.new"), lab_path(l, "a.yaml")), 0);
}

static void by_link(struct lab *l, const char *text)
{
	lab_write(l, "a.new", text);
	ck_assert_int_eq(symlink("a.new", lab_path(l, "a.link")), 0);
	ck_assert_int_eq(rename(lab_path(l, "a.link"), lab_path(l, "a.yaml")), 0);
}

static void to_other_name(struct lab *l, const char *text)
{
	lab_replace(l, "b.yaml", text);
	ck_assert_int_eq(unlink(lab_path(l, "a.yaml")), 0);
}

/* However a file is replaced: only what changed is told, new things first, and nothing is ever missing between. */
static const struct {
	const char *name;
	void (*replace)(struct lab *l, const char *text);
	bool single;		/* can be a source of its own */
} ways[] = {
	{ "in place", in_place, true },
	{ "by rename", by_rename, true },
	{ "renamed away and written anew", away_and_new, true },
	{ "deleted and written anew", delete_and_new, true },
	{ "by hard link", by_hard_link, true },
	{ "by symbolic link", by_link, true },
	{ "written under another name", to_other_name, false },
};

static void replace_and_check(const char *path, int way)
{
	char text[4096];

	snprintf(text, sizeof(text), "%s%s%s", svc("same", "10.0.0.1"), svc("gone", "10.0.0.2"), svc("changed", "10.0.0.3"));
	lab_write(&lab, "a.yaml", text);
	lab_start(&lab, path, NULL);
	lab_await(&lab, "changed=10.0.0.3 gone=10.0.0.2 same=10.0.0.1 ");
	lab_forget_journal(&lab);
	snprintf(text, sizeof(text), "%s%s%s", svc("same", "10.0.0.1"), svc("changed", "10.0.0.4"), svc("new", "10.0.0.5"));
	ways[way].replace(&lab, text);
	lab_await(&lab, "changed=10.0.0.4 new=10.0.0.5 same=10.0.0.1 ");
	if (ways[way].replace != to_other_name)
		ck_assert_msg(strcmp(lab.journal.data, "+changed=10.0.0.4 +new=10.0.0.5 -gone | ") == 0, "%s: %s",
			      ways[way].name, lab.journal.data);
	ck_assert_msg(!strstr(lab.journal.data, "-same") && !strstr(lab.journal.data, "-changed"), "%s: %s",
		      ways[way].name, lab.journal.data);
	ck_assert_uint_eq(lab_logged(&lab, "error"), 0);
}

START_TEST(replaced_in_folder)
{
	replace_and_check(NULL, _i);
}
END_TEST

START_TEST(replaced_alone)
{
	if (ways[_i].single)
		replace_and_check(lab_path(&lab, "a.yaml"), _i);
}
END_TEST

START_TEST(deleted)
{
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "b.yaml", svc("b", "10.0.0.2"));
	lab_start(&lab, NULL, lab_path(&lab, "b.yaml"));	/* b is in two sources */
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.2 ");
	unlink(lab_path(&lab, "a.yaml"));
	lab_await(&lab, "b=10.0.0.2 ");
	unlink(lab_path(&lab, "b.yaml"));
	lab_await(&lab, "");
	lab_write(&lab, "b.yaml", svc("b", "10.0.0.3"));
	lab_await(&lab, "b=10.0.0.3 ");
}
END_TEST

START_TEST(folder_deleted)
{
	mkdir(lab_path(&lab, "sub"), 0755);
	lab_write(&lab, "sub/a.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "sub/b.yaml", svc("b", "10.0.0.1"));
	lab_start(&lab, lab_path(&lab, "sub"), lab_path(&lab, "sub/b.yaml"));
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.1 ");
	lab_forget_journal(&lab);
	/* Swapped within the grace period: nothing is missed. */
	rename(lab_path(&lab, "sub"), lab_path(&lab, "old"));
	mkdir(lab_path(&lab, "sub"), 0755);
	lab_write(&lab, "sub/a.yaml", svc("a", "10.0.0.2"));
	lab_write(&lab, "sub/b.yaml", svc("b", "10.0.0.2"));
	lab_await(&lab, "a=10.0.0.2 b=10.0.0.2 ");
	ck_assert_ptr_null(strstr(lab.journal.data, "-"));
	/* The old one no longer counts. */
	lab_write(&lab, "old/a.yaml", svc("a", "10.0.0.3"));
	lab_write(&lab, "sub/a.yaml", svc("a", "10.0.0.4"));
	lab_await(&lab, "a=10.0.0.4 b=10.0.0.2 ");
	ck_assert_ptr_null(strstr(lab.journal.data, "10.0.0.3"));
	/* Gone for good, and back. */
	nftw(lab_path(&lab, "sub"), lab_unlink, 16, FTW_DEPTH | FTW_PHYS);
	lab_await(&lab, "");
	mkdir(lab_path(&lab, "sub"), 0755);
	lab_write(&lab, "sub/a.yaml", svc("a", "10.0.0.5"));
	lab_await(&lab, "a=10.0.0.5 ");
	lab_write(&lab, "sub/b.yaml", svc("b", "10.0.0.5"));
	lab_await(&lab, "a=10.0.0.5 b=10.0.0.5 ");
	lab_assert_logged(&lab, "sub: is back", 2);	/* it is two sources */
}
END_TEST

static void flip(const char *version, const char *ip)
{
	char file[64];

	mkdir(lab_path(&lab, version), 0755);
	snprintf(file, sizeof(file), "%s/a.yaml", version);
	lab_write(&lab, file, svc("a", ip));
	ck_assert_int_eq(symlink(version, lab_path(&lab, "..data_tmp")), 0);
	ck_assert_int_eq(rename(lab_path(&lab, "..data_tmp"), lab_path(&lab, "..data")), 0);
}

START_TEST(config_map)
{
	char version[32], ip[32], want[64];
	int soon = 0;
	uint64_t before;

	flip("..v1", "10.0.0.1");
	ck_assert_int_eq(symlink("..data/a.yaml", lab_path(&lab, "a.yaml")), 0);
	lab_start(&lab, _i ? lab_path(&lab, "a.yaml") : NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 ");
	for (int i = 2; i < 12; i++) {
		snprintf(version, sizeof(version), "..v%d", i);
		snprintf(ip, sizeof(ip), "10.0.0.%d", i);
		snprintf(want, sizeof(want), "a=10.0.0.%d ", i);
		before = kp_now_ns();
		flip(version, ip);
		lab_await(&lab, want);
		soon += lab.last_ns - before < 500000000;
	}
	/* The look of every second would see each with a chance of a half; a busy machine is late at times. */
	ck_assert_msg(soon >= 8, "only %d of 10 were seen at once", soon);
	ck_assert_ptr_null(strstr(lab.journal.data, "-"));
}
END_TEST

/* What the folder's watch does not see is looked at every second. */
START_TEST(far_link)
{
	mkdir(lab_path(&lab, "objects"), 0755);
	lab_write(&lab, "v1.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "v2.yaml", svc("a", "10.0.0.2"));
	ck_assert_int_eq(symlink("v1.yaml", lab_path(&lab, "current")), 0);
	ck_assert_int_eq(symlink("../current", lab_path(&lab, "objects/a.yaml")), 0);
	lab_start(&lab, lab_path(&lab, "objects"), NULL);
	lab_await(&lab, "a=10.0.0.1 ");
	ck_assert_int_eq(symlink("v2.yaml", lab_path(&lab, "next")), 0);
	ck_assert_int_eq(rename(lab_path(&lab, "next"), lab_path(&lab, "current")), 0);
	lab_await(&lab, "a=10.0.0.2 ");
	lab_write(&lab, "v2.yaml", svc("a", "10.0.0.3"));
	lab_await(&lab, "a=10.0.0.3 ");
	unlink(lab_path(&lab, "v2.yaml"));
	lab_await(&lab, "");
	lab_write(&lab, "v2.yaml", svc("a", "10.0.0.4"));
	lab_await(&lab, "");
	/* A link that is written again is new to the folder. */
	unlink(lab_path(&lab, "objects/a.yaml"));
	ck_assert_int_eq(symlink("../current", lab_path(&lab, "objects/a.yaml")), 0);
	lab_await(&lab, "a=10.0.0.4 ");
}
END_TEST

static void set_age(int fd, long seconds)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - seconds } };

	ck_assert_int_eq(futimens(fd, t), 0);
}

/* It gets its name when it is complete: the folder never hears that it is closed. */
START_TEST(named_at_last)
{
	char from[64];
	int fd;

	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "");
	fd = open(lab.dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
	dprintf(fd, "%s", svc("a", "10.0.0.1"));
	set_age(fd, 10);
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	ck_assert_int_eq(linkat(AT_FDCWD, from, AT_FDCWD, lab_path(&lab, "a.yaml"), AT_SYMLINK_FOLLOW), 0);
	close(fd);
	lab_await(&lab, "a=10.0.0.1 ");
}
END_TEST

/* What tells from the last one: it is still being written. The link shows that a second went by. */
START_TEST(written_slowly)
{
	int fd;

	mkdir(lab_path(&lab, "far"), 0755);
	lab_write(&lab, "far/b.yaml", svc("b", "10.0.0.1"));
	ck_assert_int_eq(symlink("far/b.yaml", lab_path(&lab, "b.yaml")), 0);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "b=10.0.0.1 ");
	fd = open(lab_path(&lab, "a.yaml"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
	dprintf(fd, "%s", svc("a", "10.0.0.1"));
	set_age(fd, -3600);
	lab_pass(&lab);
	lab_write(&lab, "far/b.yaml", svc("b", "10.0.0.2"));
	lab_await(&lab, "b=10.0.0.2 zz-pass=10.99.0.1 ");
	close(fd);
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.2 zz-pass=10.99.0.1 ");
}
END_TEST

/* In the place of libc's. */
static bool is_nfs;

int statfs(const char *path, struct statfs *ret)
{
	int r = (int)syscall(SYS_statfs, path, ret);

	if (r == 0 && is_nfs)
		ret->f_type = NFS_SUPER_MAGIC;
	return r;
}

/* Another host writes: here, under a name that is not in the folder. */
START_TEST(network_file_system)
{
	is_nfs = true;
	mkdir(lab_path(&lab, "there"), 0755);
	lab_write(&lab, "there/a", svc("a", "10.0.0.1"));
	ck_assert_int_eq(link(lab_path(&lab, "there/a"), lab_path(&lab, "a.yaml")), 0);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 ");
	lab_write(&lab, "there/a", svc("a", "10.0.0.2"));
	lab_await(&lab, "a=10.0.0.2 ");
}
END_TEST

/* How many inotify watches this process has. */
static unsigned count_watches(void)
{
	unsigned n = 0;
	char path[64], line[256];

	for (int fd = 0; fd < 256; fd++) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			n += strncmp(line, "inotify wd:", 11) == 0;
		if (f)
			fclose(f);
	}
	return n;
}

/* The path itself is a link to a folder, and is turned to another one. */
START_TEST(linked_folder)
{
	mkdir(lab_path(&lab, "v1"), 0755);
	mkdir(lab_path(&lab, "v2"), 0755);
	lab_write(&lab, "v1/a.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "v2/a.yaml", svc("a", "10.0.0.2"));
	ck_assert_int_eq(symlink("v1", lab_path(&lab, "current")), 0);
	lab_start(&lab, lab_path(&lab, "current"), NULL);
	lab_await(&lab, "a=10.0.0.1 ");
	ck_assert_int_eq(symlink("v2", lab_path(&lab, "next")), 0);
	ck_assert_int_eq(rename(lab_path(&lab, "next"), lab_path(&lab, "current")), 0);
	lab_await(&lab, "a=10.0.0.2 ");
	lab_write(&lab, "v2/a.yaml", svc("a", "10.0.0.3"));
	lab_await(&lab, "a=10.0.0.3 ");
	ck_assert_uint_eq(count_watches(), 1);
}
END_TEST

START_TEST(two_files)
{
	lab_write(&lab, "b.yaml", both(svc("web", "10.0.0.2"), svc("b", "10.0.0.9")));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "b=10.0.0.9 web=10.0.0.2 ");
	/* A file that comes first takes over, */
	lab_write(&lab, "a.yaml", svc("web", "10.0.0.1"));
	lab_await(&lab, "b=10.0.0.9 web=10.0.0.1 ");
	lab_assert_logged(&lab, "b.yaml:2: Service default/web: not used", 1);
	/* one that comes later does not, */
	lab_write(&lab, "c.yaml", svc("web", "10.0.0.3"));
	lab_pass(&lab);
	ck_assert(lab_state_is(&lab, "b=10.0.0.9 web=10.0.0.1 zz-pass=10.99.0.1 "));
	lab_assert_logged(&lab, "c.yaml:2: Service default/web: not used", 1);
	/* nor does a change of the second. */
	lab_write(&lab, "b.yaml", both(svc("web", "10.0.0.4"), svc("b", "10.0.0.8")));
	lab_await(&lab, "b=10.0.0.8 web=10.0.0.1 zz-pass=10.99.0.1 ");
	lab_forget_journal(&lab);
	/* When the first lets go, the next takes over without a gap, in either way. */
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.7"));
	lab_await(&lab, "a=10.0.0.7 b=10.0.0.8 web=10.0.0.4 zz-pass=10.99.0.1 ");
	ck_assert_str_eq(lab.journal.data, "+a=10.0.0.7 +web=10.0.0.4 | ");
	unlink(lab_path(&lab, "b.yaml"));
	lab_await(&lab, "a=10.0.0.7 web=10.0.0.3 zz-pass=10.99.0.1 ");
	ck_assert_ptr_null(strstr(lab.journal.data, "-web"));
	/* And back. */
	lab_write(&lab, "b.yaml", svc("web", "10.0.0.5"));
	lab_await(&lab, "a=10.0.0.7 web=10.0.0.5 zz-pass=10.99.0.1 ");
}
END_TEST

START_TEST(order_of_paths)
{
	mkdir(lab_path(&lab, "x"), 0755);
	lab_write(&lab, "x/z.yaml", svc("web", "10.0.0.1"));
	lab_write(&lab, "a.yaml", svc("web", "10.0.0.2"));
	lab_start(&lab, lab_path(&lab, "x"), lab.dir);
	lab_await(&lab, "web=10.0.0.1 ");
	ck_assert_int_eq(rename(lab_path(&lab, "x/z.yaml"), lab_path(&lab, "x/z")), 0);
	lab_await(&lab, "web=10.0.0.2 ");
	ck_assert_int_eq(rename(lab_path(&lab, "x/z"), lab_path(&lab, "x/z.yaml")), 0);
	lab_await(&lab, "web=10.0.0.1 ");
}
END_TEST

/* A file that vanishes and returns as it was, while another took over. */
START_TEST(first_file_returns)
{
	lab_write(&lab, "a.yaml", svc("web", "10.0.0.1"));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "web=10.0.0.1 ");
	ck_assert_int_eq(rename(lab_path(&lab, "a.yaml"), lab_path(&lab, "a")), 0);
	lab_write(&lab, "b.yaml", svc("web", "10.0.0.2"));
	event_base_loop(lab.base, EVLOOP_ONCE);
	ck_assert_int_eq(rename(lab_path(&lab, "a"), lab_path(&lab, "a.yaml")), 0);
	lab_await(&lab, "web=10.0.0.1 ");
	lab_pass(&lab);
	ck_assert(lab_state_is(&lab, "web=10.0.0.1 zz-pass=10.99.0.1 "));
}
END_TEST

START_TEST(twice_in_a_file)
{
	lab_write(&lab, "a.yaml", both(svc("web", "10.0.0.1"), svc("web", "10.0.0.2")));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "web=10.0.0.1 ");
	lab_assert_logged(&lab, "a.yaml:11: Service default/web: defined a second time; the definition in line 2 stays", 1);
	/* The first is still the first when it is the one that changes, */
	lab_write(&lab, "a.yaml", both(svc("web", "10.0.0.3"), svc("web", "10.0.0.2")));
	lab_await(&lab, "web=10.0.0.3 ");
	/* when it comes in front of one that was there, */
	lab_write(&lab, "a.yaml", both(svc("web", "10.0.0.4"), svc("web", "10.0.0.3")));
	lab_await(&lab, "web=10.0.0.4 ");
	/* and when both are the same. */
	lab_write(&lab, "a.yaml", both(svc("web", "10.0.0.4"), svc("web", "10.0.0.4")));
	lab_pass(&lab);
	lab_assert_logged(&lab, "defined a second time", 4);
	/* What was second becomes the only one. */
	lab_write(&lab, "a.yaml", svc("web", "10.0.0.2"));
	lab_await(&lab, "web=10.0.0.2 zz-pass=10.99.0.1 ");
}
END_TEST

START_TEST(half_written)
{
	static const char whole[] = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"apiVersion\":\"v1\",\"kind\":\"Service\","
		"\"metadata\":{\"name\":\"a\"},\"spec\":{\"clusterIP\":\"10.0.0.2\",\"ports\":[{\"port\":80}]}},"
		"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"b\"},"
		"\"spec\":{\"clusterIP\":\"10.0.0.3\",\"ports\":[{\"port\":80}]}}]}\n";
	char text[sizeof(whole)];

	lab_write(&lab, "a.json", both(svc("a", "10.0.0.1"), svc("c", "10.0.0.4")));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 c=10.0.0.4 ");
	lab_forget_journal(&lab);
	/* Closed after each piece; nothing of it counts before all is there. */
	for (size_t len = 0; len < sizeof(whole) - 2; len += 40) {
		memcpy(text, whole, len);
		text[len] = '\0';
		lab_write(&lab, "a.json", text);
		lab_write(&lab, "a.json", text);
		lab_pass(&lab);
	}
	ck_assert_ptr_null(strstr(lab.journal.data, "+a"));
	ck_assert_ptr_null(strstr(lab.journal.data, "-a"));
	ck_assert_ptr_null(strstr(lab.journal.data, "-c"));
	lab_assert_logged(&lab, "a.json: the file is empty; its objects stay as they were", 1);
	lab_assert_logged(&lab, "reads well again", 0);
	lab_write(&lab, "a.json", whole);
	unlink(lab_path(&lab, "zz-pass.yaml"));
	lab_await(&lab, "a=10.0.0.2 b=10.0.0.3 ");
	lab_assert_logged(&lab, "a.json: reads well again", 1);
}
END_TEST

START_TEST(unreadable)
{
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 ");
	unlink(lab_path(&lab, "a.yaml"));
	mkfifo(lab_path(&lab, "a.yaml"), 0644);
	lab_pass(&lab);
	ck_assert(lab_state_is(&lab, "a=10.0.0.1 zz-pass=10.99.0.1 "));
	lab_assert_logged(&lab, "a.yaml: not a regular file; its objects stay as they were", 1);
	lab_replace(&lab, "a.yaml", svc("a", "10.0.0.2"));
	lab_await(&lab, "a=10.0.0.2 zz-pass=10.99.0.1 ");
}
END_TEST

/* An agent drops CAP_DAC_OVERRIDE; whoever is not root has none. */
static void set_user(uid_t uid)
{
	ck_assert_int_eq(getuid() == 0 ? seteuid(uid) : 0, 0);
}

static void assert_status(bool live, const char *problem)
{
	struct kp_source_status s = { 0 };

	kp_file_source_status(lab.src, &s);
	ck_assert_uint_eq(s.n, 1);
	ck_assert_int_eq(s.rows[0].live, live);
	ck_assert_pstr_eq(s.rows[0].problem, problem);
	kp_source_status_release(&s);
}

START_TEST(folder_unreadable)
{
	const struct timeval more_than_one_look = { .tv_sec = 1, .tv_usec = 300000 };
	const char *path = lab_path(&lab, "objects");
	struct kp_sink sink = lab_sink(&lab);

	chmod(lab.dir, 0755);
	mkdir(path, 0755);
	lab_write(&lab, "objects/a.yaml", svc("a", "10.0.0.1"));
	chmod(path, 0311);
	set_user(65534);
	lab_start(&lab, path, NULL);
	event_base_loopexit(lab.base, &more_than_one_look);
	event_base_dispatch(lab.base);
	lab_assert_logged(&lab, "objects: Permission denied\n", 1);
	assert_status(false, "Permission denied");
	ck_assert_int_eq(kp_file_read_once(&path, 1, &sink, NULL), -EINVAL);
	set_user(0);
	chmod(path, 0755);
	set_user(65534);
	lab_await(&lab, "a=10.0.0.1 ");
	lab_assert_logged(&lab, "objects: can be listed again", 1);
	assert_status(true, NULL);
	set_user(0);
}
END_TEST

/* More changes than the kernel keeps: the last one is lost, and found all the same. */
START_TEST(overflow)
{
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "b.yaml", svc("b", "10.0.0.1"));
	lab_write(&lab, "c.yaml", svc("c", "10.0.0.1"));
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 b=10.0.0.1 c=10.0.0.1 ");
	for (int i = 0; i < 20000; i++)		/* equal neighbours would be merged */
		close(open(lab_path(&lab, i % 2 ? "a.yaml" : "b.yaml"), O_WRONLY | O_CLOEXEC));
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.2"));
	unlink(lab_path(&lab, "b.yaml"));
	lab_write(&lab, "d.yaml", svc("d", "10.0.0.2"));
	lab_await(&lab, "a=10.0.0.2 c=10.0.0.1 d=10.0.0.2 ");
	lab_assert_logged(&lab, "too many changes at once", 1);
}
END_TEST

/* Sets a limit of this process's own user namespace. False: not possible here. */
static bool limit_inotify(const char *limit)
{
	char path[64];
	int fd, n;

	if (unshare(CLONE_NEWUSER) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/sys/user/%s", limit);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : (int)write(fd, "0", 1);
	if (fd >= 0)
		close(fd);
	return n == 1;
}

static const struct {
	const char *limit, *message;
} limits[] = {
	{ "max_inotify_instances", "files are looked at every second instead" },
	{ "max_inotify_watches", "cannot be watched, is looked at every second instead" },
};

START_TEST(without_inotify)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (!limit_inotify(limits[_i].limit))
			_exit(77);
		lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
		lab_start(&lab, NULL, NULL);
		lab_await(&lab, "a=10.0.0.1 ");
		lab_assert_logged(&lab, limits[_i].message, 1);
		lab_write(&lab, "a.yaml", svc("a", "10.0.0.2"));
		lab_write(&lab, "b.yaml", svc("b", "10.0.0.3"));
		lab_await(&lab, "a=10.0.0.2 b=10.0.0.3 ");
		unlink(lab_path(&lab, "a.yaml"));
		lab_await(&lab, "b=10.0.0.3 ");
		lab_assert_logged(&lab, limits[_i].message, 1);
		lab_release(&lab);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		dprintf(lab.old_stderr, "no user namespaces: %s not tested\n", limits[_i].limit);
	else
		ck_assert_msg(status == 0, "%s: status %d", limits[_i].limit, status);
	/* The child deleted the folder. */
	mkdir(lab.dir, 0700);
}
END_TEST

/* A folder of 10,000 files: a change costs the one file, not the folder. */
START_TEST(many_files)
{
	enum { N = 10000, CHANGES = 30 };
	uint64_t best = UINT64_MAX, worst = 0, all, t;
	char name[32], file[40], ip[32];

	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "s-%d", i);
		snprintf(file, sizeof(file), "%s.yaml", name);
		snprintf(ip, sizeof(ip), "10.1.%d.%d", i / 250, i % 250 + 1);
		lab_write(&lab, file, svc(name, ip));
	}
	lab_start(&lab, NULL, NULL);
	t = kp_now_ns();
	while (!lab.n_synced)
		event_base_loop(lab.base, EVLOOP_ONCE);
	all = kp_now_ns() - t;
	ck_assert_uint_eq(kp_map_len(lab.state), N);
	dprintf(lab.old_stderr, "10,000 files: read in %llu ms", (unsigned long long)all / 1000000);
	for (int i = 0; i < CHANGES; i++) {
		const char *text;

		snprintf(ip, sizeof(ip), "10.2.0.%d", i + 1);
		text = svc("s-5000", ip);
		lab_forget_journal(&lab);
		lab_replace(&lab, "s-5000.yaml", text);
		t = kp_now_ns();
		while (strcmp(kp_map_gets(lab.state, "s-5000"), ip) != 0)
			event_base_loop(lab.base, EVLOOP_ONCE);
		t = lab.last_ns - t;
		best = t < best ? t : best;
		worst = t > worst ? t : worst;
		ck_assert_msg(strchr(lab.journal.data, '+') == strrchr(lab.journal.data, '+'), "more than one change: %s",
			      lab.journal.data);
	}
	dprintf(lab.old_stderr, ", one change in %llu-%llu us\n", (unsigned long long)best / 1000,
		(unsigned long long)worst / 1000);
	/* The best, as the machine may be busy, and slow; a scan of the folder is a tenth of the work of reading it. */
	ck_assert_msg(best < all / 50, "a change took %llu us", (unsigned long long)best / 1000);
}
END_TEST

START_TEST(read_once)
{
	const char *paths[] = { lab.dir };
	struct kp_sink sink = lab_sink(&lab);
	struct kp_err err = { 0 };

	lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
	lab_write(&lab, "b.yaml", svc("b", "10.0.0.2"));
	ck_assert_int_eq(kp_file_read_once(paths, 1, &sink, &err), 0);
	ck_assert_str_eq(lab.journal.data, "+a=10.0.0.1 +b=10.0.0.2 * | ");
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.300"));
	ck_assert_int_eq(kp_file_read_once(paths, 1, &sink, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "1 error above");
	lab_assert_logged(&lab, "a.yaml:7: Service default/a: spec.clusterIP: \"10.0.0.300\": must be an IP address", 1);
	lab_write(&lab, "b.yaml", "a: [");
	ck_assert_int_eq(kp_file_read_once(paths, 1, &sink, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "2 errors above");
	paths[0] = "/nonexistent";
	ck_assert_int_eq(kp_file_read_once(paths, 1, &sink, &err), -ENOENT);
}
END_TEST

/* Freed in the middle of work: what is left must not be touched. */
START_TEST(freed_early)
{
	lab_write(&lab, "a.yaml", svc("a", "10.0.0.1"));
	lab_start(&lab, NULL, NULL);
	lab.src = kp_file_source_free(lab.src);
	event_base_loop(lab.base, EVLOOP_NONBLOCK);
	lab_start(&lab, NULL, NULL);
	lab_await(&lab, "a=10.0.0.1 ");
	unlink(lab_path(&lab, "a.yaml"));
	event_base_loop(lab.base, EVLOOP_ONCE);
	lab.src = kp_file_source_free(lab.src);
	event_base_loop(lab.base, EVLOOP_NONBLOCK);
	ck_assert(lab_state_is(&lab, "a=10.0.0.1 "));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("file");
	TCase *tc = tcase_create("real files");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(tc, 2 * LAB_DEADLINE_S);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, start);
	tcase_add_test(tc, start_empty);
	tcase_add_test(tc, start_without_path);
	tcase_add_loop_test(tc, replaced_in_folder, 0, KP_N(ways));
	tcase_add_loop_test(tc, replaced_alone, 0, KP_N(ways));
	tcase_add_test(tc, deleted);
	tcase_add_test(tc, folder_deleted);
	tcase_add_loop_test(tc, config_map, 0, 2);
	tcase_add_test(tc, far_link);
	tcase_add_test(tc, named_at_last);
	tcase_add_test(tc, written_slowly);
	tcase_add_test(tc, network_file_system);
	tcase_add_test(tc, linked_folder);
	tcase_add_test(tc, two_files);
	tcase_add_test(tc, order_of_paths);
	tcase_add_test(tc, first_file_returns);
	tcase_add_test(tc, twice_in_a_file);
	tcase_add_test(tc, half_written);
	tcase_add_test(tc, unreadable);
	tcase_add_test(tc, folder_unreadable);
	tcase_add_test(tc, overflow);
	tcase_add_loop_test(tc, without_inotify, 0, KP_N(limits));
	tcase_add_test(tc, many_files);
	tcase_add_test(tc, read_once);
	tcase_add_test(tc, freed_early);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
