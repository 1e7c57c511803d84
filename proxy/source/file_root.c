#include "proxy/source/file_impl.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/vfs.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define WATCHED (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_ATTRIB | \
		 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
/* A folder may be missing that long, while it is replaced, before its files count as gone. */
#define GONE_MS 1000

int kp_file_root_init(struct kp_file_root *r, struct kp_file_source *s, const char *path, size_t index,
		      struct kp_err *err)
{
	size_t len = strlen(path);
	const char *slash;
	struct stat st;

	if (stat(path, &st) < 0)
		return kp_err_set(err, -errno, "%s: %s", path, strerror(errno));
	while (len > 1 && path[len - 1] == '/')
		len--;
	*r = (struct kp_file_root){ .source = s, .index = index, .wd = -1 };
	r->path = kp_strndup(path, len);
	r->files = kp_map_new(kp_file_free);
	slash = strrchr(r->path, '/');
	if (S_ISDIR(st.st_mode)) {
		r->dir = kp_strdup(r->path);
		return 0;
	}
	r->only = kp_strdup(slash ? slash + 1 : r->path);
	r->dir = !slash ? kp_strdup(".") : slash == r->path ? kp_strdup("/") :
		kp_strndup(r->path, (size_t)(slash - r->path));
	return 0;
}

void kp_file_root_release(struct kp_file_root *r)
{
	kp_map_free(r->files);
	free(r->path);
	free(r->dir);
	free(r->only);
}

static bool looks_like_objects(const char *name)
{
	static const char *const suffix[] = { ".yaml", ".yml", ".json" };
	size_t len = strlen(name);

	for (size_t i = 0; name[0] != '.' && i < KP_N(suffix); i++)
		if (len > strlen(suffix[i]) && strcmp(name + len - strlen(suffix[i]), suffix[i]) == 0)
			return true;
	return false;
}

static bool belongs(const struct kp_file_root *r, const char *name)
{
	return r->only ? strcmp(name, r->only) == 0 : looks_like_objects(name);
}

static struct kp_file *file_of(struct kp_file_root *r, const char *name)
{
	struct kp_file *f = kp_map_gets(r->files, name);

	if (!f) {
		f = kp_file_new(r, name);
		kp_map_puts(r->files, name, f);
	}
	return f;
}

void kp_file_set_unseen(struct kp_file *f, enum kp_file_unseen what)
{
	f->root->n_unseen -= f->unseen != KP_FILE_SEEN;
	f->unseen = what;
	f->root->n_unseen += what != KP_FILE_SEEN;
}

