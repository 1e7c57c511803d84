#include "nft/carry.h"

#include <stdlib.h>
#include <string.h>

#include "nft/family.h"
#include "nft/held.h"
#include "nft/netlink.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"

struct entry {
	const char *map;	/* borrowed from dp_carry.maps */
	uint8_t key[16], data[20];
	uint64_t expires_ms;
};

struct dp_carry {
	enum kp_family f;
	char **maps;
	size_t n_maps, cap_maps;
	struct entry *entries;
	size_t n, cap;
};

static void on_entry(void *arg, const uint8_t *key, const uint8_t *data, size_t len, uint64_t expires_ms)
{
	struct dp_carry *c = arg;
	struct entry e = { .map = c->maps[c->n_maps - 1], .expires_ms = expires_ms };

	if (len > sizeof(e.data))
		return;
	memcpy(e.key, key, dp_set_key_len(DP_AFF, c->f));
	memcpy(e.data, data, len);
	kp_grow(&c->entries, c->n, &c->cap);
	c->entries[c->n++] = e;
}

static bool is_private(const char *name, const struct dp_held_set *set)
{
	for (int s = 0; s < DP_N_SETS; s++)
		if (strcmp(dp_set_defs[s].name, name) == 0)
			return false;
	return set->as_defined;
}

struct dp_carry *dp_carry_read(struct mnl_socket *nl, enum kp_family f, const char *table, const struct dp_held *held)
{
	struct dp_carry *c = kp_calloc(1, sizeof(*c));

	c->f = f;
	for (struct kp_map_it it = { 0 }; kp_map_next(held->sets, &it);) {
		if (!is_private(it.key, it.value))
			continue;
		kp_grow(&c->maps, c->n_maps, &c->cap_maps);
		c->maps[c->n_maps++] = kp_strdup(it.key);
		(void)dp_held_entries(nl, f, table, it.key, on_entry, c);	/* what is lost is chosen anew */
	}
	return c;
}

void dp_carry_write(const struct dp_carry *c, const struct dp_family *fam, struct dp_txn *txn)
{
	for (size_t i = 0; i < c->n; i++) {
		const struct entry *e = &c->entries[i];

		if (dp_family_has_set(fam, e->map))
			dp_netlink_add_entry(txn, e->map, e->key, dp_set_key_len(DP_AFF, c->f),
					     e->data, dp_set_data_len(DP_AFF, c->f), e->expires_ms);
	}
}

struct dp_carry *dp_carry_free(struct dp_carry *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n_maps; i++)
		free(c->maps[i]);
	free(c->maps);
	free(c->entries);
	free(c);
	return NULL;
}
