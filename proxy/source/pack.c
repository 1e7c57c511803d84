#include "proxy/source/pack.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"

enum shape {
	NUMBER,		/* unsigned, or never negative */
	TEXT,
	OPTIONAL,	/* TEXT or NULL */
	TEXTS,		/* NULL-terminated, or NULL */
	ADDRESS,
	CIDR,
	LIST,
};

struct layout;
struct field {
	enum shape shape;
	size_t offset;
	size_t size;		/* NUMBER: of the member */
	uint64_t max;		/* NUMBER */
	size_t count;		/* LIST: offset of its length */
	const struct layout *of;	/* LIST: its elements */
};

struct layout {
	size_t size;
	const struct field *fields;
	size_t n;
	bool (*is_sound)(const void *value);	/* NULL: as long as each field is */
};

#define LAYOUT(type, table, sound) { sizeof(type), table, KP_N(table), sound }
#define AT(type, member)	.offset = offsetof(type, member)
#define N(type, member, most)	{ .shape = NUMBER, AT(type, member), .size = sizeof(((type *)0)->member), .max = (most) }
#define T(type, member)		{ .shape = TEXT, AT(type, member) }
#define O(type, member)		{ .shape = OPTIONAL, AT(type, member) }
#define TT(type, member)	{ .shape = TEXTS, AT(type, member) }
#define A(type, member)		{ .shape = ADDRESS, AT(type, member) }
#define C(type, member)		{ .shape = CIDR, AT(type, member) }
#define L(type, member, what)	{ .shape = LIST, AT(type, member), .count = offsetof(type, n_##member), .of = &(what) }

