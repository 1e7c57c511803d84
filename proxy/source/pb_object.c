#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "proxy/base/cleanup.h"
#include "proxy/base/utf8.h"
#include "proxy/source/pb.h"

/*
 * What the decoders (decode_*.c) read, with the field numbers of Kubernetes' published
 * definitions (generated.proto of core/v1, discovery/v1, networking/v1, meta/v1).
 */
enum type {
	TEXT,		/* "" is the same as absent, as in the JSON form */
	TEXT_POINTER,	/* "" is a value */
	BOOL, INT, TIME,
	MAP,		/* text to text */
	NESTED,
};

struct member {
	uint32_t number;
	const char *name;
	enum type type;
	bool many;
	const struct member *of;	/* NESTED: its members, ending with a NULL name */
};

#define ONE(number, name, type)		{ (number), (name), (type), false, NULL }
#define MANY(number, name, type)	{ (number), (name), (type), true, NULL }
#define MESSAGE(number, name, of)	{ (number), (name), NESTED, false, (of) }
#define MESSAGES(number, name, of)	{ (number), (name), NESTED, true, (of) }
#define END				{ 0, NULL, TEXT, false, NULL }

static const struct member object_meta[] = {
	ONE(1, "name", TEXT), ONE(3, "namespace", TEXT), ONE(6, "resourceVersion", TEXT),
	ONE(8, "creationTimestamp", TIME), ONE(9, "deletionTimestamp", TIME),
	ONE(11, "labels", MAP), ONE(12, "annotations", MAP), END
};

static const struct member list_meta[] = { ONE(2, "resourceVersion", TEXT), ONE(3, "continue", TEXT), END };

static const struct member service_port[] = {
	ONE(1, "name", TEXT), ONE(2, "protocol", TEXT), ONE(3, "port", INT), ONE(5, "nodePort", INT), END
};
static const struct member client_ip[] = { ONE(1, "timeoutSeconds", INT), END };
static const struct member affinity[] = { MESSAGE(1, "clientIP", client_ip), END };
static const struct member service_spec[] = {
	MESSAGES(1, "ports", service_port), ONE(3, "clusterIP", TEXT), ONE(4, "type", TEXT),
	MANY(5, "externalIPs", TEXT), ONE(7, "sessionAffinity", TEXT),
	MANY(9, "loadBalancerSourceRanges", TEXT), ONE(11, "externalTrafficPolicy", TEXT),
	ONE(12, "healthCheckNodePort", INT), MESSAGE(14, "sessionAffinityConfig", affinity),
	MANY(18, "clusterIPs", TEXT), MANY(19, "ipFamilies", TEXT),
	ONE(22, "internalTrafficPolicy", TEXT), END
};
static const struct member ingress[] = { ONE(1, "ip", TEXT), ONE(3, "ipMode", TEXT), END };
static const struct member load_balancer[] = { MESSAGES(1, "ingress", ingress), END };
static const struct member service_status[] = { MESSAGE(1, "loadBalancer", load_balancer), END };
static const struct member service[] = {
	MESSAGE(1, "metadata", object_meta), MESSAGE(2, "spec", service_spec),
	MESSAGE(3, "status", service_status), END
};

static const struct member conditions[] = {
	ONE(1, "ready", BOOL), ONE(2, "serving", BOOL), ONE(3, "terminating", BOOL), END
};
static const struct member named[] = { ONE(1, "name", TEXT), END };
static const struct member hints[] = {
	MESSAGES(1, "forZones", named), MESSAGES(2, "forNodes", named), END
};
static const struct member endpoint[] = {
	MANY(1, "addresses", TEXT), MESSAGE(2, "conditions", conditions),
	ONE(6, "nodeName", TEXT_POINTER), ONE(7, "zone", TEXT_POINTER), MESSAGE(8, "hints", hints), END
};
static const struct member endpoint_port[] = {
	ONE(1, "name", TEXT_POINTER), ONE(2, "protocol", TEXT), ONE(3, "port", INT), ONE(4, "appProtocol", TEXT_POINTER), END
};
static const struct member slice[] = {
	MESSAGE(1, "metadata", object_meta), MESSAGES(2, "endpoints", endpoint),
	MESSAGES(3, "ports", endpoint_port), ONE(4, "addressType", TEXT), END
};

