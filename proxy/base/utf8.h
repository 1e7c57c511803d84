#ifndef KP_BASE_UTF8_H
#define KP_BASE_UTF8_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Paths and names may be any bytes, and a cut text may end within a character; JSON has a place for neither. */

/* How many bytes the character at s takes, of the n > 0 there are; 0: that is no UTF-8. */
size_t kp_utf8_len(const char *s, size_t n);
bool kp_utf8_is(const char *s);		/* all of it */

/* A string with U+FFFD in place of each byte that is no UTF-8; the caller's reference. */
json_t *kp_json_textn(const char *s, size_t n);
json_t *kp_json_text(const char *s);	/* NULL is null */

#endif
