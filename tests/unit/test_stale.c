#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "nft/conntrack.h"
#include "nft/stale.h"
#include "nft/wanted.h"
#include "proxy/base/map.h"

/* What the kernel refused for a while: its flows follow rules that no plan of those noted tells of. */

#define SEC 1000000000ull

static char key[] = "default/dns";

/* A Service at one front end with one endpoint, 10.1.0.last. */
struct service {
	struct kp_plan plan;
	struct kp_plan_port port;
	struct kp_frontend fe;
	struct kp_backend endpoint;
};

static struct kp_plan *service(struct service *s, uint8_t last)
{
	*s = (struct service){
		.fe = { .kind = KP_FE_CLUSTER_IP, .claimed = true, .port = 53, .ip = { KP_IPV4, { 10, 96, 0, 10 } } },
		.endpoint = { .addr = { KP_IPV4, { 10, 1, 0, last } }, .port = 5353 },
	};
	s->port = (struct kp_plan_port){
		.proto = IPPROTO_UDP, .frontends = &s->fe, .n_frontends = 1,
		.cluster = &s->endpoint, .n_cluster = 1, .serving = &s->endpoint, .n_serving = 1,
	};
	s->plan = (struct kp_plan){ .refs = 1, .key = key, .ports = &s->port, .n_ports = 1 };
	return &s->plan;
}

static struct dp_ct *ct;
static struct dp_wanted want;
static struct kp_map *refused;

static void setup(void)
{
	ct = dp_ct_new();
	want = (struct dp_wanted){ .plans = kp_map_new(NULL) };
	refused = kp_map_new(NULL);
}

static void teardown(void)
{
	kp_map_free(refused);
	kp_map_free(want.plans);
	dp_ct_free(ct);
}

/* A write that was acknowledged, of a new plan if is is not NULL. */
static void commit(struct kp_plan *was, struct kp_plan *is, bool refuses)
{
	struct dp_change change = { .key = key, .plan = is };
	const struct dp_batch b = { .changes = &change, .n_changes = 1 };
	struct dp_refusal r = { .key = key };
	const struct dp_result res = { .refused = &r, .n_refused = refuses };

	if (is) {
		kp_map_puts(want.plans, key, is);
		dp_stale_note(ct, &want, &b, &was);
	}
	dp_stale_note_accepted(ct, NULL, &want, refused, &res);
}

/* Does what is due. Returns the last octet of the endpoint that was looked for; 0: it was the front end. */
static uint8_t looked_for(void)
{
	struct dp_ct_part p[DP_CT_MAX_PARTS];
	size_t n = dp_ct_set_parts(dp_ct_set(ct), KP_IPV4, 0, p);

	ck_assert_uint_eq(n, 1);
	dp_ct_set_done(dp_ct_set(ct), KP_IPV4, 0, false, SEC);
	return p[0].frontend ? 0 : p[0].endpoint.b[3];
}

START_TEST(accepted_at_once)
{
	struct service one, two;

	commit(service(&one, 1), service(&two, 2), false);
	ck_assert_uint_eq(looked_for(), 1);
	commit(NULL, NULL, false);
	ck_assert_uint_eq(dp_ct_set_due(dp_ct_set(ct), KP_IPV4, 0), 0);
}
END_TEST

/* The same plan, tried again. */
START_TEST(accepted_later)
{
	struct service one, two;

	commit(service(&one, 1), service(&two, 2), true);
	ck_assert_uint_eq(looked_for(), 1);
	commit(NULL, NULL, true);
	ck_assert_uint_eq(dp_ct_set_due(dp_ct_set(ct), KP_IPV4, 0), 0);
	commit(NULL, NULL, false);
	ck_assert_uint_eq(looked_for(), 0);
	commit(NULL, NULL, false);
	ck_assert_uint_eq(dp_ct_set_due(dp_ct_set(ct), KP_IPV4, 0), 0);
}
END_TEST

/* The next plan: flows lead to the endpoint before the last. */
START_TEST(another_is_accepted)
{
	struct service one, two, three;

	commit(service(&one, 1), service(&two, 2), true);
	ck_assert_uint_eq(looked_for(), 1);
	commit(&two.plan, service(&three, 3), false);
	ck_assert_uint_eq(looked_for(), 0);
	commit(&three.plan, service(&one, 1), false);
	ck_assert_uint_eq(looked_for(), 3);
}
END_TEST

START_TEST(deleted_instead)
{
	struct service one;

	commit(NULL, service(&one, 1), true);
	ck_assert_uint_eq(looked_for(), 0);
	kp_map_dels(want.plans, key);
	commit(NULL, NULL, false);
	ck_assert_uint_eq(dp_ct_set_due(dp_ct_set(ct), KP_IPV4, 0), 0);
}
END_TEST

/* Node ports that answer at loopback addresses do so in mode iptables alone; a flow there is otherwise somebody else's. */
START_TEST(node_port_at_loopback)
{
	struct kp_addr ips[] = { { KP_IPV4, { 127, 0, 0, 1 } }, { KP_IPV4, { 192, 0, 2, 1 } } };
	const struct dp_ct_entry flow = {
		.proto = IPPROTO_UDP, .orig_dst = ips[_i & 1], .orig_dport = 30053, .reply_src = ips[_i & 1], .reply_sport = 30053,
	};
	struct kp_plan_node node = { .nodeport_ips = { ips }, .n_nodeport_ips = { 2 }, .nodeport_localhost = _i & 2 };
	struct dp_change change = { .key = key };
	const struct dp_batch b = { .node = &node, .changes = &change, .n_changes = 1 };
	struct kp_plan *none = NULL;
	struct service s;

	change.plan = service(&s, 1);
	s.fe = (struct kp_frontend){ .kind = KP_FE_NODE_PORT, .claimed = true, .port = 30053, .ip.family = KP_IPV4 };
	want.node = &node;
	dp_stale_note(ct, &want, &b, &none);
	ck_assert_int_eq(dp_ct_set_stale(dp_ct_set(ct), &flow), _i != 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stale");
	TCase *tc = tcase_create("refused");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, accepted_at_once);
	tcase_add_test(tc, accepted_later);
	tcase_add_test(tc, another_is_accepted);
	tcase_add_test(tc, deleted_instead);
	tcase_add_loop_test(tc, node_port_at_loopback, 0, 4);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