static const struct member taint[] = { ONE(1, "key", TEXT), END };
static const struct member node_spec[] = {
	ONE(1, "podCIDR", TEXT), MESSAGES(5, "taints", taint), MANY(7, "podCIDRs", TEXT), END
};
static const struct member node_address[] = { ONE(1, "type", TEXT), ONE(2, "address", TEXT), END };
static const struct member node_condition[] = { ONE(1, "type", TEXT), ONE(2, "status", TEXT), ONE(6, "message", TEXT), END };
static const struct member node_status[] = {
	MESSAGES(4, "conditions", node_condition), MESSAGES(5, "addresses", node_address), END
};
static const struct member node[] = {
	MESSAGE(1, "metadata", object_meta), MESSAGE(2, "spec", node_spec),
	MESSAGE(3, "status", node_status), END
};

static const struct member cidr_spec[] = { MANY(1, "cidrs", TEXT), END };
static const struct member service_cidr[] = {
	MESSAGE(1, "metadata", object_meta), MESSAGE(2, "spec", cidr_spec), END
};

static const struct member status[] = {
	ONE(3, "message", TEXT), ONE(4, "reason", TEXT), ONE(6, "code", INT), END
};

static const struct {
	const char *kind;
	const struct member *members;
} kinds[] = {
	{ "Service", service }, { "EndpointSlice", slice }, { "Node", node }, { "ServiceCIDR", service_cidr },
	{ "ListMeta", list_meta }, { "Status", status },
};

static json_t *read_members(const struct member *members, const uint8_t *p, size_t n);

/* A metav1.Time; the zero time is none. */
static json_t *read_time(const uint8_t *p, size_t n)
{
	struct kp_pb m = { p, n };
	struct kp_pb_field f;
	char text[40];
	time_t t = 0;
	struct tm tm;
	int r;

	while ((r = kp_pb_next(&m, &f)) > 0)
		if (f.number == 1 && f.wire == KP_PB_VARINT)
			t = (time_t)f.n;
	if (r < 0)
		return NULL;
	if (!t || !gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_null();
	return json_string(text);
}

static json_t *read_value(const struct member *m, const struct kp_pb_field *f)
{
	switch (m->type) {
	case TEXT:
	case TEXT_POINTER:	/* any bytes: the server stores what it was given */
		return kp_json_textn((const char *)f->data, f->n);
	case BOOL:
		return json_boolean(f->n != 0);
	case INT:
		return json_integer((json_int_t)f->n);
	case TIME:
		return read_time(f->data, f->n);
	case NESTED:
		return read_members(m->of, f->data, f->n);
	case MAP:
		break;
	}
	return NULL;
}

/* An entry is a message of a key and a value; both may be missing and are "" then. */
static bool add_entry(json_t *object, const struct member *m, const struct kp_pb_field *f)
{
	static const struct member entry[] = { ONE(1, "key", TEXT_POINTER), ONE(2, "value", TEXT_POINTER), END };
	json_auto_t *pair = read_members(entry, f->data, f->n);
	json_t *map = json_object_get(object, m->name);
	const char *key = json_string_value(json_object_get(pair, "key"));
	json_t *value = json_object_get(pair, "value");

	if (!pair)
		return false;
	if (!map) {
		map = json_object();
		json_object_set_new_nocheck(object, m->name, map);
	}
	return json_object_set_new_nocheck(map, key ? key : "", value ? json_incref(value) : json_string("")) == 0;
}

static bool add_element(json_t *object, const struct member *m, json_t *value)
{
	json_t *list = json_object_get(object, m->name);

	if (!list) {
		list = json_array();
		json_object_set_new_nocheck(object, m->name, list);
	}
	return json_array_append_new(list, value) == 0;
}

/* False: this is not such a message. */
static bool add_member(json_t *object, const struct member *m, const struct kp_pb_field *f)
{
	bool is_number = m->type == BOOL || m->type == INT;
	json_t *value;

	if (f->wire != (is_number ? KP_PB_VARINT : KP_PB_BYTES))
		return false;
	if (m->type == MAP)
		return add_entry(object, m, f);
	if (m->type == TEXT && !f->n && !m->many)
		return true;
	value = read_value(m, f);
	if (!value)
		return false;
	return m->many ? add_element(object, m, value) : json_object_set_new_nocheck(object, m->name, value) == 0;
}

static const struct member *find(const struct member *members, uint32_t number)
{
	for (const struct member *m = members; m->name; m++)
		if (m->number == number)
			return m;
	return NULL;
}

/* The tables nest as deep as the recursion goes, whatever the bytes say. */
static json_t *read_members(const struct member *members, const uint8_t *p, size_t n)
{
	json_t *object = json_object();
	struct kp_pb rest = { p, n };
	struct kp_pb_field f;
	int r;

	while ((r = kp_pb_next(&rest, &f)) > 0) {
		const struct member *m = find(members, f.number);

		if (m && !add_member(object, m, &f))
			break;
	}
	if (r == 0)
		return object;
	json_decref(object);
	return NULL;
}

json_t *kp_pb_object(const char *kind, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < KP_N(kinds); i++)
		if (strcmp(kinds[i].kind, kind) == 0)
			return read_members(kinds[i].members, p, n);
	return json_object();
}

