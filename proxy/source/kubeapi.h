#ifndef KP_SOURCE_KUBEAPI_H
#define KP_SOURCE_KUBEAPI_H

#include "proxy/source/source.h"

struct event_base;
struct kp_err;
struct kp_kube_source;
struct kp_notice;
struct kp_source_status;

/*
 * Objects from a Kubernetes API server: Services, EndpointSlices, the own Node and
 * ServiceCIDRs, with kube-proxy's selectors (kube-proxy-behaviour 0.4 item 12).
 *
 * Each collection is read as a WatchList where the server can do that, else in pages
 * and then watched. synced comes when all four are complete; ServiceCIDRs that the
 * server does not have, or does not let us read, are not waited for. Whatever happens
 * to the server or the way to it afterwards: what is known stays, and after a new list
 * only the differences are told. An object that does not decode keeps its last good form.
 */
struct kp_kube_options {
	const char *kubeconfig, *master;	/* "": not given; see kp_kubeconfig_load */
	const char *const *servers;		/* instead of the kubeconfig's; NULL-terminated; NULL or none: that one */
	const char *node_name;
	bool json_only;				/* else protobuf where the server has it */
};

/*
 * Strings are copied. Fails (-errno, err) when the kubeconfig or a file it names cannot be used;
 * a server that does not answer is no failure: it is tried again for ever.
 */
int kp_kube_source_new(struct kp_kube_source **ret, struct event_base *base, const struct kp_kube_options *opt,
		       const struct kp_sink *sink, struct kp_err *err);
struct kp_kube_source *kp_kube_source_free(struct kp_kube_source *s);	/* NULL is fine; returns NULL */

/* Send an event to the server, when and if that can be done (kube_events.h); never waits. */
void kp_kube_source_tell(struct kp_kube_source *s, const struct kp_notice *n);

/* Has the server told all of a kind, at some time since the start? What is gone since then was told as well. */
bool kp_kube_source_has_listed(const struct kp_kube_source *s, enum kp_kind kind);

/* One row for each collection. */
void kp_kube_source_status(const struct kp_kube_source *s, struct kp_source_status *ret);

#endif
