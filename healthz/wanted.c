#include "healthz/wanted.h"

#include <stdlib.h>
#include <string.h>

#include "healthz/state.h"
#include "proxy/base/mem.h"

static int by_name(const void *a, const void *b)
{
	const struct hz_service *x = *(const struct hz_service *const *)a, *y = *(const struct hz_service *const *)b;
	int c = strcmp(x->ns, y->ns);

	return c ? c : strcmp(x->name, y->name);
}

static int by_claim(const void *a, const void *b)
{
	const struct hz_service *x = *(const struct hz_service *const *)a, *y = *(const struct hz_service *const *)b;

	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	return by_name(a, b);
}

size_t hz_wanted_owners(const struct hz_services *services, const struct hz_service ***ret, size_t *ret_losers)
{
	size_t room = services ? services->n : 0, n = 0, n_owners = 0, n_losers = 0;
	const struct hz_service **all = kp_calloc(room + 1, sizeof(*all));
	const struct hz_service **sorted = kp_calloc(room + 1, sizeof(*sorted));

	for (size_t i = 0; i < room; i++)
		if (services->items[i].port)
			all[n++] = &services->items[i];
	qsort(all, n, sizeof(*all), by_claim);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || all[i]->port != all[i - 1]->port)
			sorted[n_owners++] = all[i];
		else
			sorted[n - ++n_losers] = all[i];
	}
	free(all);
	qsort(sorted, n_owners, sizeof(*sorted), by_name);
	qsort(sorted + n_owners, n_losers, sizeof(*sorted), by_name);
	*ret = sorted;
	*ret_losers = n_losers;
	return n_owners;
}

size_t hz_wanted_addrs(const struct hz_state *s, struct kp_addr **ret)
{
	struct kp_addr *out = kp_calloc(KP_N_FAMILIES + s->n_addresses, sizeof(*out));
	size_t n = 0;

	for (enum kp_family f = 0; f < KP_N_FAMILIES; f++)
		if (s->any_address[f])
			out[n++] = (struct kp_addr){ .family = f };
	for (size_t i = 0; i < s->n_addresses; i++)
		if (!s->any_address[s->addresses[i].family] && !kp_addr_is_link_local(&s->addresses[i]))
			out[n++] = s->addresses[i];
	*ret = out;
	return n;
}
