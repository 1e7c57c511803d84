#ifndef KP_SOURCE_FILE_H
#define KP_SOURCE_FILE_H

#include "proxy/source/source.h"

struct event_base;
struct kp_err;
struct kp_file_source;

/*
 * Objects from files and folders (--objects). A folder stands for the *.yaml, *.yml
 * and *.json in it, not below it; names that begin with a dot are left out. Changes
 * are noticed by inotify, also replacement by rename and ConfigMap symlink flips. A
 * file that does not parse keeps its last good objects; an object that is refused
 * keeps its last good form; both are logged with file, line, object and field, and
 * recover by themselves. A vanished file's objects are removed. An object found in
 * two files: the file first in order keeps it, the other is named in a warning and
 * takes over when the first lets go.
 * A path that does not exist at the start is an error; later it may vanish and return.
 */
int kp_file_source_new(struct kp_file_source **ret, struct event_base *base, const char *const *paths,
		       size_t n_paths, const struct kp_sink *sink, struct kp_err *err);
struct kp_file_source *kp_file_source_free(struct kp_file_source *s);

/* Read everything once without a loop (render, check): same rules; < 0 if anything was refused or unreadable. */
int kp_file_read_once(const char *const *paths, size_t n_paths, const struct kp_sink *sink, struct kp_err *err);

#endif
