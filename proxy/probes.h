#ifndef KP_PROBES_H
#define KP_PROBES_H

#include <jansson.h>

struct hz_report;
struct kp_buf;

/*
 * What "proxylet probes" shows: who probes this node, how often, and what it is told. As
 * with "status", JSON goes through the socket, and text is made from it.
 */
json_t *kp_probes_json(const struct hz_report *r);
void kp_probes_text(const json_t *probes, struct kp_buf *out);

#endif
