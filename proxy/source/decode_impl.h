#ifndef KP_SOURCE_DECODE_IMPL_H
#define KP_SOURCE_DECODE_IMPL_H

#include "proxy/source/decode.h"

/*
 * Shared by the decoders of the kinds; nobody else includes this.
 *
 * A decoder reads fields one after the other and never asks whether one failed: the
 * first refusal is kept, later ones are ignored, and kp_decode() throws the half-built
 * object away. A refused or absent field reads as its fallback, so that going on is
 * always safe; loops over lists from outside stop when dec->failed is set.
 */
struct kp_dec {
	bool strict, failed;
	struct kp_object *obj;
	struct kp_decode_error *err;
};

/* Where a value stands: a chain of stack frames, made into text only when something is wrong. */
struct kp_at {
	const struct kp_at *up;
	const char *name;	/* NULL: element index of up */
	size_t index;
};

#define KP_AT(up, name) (&(const struct kp_at){ (up), (name), 0 })
#define KP_AT_INDEX(up, i) (&(const struct kp_at){ (up), NULL, (i) })

/* Words and the values they stand for; ends with a NULL word. */
struct kp_word {
	const char *word;
	int value;
};
extern const struct kp_word kp_proto_words[], kp_family_words[], kp_policy_words[];

/* Both are for the value at at. The text names it first: "70000: must be ...". */
void kp_dec_refuse(struct kp_dec *d, const struct kp_at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void kp_dec_note(struct kp_dec *d, const struct kp_at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Refuse when strict, else note. For what kube-proxy skips and the API server refuses. */
void kp_dec_refuse_or_note(struct kp_dec *d, const struct kp_at *at, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Text from outside for a message: in quotes, cut when long. Returns out. */
#define KP_QUOTE_LEN 72
const char *kp_dec_quote(const char *s, char out[KP_QUOTE_LEN]);

/*
 * Members of obj, which stands at up; obj may be NULL. Absent and null are the same.
 * A wrong JSON type is refused, strict or not, as the API machinery does.
 */
json_t *kp_dec_object(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key);
json_t *kp_dec_list(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key);
const char *kp_dec_text(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key); /* or NULL */
bool kp_dec_bool(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key, bool fallback);
/* Not between lo and hi: refused when strict, else a note and fallback. */
long kp_dec_int(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key,
		long lo, long hi, long fallback);
/* One of the words; unknown: refused when strict, else a note and -1. Absent or "": fallback. */
int kp_dec_word(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key,
		const struct kp_word *words, int fallback);

/* Elements of a list; at is the element's place. */
json_t *kp_dec_element(struct kp_dec *d, const struct kp_at *at, json_t *v);	/* an object, else NULL */
const char *kp_dec_element_text(struct kp_dec *d, const struct kp_at *at, json_t *v);

/* Text to address, or to range (blanks around it are fine). What does not parse: refused when strict, else a note. */
bool kp_dec_addr(struct kp_dec *d, const struct kp_at *at, const char *s, struct kp_addr *ret);
bool kp_dec_cidr(struct kp_dec *d, const struct kp_at *at, const char *s, struct kp_cidr *ret);
/* A list of such. Returns the array (caller frees) or NULL. */
struct kp_cidr *kp_dec_cidrs(struct kp_dec *d, const struct kp_at *up, json_t *obj, const char *key, size_t *ret_n);

/* Strict only: refuse addresses traffic must never be sent to or taken from: loopback, link-local, ... */
void kp_dec_check_ordinary(struct kp_dec *d, const struct kp_at *at, const char *s, const struct kp_addr *a);

/* Strict only: refuse text of the wrong form. */
enum kp_form { KP_DNS_LABEL, KP_DNS_SUBDOMAIN, KP_LABEL_VALUE };
void kp_dec_check_form(struct kp_dec *d, const struct kp_at *at, const char *s, enum kp_form form);

/* RFC 3339 to nanoseconds since 1970. False: not such a time, or before 1970. */
bool kp_dec_parse_time(const char *s, uint64_t *ret_ns);

/* metadata. The place of the object itself is NULL, that of its metadata KP_AT(NULL, "metadata"). */
const char *kp_dec_label(struct kp_dec *d, json_t *object, const char *label);		/* or NULL */
const char *kp_dec_annotation(struct kp_dec *d, json_t *object, const char *annotation);	/* or NULL */

/* The kinds. The returned object may be half built if d->failed. A slice may be NULL: it is ignored. */
struct kp_service *kp_dec_service(struct kp_dec *d, json_t *object, const char *ns, const char *name);
struct kp_slice *kp_dec_slice(struct kp_dec *d, json_t *object, const char *ns, const char *name);
struct kp_node *kp_dec_node(struct kp_dec *d, json_t *object, const char *name);
struct kp_service_cidr *kp_dec_service_cidr(struct kp_dec *d, json_t *object, const char *name);

#endif