static bool is_proto(uint8_t proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static const struct field address_fields[] = { { .shape = ADDRESS } };
static const struct layout address = LAYOUT(struct kp_addr, address_fields, NULL);
static const struct field cidr_fields[] = { { .shape = CIDR } };
static const struct layout cidr = LAYOUT(struct kp_cidr, cidr_fields, NULL);

static bool sound_service_port(const void *value)
{
	return is_proto(((const struct kp_service_port *)value)->proto);
}

static const struct field service_port_fields[] = {
	T(struct kp_service_port, name),
	N(struct kp_service_port, proto, UINT8_MAX),
	N(struct kp_service_port, port, UINT16_MAX),
	N(struct kp_service_port, node_port, UINT16_MAX),
};
static const struct layout service_port = LAYOUT(struct kp_service_port, service_port_fields, sound_service_port);

static bool sound_service(const void *value)
{
	const struct kp_service *s = value;

	for (int f = 0; f < KP_N_FAMILIES; f++)
		if (s->has_ip[f] && s->cluster_ip[f].family != f)
			return false;
	return true;
}

static const struct field service_fields[] = {
	T(struct kp_service, ns),
	T(struct kp_service, name),
	N(struct kp_service, type, KP_EXTERNALNAME),
	N(struct kp_service, foreign, true),
	N(struct kp_service, headless, true),
	N(struct kp_service, has_ip[KP_IPV4], true),
	N(struct kp_service, has_ip[KP_IPV6], true),
	A(struct kp_service, cluster_ip[KP_IPV4]),
	A(struct kp_service, cluster_ip[KP_IPV6]),
	L(struct kp_service, ports, service_port),
	L(struct kp_service, external_ips, address),
	L(struct kp_service, vips, address),
	L(struct kp_service, source_ranges, cidr),
	N(struct kp_service, internal_local, true),
	N(struct kp_service, external_local, true),
	N(struct kp_service, affinity, true),
	N(struct kp_service, affinity_seconds, UINT32_MAX),
	N(struct kp_service, health_check_node_port, UINT16_MAX),
	N(struct kp_service, created, UINT64_MAX),
};

static bool sound_slice_port(const void *value)
{
	return is_proto(((const struct kp_slice_port *)value)->proto);
}

static const struct field slice_port_fields[] = {
	T(struct kp_slice_port, name),
	N(struct kp_slice_port, proto, UINT8_MAX),
	N(struct kp_slice_port, port, UINT16_MAX),
};
static const struct layout slice_port = LAYOUT(struct kp_slice_port, slice_port_fields, sound_slice_port);

static const struct field endpoint_fields[] = {
	A(struct kp_endpoint, addr),
	N(struct kp_endpoint, flags, KP_EP_READY | KP_EP_SERVING | KP_EP_TERMINATING | KP_EP_HERE),
	TT(struct kp_endpoint, zone_hints),
	TT(struct kp_endpoint, node_hints),
};
static const struct layout endpoint = LAYOUT(struct kp_endpoint, endpoint_fields, NULL);

static bool sound_slice(const void *value)
{
	const struct kp_slice *s = value;

	for (size_t i = 0; i < s->n_endpoints; i++)
		if (s->endpoints[i].addr.family != s->family)
			return false;
	return true;
}

static const struct field slice_fields[] = {
	T(struct kp_slice, ns),
	T(struct kp_slice, name),
	T(struct kp_slice, service),
	N(struct kp_slice, foreign, true),
	N(struct kp_slice, family, KP_N_FAMILIES - 1),
	L(struct kp_slice, ports, slice_port),
	L(struct kp_slice, endpoints, endpoint),
	N(struct kp_slice, fingerprint, UINT64_MAX),
};

static const struct field node_fields[] = {
	T(struct kp_node, name),
	O(struct kp_node, zone),
	L(struct kp_node, ips, address),
	L(struct kp_node, pod_cidrs, cidr),
	TT(struct kp_node, taint_keys),
	N(struct kp_node, deleting, true),
	N(struct kp_node, stand_ins, true),
};

static const struct field service_cidr_fields[] = {
	T(struct kp_service_cidr, name),
	L(struct kp_service_cidr, cidrs, cidr),
};

/* In the order of enum kp_kind, which is what a value begins with. */
static const struct layout layouts[] = {
	[KP_KIND_SERVICE] = LAYOUT(struct kp_service, service_fields, sound_service),
	[KP_KIND_SLICE] = LAYOUT(struct kp_slice, slice_fields, sound_slice),
	[KP_KIND_NODE] = LAYOUT(struct kp_node, node_fields, NULL),
	[KP_KIND_SERVICE_CIDR] = LAYOUT(struct kp_service_cidr, service_cidr_fields, NULL),
};

/* --- to bytes --- */

static void put_number(struct kp_buf *out, uint64_t n)
{
	char bytes[10];
	size_t len = 0;

	for (; n >= 0x80; n >>= 7)
		bytes[len++] = (char)(n | 0x80);
	bytes[len++] = (char)n;
	kp_buf_add(out, bytes, len);
}

static void put_text(struct kp_buf *out, const char *s)
{
	size_t len = strlen(s);

	put_number(out, len);
	kp_buf_add(out, s, len);
}

/* NULL is 0, a list of none 1. */
static void put_texts(struct kp_buf *out, char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	put_number(out, list ? n + 1 : 0);
	for (size_t i = 0; i < n; i++)
		put_text(out, list[i]);
}

static void put_address(struct kp_buf *out, const struct kp_addr *a)
{
	kp_buf_add(out, &a->family, 1);
	kp_buf_add(out, a->b, kp_addr_len(a->family));
}

static uint64_t number_in(const void *member, size_t size)
{
	union { uint8_t u8; uint16_t u16; uint32_t u32; uint64_t u64; } v = { 0 };

	memcpy(&v, member, size);
	return size == 1 ? v.u8 : size == 2 ? v.u16 : size == 4 ? v.u32 : v.u64;
}

static void put_value(struct kp_buf *out, const struct layout *l, const void *value);

static void put_list(struct kp_buf *out, const struct field *f, const char *items, size_t n)
{
	put_number(out, n);
	for (size_t i = 0; i < n; i++)
		put_value(out, f->of, items + i * f->of->size);
}

static void put_value(struct kp_buf *out, const struct layout *l, const void *value)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct field *f = &l->fields[i];
		const void *m = (const char *)value + f->offset;
		const char *text = f->shape == TEXT || f->shape == OPTIONAL ? *(const char *const *)m : NULL;

		switch (f->shape) {
		case NUMBER:
			put_number(out, number_in(m, f->size));
			break;
		case OPTIONAL:
			put_number(out, text != NULL);
			if (!text)
				break;
			/* fall through */
		case TEXT:
			put_text(out, text);
			break;
		case TEXTS:
			put_texts(out, *(char *const *const *)m);
			break;
		case ADDRESS:
			put_address(out, m);
			break;
		case CIDR:
			put_address(out, &((const struct kp_cidr *)m)->addr);
			put_number(out, ((const struct kp_cidr *)m)->len);
			break;
		case LIST:
			put_list(out, f, *(const char *const *)m, *(const size_t *)((const char *)value + f->count));
			break;
		}
	}
}

void kp_pack(struct kp_buf *out, enum kp_kind kind, const void *value)
{
	put_number(out, kind);
	put_value(out, &layouts[kind], value);
}

/* --- and back --- */

struct reader {
	const uint8_t *p, *end;
};

static bool get_number(struct reader *r, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		if (r->p == r->end || shift > 63)
			return false;
		byte = *r->p++;
		if (shift == 63 && byte > 1)
			return false;
		n |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	*ret = n;
	return n <= max;
}

static bool get_text(struct reader *r, char **ret)
{
	uint64_t len;

	if (!get_number(r, (uint64_t)(r->end - r->p), &len) || len > (uint64_t)(r->end - r->p))
		return false;
	if (len && memchr(r->p, 0, len))
		return false;
	*ret = kp_strndup((const char *)r->p, len);
	r->p += len;
	return true;
}

static bool get_optional(struct reader *r, char **ret)
{
	uint64_t there;

	return get_number(r, 1, &there) && (!there || get_text(r, ret));
}