static void enqueue_if_changed(struct kp_file *f)
{
	bool seen = f->root->wd >= 0 && !f->root->is_remote && !f->unseen, young;
	struct kp_file_look now;
	struct stat st;

	if (stat(f->path, &st) < 0) {
		if (errno == ENOENT)
			kp_file_missing(f);
		return;
	}
	now = kp_file_look(&st);
	young = kp_file_is_young(&now);
	if (f->unseen == KP_FILE_MADE && (young || !now.size))	/* its writer may be slow */
		return;
	if (memcmp(&now, &f->look, sizeof(now)) != 0 || (f->young && !seen && !young))
		kp_file_enqueue(f);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in dir that belong, sorted: what happens must not depend on the file system. NULL: see errno. */
static char **list_names(const struct kp_file_root *r, size_t *ret_n)
{
	char **names = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;
	DIR *dir = opendir(r->dir);

	if (!dir)
		return NULL;
	kp_grow(&names, n, &cap);
	while ((e = readdir(dir)) != NULL)
		if (e->d_type != DT_DIR && belongs(r, e->d_name)) {
			kp_grow(&names, n, &cap);
			names[n++] = kp_strdup(e->d_name);
		}
	closedir(dir);
	qsort(names, n, sizeof(*names), by_name);
	*ret_n = n;
	return names;
}

static void scan_file(struct kp_file_root *r, const char *name, bool only_changed)
{
	struct kp_file *f = file_of(r, name);

	f->scanned = r->n_scans;
	if (only_changed)
		enqueue_if_changed(f);
	else
		kp_file_enqueue(f);
}

static void note_listing(struct kp_file_root *r, int why)
{
	if (why && why != r->unlisted)
		kp_error("file", "%s: %s%s", r->dir, strerror(why),
			 kp_map_len(r->files) ? "; its objects stay as they were" : "");
	else if (!why && r->unlisted)
		kp_info("file", "%s: can be listed again", r->dir);
	r->unlisted = why;
}

void kp_file_root_scan(struct kp_file_root *r, bool only_changed)
{
	size_t n = 0;
	char **names;
	struct stat st;

	r->n_scans++;
	if (r->only) {
		if (kp_map_gets(r->files, r->only) || stat(r->path, &st) == 0)
			scan_file(r, r->only, only_changed);
		return;
	}
	names = list_names(r, &n);
	if (!names) {
		if (errno != ENOENT)	/* that is said where it is missed */
			note_listing(r, errno);
		return;
	}
	note_listing(r, 0);
	for (size_t i = 0; i < n; i++) {
		scan_file(r, names[i], only_changed);
		free(names[i]);
	}
	free(names);
	for (struct kp_map_it it = { 0 }; kp_map_next(r->files, &it);) {
		struct kp_file *f = it.value;

		if (f->scanned != r->n_scans)
			kp_file_missing(f);
	}
}

static bool is_remote(const char *dir)
{
	static const uint32_t types[] = {
		NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, AFS_FS_MAGIC, CEPH_SUPER_MAGIC, V9FS_MAGIC,
		FUSE_SUPER_MAGIC,	/* folders shared with a virtual machine, mostly */
	};
	struct statfs fs;

	if (statfs(dir, &fs) < 0)
		return false;
	for (size_t i = 0; i < KP_N(types); i++)
		if ((uint32_t)fs.f_type == types[i])
			return true;
	return false;
}

static void watch(struct kp_file_root *r, int inotify)
{
	int why;

	if (inotify < 0)
		return;
	r->wd = inotify_add_watch(inotify, r->dir, WATCHED);
	why = errno;
	if (r->wd < 0 && !r->warned)
		kp_warn("file", "%s: cannot be watched, is looked at every second instead: %s%s", r->dir,
			strerror(why), why == ENOSPC ? " (limit fs.inotify.max_user_watches)" : "");
	else if (r->wd >= 0 && r->warned)
		kp_info("file", "%s: is watched again", r->dir);
	r->warned = r->wd < 0;
}

static void dir_missing(struct kp_file_root *r, uint64_t now_ms)
{
	if (r->gone_ms)
		return;
	kp_warn("file", "%s: %s; waiting for it to return", r->dir, strerror(errno));
	kp_file_unwatch(r);
	r->ino = 0;
	r->gone_ms = now_ms;
}

void kp_file_root_check(struct kp_file_root *r, int inotify, uint64_t now_ms)
{
	bool same, returned = r->gone_ms;
	struct stat st;

	if (stat(r->dir, &st) < 0) {
		dir_missing(r, now_ms);
		return;
	}
	same = r->ino == st.st_ino && r->dev == st.st_dev;
	if (same && r->wd >= 0)
		return;
	if (returned)
		kp_info("file", "%s: is back", r->dir);
	kp_file_unwatch(r);
	watch(r, inotify);
	r->is_remote = is_remote(r->dir);
	r->dev = st.st_dev;
	r->ino = st.st_ino;
	r->gone_ms = 0;
	if (!same || r->wd >= 0)	/* what happened while nobody watched? */
		kp_file_root_scan(r, false);
}

void kp_file_root_poll(struct kp_file_root *r, uint64_t now_ms)
{
	if (r->gone_ms && now_ms - r->gone_ms < GONE_MS)
		return;
	if (r->wd < 0 || r->only || r->is_remote || r->unlisted) {
		kp_file_root_scan(r, true);
		if (!r->gone_ms)
			return;
	}
	for (struct kp_map_it it = { 0 }; (r->gone_ms || r->n_unseen) && kp_map_next(r->files, &it);) {
		struct kp_file *f = it.value;

		if (r->gone_ms || f->unseen)
			enqueue_if_changed(f);
	}
}

void kp_file_root_event(struct kp_file_root *r, uint32_t mask, const char *name)
{
	struct kp_file *f;
	struct stat st;

	/* A ConfigMap or Secret flips. */
	if (strcmp(name, "..data") == 0 && mask & (IN_MOVED_TO | IN_CREATE)) {
		kp_file_root_scan(r, false);
		return;
	}
	if (!belongs(r, name) || mask & IN_ISDIR)
		return;
	f = kp_map_gets(r->files, name);
	if (mask & (IN_MOVED_FROM | IN_DELETE)) {
		if (f)
			kp_file_missing(f);
		return;
	}
	if (mask & IN_ATTRIB && !(f && f->complaint))	/* it may have become readable */
		return;
	f = file_of(r, name);
	/* A new file is read when it is closed; links are complete from the beginning. */
	if (mask & IN_CREATE && lstat(f->path, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1)
		kp_file_set_unseen(f, KP_FILE_MADE);
	else
		kp_file_enqueue(f);
}
