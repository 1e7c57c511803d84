#include "proxy/plan/draft.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/model/objects.h"

void kp_draft_reset(struct kp_draft *d)
{
	d->n_ports = d->n_frontends = d->n_cluster = d->n_local = d->n_ranges = d->n_serving = d->n_ready = 0;
	d->text.len = 0;
}

void kp_draft_release(struct kp_draft *d)
{
	free(d->ports);
	free(d->frontends);
	free(d->cluster);
	free(d->local);
	free(d->ranges);
	free(d->serving);
	free(d->ready);
	kp_buf_release(&d->text);
	*d = (struct kp_draft){ 0 };
}

static void add_text(struct kp_draft *d, const char *a, const char *sep, const char *b)
{
	kp_buf_add(&d->text, a, strlen(a));
	kp_buf_add(&d->text, sep, strlen(sep));
	kp_buf_add(&d->text, b, strlen(b) + 1);
}

struct kp_plan_port *kp_draft_port(struct kp_draft *d, const char *key, const char *name, uint8_t proto, uint16_t port)
{
	add_text(d, "", "", name);
	add_text(d, key, *name ? ":" : "", name);
	kp_buf_printf(&d->text, "%s/%s/%u", key, kp_proto_name(proto), port);
	d->text.len++;	/* keep the NUL */
	kp_grow(&d->ports, d->n_ports, &d->cap_ports);
	d->ports[d->n_ports] = (struct kp_plan_port){ .proto = proto };
	return &d->ports[d->n_ports++];
}

static struct kp_plan_port *current(struct kp_draft *d)
{
	return &d->ports[d->n_ports - 1];
}

void kp_draft_frontend(struct kp_draft *d, struct kp_frontend f)
{
	kp_grow(&d->frontends, d->n_frontends, &d->cap_frontends);
	d->frontends[d->n_frontends++] = f;
	current(d)->n_frontends++;
}

void kp_draft_cluster(struct kp_draft *d, struct kp_backend b)
{
	kp_grow(&d->cluster, d->n_cluster, &d->cap_cluster);
	d->cluster[d->n_cluster++] = b;
	current(d)->n_cluster++;
}

void kp_draft_local(struct kp_draft *d, struct kp_backend b)
{
	kp_grow(&d->local, d->n_local, &d->cap_local);
	d->local[d->n_local++] = b;
	current(d)->n_local++;
}

void kp_draft_range(struct kp_draft *d, struct kp_cidr c)
{
	kp_grow(&d->ranges, d->n_ranges, &d->cap_ranges);
	d->ranges[d->n_ranges++] = c;
	current(d)->n_ranges++;
}

void kp_draft_serving(struct kp_draft *d, struct kp_backend b)
{
	kp_grow(&d->serving, d->n_serving, &d->cap_serving);
	d->serving[d->n_serving++] = b;
	current(d)->n_serving++;
}

void kp_draft_ready(struct kp_draft *d, const struct kp_addr *a)
{
	kp_grow(&d->ready, d->n_ready, &d->cap_ready);
	d->ready[d->n_ready++] = *a;
}

static int cmp_backend(const void *a, const void *b)
{
	return kp_backend_cmp(a, b);
}

/* Copy to *at and step over it; returns where the copy is. */
static void *place(char **at, const void *from, size_t size)
{
	void *to = *at;

	if (size)
		memcpy(to, from, size);
	*at += size;
	return to;
}

#define PLACE(at, array, n)	place(at, array, (n) * sizeof(*(array)))

struct kp_plan *kp_draft_freeze(struct kp_draft *d, const char *key)
{
	struct kp_plan *p = kp_malloc(sizeof(*p) + d->n_ports * sizeof(*d->ports) +
				      d->n_frontends * sizeof(*d->frontends) + d->n_cluster * sizeof(*d->cluster) +
				      d->n_local * sizeof(*d->local) + d->n_ranges * sizeof(*d->ranges) +
				      d->n_serving * sizeof(*d->serving) + d->n_ready * sizeof(*d->ready) +
				      d->text.len + strlen(key) + 1);
	char *at = (char *)(p + 1);
	/* In order of alignment: pointers, 16 bits, bytes. */
	struct kp_plan_port *ports = PLACE(&at, d->ports, d->n_ports);
	struct kp_frontend *frontends = PLACE(&at, d->frontends, d->n_frontends);
	struct kp_backend *cluster = PLACE(&at, d->cluster, d->n_cluster);
	struct kp_backend *local = PLACE(&at, d->local, d->n_local);
	struct kp_backend *serving = PLACE(&at, d->serving, d->n_serving);
	struct kp_cidr *ranges = PLACE(&at, d->ranges, d->n_ranges);
	struct kp_addr *ready = PLACE(&at, d->ready, d->n_ready);
	char *text = place(&at, d->text.data, d->text.len);

	*p = (struct kp_plan){ .refs = 1, .ports = ports, .n_ports = (uint32_t)d->n_ports, .ready = ready };
	for (size_t i = 0; i < d->n_ready; i++)
		p->local_ready[ready[i].family]++;
	p->key = place(&at, key, strlen(key) + 1);
	for (struct kp_plan_port *port = ports; port < ports + p->n_ports; port++) {
		port->name = text;
		port->label = port->name + strlen(port->name) + 1;
		port->id = port->label + strlen(port->label) + 1;
		text = port->id + strlen(port->id) + 1;
		port->frontends = frontends;
		frontends += port->n_frontends;
		port->cluster = cluster;
		cluster += port->n_cluster;
		port->local = local;
		local += port->n_local;
		port->ranges = ranges;
		ranges += port->n_ranges;
		port->serving = serving;
		serving += port->n_serving;
		if (port->n_serving)
			qsort(port->serving, port->n_serving, sizeof(*port->serving), cmp_backend);
	}
	return p;
}
