#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/ipt_held.h"
#include "nft/ipt_state.h"
#include "nft/ipt_write.h"
#include "proxy/base/buf.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

/*
 * A kernel behind iptables-restore --noflush: "table chain" -> its rules. It refuses what
 * the real one refuses: rules in chains and jumps to chains that are not there, and the
 * end of a chain that is not empty or that a rule leads to.
 */
struct kernel {
	struct kp_map *chains;
	unsigned written;	/* rules, by the last restore */
};

static void text_free(void *p)
{
	kp_buf_release(p);
	free(p);
}

static struct kernel kernel_new(void)
{
	static const char *const builtin[] = {
		"filter INPUT", "filter FORWARD", "filter OUTPUT", "nat PREROUTING", "nat OUTPUT", "nat POSTROUTING",
	};
	struct kernel k = { .chains = kp_map_new(text_free) };

	for (size_t i = 0; i < KP_N(builtin); i++)
		kp_map_puts(k.chains, builtin[i], kp_calloc(1, sizeof(struct kp_buf)));
	return k;
}

static void must_exist(const struct kernel *k, const char *table, const char *rule)
{
	const char *target = strstr(rule, "-j PXL-");
	char name[96];

	if (!target)
		return;
	snprintf(name, sizeof(name), "%s %s", table, target + 3);
	ck_assert_msg(kp_map_gets(k->chains, name) != NULL, "%s: a jump to %s", rule, name);
}

static void must_be_unused(const struct kernel *k, const char *table, const char *chain)
{
	char jump[96];

	snprintf(jump, sizeof(jump), "-j %s\n", chain);
	for (struct kp_map_it it = { 0 }; kp_map_next(k->chains, &it);) {
		const struct kp_buf *text = it.value;

		ck_assert_msg(strncmp(it.key, table, strlen(table)) != 0 || !text->len || !strstr(text->data, jump),
			      "%s goes, but %s leads there", chain, (const char *)it.key);
	}
}

static void add_rule(struct kp_buf *text, const char *rule, bool first)
{
	struct kp_buf before = *text;

	*text = (struct kp_buf){ 0 };
	kp_buf_printf(text, first ? "%s\n%s" : "%2$s%1$s\n", rule, before.len ? before.data : "");
	kp_buf_release(&before);
}

/* The first of them. */
static void delete_rule(struct kp_buf *text, const char *rule)
{
	struct kp_buf before = *text;
	bool found = false;

	*text = (struct kp_buf){ 0 };
	for (const char *at = before.len ? before.data : ""; *at; at += strcspn(at, "\n") + 1) {
		size_t len = strcspn(at, "\n");
		bool this = !found && strlen(rule) == len && memcmp(at, rule, len) == 0;

		found |= this;
		if (!this)
			kp_buf_printf(text, "%.*s\n", (int)len, at);
	}
	ck_assert_msg(found, "no rule \"%s\" to delete", rule);
	kp_buf_release(&before);
}

static void apply_line(struct kernel *k, const char *table, char *line)
{
	char name[96], word[64] = "";
	struct kp_buf *text;

	sscanf(line + (*line == ':' ? 1 : 3), "%63s", word);
	snprintf(name, sizeof(name), "%s %s", table, word);
	text = kp_map_gets(k->chains, name);
	if (*line == ':') {
		kp_map_puts(k->chains, name, kp_calloc(1, sizeof(struct kp_buf)));
		return;
	}
	ck_assert_msg(text != NULL, "%s: no chain %s", line, name);
	if (line[1] == 'X') {
		ck_assert_msg(!text->len, "%s goes with rules", name);
		must_be_unused(k, table, word);
		kp_map_dels(k->chains, name);
		return;
	}
	must_exist(k, table, line);
	if (line[1] == 'D')
		delete_rule(text, strchr(line + 3, ' ') + 1);
	else
		add_rule(text, strchr(line + 3, ' ') + 1, line[1] == 'I');
	k->written++;
}

static void restore(struct kernel *k, const struct kp_buf *input)
{
	KP_AUTO(kp_freep) char *copy = kp_strndup(input->len ? input->data : "", input->len);
	char *rest = NULL, table[16] = "";

	k->written = 0;
	for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (*line == '*')
			snprintf(table, sizeof(table), "%s", line + 1);
		else if (strcmp(line, "COMMIT") != 0)
			apply_line(k, table, line);
	}
}

/* As iptables-save would. */
static struct dp_ipt_held *save(const struct kernel *k)
{
	const char **keys = kp_map_sorted_keys(k->chains);
	struct kp_buf out = { 0 };
	char table[16] = "";
	struct dp_ipt_held *held;

