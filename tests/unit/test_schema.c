#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/schema.h"
#include "proxy/base/buf.h"

/* Bytes as nft 1.0.6 writes them (nft-design 4.1): what nft needs to print our sets. */
#define U32(n) n "000000"
#define IP4_DADDR "00" "04" U32("07") "01" "0c" "00" "04" U32("0c") "01" "04" U32("0c")
#define IP6_DADDR "00" "04" U32("07") "01" "0c" "00" "04" U32("0d") "01" "04" U32("09")
#define L4PROTO "00" "04" U32("09") "01" "06" "00" "04" U32("10")
#define DPORT "00" "04" U32("07") "01" "0c" "00" "04" U32("0b") "01" "04" U32("02")
#define SLOT "00" "04" U32("17") "01" "12" "00" "04" U32("01") "01" "04" U32("02") "02" "04" U32("00")
#define ORDER "00" "04" U32("00") "01" "04" U32("00")
#define VERDICT "04" "08" "00" "04" U32("01") "01" "00" "06" "04" U32("00")
#define ENDPOINT(daddr) "04" "34" "00" "04" U32("0d") "01" "2c" "00" "14" daddr "01" "14" DPORT "06" "04" U32("00")

static const struct {
	enum dp_set set;
	enum kp_family f;
	uint32_t key_type, key_len, data_type, data_len, flags;
	const char *decl, *udata;
} sets[] = {
	{ DP_SVC, KP_IPV4, 0x730d, 12, 0xffffff00, 0, 8, "typeof ip daddr . meta l4proto . th dport : verdict",
	  ORDER "03" "44" "00" "04" U32("0d") "01" "3c" "00" "14" IP4_DADDR "01" "0e" L4PROTO "02" "14" DPORT VERDICT },
	{ DP_SVC, KP_IPV6, 0x830d, 24, 0xffffff00, 0, 8, "typeof ip6 daddr . meta l4proto . th dport : verdict",
	  ORDER "03" "44" "00" "04" U32("0d") "01" "3c" "00" "14" IP6_DADDR "01" "0e" L4PROTO "02" "14" DPORT VERDICT },
	{ DP_NP, KP_IPV4, 0x30d, 8, 0xffffff00, 0, 8, "typeof meta l4proto . th dport : verdict",
	  ORDER "03" "2e" "00" "04" U32("0d") "01" "26" "00" "0e" L4PROTO "01" "14" DPORT VERDICT },
	{ DP_EPS, KP_IPV4, 0x1cc344, 16, 0x1cd, 8, 8,
	  "typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport",
	  ORDER "03" "60" "00" "04" U32("0d") "01" "58" "00" "14" IP4_DADDR "01" "0e" L4PROTO "02" "14" DPORT
	  "03" "1a" SLOT ENDPOINT(IP4_DADDR) },
	{ DP_EPS, KP_IPV6, 0x20c344, 28, 0x20d, 20, 8,
	  "typeof ip6 daddr . meta l4proto . th dport . numgen random mod 2 : ip6 daddr . th dport",
	  ORDER "03" "60" "00" "04" U32("0d") "01" "58" "00" "14" IP6_DADDR "01" "0e" L4PROTO "02" "14" DPORT
	  "03" "1a" SLOT ENDPOINT(IP6_DADDR) },
	{ DP_NPEPS, KP_IPV4, 0xc344, 12, 0x1cd, 8, 8,
	  "typeof meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport",
	  ORDER "03" "4a" "00" "04" U32("0d") "01" "42" "00" "0e" L4PROTO "01" "14" DPORT "02" "1a" SLOT ENDPOINT(IP4_DADDR) },
	{ DP_CLUSTER_IPS, KP_IPV4, 7, 4, 0, 0, 0, "type ipv4_addr", "00" "04" U32("02") },
	{ DP_CLUSTER_IPS, KP_IPV6, 8, 16, 0, 0, 0, "type ipv6_addr", "00" "04" U32("02") },
	{ DP_HAIRPIN, KP_IPV4, 0x1c7, 8, 0, 0, 0, "type ipv4_addr . ipv4_addr", "00" "04" U32("00") },
	{ DP_HAIRPIN, KP_IPV6, 0x208, 32, 0, 0, 0, "type ipv6_addr . ipv6_addr", "00" "04" U32("00") },
	{ DP_AFF, KP_IPV4, 7, 4, 0x1cd, 8, 0x38, "type ipv4_addr : ipv4_addr . inet_service",
	  "00" "04" U32("02") "01" "04" U32("00") "04" "08" "00" "04" U32("0d") "01" "00" "06" "04" U32("00") },
};

