#ifndef KP_CONFIG_CONFIG_IMPL_H
#define KP_CONFIG_CONFIG_IMPL_H

#include <jansson.h>

#include "proxy/config/config.h"

/* What the parts of config share; nobody else includes this. */

#define KP_INVALID	"FieldValueInvalid"
#define KP_UNSUPPORTED	"FieldValueNotSupported"
#define KP_WRONG_TYPE	"FieldValueTypeInvalid"
#define KP_REQUIRED	"FieldValueRequired"

/* Copies everything but type. */
void kp_report_error(struct kp_config_report *rep, const char *type, const char *field, const char *value,
		     const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void kp_report_warning(struct kp_config_report *rep, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void kp_report_note(struct kp_config_report *rep, const char *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* How a value is written, and what it is in struct kp_config. */
enum kp_value_kind {
	KP_VALUE_FIXED,		/* must be the default; not kept */
	KP_VALUE_STRING,	/* char * */
	KP_VALUE_BOOL,		/* bool */
	KP_VALUE_INT,		/* int64_t */
	KP_VALUE_FLOAT,		/* double */
	KP_VALUE_DURATION,	/* int64_t, milliseconds */
	KP_VALUE_ENDPOINT,	/* char *, "ip:port"; a file may leave out the port */
	KP_VALUE_SCALAR,	/* char *, written as string or number */
	KP_VALUE_NAME,		/* an enum: the index in names */
	KP_VALUE_EITHER,	/* bool: likewise */
	KP_VALUE_STRINGS,	/* char ** */
	KP_VALUE_SWITCHES,	/* char ** of "name=true", a mapping in the file */
	KP_VALUE_PATTERNS,	/* char ** of "file=level", a list of mappings in the file */
	KP_VALUE_MAPPINGS,	/* char ** of JSON objects, a list of mappings in the file */
};

struct kp_field {
	const char *path;
	enum kp_value_kind kind;
	bool zero_is_unset;		/* in a file; Go cannot tell them apart */
	bool identity;			/* a change is more than a running agent can follow in place */
	size_t offset;			/* in struct kp_config */
	const char *def;		/* as text */
	unsigned checked;		/* bit for each mode: min, max and check hold there */
	int64_t min, max;
	const char *const *names;	/* NAME, EITHER; an empty one stands first */
	const char *refusal;		/* of another name */
	uint16_t port;			/* ENDPOINT */
	void (*check)(const struct kp_field *f, const void *member, struct kp_config_report *rep);
	const char *idle;		/* why it means nothing; NULL: it does */
	unsigned active;		/* bit for each mode in which it means something all the same */
};

extern const struct kp_field kp_fields[];	/* path NULL ends it; mode comes first */
extern const char *const kp_sections[];		/* paths that are mappings; NULL ends it */
const struct kp_field *kp_field_by_path(const char *path);	/* NULL: there is none */
static inline const void *kp_field_in(const struct kp_field *f, const struct kp_config *c)
{
	return (const char *)c + f->offset;
}

/* A value between text, JSON and struct kp_config. */
union kp_value {
	char *string;
	char **strings;
	bool yes;
	int64_t number;
	double real;
	enum kp_mode name;
};

/* False: a problem was reported, and *ret owns nothing. */
bool kp_value_parse(const struct kp_field *f, const char *text, union kp_value *ret, struct kp_config_report *rep);
/* From a document, or the default where the document says so. */
bool kp_value_read(const struct kp_field *f, const json_t *v, union kp_value *ret, struct kp_config_report *rep);
bool kp_value_is_unset(const struct kp_field *f, const json_t *v);	/* has the type, and stands for the default */
void kp_value_store(const struct kp_field *f, struct kp_config *c, const union kp_value *taken);
/* As a document has it; the caller's reference. */
json_t *kp_value_json(const struct kp_field *f, const struct kp_config *c);
bool kp_value_is_default(const struct kp_field *f, const struct kp_config *c);

/* All fields to their defaults, strings allocated. */
void kp_fields_init(struct kp_config *c);
void kp_fields_release(struct kp_config *c);
/* From a document: set what is there, default what is not; unknown names are warned of. */
void kp_fields_read(struct kp_config *c, const json_t *doc, struct kp_config_report *rep);
/* Ranges and the checks of single fields. */
void kp_fields_check(const struct kp_config *c, struct kp_config_report *rep);
/* What is set and means nothing. */
void kp_fields_note(const struct kp_config *c, struct kp_config_report *rep);

/* An object of nothing but the AKS form's keys. */
bool kp_is_aks(const json_t *doc);

/* A whole file of at most 1 MiB, appended; 0 or -errno. */
struct kp_buf;
int kp_config_read_whole(const char *path, struct kp_buf *to, struct kp_err *err);

#endif