	for (size_t i = 0; i < kp_map_len(k->chains); i++) {
		const struct kp_buf *text = kp_map_gets(k->chains, keys[i]);
		const char *name = strchr(keys[i], ' ') + 1;

		snprintf(table, sizeof(table), "%.*s", (int)(name - keys[i] - 1), keys[i]);
		kp_buf_printf(&out, "*%s\n:%s - [0:0]\n", table, name);
		for (const char *at = text->len ? text->data : ""; *at; at += strcspn(at, "\n") + 1)
			kp_buf_printf(&out, "-A %s %.*s\n", name, (int)strcspn(at, "\n"), at);
		kp_buf_puts(&out, "COMMIT\n");
	}
	held = dp_ipt_held_parse(out.data);
	kp_buf_release(&out);
	free(keys);
	return held;
}

static void commit(struct dp_ipt_state *s, struct kernel *k)
{
	struct kp_buf text = { 0 };
	uint32_t removed;

	dp_ipt_state_write(s, &text, &removed);
	restore(k, &text);
	dp_ipt_state_written(s);
	kp_buf_release(&text);
}

static void assert_same(const struct kernel *a, const struct kernel *b)
{
	for (struct kp_map_it it = { 0 }; kp_map_next(a->chains, &it);) {
		const struct kp_buf *x = it.value, *y = kp_map_get(b->chains, it.key, it.len);

		ck_assert_msg(y != NULL, "%s is only in one", (const char *)it.key);
		ck_assert_msg(x->len == y->len && (!x->len || strcmp(x->data, y->data) == 0), "%s: %s against %s",
			      (const char *)it.key, x->data, y->data);
	}
	ck_assert_uint_eq(kp_map_len(a->chains), kp_map_len(b->chains));
}

/* Something like a Service: number i in form v; 0: nothing. Forms share lines, also with other Services. */
static struct dp_ipt_rules service(unsigned i, unsigned v)
{
	struct dp_ipt_rules r = { 0 };
	struct kp_buf text = { 0 };
	char chain[DP_IPT_NAME], piece[DP_IPT_NAME];

	if (!v)
		return r;
	snprintf(chain, sizeof(chain), "PXL-SVC-%u", i);
	snprintf(piece, sizeof(piece), "PXL-SERVICES-%u", i / 3);
	dp_ipt_add_line(&r, DP_IPT_NAT, "PXL-SERVICES", '5', "-d %u -j %s", i / 3, piece);
	dp_ipt_add_line(&r, DP_IPT_NAT, piece, '5', "-d %u -j %s", i, chain);
	for (unsigned n = 0; n < v; n++)
		kp_buf_printf(&text, "-j DNAT --to-destination %u\n", n);
	dp_ipt_add_chain(&r, DP_IPT_NAT, chain, &text);
	if (v == 3)
		dp_ipt_add_line(&r, DP_IPT_FILTER, "PXL-HAIRPIN", '5', "-s 1 -d 1 -j ACCEPT");
	return r;
}

static void put(struct dp_ipt_state *s, unsigned i, unsigned v)
{
	struct dp_ipt_rules r = service(i, v);
	char key[16];

	snprintf(key, sizeof(key), "ns/s%u", i);
	dp_ipt_state_put(s, key, &r);
}

static void put_node(struct dp_ipt_state *s)
{
	static const struct { enum dp_ipt_table t; const char *name; } own[] = {
		{ DP_IPT_NAT, "PXL-POSTROUTING" }, { DP_IPT_FILTER, "PXL-FORWARD" }, { DP_IPT_FILTER, "PXL-LOCALNET" },
	};
	struct dp_ipt_rules r = { 0 };

	for (size_t i = 0; i < KP_N(own); i++) {
		struct kp_buf text = { 0 };

		kp_buf_puts(&text, "-j RETURN\n");
		dp_ipt_add_chain(&r, own[i].t, own[i].name, &text);
	}
	dp_ipt_state_put(s, "", &r);
}