static char *hex(const void *p, size_t len)
{
	char *s = calloc(1, 2 * len + 1);

	for (size_t i = 0; i < len; i++)
		sprintf(s + 2 * i, "%02x", ((const uint8_t *)p)[i]);
	return s;
}

START_TEST(definition)
{
	enum dp_set set = sets[_i].set;
	enum kp_family f = sets[_i].f;
	struct kp_buf decl = { 0 }, udata = { 0 };
	char *got;

	dp_set_decl(set, f, &decl);
	dp_set_udata(set, f, &udata);
	got = hex(udata.data, udata.len);
	ck_assert_str_eq(decl.data, sets[_i].decl);
	ck_assert_str_eq(got, sets[_i].udata);
	ck_assert_uint_eq(dp_set_key_type(set, f), sets[_i].key_type);
	ck_assert_uint_eq(dp_set_key_len(set, f), sets[_i].key_len);
	ck_assert_uint_eq(dp_set_data_len(set, f), sets[_i].data_len);
	ck_assert_uint_eq(dp_set_flags(set), sets[_i].flags);
	if (sets[_i].data_type)
		ck_assert_uint_eq(dp_set_data_type(set, f), sets[_i].data_type);
	free(got);
	kp_buf_release(&decl);
	kp_buf_release(&udata);
}
END_TEST

static struct kp_addr addr(const char *s)
{
	struct kp_addr a;

	ck_assert(kp_addr_parse(s, &a));
	return a;
}

START_TEST(key_bytes)
{
	struct dp_elem e = { .set = DP_EPS, .proto = IPPROTO_TCP, .port = 80, .slot = 2, .to_port = 8080 };
	uint8_t key[DP_KEY_MAX], data[DP_KEY_MAX];
	struct kp_buf text = { 0 };
	char *got;

	e.ip = addr("10.96.0.10");
	e.to = addr("10.244.2.3");
	memset(key, 0xaa, sizeof(key));		/* padding must not be what was there before */
	got = hex(key, dp_elem_key(&e, KP_IPV4, key));
	ck_assert_str_eq(got, "0a60000a" "06000000" "00500000" "02000000");
	free(got);
	got = hex(data, dp_elem_data(&e, KP_IPV4, data));
	ck_assert_str_eq(got, "0af40203" "1f900000");
	free(got);
	dp_key_print(DP_EPS, KP_IPV4, key, &text);
	ck_assert_str_eq(text.data, "10.96.0.10 . tcp . 80 . 2");
	kp_buf_release(&text);
}
END_TEST

START_TEST(key_bytes_v6)
{
	struct dp_elem e = { .set = DP_SVC, .proto = IPPROTO_SCTP, .port = 443, .ip = addr("fd00::1") };
	uint8_t key[DP_KEY_MAX];
	struct kp_buf text = { 0 };
	char *got = hex(key, dp_elem_key(&e, KP_IPV6, key));

	ck_assert_str_eq(got, "fd000000000000000000000000000001" "84000000" "01bb0000");
	free(got);
	dp_key_print(DP_SVC, KP_IPV6, key, &text);
	ck_assert_str_eq(text.data, "fd00::1 . sctp . 443");
	kp_buf_release(&text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("schema");
	TCase *tc = tcase_create("bytes");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, definition, 0, sizeof(sets) / sizeof(sets[0]));
	tcase_add_test(tc, key_bytes);
	tcase_add_test(tc, key_bytes_v6);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
