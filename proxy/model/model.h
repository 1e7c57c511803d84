#ifndef KP_MODEL_MODEL_H
#define KP_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/cleanup.h"
#include "proxy/model/objects.h"

/*
 * The mutable picture of the cluster, as the sources report it. Main thread only.
 * Objects are handed over (taken); the model compares them with what it holds and
 * marks as dirty the Services whose rules may differ. A key is "namespace/name".
 * Nothing here costs work proportional to the number of Services.
 */
struct kp_buf;
struct kp_model;

/* node_name: this node's, copied; decides which endpoints are local and which Node object counts. */
struct kp_model *kp_model_new(const char *node_name);
struct kp_model *kp_model_free(struct kp_model *m);
KP_DEFINE_AUTO(struct kp_model *, kp_model_free)

/*
 * Insert or replace, taking the object. True: something changed for the proxy.
 * A Service or slice that carries a foreign label counts as absent (IN-6).
 */
bool kp_model_put_service(struct kp_model *m, struct kp_service *taken);
bool kp_model_put_slice(struct kp_model *m, struct kp_slice *taken);
bool kp_model_put_node(struct kp_model *m, struct kp_node *taken);	/* other nodes are dropped: false */
bool kp_model_put_service_cidr(struct kp_model *m, struct kp_service_cidr *taken);
/* Remove; true: it was there. key is "ns/name", for ServiceCIDRs the name. The Node stays as it was last. */
bool kp_model_del_service(struct kp_model *m, const char *key);
bool kp_model_del_slice(struct kp_model *m, const char *key);
bool kp_model_del_service_cidr(struct kp_model *m, const char *name);

/* Borrowed; NULL: not there. */
const struct kp_service *kp_model_service(const struct kp_model *m, const char *key);
const struct kp_slice *kp_model_slice(const struct kp_model *m, const char *key);
const struct kp_service_cidr *kp_model_service_cidr(const struct kp_model *m, const char *name);
const struct kp_node *kp_model_node(const struct kp_model *m);
const char *kp_model_node_name(const struct kp_model *m);
size_t kp_model_n_services(const struct kp_model *m);

/* The slices of a Service, in order of their names. Returns the count; the array belongs to the model. */
size_t kp_model_slices(const struct kp_model *m, const char *key, const struct kp_slice *const **ret);

/*
 * For whoever wants everything, in no order, but not all at once: the keys under which there
 * are Services or slices now, one after the other, each with its NUL. And all ServiceCIDRs.
 */
void kp_model_keys(const struct kp_model *m, struct kp_buf *ret);
void kp_model_each_service_cidr(const struct kp_model *m, void (*fn)(void *arg, const struct kp_service_cidr *c), void *arg);

/* CIDRs of all ServiceCIDR objects for the family, sorted, without duplicates. Caller frees the array. */
size_t kp_model_service_cidrs(const struct kp_model *m, enum kp_family family, struct kp_cidr **ret);

/*
 * Services whose plan must be built again, first come first served, each key once.
 * pop hands out one key (caller frees) or NULL; removed Services come out as well and
 * are then not found in the model, and so do slices whose Service never existed.
 * A change of the own Node's zone (hints) or IPs (NF-80) marks every Service.
 */
char *kp_model_pop_dirty(struct kp_model *m);
void kp_model_mark_dirty(struct kp_model *m, const char *key);
void kp_model_mark_all_dirty(struct kp_model *m);
/*
 * When the changes of a Service's slices were triggered (EP-11), in order of arrival:
 * remembered from track on, if not before since_ns (since 1970), until taken; the first
 * thousand. A deleted slice takes the pending times of its Service along. Take right
 * after pop_dirty. The array is the caller's.
 */
void kp_model_track_triggers(struct kp_model *m, uint64_t since_ns);
size_t kp_model_take_triggers(struct kp_model *m, const char *key, uint64_t **ret);
/* True once after anything changed that kp_plan_node depends on: own Node, ServiceCIDRs. */
bool kp_model_pop_node_dirty(struct kp_model *m);

#endif
