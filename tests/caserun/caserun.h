#ifndef TESTS_CASERUN_H
#define TESTS_CASERUN_H

#include <jansson.h>

/*
 * Runs case documents (schema: README of each family in kube-proxy-cases) against
 * our own code. A family is a folder name; its function gets one parsed document.
 */
struct case_run {
	const char *file;	/* path of the document */
	const char *sub;	/* folder below the family, "" if none: "service-to-map" */
	unsigned passed, failed, skipped;
};

void case_pass(struct case_run *r);
void case_fail(struct case_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void case_skip(struct case_run *r, const char *why);	/* reasons are counted and listed at the end */
/* Pass if cond, else fail with the text. Returns cond. */
int case_check(struct case_run *r, int cond, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef void case_fn(struct case_run *r, json_t *doc);

/* One per file: case_topology.c defines case_topology, and so on. */
case_fn case_topology, case_slices, case_services, case_nodeport_addresses, case_conntrack, case_health, case_config;
case_fn case_config_node;	/* the parts of config that ask about the node */
case_fn case_metrics, case_sysctls;	/* sysctls: conntrack/max and conntrack/sysctls */

#endif
