#ifndef TESTS_CASERUN_ENDPOINTS_H
#define TESTS_CASERUN_ENDPOINTS_H

#include <jansson.h>

#include "proxy/plan/endpoints.h"

struct case_run;
struct kp_model;
struct kp_slice;

/*
 * Endpoints as the documents write them, {"endpoint": "10.0.0.1:80", "isLocal": true,
 * "ready": true, ...}, and endpoint maps, "ns/svc:port/PROTO" -> array of them.
 */
void candidates_from_json(json_t *list, struct kp_candidates *ret);
void candidates_release(struct kp_candidates *c);	/* those from JSON only */

/* The map of one Service in the model (family or both: -1), as the documents have it; new reference. */
json_t *endpoints_map(const struct kp_model *m, const char *service, int family, bool hints);
/* Slices that make up one Service's part of the map. Caller frees both. */
size_t slices_from_map(json_t *map, const char *service, struct kp_slice ***ret);
/* "ns/svc" of a map's key; caller frees. */
char *service_of_key(const char *key);

/* Equal as JSON; lists of strings whose order does not matter. NULL and null mean empty. */
void check_same(struct case_run *r, const char *what, json_t *have, json_t *want);
void check_same_set(struct case_run *r, const char *what, json_t *have, json_t *want);

#endif