/* Whatever the way, what is in the kernel is what a first write of the last state makes. */
START_TEST(any_way_ends_alike)
{
	struct dp_ipt_state *s = dp_ipt_state_new(), *fresh = dp_ipt_state_new();
	struct kernel k = kernel_new(), want = kernel_new();
	unsigned form[10] = { 0 };

	srandom((unsigned)_i + 1);
	put_node(s);
	put_node(fresh);
	for (int round = 0; round < 60; round++) {
		for (long n = random() % 4; n >= 0; n--) {
			unsigned i = (unsigned)random() % 10;

			form[i] = (unsigned)random() % 4;
			put(s, i, form[i]);
		}
		commit(s, &k);
		if (random() % 10 == 0) {	/* a restart, or a repair */
			struct dp_ipt_held *held = save(&k);

			dp_ipt_state_assume(s, held);
			dp_ipt_held_free(held);
			commit(s, &k);
		}
	}
	for (unsigned i = 0; i < 10; i++)
		put(fresh, i, form[i]);
	commit(fresh, &want);
	assert_same(&k, &want);
	dp_ipt_state_free(s);
	dp_ipt_state_free(fresh);
	kp_map_free(k.chains);
	kp_map_free(want.chains);
}
END_TEST

/* Rules written by a change: those of its own chains and of the pieces it is in, no others. */
START_TEST(only_what_changed)
{
	static const struct { unsigned i, v, want; } steps[] = {
		{ 0, 2, 0 }, { 0, 1, 1 }, { 0, 2, 2 },	/* endpoints: the own chain */
		{ 2, 1, 1 + 2 },			/* comes: its chain, and the piece of two */
		{ 2, 0, 1 },				/* goes: the piece */
		{ 9, 1, 1 + 1 + 3 },			/* a piece of its own: the list of three as well */
	};
	struct dp_ipt_state *s = dp_ipt_state_new();
	struct kernel k = kernel_new();

	put_node(s);
	put(s, 0, 2);
	put(s, 3, 1);
	commit(s, &k);
	for (size_t n = 0; n < KP_N(steps); n++) {
		put(s, steps[n].i, steps[n].v);
		commit(s, &k);
		ck_assert_msg(k.written == steps[n].want, "step %zu: %u rules", n, k.written);
	}
	dp_ipt_state_free(s);
	kp_map_free(k.chains);
}
END_TEST

/* What somebody else may do to "table chain": its text afterwards; NULL: gone. And what is said of it. */
/* before: how the chain looked by then, without damage; NULL: as it was written. */
static const struct { const char *chain, *text, *named, *before; } damages[] = {
	{ "nat PXL-SVC-0", "", "chain PXL-SVC-0 of nat changed", NULL },
	{ "nat PXL-SVC-0", "-j DNAT --to-destination 0\n-j DNAT --to-destination 7\n", "chain PXL-SVC-0 of nat changed", NULL },
	{ "nat PXL-SVC-0", "-j DNAT --to-destination 0\n", "chain PXL-SVC-0 of nat changed", NULL },
	{ "filter PXL-FORWARD", NULL, "chain PXL-FORWARD of filter deleted", NULL },
	{ "mangle PXL-CANARY", NULL, "chain PXL-CANARY of mangle deleted", NULL },
	{ "nat PREROUTING", "", "jump from PREROUTING to PXL-SERVICES of nat deleted", NULL },
	{ "filter INPUT", "", "of filter deleted", NULL },
	{ "nat PREROUTING", "-s 10.0.0.0/8 -j PXL-SERVICES\n", "jump from PREROUTING to PXL-SERVICES of nat deleted", NULL },
	{ "nat OUTPUT", "-m comment --comment x -j PXL-SERVICES\n", "jump from OUTPUT to PXL-SERVICES of nat deleted", NULL },
	{ "nat PREROUTING", "-s 10.0.0.0/8 -j PXL-SERVICES\n-j RETURN\n-j PXL-SERVICES\n",
	  "jump from PREROUTING to PXL-SERVICES of nat out of place", "-j PXL-SERVICES\n-j RETURN\n" },
	{ "nat PXL-SERVICES", "-j ACCEPT\n-j ACCEPT\n", "chain PXL-SERVICES of nat changed", NULL },
	{ "nat PREROUTING", "-j RETURN\n-j PXL-SERVICES\n", "jump from PREROUTING to PXL-SERVICES of nat out of place",
	  "-j PXL-SERVICES\n-j RETURN\n" },
	{ "nat POSTROUTING", "-m comment --comment \"a \\\" b\" -j MASQUERADE --random-fully\n-j PXL-POSTROUTING\n-j ACCEPT\n",
	  "jump from POSTROUTING to PXL-POSTROUTING of nat out of place",
	  "-j PXL-POSTROUTING\n-j ACCEPT\n-m comment --comment \"a \\\" b\" -j MASQUERADE --random-fully\n" },
	{ "nat OUTPUT", "-m comment --comment mine -g MINE\n-j PXL-SERVICES\n", "from OUTPUT to PXL-SERVICES of nat out of place",
	  "-j FOREIGN\n-j PXL-SERVICES\n-m comment --comment mine -g MINE\n" },
	{ "filter OUTPUT", "-j PXL-LOCALNET\n-m conntrack --ctstate NEW -j PXL-SERVICES\n"
	  "-m conntrack --ctstate NEW -j PXL-FIREWALL\n", "jump from OUTPUT to PXL-FIREWALL of filter out of place", NULL },
};

