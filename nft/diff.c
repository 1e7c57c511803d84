#include "nft/diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nft/family_impl.h"
#include "proxy/base/buf.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

#define SAID_MAX 6	/* things named; of the rest only the number */

struct dp_words {
	struct kp_buf text;
	size_t n;
};

static void __attribute__((format(printf, 2, 3))) say(struct dp_words *w, const char *fmt, ...)
{
	char one[512];
	va_list ap;

	if (++w->n > SAID_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(one, sizeof(one), fmt, ap);
	va_end(ap);
	kp_buf_printf(&w->text, "%s%s", w->n > 1 ? "; " : "", one);
}

struct dp_words *dp_words_new(const char *first)
{
	struct dp_words *w = kp_calloc(1, sizeof(*w));

	if (first)
		say(w, "%s", first);
	return w;
}

bool dp_words_any(const struct dp_words *w)
{
	return w->n > 0;
}

struct dp_words *dp_words_free(struct dp_words *w)
{
	if (w)
		kp_buf_release(&w->text);
	free(w);
	return NULL;
}

char *dp_words_text(const struct dp_words *w)
{
	struct kp_buf out = { 0 };

	kp_buf_puts(&out, w->text.data ? w->text.data : "");
	if (w->n > SAID_MAX)
		kp_buf_printf(&out, "; and %zu more", w->n - SAID_MAX);
	return out.data;
}

static void say_chain(const char *name, const struct dp_held_chain *c, const struct dp_known *k, struct dp_words *w)
{
	if (!c)
		say(w, "chain %s deleted", name);
	else if (!c->as_defined)
		say(w, "hook of chain %s changed", name);
	else if (!c->accepts)
		say(w, "policy of chain %s changed", name);
	else if (c->fingerprint != k->fingerprint)
		say(w, "rules of chain %s changed", name);
}

static void say_set(const char *name, const struct dp_held_set *s, struct dp_words *w)
{
	if (!s)
		say(w, "set %s deleted", name);
	else if (!s->as_defined)
		say(w, "set %s made another type", name);
}

/* Chains or sets, in the order of their names. */
static void say_objects(const char *kind, const struct kp_map *ours, const struct kp_map *held, bool exactly, struct dp_words *w)
{
	const char **names = kp_map_sorted_keys(ours), **theirs = kp_map_sorted_keys(held);
	bool chains = strcmp(kind, "chain") == 0;

	for (size_t i = 0; i < kp_map_len(ours); i++)
		if (chains)
			say_chain(names[i], kp_map_gets(held, names[i]), kp_map_gets(ours, names[i]), w);
		else
			say_set(names[i], kp_map_gets(held, names[i]), w);
	for (size_t i = 0; exactly && i < kp_map_len(held); i++)
		if (!kp_map_gets(ours, theirs[i]))
			say(w, "%s %s added", kind, theirs[i]);
	free(names);
	free(theirs);
}

bool dp_diff_structure(const struct dp_family *fam, const struct dp_held *held, bool exactly, uint32_t flags,
		       struct dp_words *w, enum dp_drift_kind *ret)
{
	*ret = DP_DRIFT_TABLE;
	if (!held->table)
		say(w, "table deleted");
	else if (!held->format_ok)
		say(w, "table replaced by another of the same name");
	else if (held->flags & DP_TABLE_DORMANT)
		say(w, "table made dormant");
	else if (held->flags != flags)
		say(w, "flags of the table changed");
	if (w->n)
		return true;
	*ret = DP_DRIFT_RULES;
	say_objects("chain", fam->chains, held->chains, exactly, w);
	say_objects("set", fam->sets, held->sets, exactly, w);
	return w->n > 0;
}

void dp_diff_elems_say(const struct dp_diff_elems diff[DP_N_SETS], struct dp_words *w)
{
	for (int set = 0; set < DP_N_SETS; set++) {
		const struct { uint32_t n; const char *done; } all[] = {
			{ diff[set].deleted, "deleted" }, { diff[set].changed, "changed" }, { diff[set].added, "added" },
		};

		for (size_t i = 0; i < KP_N(all); i++)
			if (all[i].n)
				say(w, "%u element%s of %s %s", all[i].n, all[i].n == 1 ? "" : "s", dp_set_defs[set].name, all[i].done);
	}
}
