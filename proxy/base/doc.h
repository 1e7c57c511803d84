#ifndef KP_BASE_DOC_H
#define KP_BASE_DOC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kp_err;

/*
 * YAML or JSON text as jansson values, so that one decoder serves both. The
 * documents of a stream come one by one; of a document that is a Kubernetes list
 * (a mapping with a sequence "items") the items come one by one, so that memory
 * never holds the whole list. No limit is silent: nesting over 100 levels, a single
 * item over 16 MiB, invalid UTF-8, duplicate keys, aliases that stand for more than
 * 16 MiB are errors that name the line. A string of JSON may hold "\u0000", as any
 * annotation does that somebody wrote so: who reads a string looks at its length.
 */
struct kp_doc_item {
	json_t *value;		/* borrowed by the callback */
	/*
	 * The item's own bytes (YAML: its first line indented as it is in the file), borrowed
	 * too; NULL if they do not say everything, because there are aliases in them.
	 */
	const char *text;
	size_t text_len;
	unsigned line;		/* of its first byte, from 1 */
	const char *list_kind;	/* "ServiceList" for an item of it, when the kind came first; else NULL */
	/* Two independent hashes of the text, or of the value if there is none: equal bytes, equal item. */
	uint64_t hash[2];
};

/*
 * want may be NULL; else it is asked before an item is parsed (value is NULL then):
 * false skips it, that is how unchanged items cost nothing (in JSON; YAML has to be
 * read to find an item's end). < 0 from item ends the walk.
 */
struct kp_doc_sink {
	bool (*want)(void *arg, const struct kp_doc_item *item);
	int (*item)(void *arg, const struct kp_doc_item *item);
	/*
	 * Members that nobody looks at, as they stand in JSON ("\"managedFields\""), NULL-terminated,
	 * or NULL: at any depth, a list or object under such a name is not parsed and comes as 0.
	 */
	const char *const *unread;
};

/* 0, what item returned, or -EINVAL with err = "line N: ..." (text that does not parse). */
int kp_doc_walk(const char *text, size_t len, const struct kp_doc_sink *sink, void *arg, struct kp_err *err);

/*
 * The same from a file, read from its current position. JSON (first byte '{' or '[')
 * is read as a stream: memory holds one item at a time, however large the file is. YAML
 * is read whole. Never maps the file: it may be truncated while we read. -errno if read fails.
 */
int kp_doc_walk_fd(int fd, const struct kp_doc_sink *sink, void *arg, struct kp_err *err);

/*
 * The one document in the text, whole (configuration files); null if the text is empty.
 * Caller owns the value. Each duplicate key is told to dup with its path (as below) and
 * line, and the last one wins; without dup it is an error.
 */
typedef void kp_doc_dup_fn(void *arg, const char *path, unsigned line);
int kp_doc_load(const char *text, size_t len, kp_doc_dup_fn *dup, void *dup_arg, json_t **ret, struct kp_err *err);

/*
 * Replaces the lists and objects under these names (as kp_doc_sink.unread) by 0, newlines
 * kept; for text that is then parsed by other means.
 */
struct kp_buf;
void kp_doc_cut_unread(const char *const *names, struct kp_buf *text);

/*
 * The line of a field, counted from 1 within text, by its path ("spec.ports[1].port",
 * "metadata.labels[kubernetes.io/service-name]"); 0: not found. Slow; for messages.
 */
unsigned kp_doc_line_of(const char *text, size_t len, const char *path);

#endif
