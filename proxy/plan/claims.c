#include "proxy/plan/claims.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/mem.h"

/* A claim is in two lists: who else wants the same key, and what else its holder wants. */
struct claim {
	struct kp_claim_key key;
	struct holder *holder;
	struct claim *next;		/* same key, best first */
	struct claim *next_held;	/* same holder */
	uint64_t round;			/* of the last begin that it was said in */
};

struct holder {
	struct claim *held;
	char name[];
};

struct kp_claims {
	struct kp_claims_events events;
	struct kp_map *keys;		/* identity -> first struct claim */
	struct kp_map *holders;		/* "ns/name" -> struct holder */
	struct holder *current;
	uint64_t round;
};

/* The identity of a key is what stands before rank, where there is no padding. */
#define ID_LEN	offsetof(struct kp_claim_key, rank)
_Static_assert(ID_LEN == sizeof(struct kp_addr) + 4, "bytes between the members");

static const void *id_of_claim(const void *v, size_t *ret_len)
{
	const struct claim *c = v;

	*ret_len = ID_LEN;
	return &c->key;
}

static const void *name_of_holder(const void *v, size_t *ret_len)
{
	const struct holder *h = v;

	*ret_len = strlen(h->name);
	return h->name;
}

static void free_holder(void *v)
{
	struct holder *h = v;

	for (struct claim *c = h->held, *next; c; c = next) {
		next = c->next_held;
		free(c);
	}
	free(h);
}

struct kp_claims *kp_claims_new(const struct kp_claims_events *events)
{
	struct kp_claims *c = kp_calloc(1, sizeof(*c));

	c->events = *events;
	c->keys = kp_map_new_keyed(id_of_claim, NULL);
	c->holders = kp_map_new_keyed(name_of_holder, free_holder);
	return c;
}

struct kp_claims *kp_claims_free(struct kp_claims *c)
{
	if (!c)
		return NULL;
	kp_map_free(c->keys);
	kp_map_free(c->holders);
	free(c);
	return NULL;
}

static struct claim *first(const struct kp_claims *c, const struct kp_claim_key *key)
{
	return kp_map_get(c->keys, key, ID_LEN);
}

static void set_first(struct kp_claims *c, const struct kp_claim_key *key, struct claim *head)
{
	if (head)
		kp_map_put(c->keys, key, ID_LEN, head);
	else
		kp_map_del(c->keys, key, ID_LEN);
}

static bool better(const struct claim *a, const struct claim *b)
{
	if (a->key.rank != b->key.rank)
		return a->key.rank < b->key.rank;
	if (a->key.created != b->key.created)
		return a->key.created < b->key.created;
	return strcmp(a->holder->name, b->holder->name) < 0;
}

/* Put it into its place among the claims for its key. */
static void enter(struct kp_claims *c, struct claim *new)
{
	struct claim *head = first(c, &new->key), **at = &head;

	while (*at && better(*at, new))
		at = &(*at)->next;
	new->next = *at;
	*at = new;
	if (head != new)
		c->events.conflict(c->events.arg, &new->key, head->holder->name, new->holder->name);
	else
		set_first(c, &new->key, new);
	if (head == new && new->next) {
		c->events.conflict(c->events.arg, &new->key, new->holder->name, new->next->holder->name);
		c->events.changed(c->events.arg, new->next->holder->name);
	}
}

static void leave(struct kp_claims *c, struct claim *old)
{
	struct claim *head = first(c, &old->key), **at = &head;

	while (*at != old)
		at = &(*at)->next;
	*at = old->next;
	if (at != &head)
		return;
	set_first(c, &old->key, head);
	if (head)
		c->events.changed(c->events.arg, head->holder->name);
}

void kp_claims_begin(struct kp_claims *c, const char *who)
{
	size_t len = strlen(who) + 1;

	c->round++;
	c->current = kp_map_gets(c->holders, who);
	if (c->current)
		return;
	c->current = kp_calloc(1, sizeof(*c->current) + len);
	memcpy(c->current->name, who, len);
	kp_map_puts(c->holders, who, c->current);
}

enum kp_claim kp_claims_add(struct kp_claims *c, const struct kp_claim_key *key)
{
	struct claim *mine = first(c, key);

	while (mine && mine->holder != c->current)
		mine = mine->next;
	if (mine && mine->round == c->round)
		return KP_CLAIM_TWICE;
	if (!mine) {
		mine = kp_calloc(1, sizeof(*mine));
		mine->key = *key;
		mine->holder = c->current;
		mine->next_held = c->current->held;
		c->current->held = mine;
		enter(c, mine);
	} else if (mine->key.rank != key->rank || mine->key.created != key->created) {
		leave(c, mine);
		mine->key = *key;
		enter(c, mine);
	}
	mine->round = c->round;
	return first(c, key) == mine ? KP_CLAIM_OWNED : KP_CLAIM_WAITS;
}

void kp_claims_end(struct kp_claims *c)
{
	for (struct claim **at = &c->current->held; *at;) {
		struct claim *old = *at;

		if (old->round == c->round) {
			at = &old->next_held;
			continue;
		}
		*at = old->next_held;
		leave(c, old);
		free(old);
	}
	if (!c->current->held)
		kp_map_dels(c->holders, c->current->name);
	c->current = NULL;
}
