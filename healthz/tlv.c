#include "healthz/proxyproto.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	TLV_CRC32C = 0x03,
	TLV_GCP = 0xe0,
	TLV_AWS = 0xea,
	TLV_AZURE = 0xee,
};
#define TLV_HEAD 3		/* type and length */
#define CRC_LEN 4
#define SUBTYPE_LINK 1		/* Azure: private endpoint; AWS: VPC endpoint */

static uint64_t big_endian(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | *p++;
	return v;
}

uint32_t hz_crc32c(uint32_t crc, const uint8_t *p, size_t len)
{
	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* Over the whole header, as if the checksum itself were zero. */
static bool crc_fits(const uint8_t *header, size_t len, size_t at)
{
	static const uint8_t zeros[CRC_LEN];
	uint32_t crc = hz_crc32c(0, header, at);

	crc = hz_crc32c(crc, zeros, CRC_LEN);
	crc = hz_crc32c(crc, header + at + CRC_LEN, len - at - CRC_LEN);
	return crc == big_endian(header + at, CRC_LEN);
}

static void read_azure(const uint8_t *v, size_t len, struct hz_pp_link *ret)
{
	if (len != 5 || v[0] != SUBTYPE_LINK)
		return;
	ret->cloud = HZ_PP_AZURE;	/* the only little-endian number of the protocol */
	snprintf(ret->id, sizeof(ret->id), "%" PRIu32,
		 (uint32_t)v[4] << 24 | (uint32_t)v[3] << 16 | (uint32_t)v[2] << 8 | v[1]);
}

static void read_aws(const uint8_t *v, size_t len, struct hz_pp_link *ret)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

	if (len < 2 || v[0] != SUBTYPE_LINK || len - 1 >= sizeof(ret->id))	/* an empty id says nothing */
		return;
	for (size_t i = 1; i < len; i++)
		if (!v[i] || !strchr(allowed, v[i]))
			return;
	ret->cloud = HZ_PP_AWS;
	memcpy(ret->id, v + 1, len - 1);
	ret->id[len - 1] = '\0';
}

static void read_gcp(const uint8_t *v, size_t len, struct hz_pp_link *ret)
{
	if (len != 8)
		return;
	ret->cloud = HZ_PP_GCP;
	snprintf(ret->id, sizeof(ret->id), "%" PRIu64, big_endian(v, len));
}

/* All others mean nothing here. */
static const struct {
	uint8_t type;
	void (*read)(const uint8_t *v, size_t len, struct hz_pp_link *ret);
} links[] = {
	{ TLV_GCP, read_gcp },
	{ TLV_AWS, read_aws },
	{ TLV_AZURE, read_azure },
};

static void read_link(uint8_t type, const uint8_t *v, size_t len, struct hz_pp_link *ret)
{
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (links[i].type == type)
			links[i].read(v, len, ret);
}

enum hz_pp_error hz_tlv_parse(const uint8_t *header, size_t at, struct hz_pp *ret)
{
	bool checked = false;

	for (; at < ret->len; ) {
		size_t left = ret->len - at, len = left < TLV_HEAD ? 0 : (size_t)big_endian(header + at + 1, 2);
		const uint8_t *v = header + at + TLV_HEAD;

		if (left < TLV_HEAD + len) {
			ret->tlv_malformed = true;
			break;
		}
		if (header[at] != TLV_CRC32C) {
			read_link(header[at], v, len, &ret->link);
		} else {
			/* One is enough: a header full of them would be a lot of work. */
			if (checked || len != CRC_LEN || !crc_fits(header, ret->len, at + TLV_HEAD))
				return HZ_PP_CRC;
			checked = true;
		}
		at += TLV_HEAD + len;
	}
	return HZ_PP_OK;
}
