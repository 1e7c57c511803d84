#include "nft/text.h"

#include <stdlib.h>

#include "nft/netlink.h"
#include "proxy/base/buf.h"
#include "proxy/base/mem.h"

struct text {
	struct dp_writer w;
	char *table;
	struct kp_buf heads[DP_N_SETS], elems[DP_N_SETS];	/* the fixed sets */
	struct kp_buf maps, chains;				/* private maps; all chains */
};

static struct text *text_of(struct dp_writer *w)
{
	return (struct text *)w;
}

static void print_head(struct kp_buf *out, enum dp_set set, enum kp_family f, const char *name, uint32_t size)
{
	const struct dp_set_def *d = &dp_set_defs[set];

	kp_buf_printf(out, "\t%s %s {\n\t\t", d->data == DP_DATA_NONE ? "set" : "map", name ? name : d->name);
	dp_set_decl(set, f, out);
	kp_buf_puts(out, "\n");
	if (size)
		kp_buf_printf(out, "\t\tsize %u\n", size);
	if (d->dynamic)
		kp_buf_puts(out, "\t\tflags dynamic,timeout\n");
}

static void text_set(struct dp_writer *w, enum dp_set set, const char *name, uint32_t size)
{
	struct text *t = text_of(w);
	struct kp_buf *out = set == DP_AFF ? &t->maps : &t->heads[set];

	print_head(out, set, w->f, name, size);
	if (set == DP_AFF)
		kp_buf_puts(out, "\t}\n");
}

static void text_chain(struct dp_writer *w, const struct dp_chain *c, bool exists)
{
	struct kp_buf *out = &text_of(w)->chains;

	(void)exists;
	kp_buf_printf(out, "\tchain %s {\n", c->name);
	if (c->hook)
		kp_buf_printf(out, "\t\t%s\n", c->hook->text);
	for (size_t i = 0; i < c->n_rules; i++) {
		kp_buf_puts(out, "\t\t");
		dp_rule_print(&c->rules[i], w->f, out);
		kp_buf_puts(out, "\n");
	}
	kp_buf_puts(out, "\t}\n");
}

static void print_value(const struct dp_elem *e, struct kp_buf *out)
{
	char text[KP_ADDR_STRLEN];

	if (e->comment)
		kp_buf_printf(out, " comment \"%s\"", e->comment);
	switch ((enum dp_data)dp_set_defs[e->set].data) {
	case DP_DATA_NONE:
		break;
	case DP_DATA_VERDICT:
		if (e->chain)
			kp_buf_printf(out, " : goto %s", e->chain);
		else
			kp_buf_puts(out, dp_set_defs[e->set].returns ? " : return" : " : drop");
		break;
	case DP_DATA_ENDPOINT:
		kp_buf_printf(out, " : %s . %u", kp_addr_str(&e->to, text), e->to_port);
		break;
	}
}

/* Text starts from nothing, so there is never anything to delete. */
static void text_elem(struct dp_writer *w, bool add, const struct dp_elem *e)
{
	struct kp_buf *out = &text_of(w)->elems[e->set];
	uint8_t key[DP_KEY_MAX];

	if (!add)
		return;
	kp_buf_puts(out, out->len ? ",\n\t\t\t" : "\t\telements = {\n\t\t\t");
	dp_elem_key(e, w->f, key);
	dp_key_print(e->set, w->f, key, out);
	print_value(e, out);
}

static void text_nothing(struct dp_writer *w, const char *name)
{
	(void)w;
	(void)name;
}

static const struct dp_writer_ops text_ops = {
	.set = text_set, .chain = text_chain, .elem = text_elem,
	.del_chain = text_nothing, .del_set = text_nothing,
};

struct dp_writer *dp_text_new(enum kp_family f, const char *table)
{
	struct text *t = kp_calloc(1, sizeof(*t));

	t->w = (struct dp_writer){ .ops = &text_ops, .f = f };
	t->table = kp_strdup(table);
	return &t->w;
}

static void move(struct kp_buf *from, struct kp_buf *to)
{
	kp_buf_add(to, from->data, from->len);
	kp_buf_release(from);
}

void dp_text_finish(struct dp_writer *w, struct kp_buf *out)
{
	struct text *t = text_of(w);

	kp_buf_printf(out, "table %s %s {\n\tcomment \"%s\"\n", w->f == KP_IPV4 ? "ip" : "ip6", t->table, DP_FORMAT);
	for (int set = 0; set < DP_N_SETS; set++) {
		bool filled = t->elems[set].len > 0;

		if (!t->heads[set].len)
			continue;
		move(&t->heads[set], out);
		move(&t->elems[set], out);
		kp_buf_puts(out, filled ? "\n\t\t}\n\t}\n" : "\t}\n");
	}
	move(&t->maps, out);
	move(&t->chains, out);
	kp_buf_puts(out, "}\n");
	free(t->table);
	free(t);
}
