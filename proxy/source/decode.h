#ifndef KP_SOURCE_DECODE_H
#define KP_SOURCE_DECODE_H

#include <jansson.h>
#include <stdbool.h>

#include "proxy/model/objects.h"

/*
 * API objects (jansson values) to model values. Pure. Everything unused is
 * dropped. Defaults of the API server are filled in where a file leaves them out.
 */
enum kp_kind { KP_KIND_SERVICE, KP_KIND_SLICE, KP_KIND_NODE, KP_KIND_SERVICE_CIDR, KP_KIND_OTHER };

struct kp_object {
	enum kp_kind kind;
	char key[520];		/* "ns/name"; cluster-scoped: "name" */
	union {
		struct kp_service *service;
		struct kp_slice *slice;		/* NULL: a slice that is ignored (IN-10, IN-11), see note */
		struct kp_node *node;
		struct kp_service_cidr *cidr;
		void *value;			/* whichever it is */
	};
	uint64_t seen_ns;	/* wall clock: when what brought it was on the socket; 0: it came otherwise */
	char note[256];		/* what was ignored and why, for the debug log; "" for nothing */
};
void kp_object_release(struct kp_object *o);
const char *kp_kind_name(enum kp_kind kind);	/* "Service", ...; "object" for others */

/* What is wrong with an object: "default/web", "spec.ports[1].port", "70000: must be between 1 and 65535". */
struct kp_decode_error {
	char object[540];	/* "Service default/web" as far as known */
	char field[256];
	char why[256];
	/* Which object it would have been; KP_KIND_OTHER and "" unless its names are sound. */
	enum kp_kind kind;
	char key[520];
};

/* Members of objects that no decoder looks at: half of what an API server sends (kp_doc_sink.unread). */
extern const char *const kp_decode_unread[];

/*
 * strict: also refuse what the API server would refuse (names, ranges, families,
 * list sizes), and fill in its defaults (namespace "default", port name "", ...).
 * Not strict: as kube-proxy reads objects, skipping what it skips. A wrong JSON type
 * in a field that is read is refused in both. list_kind: kind of the list the object
 * was in, or NULL. 0, or -EINVAL with *err filled and *ret empty.
 */
int kp_decode(json_t *object, const char *list_kind, bool strict, struct kp_object *ret,
	      struct kp_decode_error *err);

#endif
