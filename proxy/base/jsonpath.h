#ifndef KP_BASE_JSONPATH_H
#define KP_BASE_JSONPATH_H

#include <jansson.h>

/* Values by paths of names, "a.b.c", in mappings within mappings. */

json_t *kp_json_at(json_t *doc, const char *path);	/* borrowed; NULL: no such thing */
void kp_json_put(json_t *into, const char *path, json_t *taken);	/* makes the mappings on the way */

#endif
