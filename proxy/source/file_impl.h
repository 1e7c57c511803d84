#ifndef KP_SOURCE_FILE_IMPL_H
#define KP_SOURCE_FILE_IMPL_H

#include <stdint.h>
#include <sys/stat.h>

#include "proxy/base/map.h"
#include "proxy/source/file.h"

/*
 * Shared by the parts of the file source; nobody else includes this.
 *
 *	file.c		the source: which files wait to be read, timers, bursts
 *	file_root.c	one path of --objects: its folder, inotify, what is in it
 *	file_read.c	one file: from its bytes to a draft of what changed in it
 *	file_table.c	who defines which object, and what the sink gets to know
 */

/* One definition of an object, or something else that was found in a file. */
struct kp_file_item {
	struct kp_file *file;
	struct kp_file_entry *entry;	/* the object; NULL: none, or not known which */
	struct kp_file_item *next;	/* of the same entry */
	uint64_t hash[2];		/* of its text; key in file->items */
	unsigned line, seen;		/* seen: number of the reading that found it last */
	enum kp_file_state { KP_FILE_GOOD, KP_FILE_REFUSED, KP_FILE_IGNORED } state;
	bool again;			/* decode it again although it did not change: its value is needed */
};

struct kp_file {
	struct kp_file_root *root;
	char *path;			/* for messages and open() */
	const char *name;		/* last part of path */
	struct kp_map *items;		/* hash -> struct kp_file_item */
	unsigned n_reads;
	char *complaint;		/* what was last said about the file as a whole; NULL: it is fine */
	unsigned scanned;		/* number of the scan that found it last */
	bool queued;			/* waits to be read */
	/* What inotify does not tell of it: then it is looked at every second. */
	enum kp_file_unseen {
		KP_FILE_SEEN,
		KP_FILE_FAR_LINK,	/* anything: a symbolic link to somewhere it does not look */
		KP_FILE_MADE,		/* whether it is complete: a file that was written before it had a name is not closed by that name */
	} unseen;
	bool in_gone;			/* is in the source's list of files to look for again */
	uint64_t gone_ms;		/* found missing then; 0: it is there */
	/* What it looked like when it was read. */
	bool young;			/* it may have changed since without looking different */
	struct kp_file_look { dev_t dev; ino_t ino; off_t size; struct timespec mtime, ctime; } look;
};

/* What a reading found new, in order of the file. Nothing happens to the table before all of it is known. */
struct kp_file_find {
	uint64_t hash[2];
	unsigned line;
	enum kp_file_state state;
	enum kp_kind kind;
	char *key;		/* NULL: not known */
	void *value;		/* of GOOD */
	char *message;		/* of REFUSED: "Service default/web: field: why" */
	unsigned message_line;
};

struct kp_file_draft {
	struct kp_file_find *finds;
	size_t n, cap;
};
void kp_file_draft_release(struct kp_file_draft *d);

/* 0, or -errno with err saying what is wrong with the file as a whole (-ENOENT: it is not there). */
int kp_file_read(struct kp_file *f, struct kp_file_draft *draft, struct kp_err *err);

struct kp_file_table;
/* again: asks for one more reading of the file, as an object of it is needed after all. */
struct kp_file_table *kp_file_table_new(const struct kp_sink *sink, void (*again)(struct kp_file *f));
struct kp_file_table *kp_file_table_free(struct kp_file_table *t);	/* after all files */
/* Takes over what the last reading found; what it did not see is removed. Returns how much was refused. */
unsigned kp_file_table_apply(struct kp_file_table *t, struct kp_file *f, struct kp_file_draft *draft);
/* The end of a burst: removals. True: the sink was told something since the last time. */
bool kp_file_table_settle(struct kp_file_table *t);

struct kp_file *kp_file_new(struct kp_file_root *root, const char *name);
void kp_file_free(void *f);	/* a struct kp_file; the table must have forgotten it */
struct kp_file_look kp_file_look(const struct stat *st);
bool kp_file_is_young(const struct kp_file_look *look);

struct kp_file_root {
	struct kp_file_source *source;
	size_t index;			/* place among the paths */
	char *path;			/* as given */
	char *dir;			/* the folder to look at: path, or where path is */
	char *only;			/* name of the one file; NULL: all in dir that look like objects */
	int wd;				/* inotify watch of dir; -1: none */
	dev_t dev;			/* what dir was when it was looked at last; */
	ino_t ino;			/* 0: it was not there */
	bool warned;			/* about wd */
	int unlisted;			/* why dir could not be listed last time (errno); 0: it could */
	uint64_t gone_ms;		/* dir found missing then; 0: it is there */
	bool pipes;			/* a pipe or device is as good as a file: it is read only once */
	unsigned n_scans;
	bool is_remote;			/* inotify does not see what other hosts do there */
	size_t n_unseen;		/* files whose unseen is set */
	struct kp_map *files;		/* name -> struct kp_file */
};

/* -errno if path does not exist. Looks at nothing else yet. */
int kp_file_root_init(struct kp_file_root *r, struct kp_file_source *s, const char *path, size_t index,
		      struct kp_err *err);
void kp_file_root_release(struct kp_file_root *r);
/* Queues every file in it; those that are missing are gone. only_changed: leaves out those that look the same. */
void kp_file_root_scan(struct kp_file_root *r, bool only_changed);
/*
 * Is dir still the folder that is watched? If not: watches what is there now, and scans.
 * inotify < 0: there is none.
 */
void kp_file_root_check(struct kp_file_root *r, int inotify, uint64_t now_ms);
/*
 * Looks at what inotify cannot see: links, single files mounted from elsewhere, new files
 * that may be complete, and everything on network file systems or when there is no watch.
 */
void kp_file_root_poll(struct kp_file_root *r, uint64_t now_ms);
/* Something happened to this name in dir. */
void kp_file_root_event(struct kp_file_root *r, uint32_t mask, const char *name);

void kp_file_set_unseen(struct kp_file *f, enum kp_file_unseen what);

/* The source, as its parts see it. */
void kp_file_enqueue(struct kp_file *f);	/* to be read soon */
void kp_file_missing(struct kp_file *f);	/* gone unless it returns soon */
void kp_file_unwatch(struct kp_file_root *r);	/* unless another root has the same watch */

#endif