/* Rules of others where they do no harm, and what is there twice. */
static const struct { const char *chain, *text; } harmless[] = {
	{ "nat PREROUTING", "-d 192.0.2.7/32 -j RETURN\n-j FOREIGN\n-j PXL-SERVICES\n-j ACCEPT\n" },
	{ "nat PREROUTING", "-j RETURN\n-j PXL-SERVICES\n" },	/* new, and so meant */
	{ "nat OUTPUT", "-m comment --comment \"-j DROP\" -m mark --mark 0x1 -j ACCEPT\n-j PXL-SERVICES\n" },
	{ "nat POSTROUTING", "-j PXL-POSTROUTING\n-j MASQUERADE\n-j PXL-POSTROUTING\n" },
	{ "filter OUTPUT", "-j LOG\n-j PXL-LOCALNET\n-j FOREIGN\n-m conntrack --ctstate NEW -j PXL-FIREWALL\n"
	  "-m conntrack --ctstate NEW -j PXL-SERVICES\n-m conntrack --ctstate NEW -j PXL-FIREWALL\n" },
};

static void rewrite_chain(struct kernel *k, const char *chain, const char *rules)
{
	struct kp_buf *text = kp_calloc(1, sizeof(*text));

	kp_buf_puts(text, rules);
	kp_map_puts(k->chains, chain, text);
}

START_TEST(damage)
{
	struct dp_ipt_state *s = dp_ipt_state_new();
	struct kernel k = kernel_new();
	struct dp_ipt_held *held;
	char *what = NULL;

	put_node(s);
	put(s, 0, 2);
	put(s, 3, 1);
	commit(s, &k);
	held = save(&k);
	ck_assert_msg(dp_ipt_state_matches(s, held, &what), "untouched: %s", what);
	dp_ipt_held_free(held);
	if (damages[_i].before) {
		rewrite_chain(&k, damages[_i].chain, damages[_i].before);
		held = save(&k);
		ck_assert_msg(dp_ipt_state_matches(s, held, &what), "before: %s", what);
		dp_ipt_held_free(held);
	}
	kp_map_dels(k.chains, damages[_i].chain);
	if (damages[_i].text)
		rewrite_chain(&k, damages[_i].chain, damages[_i].text);
	held = save(&k);
	ck_assert_msg(!dp_ipt_state_matches(s, held, &what), "%s: not noticed", damages[_i].chain);
	ck_assert_msg(strstr(what, damages[_i].named) != NULL, "%s: %s", damages[_i].chain, what);
	free(what);
	dp_ipt_held_free(held);
	dp_ipt_state_free(s);
	kp_map_free(k.chains);
}
END_TEST

START_TEST(no_damage)
{
	struct dp_ipt_state *s = dp_ipt_state_new();
	struct kernel k = kernel_new();
	struct dp_ipt_held *held;
	char *what = NULL;

	put_node(s);
	commit(s, &k);
	held = save(&k);
	ck_assert_msg(dp_ipt_state_matches(s, held, &what), "untouched: %s", what);
	dp_ipt_held_free(held);
	rewrite_chain(&k, harmless[_i].chain, harmless[_i].text);
	held = save(&k);
	ck_assert_msg(dp_ipt_state_matches(s, held, &what), "%s: %s", harmless[_i].chain, what);
	dp_ipt_held_free(held);
	dp_ipt_state_free(s);
	kp_map_free(k.chains);
}
END_TEST

