#ifndef KP_BASE_DOC_IMPL_H
#define KP_BASE_DOC_IMPL_H

#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/doc.h"

/* What the parts of doc share; nobody else includes this. */

#define KP_DOC_MAX_DEPTH	100
#define KP_DOC_MAX_ITEM		(16u << 20)
#define KP_DOC_MAX_EXPANDED	(16u << 20)	/* bytes that the aliases of one document may stand for */

/* Where items go. */
struct kp_doc_out {
	const struct kp_doc_sink *sink;
	void *arg;
	struct kp_err *err;
	size_t n_seen;		/* items that were skipped or delivered */
};

void kp_doc_hash(struct kp_doc_item *item, const char *text, size_t len);
bool kp_doc_wanted(struct kp_doc_out *out, const struct kp_doc_item *item);
int kp_doc_deliver(struct kp_doc_out *out, struct kp_doc_item *item, json_t *value);	/* takes value */
/* Behind the list or object that begins at p; NULL: it does not end here. */
const char *kp_doc_end_of_brackets(const char *p, const char *end);
/* UTF-8 text may begin with a byte order mark. */
size_t kp_doc_bom_len(const char *text, size_t len);

/*
 * Push scanner: finds items in JSON text that arrives in pieces, without looking at
 * more than brackets, strings and the keys of the outermost object.
 */
struct kp_doc_json {
	struct kp_doc_out *out;
	enum { KP_JSON_GAP, KP_JSON_SHELL, KP_JSON_ELEMENTS, KP_JSON_ITEM, KP_JSON_SCALAR } state;
	unsigned depth, line;
	bool in_string, escaped;
	bool is_object;			/* the outermost value */
	bool any_element, after_comma;	/* in KP_JSON_ELEMENTS */
	unsigned n_blanks;		/* in KP_JSON_GAP: since the line began; UINT_MAX: not only these */
	/* The outermost value without the elements of its list. */
	struct kp_buf shell;
	unsigned shell_line;
	bool is_list;
	size_t cut_at;			/* offset in shell where the elements were taken out, */
	unsigned cut_lines;		/* and how many lines went with them */
	size_t str_at, str_len;		/* last string at depth 1, in shell, without its quotes */
	size_t key_at, key_len;
	char kind[64];
	struct kp_buf item;		/* the part of an item that came in earlier pieces */
	unsigned item_line;
	struct kp_buf read;		/* the text without what nobody reads */
};

/*
 * 0: all taken. 1: *ret_rest of the n bytes were taken, from there on it is no JSON
 * (text other than a bracket after a complete value, or at the start); else as kp_doc_walk.
 */
int kp_doc_json_feed(struct kp_doc_json *j, const char *p, size_t n, size_t *ret_rest);
int kp_doc_json_end(struct kp_doc_json *j);	/* the text is over */
void kp_doc_json_release(struct kp_doc_json *j);

/* line: number of the first line of text. */
int kp_doc_yaml_walk(struct kp_doc_out *out, const char *text, size_t len, unsigned line);

/* A plain scalar to its value, as sigs.k8s.io/yaml; NULL: .nan and .inf, which JSON does not have. */
json_t *kp_doc_yaml_scalar(const char *s, size_t len);

#endif
