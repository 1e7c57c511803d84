#include "nft/schema.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/cleanup.h"

enum dp_field { FIELD_END, FIELD_ADDR, FIELD_PROTO, FIELD_PORT, FIELD_SLOT };

/*
 * Sizes are three times a power of two, and so are their multiples: the kernel allocates a pointer for each
 * and a third more, rounded up to a power of two. Small ones stay in the processor's caches: at 1,000
 * Services the first packet of a connection takes a tenth less time than with 65,536 for all (2.5).
 */
const struct dp_set_def dp_set_defs[DP_N_SETS + 1] = {
	[DP_SVC] = { .name = "svc", .fields = { FIELD_ADDR, FIELD_PROTO, FIELD_PORT },
		     .data = DP_DATA_VERDICT, .type_of = true, .min_size = 6144 },
	[DP_NP] = { .name = "np", .fields = { FIELD_PROTO, FIELD_PORT },
		    .data = DP_DATA_VERDICT, .type_of = true, .min_size = 1536 },
	[DP_EPS] = { .name = "eps", .fields = { FIELD_ADDR, FIELD_PROTO, FIELD_PORT, FIELD_SLOT },
		     .data = DP_DATA_ENDPOINT, .type_of = true, .min_size = 12288 },
	[DP_NPEPS] = { .name = "npeps", .fields = { FIELD_PROTO, FIELD_PORT, FIELD_SLOT },
		       .data = DP_DATA_ENDPOINT, .type_of = true, .min_size = 6144 },
	[DP_CLUSTER_IPS] = { .name = "cluster-ips", .fields = { FIELD_ADDR }, .min_size = 3072 },
	[DP_NODE_IPS] = { .name = "node-ips", .fields = { FIELD_ADDR } },
	[DP_NODEPORT_IPS] = { .name = "nodeport-ips", .fields = { FIELD_ADDR } },
	[DP_HAIRPIN] = { .name = "hairpin", .fields = { FIELD_ADDR, FIELD_ADDR }, .min_size = 1536 },
	[DP_AFFREC] = { .name = "affrec", .fields = { FIELD_ADDR, FIELD_PROTO, FIELD_PORT },
			.data = DP_DATA_VERDICT, .type_of = true, .returns = true },
	[DP_AFFRECNP] = { .name = "affrecnp", .fields = { FIELD_PROTO, FIELD_PORT },
			  .data = DP_DATA_VERDICT, .type_of = true },
	[DP_AFF] = { .fields = { FIELD_ADDR }, .data = DP_DATA_ENDPOINT, .dynamic = true, .min_size = 65536 },
};

enum dp_set dp_set_by_name(const char *name)
{
	int set = 0;

	while (set < DP_N_SETS && strcmp(dp_set_defs[set].name, name) != 0)
		set++;
	return (enum dp_set)set;
}

/* The two fields of an endpoint, as if they were a key. */
static const uint8_t endpoint_fields[] = { FIELD_ADDR, FIELD_PORT, FIELD_END };

/* What nft calls a field: datatype number, typeof text, type text. */
static const struct {
	uint32_t datatype;
	uint8_t len;
	const char *type_of, *type;
} field_defs[][KP_N_FAMILIES] = {
	[FIELD_ADDR]  = { { 7, 4, "ip daddr", "ipv4_addr" }, { 8, 16, "ip6 daddr", "ipv6_addr" } },
	[FIELD_PROTO] = { { 12, 1, "meta l4proto", "inet_proto" }, { 12, 1, "meta l4proto", "inet_proto" } },
	[FIELD_PORT]  = { { 13, 2, "th dport", "inet_service" }, { 13, 2, "th dport", "inet_service" } },
	[FIELD_SLOT]  = { { 4, 4, "numgen random mod 2", "integer" }, { 4, 4, "numgen random mod 2", "integer" } },
};

