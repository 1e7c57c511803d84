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

/* All fields to their defaults, strings allocated. */
void kp_fields_init(struct kp_config *c);
void kp_fields_release(struct kp_config *c);
/* From a document: set what is there, default what is not; unknown names are warned of. */
void kp_fields_read(struct kp_config *c, const json_t *doc, struct kp_config_report *rep);
/* Ranges of the numbers and durations that struct kp_config keeps. */
void kp_fields_check(const struct kp_config *c, struct kp_config_report *rep);

#endif
