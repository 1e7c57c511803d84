#ifndef KP_SOURCE_KUBE_EVENTS_H
#define KP_SOURCE_KUBE_EVENTS_H

#include "proxy/source/notice.h"

struct event_base;
struct kp_kube_events;
struct kp_kube_source;

/*
 * Notices on their way to the API server, as events of events.k8s.io/v1 and in the manner of
 * client-go: the same thing said again is a series, whose count is brought up to date now and
 * then; an object is good for 25 at once and one more every five minutes. Nothing waits for
 * them: one request at a time, a bounded queue, and what a server refuses, or does not have,
 * is dropped with one line. Main thread.
 */
struct kp_kube_events *kp_kube_events_new(struct kp_kube_source *s, struct event_base *base);
struct kp_kube_events *kp_kube_events_free(struct kp_kube_events *e);	/* NULL is fine; returns NULL */

void kp_kube_events_tell(struct kp_kube_events *e, const struct kp_notice *n);

#endif
