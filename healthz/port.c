#include "healthz/port.h"

#include <stdlib.h>

#include "proxy/base/mem.h"

static struct hz_port *new_port(bool is_service, const char *ns, const char *name, uint16_t number,
				enum hz_proxy_mode proxy)
{
	struct hz_port *p = kp_calloc(1, sizeof(*p));

	*p = (struct hz_port){
		.refs = 1, .is_service = is_service, .ns = kp_strdup(ns), .name = kp_strdup(name),
		.label = is_service ? kp_asprintf("svc/%s/%s", ns, name) : kp_strdup(name),
		.number = number, .proxy = proxy,
	};
	return p;
}

struct hz_port *hz_port_new_node(const char *name, uint16_t number, enum hz_proxy_mode proxy)
{
	return new_port(false, "", name, number, proxy);
}

struct hz_port *hz_port_new_service(const char *ns, const char *name, uint16_t number, enum hz_proxy_mode proxy)
{
	return new_port(true, ns, name, number, proxy);
}

struct hz_port *hz_port_ref(struct hz_port *p)
{
	p->refs++;
	return p;
}

struct hz_port *hz_port_unref(struct hz_port *p)
{
	if (--p->refs)
		return NULL;
	free(p->ns);
	free(p->name);
	free(p->label);
	free(p);
	return NULL;
}
