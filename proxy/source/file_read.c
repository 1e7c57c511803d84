#include "proxy/source/file_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/doc.h"
#include "proxy/base/err.h"
#include "proxy/base/hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

/* Times of files are coarse: one this young may change again without looking different. */
#define YOUNG_NS 2000000000ull

struct reading {
	struct kp_file *file;
	struct kp_file_draft *draft;
	bool any;		/* an item was found, new or known */
};

struct kp_file *kp_file_new(struct kp_file_root *root, const char *name)
{
	struct kp_file *f = kp_calloc(1, sizeof(*f));

	f->root = root;
	f->path = root->only ? kp_strdup(root->path) : kp_asprintf("%s/%s", root->path, name);
	f->name = f->path + strlen(f->path) - strlen(name);
	f->items = kp_map_new(free);
	return f;
}

void kp_file_free(void *p)
{
	struct kp_file *f = p;

	kp_file_set_unseen(f, KP_FILE_SEEN);
	kp_map_free(f->items);
	free(f->complaint);
	free(f->path);
	free(f);
}

static void free_find(struct kp_file_find *find)
{
	struct kp_object o = { .kind = find->kind, .value = find->value };

	kp_object_release(&o);
	free(find->key);
	free(find->message);
}

void kp_file_draft_release(struct kp_file_draft *d)
{
	for (size_t i = 0; i < d->n; i++)
		free_find(&d->finds[i]);
	free(d->finds);
	*d = (struct kp_file_draft){ 0 };
}

/* The same bytes mean something else in another kind of list. */
static void hash_of(const struct kp_doc_item *item, uint64_t ret[2])
{
	const char *kind = item->list_kind;

	for (int i = 0; i < 2; i++)
		ret[i] = kind ? kp_hash(item->hash[i], kind, strlen(kind)) : item->hash[i];
}

/* Known items are only marked as found. A known definition found again in the same file has to be told. */
static bool want(void *arg, const struct kp_doc_item *item)
{
	struct reading *r = arg;
	struct kp_file_item *known;
	uint64_t hash[2];
	bool second;

	hash_of(item, hash);
	r->any = true;
	known = kp_map_get(r->file->items, hash, sizeof(hash));
	if (!known || known->again)
		return true;
	second = known->seen == r->file->n_reads;
	if (!second) {
		known->seen = r->file->n_reads;
		known->line = item->line;
	}
	return second && known->state == KP_FILE_GOOD;
}

static void describe_refusal(const struct kp_doc_item *item, const struct kp_decode_error *e,
			     struct kp_file_find *find)
{
	unsigned line = *e->field && item->text ? kp_doc_line_of(item->text, item->text_len, e->field) : 0;

	find->state = KP_FILE_REFUSED;
	find->message = kp_asprintf("%s: %s%s%s", e->object, e->field, *e->field ? ": " : "", e->why);
	find->message_line = line ? item->line + line - 1 : item->line;
	find->kind = e->kind;
	find->key = *e->key ? kp_strdup(e->key) : NULL;
}

static int take_item(void *arg, const struct kp_doc_item *item)
{
	struct reading *r = arg;
	struct kp_file_draft *d = r->draft;
	struct kp_file_find *find;
	struct kp_decode_error why;
	struct kp_object o;

	kp_grow(&d->finds, d->n, &d->cap);
	find = &d->finds[d->n++];
	*find = (struct kp_file_find){ .line = item->line };
	hash_of(item, find->hash);
	if (kp_decode(item->value, item->list_kind, true, &o, &why) < 0) {
		describe_refusal(item, &why, find);
		return 0;
	}
	if (*o.note)
		kp_debug("file", "%s:%u: %s %s: %s", r->file->path, item->line, kp_kind_name(o.kind), o.key,
			 o.note);
	find->state = o.kind != KP_KIND_OTHER && o.value ? KP_FILE_GOOD : KP_FILE_IGNORED;
	find->kind = o.kind;
	find->key = *o.key ? kp_strdup(o.key) : NULL;
	find->value = o.value;
	return 0;
}

/*
 * The folder's watch sees the target of a link change only as in a ConfigMap: the link
 * goes to "..data/x", and ..data is replaced.
 */
static bool is_far_link(const char *path)
{
	char target[PATH_MAX];
	ssize_t n = readlink(path, target, sizeof(target));

	return n >= 0 && (n < 7 || memcmp(target, "..data/", 7) != 0);
}

struct kp_file_look kp_file_look(const struct stat *st)
{
	struct kp_file_look look;

	memset(&look, 0, sizeof(look));		/* looks are compared as bytes */
	look.dev = st->st_dev;
	look.ino = st->st_ino;
	look.size = st->st_size;
	look.mtime = st->st_mtim;
	look.ctime = st->st_ctim;
	return look;
}

bool kp_file_is_young(const struct kp_file_look *look)
{
	return (uint64_t)look->mtime.tv_sec * 1000000000u + (uint64_t)look->mtime.tv_nsec + YOUNG_NS > kp_wall_ns();
}

static int read_fd(struct kp_file *f, int fd, struct kp_file_draft *draft, struct kp_err *err)
{
	static const struct kp_doc_sink sink = { .want = want, .item = take_item, .unread = kp_decode_unread };
	struct reading reading = { .file = f, .draft = draft };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return kp_err_set(err, -errno, "%s", strerror(errno));
	if (S_ISDIR(st.st_mode) || (!S_ISREG(st.st_mode) && !f->root->pipes))
		return kp_err_set(err, -EINVAL, "not a regular file");
	f->look = kp_file_look(&st);
	f->young = kp_file_is_young(&f->look);
	f->n_reads++;
	r = kp_doc_walk_fd(fd, &sink, &reading, err);
	/* A full disk leaves empty files behind; whoever means it deletes the file. */
	if (r == 0 && !reading.any && lseek(fd, 0, SEEK_CUR) == 0)
		r = kp_err_set(err, -ENODATA, "the file is empty");
	return r;
}

int kp_file_read(struct kp_file *f, struct kp_file_draft *draft, struct kp_err *err)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (f->root->pipes ? 0 : O_NONBLOCK));
	int r;

	if (fd < 0)
		return kp_err_set(err, -errno, "%s", strerror(errno));
	kp_file_set_unseen(f, is_far_link(f->path) ? KP_FILE_FAR_LINK : KP_FILE_SEEN);
	r = read_fd(f, fd, draft, err);
	close(fd);
	return r;
}
