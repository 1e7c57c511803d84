#include <check.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/plan/claims.h"

/*
 * A script: "a:12 " says that a claims the keys 1 and 2 and nothing else; "1*" is a's own
 * clusterIP. The log has an answer for each, o owned, w waits, t twice, and as they
 * happen "!x": x was told of a change, and "(x>y)": a conflict that x wins. Capitals are the
 * same holders with an older Service; "1+" is an external IP.
 */
static const struct {
	const char *name, *script, *log;
} cases[] = {
	{ "alone",			"a:12 ",		"oo " },
	{ "again",			"a:1 a:1 ",		"o o " },
	{ "same key twice",		"a:11 a:11 ",		"ot ot " },
	{ "own clusterIP first",	"a:1*1 ",		"ot " },
	{ "first name takes over",	"b:1 a:1 b:1 ",		"o (a>b)!bo w " },
	{ "second name waits",		"a:1 b:1 b:1 ",		"o (a>b)w w " },
	{ "heir is told",		"a:1 b:1 a: b:1 ",	"o (a>b)w !b o " },
	{ "waiting one leaves",		"a:1 b:1 b: a:1 ",	"o (a>b)w  o " },
	{ "order of the waiting",	"a:1 c:1 b:1 a: c:1 ",	"o (a>c)w (a>b)w !b w " },
	{ "clusterIP beats a name",	"a:1 b:1* a:1 ",	"o (b>a)!ao w " },
	{ "name waits for clusterIP",	"b:1* a:1 b: a:1 ",	"o (b>a)w !a o " },
	{ "two clusterIPs",		"b:1* a:1* b:1* ",	"o (a>b)!bo w " },
	{ "name becomes clusterIP",	"a:1 b:1 b:1* a:1 ",	"o (a>b)w (b>a)!ao w " },
	{ "clusterIP becomes name",	"b:1* a:1 b:1 a:1 ",	"o (b>a)w !a(a>b)w o " },
	{ "VIP beats external IP",	"a:1+ b:1 a:1+ ",	"o (b>a)!ao w " },
	{ "external IP waits",		"b:1 a:1+ b: a:1+ ",	"o (b>a)w !a o " },
	{ "age beats the name",		"B:1 a:1 B:1 ",		"o (b>a)w o " },
	{ "kind beats age",		"A:1+ b:1 A:1+ ",	"o (b>a)!ao w " },
	{ "made anew",			"A:1 B:1 a: B:1 a:1 ",	"o (a>b)w !b o (b>a)w " },
	{ "now it is known to be older", "a:1 b:1 B:1 a:1 ",	"o (a>b)w (b>a)!ao w " },
	{ "only what is given up",	"a:12 b:2 a:1 b:2 ",	"oo (a>b)w o!b o " },
	{ "gives up and returns",	"a:1 a: a:1 ",		"o  o " },
};

static void changed(void *arg, const char *who)
{
	kp_buf_printf(arg, "!%s", who);
}

static void conflict(void *arg, const struct kp_claim_key *key, const char *owner, const char *other)
{
	(void)key;
	kp_buf_printf(arg, "(%s>%s)", owner, other);
}

static const char *claim(struct kp_claims *c, const char *s, bool old, struct kp_buf *log)
{
	for (; isdigit((unsigned char)*s); s++) {
		struct kp_claim_key key = { .ip.b = { (uint8_t)*s }, .proto = IPPROTO_TCP, .port = 80,
					    .rank = s[1] == '*' ? 0 : s[1] == '+' ? 2 : 1, .created = old ? 7 : 8 };

		kp_buf_printf(log, "%c", "owt"[kp_claims_add(c, &key)]);
		s += key.rank != 1;
	}
	return s;
}

START_TEST(claims_case)
{
	struct kp_buf log = { 0 };
	struct kp_claims *c = kp_claims_new(&(struct kp_claims_events){ changed, conflict, &log });

	for (const char *s = cases[_i].script; *s; s++) {
		char who[] = { (char)tolower((unsigned char)*s), '\0' };
		bool old = isupper((unsigned char)*s);

		kp_claims_begin(c, who);
		s = claim(c, s + 2, old, &log);
		kp_claims_end(c);
		kp_buf_puts(&log, " ");
	}
	kp_buf_printf(&log, "%s", "");
	ck_assert_msg(strcmp(log.data, cases[_i].log) == 0, "%s: \"%s\"", cases[_i].name, log.data);
	kp_claims_free(c);
	kp_buf_release(&log);
}
END_TEST

/* Each differs from the first in one thing, so all are to be had at once. */
START_TEST(keys_differ)
{
	struct kp_claim_key keys[] = {
		{ .ip = { KP_IPV4, { 10 } }, .proto = IPPROTO_TCP, .port = 80 },
		{ .ip = { KP_IPV6, { 10 } }, .proto = IPPROTO_TCP, .port = 80 },
		{ .ip = { KP_IPV4, { 11 } }, .proto = IPPROTO_TCP, .port = 80 },
		{ .ip = { KP_IPV4, { 10 } }, .proto = IPPROTO_UDP, .port = 80 },
		{ .ip = { KP_IPV4, { 10 } }, .proto = IPPROTO_TCP, .port = 80 + 256 },
		{ .ip = { KP_IPV4, { 10 } }, .proto = IPPROTO_TCP, .port = 80, .node_port = true },
	};
	struct kp_buf log = { 0 };
	struct kp_claims *c = kp_claims_new(&(struct kp_claims_events){ changed, conflict, &log });

	kp_claims_begin(c, "a");
	for (size_t i = 0; i < KP_N(keys); i++)
		ck_assert_msg(kp_claims_add(c, &keys[i]) == KP_CLAIM_OWNED, "key %zu", i);
	for (size_t i = 0; i < KP_N(keys); i++)
		ck_assert_msg(kp_claims_add(c, &keys[i]) == KP_CLAIM_TWICE, "key %zu", i);
	kp_claims_end(c);
	kp_claims_free(c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("claims");
	TCase *tc = tcase_create("table");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, claims_case, 0, KP_N(cases));
	tcase_add_test(tc, keys_differ);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
