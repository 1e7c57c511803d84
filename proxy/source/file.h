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
 * takes over when the first lets go. Of two definitions in one file the first counts.
 *
 * Files count as vanished when they have been missing for 0.1 s (folders: 1 s), so that
 * nothing happens while an editor replaces one. A file of no bytes at all does not parse:
 * full disks leave such files behind. Changes behind symbolic links that lead out of the
 * folder are seen within a second; so are all changes where inotify is not to be had, and
 * those that other hosts make on network file systems, as soon as this host knows of them. A
 * new file is read when it is closed, or when nothing was written to it for two seconds.
 * A path that does not exist at the start is an error; later it may vanish and return.
 *
 * The sink is called from the loop, never from kp_file_source_new().
 */
int kp_file_source_new(struct kp_file_source **ret, struct event_base *base, const char *const *paths,
		       size_t n_paths, const struct kp_sink *sink, struct kp_err *err);
struct kp_file_source *kp_file_source_free(struct kp_file_source *s);

/*
 * Read everything once without a loop (render, check): same rules, and a path may also be
 * a pipe (/dev/stdin). What is wrong is logged; < 0 if anything was refused or unreadable.
 */
int kp_file_read_once(const char *const *paths, size_t n_paths, const struct kp_sink *sink, struct kp_err *err);

#endif