/* What is complete is in *ret, also after a failure. */
static bool get_texts(struct reader *r, char ***ret)
{
	size_t cap = 0, n = 0;
	uint64_t left;

	if (!get_number(r, UINT64_MAX, &left))
		return false;
	while (left) {
		kp_grow(ret, n, &cap);
		(*ret)[n] = NULL;
		if (--left && !get_text(r, &(*ret)[n++]))
			return false;
	}
	if (*ret)
		*ret = kp_reallocarray(*ret, n + 1, sizeof(**ret));
	return true;
}

static bool get_bytes(struct reader *r, void *ret, size_t n)
{
	if ((size_t)(r->end - r->p) < n)
		return false;
	memcpy(ret, r->p, n);
	r->p += n;
	return true;
}

static bool get_address(struct reader *r, struct kp_addr *ret)
{
	return get_bytes(r, &ret->family, 1) && ret->family < KP_N_FAMILIES && get_bytes(r, ret->b, kp_addr_len(ret->family));
}

static bool get_cidr(struct reader *r, struct kp_cidr *ret)
{
	uint64_t len;

	if (!get_address(r, &ret->addr) || !get_number(r, kp_addr_bits(ret->addr.family), &len))
		return false;
	ret->len = (uint8_t)len;
	for (size_t bit = len; bit < kp_addr_bits(ret->addr.family); bit++)
		if (ret->addr.b[bit / 8] & 0x80 >> bit % 8)
			return false;
	return true;
}

static bool get_member(struct reader *r, const struct field *f, void *member)
{
	union { uint8_t u8; uint16_t u16; uint32_t u32; uint64_t u64; } v;
	uint64_t n;

	if (!get_number(r, f->max, &n))
		return false;
	if (f->size == 1)
		v.u8 = (uint8_t)n;
	else if (f->size == 2)
		v.u16 = (uint16_t)n;
	else if (f->size == 4)
		v.u32 = (uint32_t)n;
	else
		v.u64 = n;
	memcpy(member, &v, f->size);
	return true;
}

static bool get_value(struct reader *r, const struct layout *l, void *value);

/* Grows with what is really there: a length alone costs nothing. */
static bool get_list(struct reader *r, const struct layout *of, char **items, size_t *n)
{
	size_t cap = 0;
	uint64_t left;

	if (!get_number(r, UINT64_MAX, &left))
		return false;
	for (; left; left--) {
		*items = kp_grow_(*items, *n, &cap, of->size);
		memset(*items + *n * of->size, 0, of->size);
		if (!get_value(r, of, *items + (*n)++ * of->size))
			return false;
	}
	if (*n)
		*items = kp_reallocarray(*items, *n, of->size);
	return true;
}

static bool get_field(struct reader *r, const struct field *f, void *value)
{
	void *m = (char *)value + f->offset;

	switch (f->shape) {
	case NUMBER:
		return get_member(r, f, m);
	case TEXT:
		return get_text(r, m);
	case OPTIONAL:
		return get_optional(r, m);
	case TEXTS:
		return get_texts(r, m);
	case ADDRESS:
		return get_address(r, m);
	case CIDR:
		return get_cidr(r, m);
	case LIST:
		return get_list(r, f->of, m, (size_t *)((char *)value + f->count));
	}
	return false;
}

static bool get_value(struct reader *r, const struct layout *l, void *value)
{
	for (size_t i = 0; i < l->n; i++)
		if (!get_field(r, &l->fields[i], value))
			return false;
	return !l->is_sound || l->is_sound(value);
}

static bool set_key(struct kp_object *o)
{
	int len;

	switch (o->kind) {
	case KP_KIND_SERVICE:
		len = snprintf(o->key, sizeof(o->key), "%s/%s", o->service->ns, o->service->name);
		break;
	case KP_KIND_SLICE:
		len = snprintf(o->key, sizeof(o->key), "%s/%s", o->slice->ns, o->slice->name);
		break;
	case KP_KIND_NODE:
		len = snprintf(o->key, sizeof(o->key), "%s", o->node->name);
		break;
	default:
		len = snprintf(o->key, sizeof(o->key), "%s", o->cidr->name);
	}
	return len > 0 && (size_t)len < sizeof(o->key);
}

int kp_unpack(const char *data, size_t len, size_t *at, struct kp_object *ret)
{
	struct reader r = { (const uint8_t *)data + *at, (const uint8_t *)data + len };
	struct kp_object o = { .kind = KP_KIND_OTHER };
	uint64_t kind;

	if (*at >= len)
		return 0;
	if (!get_number(&r, KP_N(layouts) - 1, &kind))
		return -EBADMSG;
	o.kind = (enum kp_kind)kind;
	o.value = kp_calloc(1, layouts[kind].size);
	if (!get_value(&r, &layouts[kind], o.value) || !set_key(&o)) {
		kp_object_release(&o);
		return -EBADMSG;
	}
	*at = (size_t)(r.p - (const uint8_t *)data);
	*ret = o;
	return 1;
}
