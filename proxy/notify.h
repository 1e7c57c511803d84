#ifndef KP_NOTIFY_H
#define KP_NOTIFY_H

struct event_base;
struct hz_server;
struct kp_kube_source;
struct kp_other_view;

/*
 * What users of the cluster are told as events (kube-proxy-behaviour 10.3): that the proxy
 * of this node starts, health ports of Services that cannot be opened, and another proxy that is
 * back. Main thread; all arguments are borrowed and outlive it.
 */
struct kp_notify;

struct kp_notify *kp_notify_new(struct event_base *base, struct kp_kube_source *api, struct hz_server *server,
				const char *node_name);
struct kp_notify *kp_notify_free(struct kp_notify *n);	/* NULL is fine; returns NULL */

/* kp_takeover_hooks.other: it came back, or went again. */
void kp_notify_other(struct kp_notify *n, const struct kp_other_view *v);

#endif