/* --- objects that stand alone --- */

const uint8_t kp_pb_magic[KP_PB_MAGIC_LEN] = { 'k', '8', 's', 0 };

static void keep_text(const struct kp_pb_field *f, char *ret, size_t room)
{
	size_t n = f->n < room ? (size_t)f->n : room - 1;

	memcpy(ret, f->data, n);
	ret[n] = '\0';
}

int kp_pb_read_type(const uint8_t *p, size_t n, struct kp_pb_type *ret)
{
	struct kp_pb m = { p, n };
	struct kp_pb_field f;
	int r;

	*ret = (struct kp_pb_type){ "", "" };
	while ((r = kp_pb_next(&m, &f)) > 0)
		if (f.number == 1 && f.wire == KP_PB_BYTES)
			keep_text(&f, ret->api_version, sizeof(ret->api_version));
		else if (f.number == 2 && f.wire == KP_PB_BYTES)
			keep_text(&f, ret->kind, sizeof(ret->kind));
	return r;
}

json_t *kp_pb_body(const uint8_t *p, size_t n)
{
	struct kp_pb_field f, raw = { .data = p };	/* an empty message need not be there */
	struct kp_pb_type type = { "", "" };
	json_t *object;
	struct kp_pb m;
	int r;

	if (n < KP_PB_MAGIC_LEN || memcmp(p, kp_pb_magic, KP_PB_MAGIC_LEN) != 0)
		return NULL;
	m = (struct kp_pb){ p + KP_PB_MAGIC_LEN, n - KP_PB_MAGIC_LEN };
	while ((r = kp_pb_next(&m, &f)) > 0)
		if (f.number == 1 && f.wire == KP_PB_BYTES && kp_pb_read_type(f.data, f.n, &type) < 0)
			return NULL;
		else if (f.number == 2 && f.wire == KP_PB_BYTES)
			raw = f;
	object = r < 0 ? NULL : kp_pb_object(type.kind, raw.data, raw.n);
	if (!object)
		return NULL;
	if (json_object_set_new(object, "kind", json_string(type.kind)) == 0 &&
	    json_object_set_new(object, "apiVersion", json_string(type.api_version)) == 0)
		return object;
	json_decref(object);	/* no UTF-8 */
	return NULL;
}