static size_t padded(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static uint32_t fields_type(const uint8_t *fields, enum kp_family f)
{
	uint32_t type = 0;

	for (; *fields; fields++)
		type = type << 6 | field_defs[*fields][f].datatype;
	return type;
}

static size_t fields_len(const uint8_t *fields, enum kp_family f)
{
	size_t len = 0;

	for (; *fields; fields++)
		len += padded(field_defs[*fields][f].len);
	return len;
}

static bool is_concat(const uint8_t *fields)
{
	return fields[0] && fields[1];
}

uint32_t dp_set_key_type(enum dp_set set, enum kp_family f)
{
	return fields_type(dp_set_defs[set].fields, f);
}

size_t dp_set_key_len(enum dp_set set, enum kp_family f)
{
	return fields_len(dp_set_defs[set].fields, f);
}

uint32_t dp_set_data_type(enum dp_set set, enum kp_family f)
{
	return dp_set_defs[set].data == DP_DATA_VERDICT ? 0xffffff00 : fields_type(endpoint_fields, f);
}

size_t dp_set_data_len(enum dp_set set, enum kp_family f)
{
	return dp_set_defs[set].data == DP_DATA_ENDPOINT ? fields_len(endpoint_fields, f) : 0;
}

uint32_t dp_set_flags(enum dp_set set)
{
	const struct dp_set_def *d = &dp_set_defs[set];

	return (d->data != DP_DATA_NONE ? NFT_SET_MAP : 0) | (d->dynamic ? NFT_SET_TIMEOUT | NFT_SET_EVAL : 0);
}

uint32_t dp_verdict_code(enum dp_set set, bool chain)
{
	if (chain)
		return (uint32_t)NFT_GOTO;
	return dp_set_defs[set].returns ? (uint32_t)NFT_RETURN : NF_DROP;
}

/*
 * Userdata is a tree of (type, length, value) with one byte each for type and length;
 * numbers are 32 bits in host order. The kinds and numbers are nft's own (4.1).
 */
enum { UD_KEYBYTEORDER = 0, UD_DATABYTEORDER = 1, UD_KEY_TYPEOF = 3, UD_DATA_TYPEOF = 4, UD_DATA_INTERVAL = 6 };
enum { EXPR_VERDICT = 1, EXPR_PAYLOAD = 7, EXPR_META = 9, EXPR_CONCAT = 13, EXPR_NUMGEN = 23 };

static void tlv_u32(struct kp_buf *out, uint8_t type, uint32_t value)
{
	uint8_t head[2] = { type, 4 };

	kp_buf_add(out, head, 2);
	kp_buf_add(out, &value, 4);
}

static size_t tlv_open(struct kp_buf *out, uint8_t type)
{
	uint8_t head[2] = { type, 0 };

	kp_buf_add(out, head, 2);
	return out->len;
}

static void tlv_close(struct kp_buf *out, size_t start)
{
	out->data[start - 1] = (char)(out->len - start);
}

static void field_udata(struct kp_buf *out, uint8_t field, enum kp_family f)
{
	static const uint32_t numbers[][KP_N_FAMILIES][4] = {	/* kind, then attributes 0.. of its data */
		[FIELD_ADDR]  = { { EXPR_PAYLOAD, 12, 12 }, { EXPR_PAYLOAD, 13, 9 } },
		[FIELD_PROTO] = { { EXPR_META, 16 }, { EXPR_META, 16 } },
		[FIELD_PORT]  = { { EXPR_PAYLOAD, 11, 2 }, { EXPR_PAYLOAD, 11, 2 } },
		[FIELD_SLOT]  = { { EXPR_NUMGEN, 1, 2, 0 }, { EXPR_NUMGEN, 1, 2, 0 } },
	};
	static const uint8_t count[] = { [FIELD_ADDR] = 2, [FIELD_PROTO] = 1, [FIELD_PORT] = 2, [FIELD_SLOT] = 3 };
	size_t data;

	tlv_u32(out, 0, numbers[field][f][0]);
	data = tlv_open(out, 1);
	for (uint8_t i = 0; i < count[field]; i++)
		tlv_u32(out, i, numbers[field][f][1 + i]);
	tlv_close(out, data);
}

static void typeof_udata(struct kp_buf *out, uint8_t type, const uint8_t *fields, enum kp_family f)
{
	size_t whole = tlv_open(out, type), data;

	tlv_u32(out, 0, EXPR_CONCAT);
	data = tlv_open(out, 1);
	for (uint8_t i = 0; fields[i]; i++) {
		size_t one = tlv_open(out, i);

		field_udata(out, fields[i], f);
		tlv_close(out, one);
	}
	tlv_close(out, data);
	tlv_close(out, whole);
}

/* An empty typeof: the kind alone. */
static void plain_udata(struct kp_buf *out, uint32_t kind)
{
	size_t whole = tlv_open(out, UD_DATA_TYPEOF);

	tlv_u32(out, 0, kind);
	tlv_close(out, tlv_open(out, 1));
	tlv_close(out, whole);
}

void dp_set_udata(enum dp_set set, enum kp_family f, struct kp_buf *out)
{
	const struct dp_set_def *d = &dp_set_defs[set];

	tlv_u32(out, UD_KEYBYTEORDER, is_concat(d->fields) ? 0 : 2);
	if (d->data == DP_DATA_NONE)
		return;
	tlv_u32(out, UD_DATABYTEORDER, 0);
	if (d->type_of)
		typeof_udata(out, UD_KEY_TYPEOF, d->fields, f);
	if (d->data == DP_DATA_VERDICT)
		plain_udata(out, EXPR_VERDICT);
	else if (d->type_of)
		typeof_udata(out, UD_DATA_TYPEOF, endpoint_fields, f);
	else
		plain_udata(out, EXPR_CONCAT);
	tlv_u32(out, UD_DATA_INTERVAL, 0);
}

static void fields_decl(struct kp_buf *out, const uint8_t *fields, enum kp_family f, bool type_of)
{
	for (size_t i = 0; fields[i]; i++)
		kp_buf_printf(out, "%s%s", i ? " . " : "",
			      type_of ? field_defs[fields[i]][f].type_of : field_defs[fields[i]][f].type);
}

void dp_set_decl(enum dp_set set, enum kp_family f, struct kp_buf *out)
{
	const struct dp_set_def *d = &dp_set_defs[set];

	kp_buf_puts(out, d->type_of ? "typeof " : "type ");
	fields_decl(out, d->fields, f, d->type_of);
	if (d->data == DP_DATA_NONE)
		return;
	kp_buf_puts(out, " : ");
	if (d->data == DP_DATA_VERDICT)
		kp_buf_puts(out, "verdict");
	else
		fields_decl(out, endpoint_fields, f, d->type_of);
}

static size_t put_fields(const uint8_t *fields, enum kp_family f, const struct dp_elem *e,
			 const struct kp_addr *addr, uint16_t port, uint8_t *out)
{
	uint8_t *p = out;
	uint16_t be = htons(port);

	memset(out, 0, DP_KEY_MAX);
	for (; *fields; p += padded(field_defs[*fields][f].len), fields++) {
		switch ((enum dp_field)*fields) {
		case FIELD_ADDR:  memcpy(p, addr->b, kp_addr_len((uint8_t)f)); break;
		case FIELD_PROTO: *p = e->proto; break;
		case FIELD_PORT:  memcpy(p, &be, 2); break;
		case FIELD_SLOT:  memcpy(p, &e->slot, 4); break;
		case FIELD_END:	  break;
		}
	}
	return (size_t)(p - out);
}

size_t dp_elem_key(const struct dp_elem *e, enum kp_family f, uint8_t out[DP_KEY_MAX])
{
	return put_fields(dp_set_defs[e->set].fields, f, e, &e->ip, e->port, out);
}

size_t dp_elem_data(const struct dp_elem *e, enum kp_family f, uint8_t out[DP_KEY_MAX])
{
	return put_fields(endpoint_fields, f, e, &e->to, e->to_port, out);
}

struct dp_elem dp_elem_of_key(enum dp_set set, enum kp_family f, const uint8_t *key)
{
	struct dp_elem e = { .set = (uint8_t)set, .ip.family = (uint8_t)f };

	for (const uint8_t *fields = dp_set_defs[set].fields, *p = key; *fields; p += padded(field_defs[*fields][f].len), fields++) {
		switch ((enum dp_field)*fields) {
		case FIELD_ADDR:  memcpy(e.ip.b, p, kp_addr_len((uint8_t)f)); break;
		case FIELD_PROTO: e.proto = *p; break;
		case FIELD_PORT:  e.port = (uint16_t)(p[0] << 8 | p[1]); break;
		case FIELD_SLOT:  memcpy(&e.slot, p, 4); break;
		case FIELD_END:	  break;
		}
	}
	return e;
}

static void print_field(uint8_t field, enum kp_family f, const uint8_t *p, struct kp_buf *out)
{
	struct kp_addr a = { .family = (uint8_t)f };
	char text[KP_ADDR_STRLEN];
	uint32_t slot;

	switch ((enum dp_field)field) {
	case FIELD_ADDR:
		memcpy(a.b, p, kp_addr_len((uint8_t)f));
		kp_buf_puts(out, kp_addr_str(&a, text));
		break;
	case FIELD_PROTO:
		kp_buf_puts(out, *p == IPPROTO_TCP ? "tcp" : *p == IPPROTO_UDP ? "udp" : "sctp");
		break;
	case FIELD_PORT:
		kp_buf_printf(out, "%u", p[0] << 8 | p[1]);
		break;
	case FIELD_SLOT:
		memcpy(&slot, p, 4);
		kp_buf_printf(out, "%u", slot);
		break;
	case FIELD_END:
		break;
	}
}

void dp_key_print(enum dp_set set, enum kp_family f, const uint8_t *key, struct kp_buf *out)
{
	const uint8_t *fields = dp_set_defs[set].fields;

	for (size_t i = 0; fields[i]; i++) {
		if (i)
			kp_buf_puts(out, " . ");
		print_field(fields[i], f, key, out);
		key += padded(field_defs[fields[i]][f].len);
	}
}