/* Of a chain in which one is astray or missing all go to the top, in order; what is not as we write it stays. */
START_TEST(jumps_are_put_right)
{
	static const struct { const char *before, *after; } all[] = {
		{ "-d 192.0.2.9/32 -j RETURN\n-j PXL-LOCALNET\n-m conntrack --ctstate NEW -j PXL-FIREWALL\n",
		  "-j PXL-LOCALNET\n-m conntrack --ctstate NEW -j PXL-FIREWALL\n-m conntrack --ctstate NEW -j PXL-SERVICES\n"
		  "-d 192.0.2.9/32 -j RETURN\n" },
		{ "-m conntrack --ctstate NEW -j PXL-SERVICES\n-j PXL-LOCALNET\n-m mark --mark 0x1 -j PXL-FIREWALL\n-j PXL-LOCALNET\n",
		  "-j PXL-LOCALNET\n-m conntrack --ctstate NEW -j PXL-FIREWALL\n-m conntrack --ctstate NEW -j PXL-SERVICES\n"
		  "-m mark --mark 0x1 -j PXL-FIREWALL\n" },
	};
	struct dp_ipt_state *s = dp_ipt_state_new();
	struct kernel k = kernel_new();
	struct dp_ipt_held *held;

	put_node(s);
	commit(s, &k);
	rewrite_chain(&k, "filter OUTPUT", all[_i].before);
	held = save(&k);
	dp_ipt_state_assume(s, held);
	dp_ipt_held_free(held);
	commit(s, &k);
	ck_assert_str_eq(((struct kp_buf *)kp_map_gets(k.chains, "filter OUTPUT"))->data, all[_i].after);
	dp_ipt_state_free(s);
	kp_map_free(k.chains);
}
END_TEST

START_TEST(blame)
{
	struct dp_ipt_state *s = dp_ipt_state_new();
	struct kp_buf text = { 0 };
	uint32_t removed;
	unsigned line = 0, blamed = 0;
	bool kept;

	put_node(s);
	put(s, 0, 2);
	put(s, 9, 3);
	dp_ipt_state_write(s, &text, &removed);
	for (char *at = text.data; *at; at += strcspn(at, "\n") + 1) {
		const char *owner = dp_ipt_state_blame(s, text.data, ++line, &kept);
		char first[64];

		snprintf(first, sizeof(first), "%.*s", (int)strcspn(at, "\n"), at);
		if (strncmp(first, "-A PXL-SVC-0", 12) == 0)
			ck_assert_str_eq(owner, "ns/s0");
		else if (strstr(first, "PXL-SVC-9") && first[0] == '-')
			ck_assert_str_eq(owner, "ns/s9");
		else if (strstr(first, "PXL-FORWARD") && first[1] == 'A')
			ck_assert_str_eq(owner, "");
		else if (strcmp(first, "COMMIT") == 0)
			ck_assert_ptr_null(owner);
		blamed += owner != NULL;
	}
	ck_assert_uint_ge(blamed, 9);
	ck_assert_ptr_null(dp_ipt_state_blame(s, text.data, line + 1, &kept));
	kp_buf_release(&text);
	dp_ipt_state_free(s);
}
END_TEST

/* One that cannot go stays, empty, and nothing more is tried until the next full write. */
START_TEST(kept_chain)
{
	struct dp_ipt_state *s = dp_ipt_state_new();
	struct kernel k = kernel_new();
	struct kp_buf text = { 0 };
	unsigned line = 1;
	uint32_t removed;
	bool kept;

	put_node(s);
	put(s, 0, 2);
	commit(s, &k);
	put(s, 0, 0);
	dp_ipt_state_write(s, &text, &removed);
	ck_assert_uint_eq(removed, 2);
	for (const char *at = text.data; strncmp(at, "-X PXL-SVC-0", 12) != 0; at += strcspn(at, "\n") + 1)
		line++;
	ck_assert_ptr_null(dp_ipt_state_blame(s, text.data, line, &kept));
	ck_assert(kept);
	commit(s, &k);
	ck_assert(kp_map_gets(k.chains, "nat PXL-SVC-0") && !kp_map_gets(k.chains, "nat PXL-SERVICES-0"));
	put(s, 0, 1);
	commit(s, &k);
	ck_assert_str_eq(((struct kp_buf *)kp_map_gets(k.chains, "nat PXL-SVC-0"))->data, "-j DNAT --to-destination 0\n");
	kp_buf_release(&text);
	dp_ipt_state_free(s);
	kp_map_free(k.chains);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ipt_state");
	TCase *tc = tcase_create("ipt_state");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, any_way_ends_alike, 0, 30);
	tcase_add_test(tc, only_what_changed);
	tcase_add_loop_test(tc, damage, 0, KP_N(damages));
	tcase_add_loop_test(tc, no_damage, 0, KP_N(harmless));
	tcase_add_loop_test(tc, jumps_are_put_right, 0, 2);
	tcase_add_test(tc, blame);
	tcase_add_test(tc, kept_chain);
	suite_add_tcase(s, tc);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
